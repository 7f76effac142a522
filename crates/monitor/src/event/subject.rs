//! A container as its monitor's events tell of it.

use std::collections::BTreeMap;
use std::path::Path;

use hull_spec::container::{LastExit, Record};
use hull_spec::event::{Event, Kind, container_attributes};
use serde::{Deserialize, Serialize};

use super::{append_all, now};

/// What the events at a container's start and end say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    id: String,
    attributes: BTreeMap<String, String>,
    networks: Vec<Network>,
    volumes: Vec<Volume>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Network {
    id: String,
    name: String,
    driver: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Volume {
    name: String,
    driver: String,
    destination: String,
    propagation: String,
    writable: bool,
}

impl Subject {
    /// A container and its volumes. Its networks are told by [`Self::on`].
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let volumes = record.mounts.iter().filter(|m| m.kind == "volume");
        Self {
            id: record.id.clone(),
            attributes: container_attributes(record),
            networks: Vec::new(),
            volumes: volumes
                .map(|m| Volume {
                    name: m.name.clone(),
                    driver: m.driver.clone(),
                    destination: m.destination.clone(),
                    propagation: m.propagation.clone(),
                    writable: m.rw,
                })
                .collect(),
        }
    }

    /// The same on a network.
    #[must_use]
    pub fn on(mut self, id: &str, name: &str, driver: &str) -> Self {
        self.join(id, name, driver);
        self
    }

    /// Puts it on a network.
    pub fn join(&mut self, id: &str, name: &str, driver: &str) {
        self.networks.push(Network {
            id: id.to_owned(),
            name: name.to_owned(),
            driver: driver.to_owned(),
        });
    }

    /// An event of the container itself.
    #[must_use]
    pub fn event(&self, action: &str) -> Event {
        let mut event = Event::new(Kind::Container, action, &self.id, now());
        event.actor.attributes.clone_from(&self.attributes);
        event.from = self.attributes.get("image").cloned().unwrap_or_default();
        event
    }

    /// Tells that the container runs: a client was there from the beginning, its networks and volumes are there, its
    /// program has started.
    pub fn started(&self, data_root: &Path, attached: bool) {
        let mut events = Vec::new();
        if attached {
            events.push(self.event("attach"));
        }
        events.extend(self.networks.iter().map(|n| self.network(n, "connect")));
        events.extend(self.volumes.iter().map(|volume| {
            self.volume(volume, "mount")
                .with("destination", &volume.destination)
                .with("propagation", &volume.propagation)
                .with("read/write", volume.writable.to_string())
        }));
        events.push(self.event("start"));
        append_all(data_root, &events);
    }

    /// Tells that the container has ended, after its traces on the host are gone. `removed` tells that it is no more,
    /// and names the volumes that went with it.
    pub fn ended(&self, data_root: &Path, exit: &LastExit, removed: Option<&[String]>) {
        let mut events = Vec::new();
        if exit.oom_killed {
            events.push(self.event("oom"));
        }
        events.extend(self.networks.iter().map(|n| self.network(n, "disconnect")));
        events.extend(self.volumes.iter().map(|volume| self.volume(volume, "unmount")));
        events.push(
            self.event("die")
                .with("exitCode", exit.exit_code.to_string())
                .with("execDuration", seconds(exit).to_string()),
        );
        if let Some(volumes) = removed {
            events.extend(volumes.iter().map(|name| volume_destroyed(name)));
            events.push(self.event("destroy"));
        }
        append_all(data_root, &events);
    }

    fn network(&self, network: &Network, action: &str) -> Event {
        Event::new(Kind::Network, action, &network.id, now())
            .with("container", &self.id)
            .with("name", &network.name)
            .with("type", &network.driver)
    }

    fn volume(&self, volume: &Volume, action: &str) -> Event {
        Event::new(Kind::Volume, action, &volume.name, now())
            .with("container", &self.id)
            .with("driver", &volume.driver)
    }
}

/// Tells that a volume is gone.
pub(crate) fn volume_destroyed(name: &str) -> Event {
    Event::new(Kind::Volume, "destroy", name, now()).with("driver", "local")
}

/// Whole seconds that it ran.
fn seconds(exit: &LastExit) -> i64 {
    let moment = |text: &str| text.parse::<jiff::Timestamp>().ok();
    match (moment(&exit.started_at), moment(&exit.finished_at)) {
        (Some(start), Some(end)) => {
            (end.as_second() - start.as_second() - i64::from(end.subsec_nanosecond() < start.subsec_nanosecond()))
                .max(0)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::file;

    fn told(data: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(file(data, 0)).unwrap();
        let events = text.lines().map(|line| serde_json::from_str::<Event>(line).unwrap());
        events
            .map(|event| {
                let attributes: Vec<_> = event.actor.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
                format!(
                    "{} {} {} ({})",
                    event.kind,
                    event.action,
                    event.actor.id,
                    attributes.join(", ")
                )
            })
            .collect()
    }

    fn subject() -> Subject {
        let subject = Subject {
            id: "c".to_owned(),
            attributes: BTreeMap::from(
                [("image", "busybox"), ("name", "n")].map(|(k, v)| (k.to_owned(), v.to_owned())),
            ),
            volumes: vec![Volume {
                name: "v".to_owned(),
                driver: "local".to_owned(),
                destination: "/data".to_owned(),
                propagation: String::new(),
                writable: true,
            }],
            ..Subject::default()
        };
        subject.on("f00d", "bridge", "bridge")
    }

    #[test]
    fn a_life_is_told_in_dockers_order() {
        let data = tempfile::tempdir().unwrap();
        subject().started(data.path(), true);
        let exit = LastExit {
            exit_code: 3,
            oom_killed: true,
            started_at: "2026-01-02T03:04:05.9Z".to_owned(),
            finished_at: "2026-01-02T03:04:08.1Z".to_owned(),
            ..LastExit::default()
        };
        subject().ended(data.path(), &exit, Some(&["v".to_owned()]));
        assert_eq!(
            told(data.path()),
            [
                "container attach c (image=busybox, name=n)",
                "network connect f00d (container=c, name=bridge, type=bridge)",
                "volume mount v (container=c, destination=/data, driver=local, propagation=, read/write=true)",
                "container start c (image=busybox, name=n)",
                "container oom c (image=busybox, name=n)",
                "network disconnect f00d (container=c, name=bridge, type=bridge)",
                "volume unmount v (container=c, driver=local)",
                "container die c (execDuration=2, exitCode=3, image=busybox, name=n)",
                "volume destroy v (driver=local)",
                "container destroy c (image=busybox, name=n)",
            ]
        );
    }

    #[test]
    fn a_clock_that_jumps_back_gives_no_negative_duration() {
        for (start, end, expected) in [
            ("2026-01-02T03:04:05Z", "2025-01-02T03:04:05Z", 0),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:05:05Z", 60),
            ("", "", 0),
        ] {
            let exit = LastExit {
                started_at: start.to_owned(),
                finished_at: end.to_owned(),
                ..LastExit::default()
            };
            assert_eq!(seconds(&exit), expected, "{start} {end}");
        }
    }
}
