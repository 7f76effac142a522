//! What a monitor knows of a container that runs: enough to look after it to its end, whoever started it.

use std::path::PathBuf;

use hull_network::EndpointPlan;
use hull_spec::container::LastExit;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::event::{self, Subject};
use crate::log::LogPlan;
use crate::teardown::Remains;

/// A running container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Keep {
    /// The container's ID.
    pub id: String,
    /// `DATA/containers/ID`.
    pub data: PathBuf,
    /// `RUN/containers/ID`.
    pub run: PathBuf,
    /// `DATA/names/NAME`, removed with the container.
    pub name: PathBuf,
    /// Process ID of its init.
    pub pid: i32,
    /// Its cgroups.
    pub cgroups: Vec<PathBuf>,
    /// Its log.
    pub log: LogPlan,
    /// Its place on a network of ours.
    pub network: Option<Place>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether standard input ends with the first client that had it.
    pub stdin_once: bool,
    /// Whether the container is removed when it ends.
    pub auto_remove: bool,
    /// Folders of volumes that are removed with it.
    pub volumes: Vec<PathBuf>,
    /// Folders of all volumes that it uses.
    #[serde(default)]
    pub uses: Vec<PathBuf>,
    /// When its process started: RFC 3339 with nanoseconds, UTC.
    pub started_at: String,
    /// How often it was started again since somebody started it.
    pub restarts: u32,
    /// What its events say of it; nothing once its end is told.
    #[serde(default)]
    pub subject: Option<Subject>,
}

/// A container's place on a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    /// How networks are set up on this host.
    pub settings: hull_network::Settings,
    /// The endpoint.
    pub plan: EndpointPlan,
}

impl Keep {
    /// Gives the container's address and ports back.
    pub(crate) fn release(&self) -> Result<()> {
        match &self.network {
            Some(place) => Ok(hull_network::endpoint::release(&place.settings, &place.plan)?),
            None => Ok(()),
        }
    }

    /// Tells that it runs. `attached` tells that a client was there from the beginning.
    pub(crate) fn tell_start(&mut self, attached: bool) {
        let Some(subject) = &mut self.subject else { return };
        if let Some(place) = &self.network {
            subject.join(&place.plan.network_id, &place.plan.network, "bridge");
        }
        subject.started(event::data_root(&self.data), attached);
    }

    /// Tells that its process has ended, once; `removed` tells that it is no more, and its own volumes with it.
    pub(crate) fn tell_end(&mut self, exit: &LastExit, removed: bool) {
        let Some(subject) = self.subject.take() else { return };
        let names = self.volumes.iter().filter_map(|folder| folder.file_name());
        let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        subject.ended(event::data_root(&self.data), exit, removed.then_some(names.as_slice()));
    }

    /// What is left of it on the host when its init has ended.
    pub(crate) fn remains(&self) -> Remains<'_> {
        Remains {
            data: &self.data,
            run: &self.run,
            cgroups: &self.cgroups,
            remove: self.auto_remove.then_some(self.name.as_path()),
        }
    }
}
