//! Events: telling them, and the log that they are read from.
//!
//! Each verb tells what it has done, once it is done. What goes into the log and how is in [`hull_monitor::event`].

mod filter;
mod listen;
mod tail;

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use hull_monitor::event::{self, Subject, now};
use hull_spec::container::{LiveState, Record};
use hull_spec::event::{Event, Kind};
use hull_store::image::Image;
use sha2::{Digest as _, Sha256};

pub use listen::{EventsRequest, listen};

use crate::Engine;
use crate::container::name;

/// Tells of an event.
pub fn emit(engine: &Engine, event: &Event) {
    event::append(&engine.data, event);
}

/// Tells what happened to a container, with further attributes: `("signal", "9")`.
pub fn container(engine: &Engine, record: &Record, action: &str, more: &[(&str, &str)]) {
    let event = Event::container(record, action, now());
    emit(engine, &with(event, more));
}

/// Tells what happened to an image. `id` is what Docker gives as the actor's ID: the image's ID, or for a pull the
/// reference. The image's labels are attributes too.
pub fn image(engine: &Engine, action: &str, id: &str, name: &str, image: Option<&Image>) {
    let mut event = Event::new(Kind::Image, action, id, now());
    if let Some(config) = image.and_then(|image| image.config.config.as_ref()) {
        event.actor.attributes.clone_from(&config.labels);
    }
    emit(engine, &event.with("name", name));
}

/// Tells what happened to a volume.
pub fn volume(engine: &Engine, action: &str, name: &str) {
    let event = Event::new(Kind::Volume, action, name, now());
    emit(engine, &event.with("driver", "local"));
}

/// Tells that unused things of a kind were removed, and how many bytes that gave back.
pub fn pruned(engine: &Engine, kind: Kind, reclaimed: u64) {
    let event = Event::new(kind, "prune", "", now());
    emit(engine, &event.with("reclaimed", reclaimed.to_string()));
}

fn with(event: Event, more: &[(&str, &str)]) -> Event {
    more.iter().fold(event, |event, (name, value)| event.with(name, *value))
}

/// The ID of a network that is no network of ours, `none` or `host`: on each host of one's own, always the same.
#[must_use]
pub fn network_id(engine: &Engine, name: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"network\0");
    hash.update(engine.run.as_os_str().as_encoded_bytes());
    hash.update([0]);
    hash.update(name.as_bytes());
    name::id(hash.finalize().into())
}

/// What the events of a container's monitor say of it; the bridge's ID is known to the monitor only.
pub(crate) fn subject(engine: &Engine, record: &Record) -> Subject {
    let subject = Subject::of(record);
    match record.host_config.network_mode.as_str() {
        "none" => subject.on(&network_id(engine, "none"), "none", "null"),
        "host" => subject.on(&network_id(engine, "host"), "host", "host"),
        _ => subject,
    }
}

/// The same of a container whose monitor was killed.
pub(crate) fn subject_of_dead(engine: &Engine, record: &Record, live: &LiveState) -> Subject {
    let networks = live.networks.iter();
    networks.fold(subject(engine, record), |subject, (name, endpoint)| {
        subject.on(&endpoint.network_id, name, "bridge")
    })
}

/// An `exec`, whose end is told by a process that has entered the container and sees the host's files no more.
#[derive(Debug)]
pub struct Exec {
    log: Option<File>,
    event: Event,
}

impl Exec {
    /// Tells that the process is being started.
    pub(crate) fn begun(engine: &Engine, record: &Record, cmd: &[String]) -> Self {
        let id = name::id(name::entropy());
        let (program, arguments) = cmd.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        // A program alone is followed by a space, as in Docker.
        let line = format!("{program} {}", arguments.join(" "));
        let told = |action: &str| {
            let event = Event::container(record, &format!("{action}: {line}"), now());
            event.with("execID", &id)
        };
        let begun = [told("exec_create"), told("exec_start")];
        event::append_all(&engine.data, &begun);
        Self {
            log: event::open(&engine.data),
            event: Event::container(record, "", 0).with("execID", &id),
        }
    }

    /// Tells that the process has ended.
    pub fn ended(&self, exit_code: i32) {
        self.tell("exec_die", &[("exitCode", &exit_code.to_string())]);
    }

    /// The log's descriptor, for one who closes all others.
    #[must_use]
    pub fn descriptor(&self) -> Option<RawFd> {
        self.log.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Tells that its client has left it running.
    pub fn detached(&self) {
        self.tell("exec_detach", &[]);
    }

    fn tell(&self, action: &str, more: &[(&str, &str)]) {
        let Some(log) = &self.log else { return };
        let mut event = Event::new(Kind::Container, action, &self.event.actor.id, now());
        event.from.clone_from(&self.event.from);
        event.actor.attributes.clone_from(&self.event.actor.attributes);
        event::append_to(log, &[with(event, more)]);
    }
}
