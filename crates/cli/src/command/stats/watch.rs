//! The containers that are watched, and what they use between two looks.

use hull_engine::container::stats::{self, Sample};
use hull_engine::{Engine, container};
use hull_spec::ErrorKind;

use super::all_of;
use crate::error::Result;

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// The container as it was asked for.
    pub(super) asked: String,
    pub(super) id: String,
    pub(super) name: String,
    /// Whether it was removed since.
    pub(super) gone: bool,
    /// Percent of one CPU.
    pub(super) cpu: f64,
    pub(super) memory: u64,
    pub(super) memory_limit: u64,
    pub(super) memory_percent: f64,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) read: u64,
    pub(super) written: u64,
    pub(super) tasks: u64,
}

/// Containers that are looked at again and again.
pub(super) struct Watch<'a> {
    engine: &'a Engine,
    /// Whether those that nobody named are looked for each time; and those that do not run, too.
    every: Option<bool>,
    watched: Vec<(String, Sample)>,
}

impl<'a> Watch<'a> {
    /// Takes a first look.
    ///
    /// # Errors
    /// A named container that is not there.
    pub(super) fn new(engine: &'a Engine, names: &[String], all: bool) -> Result<Self> {
        let mut out = Self {
            engine,
            every: names.is_empty().then_some(all),
            watched: Vec::new(),
        };
        if out.every.is_some() {
            // What killed monitors left would be shown as running.
            let _ = container::recover(engine);
            out.find_new()?;
            return Ok(out);
        }
        let mut failures = Vec::new();
        for name in names {
            match stats::sample(engine, name) {
                // The same container under two names, or twice under one, is shown once for each name.
                Ok(_) if out.watched.iter().any(|(asked, _)| asked == name) => {}
                Ok(sample) => out.watched.push((name.clone(), sample)),
                Err(e) => failures.push(e),
            }
        }
        all_of(&failures)?;
        Ok(out)
    }

    /// Adds containers that have come since.
    fn find_new(&mut self) -> Result<()> {
        let Some(all) = self.every else { return Ok(()) };
        for id in stats::ids(self.engine, all)? {
            if self.watched.iter().all(|(_, sample)| sample.id != id)
                && let Ok(sample) = stats::sample(self.engine, &id)
            {
                self.watched.push((id[..12].to_owned(), sample));
            }
        }
        Ok(())
    }

    /// What each container uses since the last look.
    ///
    /// # Errors
    /// If a container's files cannot be read.
    pub(super) fn look(&mut self) -> Result<Vec<Figures>> {
        let mut out = Vec::new();
        let mut still = Vec::new();
        for (asked, before) in std::mem::take(&mut self.watched) {
            match stats::sample(self.engine, &before.id) {
                // One that does not run any more is not shown unless it was asked for.
                Ok(sample) if self.every == Some(false) && sample.run.is_none() => {}
                Ok(sample) => {
                    out.push(figures(&asked, &sample, &before));
                    still.push((asked, sample));
                }
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    if self.every.is_none() {
                        out.push(Figures {
                            asked: asked.clone(),
                            id: before.id.clone(),
                            name: before.name.clone(),
                            gone: true,
                            ..Figures::default()
                        });
                        still.push((asked, before));
                    }
                }
                Err(e) => return Err(e.into()),
            }
        }
        let known = still.len();
        self.watched = still;
        self.find_new()?;
        out.extend(
            self.watched[known..]
                .iter()
                .map(|(asked, sample)| figures(asked, sample, sample)),
        );
        Ok(out)
    }
}

fn figures(asked: &str, sample: &Sample, before: &Sample) -> Figures {
    Figures {
        asked: asked.to_owned(),
        id: sample.id.clone(),
        name: sample.name.clone(),
        gone: false,
        cpu: sample.cpu_percent(before),
        memory: sample.memory,
        memory_limit: sample.memory_limit,
        memory_percent: sample.memory_percent(),
        received: sample.received,
        sent: sample.sent,
        read: sample.read,
        written: sample.written,
        tasks: sample.tasks,
    }
}
