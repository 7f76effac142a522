//! How a pull or a push is shown: a bar a layer on a terminal, plain lines elsewhere, in Docker's words.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use hull_spec::progress::Event;
use hull_spec::{Digest, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal;

/// Where a pull is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// Nowhere.
    Nothing,
    /// On standard output: the pull is what was asked for.
    Stdout,
    /// On standard error: standard output belongs to the container.
    Stderr,
}

impl Show {
    /// A channel that shows what comes through it.
    pub(crate) fn progress(self) -> Progress {
        let is_terminal = match self {
            Self::Nothing => return Progress::silent(),
            Self::Stdout => terminal::stdout_is_terminal(),
            Self::Stderr => terminal::stderr_is_terminal(),
        };
        if is_terminal {
            let bars = Bars::new(self);
            Progress::new(move |event| bars.show(&event))
        } else {
            let lines = Lines::default();
            Progress::new(move |event| {
                if let Some(line) = lines.line(&event) {
                    self.print(&line);
                }
            })
        }
    }

    /// Prints a line there.
    pub(crate) fn print(self, line: &str) {
        let line = format!("{line}\n");
        // A reader that went away misses nothing that matters.
        let _ = match self {
            Self::Nothing => Ok(()),
            Self::Stdout => std::io::stdout().write_all(line.as_bytes()),
            Self::Stderr => std::io::stderr().write_all(line.as_bytes()),
        };
    }
}

/// Lines for a file or a pipe: each layer's steps once.
#[derive(Default)]
struct Lines {
    said: Mutex<HashMap<Digest, &'static str>>,
}

impl Lines {
    fn line(&self, event: &Event) -> Option<String> {
        let (layer, word) = match event {
            Event::Message(text) => return Some(text.clone()),
            Event::Retrying { blob, seconds } => {
                return Some(format!("{}: Retrying in {seconds} seconds", blob.short()));
            }
            Event::Downloading { .. } | Event::Uploading { .. } => return None,
            Event::Mounted { blob, from } => return Some(format!("{}: Mounted from {from}", blob.short())),
            Event::Pending(layer) => (layer, "Pulling fs layer"),
            Event::Exists(layer) => (layer, "Already exists"),
            Event::Downloaded(layer) => (layer, "Download complete"),
            Event::Done(layer) => (layer, "Pull complete"),
            Event::Preparing(layer) => (layer, "Preparing"),
            Event::Uploaded(layer) => (layer, "Pushed"),
            Event::Stored(layer) => (layer, "Layer already exists"),
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        (said.insert(layer.clone(), word) != Some(word)).then(|| format!("{}: {word}", layer.short()))
    }
}

/// Bars for a terminal.
struct Bars {
    all: MultiProgress,
    layers: Mutex<HashMap<Digest, ProgressBar>>,
}

const PLAIN: &str = "{prefix}: {msg}";
const LOADING: &str = "{prefix}: {msg} [{bar:40}] {bytes}/{total_bytes}";
const LOADING_UNKNOWN: &str = "{prefix}: {msg} {bytes}";

impl Bars {
    fn new(show: Show) -> Self {
        let target = match show {
            Show::Stdout => ProgressDrawTarget::stdout(),
            _ => ProgressDrawTarget::stderr(),
        };
        Self {
            all: MultiProgress::with_draw_target(target),
            layers: Mutex::default(),
        }
    }

    fn show(&self, event: &Event) {
        match event {
            Event::Message(text) => drop(self.all.println(text)),
            Event::Pending(layer) => self.say(layer, PLAIN, "Pulling fs layer"),
            Event::Exists(layer) => self.finish(layer, "Already exists"),
            Event::Downloading { blob, done, total } => self.moving(blob, "Downloading", *done, *total),
            Event::Uploading { blob, done, total } => self.moving(blob, "Pushing", *done, *total),
            Event::Retrying { blob, seconds } => self.say(blob, PLAIN, &format!("Retrying in {seconds} seconds")),
            Event::Downloaded(layer) => self.say(layer, PLAIN, "Download complete"),
            Event::Done(layer) => self.finish(layer, "Pull complete"),
            Event::Preparing(layer) => self.say(layer, PLAIN, "Preparing"),
            Event::Uploaded(layer) => self.finish(layer, "Pushed"),
            Event::Stored(layer) => self.finish(layer, "Layer already exists"),
            Event::Mounted { blob, from } => self.finish(blob, &format!("Mounted from {from}")),
        }
    }

    fn moving(&self, blob: &Digest, word: &str, done: u64, total: u64) {
        let template = if total == 0 { LOADING_UNKNOWN } else { LOADING };
        let bar = self.bar(blob);
        if bar.message() != word {
            self.say(blob, template, word);
        }
        bar.set_length(total);
        bar.set_position(done);
    }

    fn bar(&self, layer: &Digest) -> ProgressBar {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = layers.get(layer) {
            return bar.clone();
        }
        let bar = self.all.add(ProgressBar::new(0));
        bar.set_prefix(layer.short().to_owned());
        layers.insert(layer.clone(), bar.clone());
        bar
    }

    fn say(&self, layer: &Digest, template: &str, text: &str) {
        let bar = self.bar(layer);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(text.to_owned());
        bar.tick();
    }

    fn finish(&self, layer: &Digest, text: &str) {
        self.say(layer, PLAIN, text);
        self.bar(layer).abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_dockers_and_told_once() {
        let layer = Digest::sha256(&[0xab; 32]);
        let lines = Lines::default();
        let told: Vec<String> = [
            Event::Message("latest: Pulling from library/busybox".to_owned()),
            Event::Pending(layer.clone()),
            Event::Downloading {
                blob: layer.clone(),
                done: 1,
                total: 2,
            },
            Event::Retrying {
                blob: layer.clone(),
                seconds: 2,
            },
            Event::Downloaded(layer.clone()),
            Event::Downloaded(layer.clone()),
            Event::Done(layer),
        ]
        .iter()
        .filter_map(|event| lines.line(event))
        .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        latest: Pulling from library/busybox
        abababababab: Pulling fs layer
        abababababab: Retrying in 2 seconds
        abababababab: Download complete
        abababababab: Pull complete
        ");
    }

    #[test]
    fn a_push_says_what_docker_says() {
        let layer = |byte| Digest::sha256(&[byte; 32]);
        let lines = Lines::default();
        let told: Vec<String> = [
            Event::Preparing(layer(1)),
            Event::Preparing(layer(2)),
            Event::Uploading {
                blob: layer(1),
                done: 1,
                total: 2,
            },
            Event::Stored(layer(2)),
            Event::Uploaded(layer(1)),
            Event::Mounted {
                blob: layer(3),
                from: "library/busybox".to_owned(),
            },
        ]
        .iter()
        .filter_map(|event| lines.line(event))
        .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        010101010101: Preparing
        020202020202: Preparing
        020202020202: Layer already exists
        010101010101: Pushed
        030303030303: Mounted from library/busybox
        ");
    }

    #[test]
    fn the_bars_templates_are_valid() {
        for template in [PLAIN, LOADING, LOADING_UNKNOWN] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
