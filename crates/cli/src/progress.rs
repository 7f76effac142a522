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

/// What the steps are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// As a pull or a push calls them.
    Pull,
    /// As a load calls them.
    Load,
}

impl Words {
    fn of(self, event: &Event) -> &'static str {
        match (self, event) {
            (_, Event::Exists(_)) => "Already exists",
            (_, Event::Message(_) | Event::Retrying { .. } | Event::Mounted { .. }) => "",
            (_, Event::Preparing(_)) => "Preparing",
            (_, Event::Uploading { .. }) => "Pushing",
            (_, Event::Uploaded(_)) => "Pushed",
            (_, Event::Stored(_)) => "Layer already exists",
            (Self::Pull, Event::Pending(_)) => "Pulling fs layer",
            (Self::Pull, Event::Downloading { .. }) => "Downloading",
            (Self::Pull, Event::Downloaded(_)) => "Download complete",
            (Self::Pull, Event::Done(_)) => "Pull complete",
            (Self::Load, Event::Done(_)) => "Loaded",
            (Self::Load, _) => "Loading layer",
        }
    }
}

impl Show {
    /// A channel that shows a pull.
    pub(crate) fn progress(self) -> Progress {
        self.progress_in(Words::Pull)
    }

    /// A channel that shows what comes through it.
    pub(crate) fn progress_in(self, words: Words) -> Progress {
        let is_terminal = match self {
            Self::Nothing => return Progress::silent(),
            Self::Stdout => terminal::stdout_is_terminal(),
            Self::Stderr => terminal::stderr_is_terminal(),
        };
        if is_terminal {
            let bars = Bars::new(self, words);
            Progress::new(move |event| bars.show(&event))
        } else {
            let lines = Lines::new(words);
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
struct Lines {
    words: Words,
    said: Mutex<HashMap<Digest, &'static str>>,
}

impl Lines {
    fn new(words: Words) -> Self {
        Self {
            words,
            said: Mutex::default(),
        }
    }

    fn line(&self, event: &Event) -> Option<String> {
        let layer = match event {
            Event::Message(text) => return Some(text.clone()),
            Event::Retrying { blob, seconds } => {
                return Some(format!("{}: Retrying in {seconds} seconds", blob.short()));
            }
            Event::Downloading { .. } | Event::Uploading { .. } => return None,
            Event::Mounted { blob, from } => return Some(format!("{}: Mounted from {from}", blob.short())),
            Event::Pending(layer)
            | Event::Exists(layer)
            | Event::Downloaded(layer)
            | Event::Done(layer)
            | Event::Preparing(layer)
            | Event::Uploaded(layer)
            | Event::Stored(layer) => layer,
        };
        let word = self.words.of(event);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        (said.insert(layer.clone(), word) != Some(word)).then(|| format!("{}: {word}", layer.short()))
    }
}

/// Bars for a terminal.
struct Bars {
    words: Words,
    all: MultiProgress,
    layers: Mutex<HashMap<Digest, ProgressBar>>,
}

const PLAIN: &str = "{prefix}: {msg}";
const LOADING: &str = "{prefix}: {msg} [{bar:40}] {bytes}/{total_bytes}";
const LOADING_UNKNOWN: &str = "{prefix}: {msg} {bytes}";

impl Bars {
    fn new(show: Show, words: Words) -> Self {
        let target = match show {
            Show::Stdout => ProgressDrawTarget::stdout(),
            _ => ProgressDrawTarget::stderr(),
        };
        Self {
            words,
            all: MultiProgress::with_draw_target(target),
            layers: Mutex::default(),
        }
    }

    fn show(&self, event: &Event) {
        let word = self.words.of(event);
        match event {
            Event::Message(text) => drop(self.all.println(text)),
            Event::Pending(layer) | Event::Downloaded(layer) | Event::Preparing(layer) => self.say(layer, PLAIN, word),
            Event::Exists(layer) | Event::Done(layer) | Event::Uploaded(layer) | Event::Stored(layer) => {
                self.finish(layer, word);
            }
            Event::Downloading { blob, done, total } | Event::Uploading { blob, done, total } => {
                self.moving(blob, word, *done, *total);
            }
            Event::Retrying { blob, seconds } => self.say(blob, PLAIN, &format!("Retrying in {seconds} seconds")),
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
        let lines = Lines::new(Words::Pull);
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
        let lines = Lines::new(Words::Pull);
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
