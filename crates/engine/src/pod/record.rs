//! What is kept of a pod, and how it is found.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hull_spec::container::RestartPolicy;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::container::{ids_below, is_name};
use crate::{Engine, Error, Result};

/// A namespace that the containers of a pod share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// IPC and `/dev/shm`.
    Ipc,
    /// Network.
    Net,
    /// Processes.
    Pid,
    /// Host name.
    Uts,
}

impl Namespace {
    /// Podman's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipc => "ipc",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::Uts => "uts",
        }
    }
}

/// `DATA/pods/NAME/pod.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pod {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What its containers share.
    pub shared: Vec<Namespace>,
    /// The container that holds what is shared; `None` for a pod that only keeps containers together.
    pub infra: Option<String>,
    /// The restart policy of members that have none of their own.
    pub restart_policy: RestartPolicy,
    /// The parent cgroup of members that name none.
    pub cgroup_parent: String,
    /// The command line that made it.
    pub create_command: Vec<String>,
}

pub(super) fn folder(engine: &Engine) -> PathBuf {
    engine.data.join("pods")
}

pub(super) fn place(engine: &Engine, name: &str) -> PathBuf {
    folder(engine).join(name)
}

pub(super) fn no_such(name: &str) -> Error {
    Error::NoSuchPod { name: name.to_owned() }
}

/// All pods, by name.
///
/// # Errors
/// If a record is there and cannot be read.
pub fn pods(engine: &Engine) -> Result<Vec<Pod>> {
    let path = folder(engine);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Read { path, source }),
    };
    let mut out = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        if let Some(pod) = name
            .to_str()
            .filter(|name| is_name(name))
            .map(|name| load(engine, name))
        {
            out.extend(pod?);
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

/// The record of the pod of this very name.
pub(super) fn load(engine: &Engine, name: &str) -> Result<Option<Pod>> {
    crate::container::status::read(&place(engine, name).join("pod.json"))
}

/// The pod that `name` means: its name, its ID, or the beginning of its ID where no other's begins so.
///
/// # Errors
/// [`Error::NoSuchPod`], [`Error::Ambiguous`].
pub fn find(engine: &Engine, name: &str) -> Result<Pod> {
    if is_name(name)
        && let Some(pod) = load(engine, name)?
    {
        return Ok(pod);
    }
    let hex = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut found = pods(engine)?.into_iter().filter(|pod| hex && pod.id.starts_with(name));
    match (found.next(), found.next()) {
        (Some(pod), None) => Ok(pod),
        (Some(_), Some(_)) => Err(Error::Ambiguous {
            prefix: name.to_owned(),
        }),
        (None, _) => Err(no_such(name)),
    }
}

/// Whether there is such a pod.
///
/// # Errors
/// If a record is there and cannot be read.
pub fn exists(engine: &Engine, name: &str) -> Result<bool> {
    match find(engine, name) {
        Ok(_) => Ok(true),
        Err(Error::NoSuchPod { .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Holds a pod's folder: shared to add a member, exclusively to remove it.
pub(super) fn hold(engine: &Engine, pod: &Pod, exclusive: bool) -> Result<File> {
    let path = place(engine, &pod.name);
    let file = File::open(&path).map_err(|_| no_such(&pod.name))?;
    let operation = if exclusive {
        FlockOperation::LockExclusive
    } else {
        FlockOperation::LockShared
    };
    // Nobody holds it for longer than it takes to make or remove a container.
    rustix::io::retry_on_intr(|| flock(&file, operation)).map_err(|errno| Error::Read {
        path,
        source: errno.into(),
    })?;
    match load(engine, &pod.name)? {
        Some(now) if now.id == pod.id => Ok(file),
        _ => Err(no_such(&pod.name)),
    }
}

pub(super) fn write(path: &Path, pod: &Pod) -> Result<()> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    let bytes = serde_json::to_vec(pod).map_err(|e| failed(e.into()))?;
    let temporary = path.with_extension("json.new");
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(failed)
}

/// Removes what commands that were killed left of pods half made or half removed.
pub(super) fn sweep(engine: &Engine) {
    for entry in fs::read_dir(folder(engine)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let dead = name.starts_with(".removed-")
            || (name.starts_with(".new-")
                && File::open(entry.path()).is_ok_and(|f| flock(&f, FlockOperation::NonBlockingLockExclusive).is_ok()));
        if dead {
            // Its infra container, if it came so far, was never started.
            for id in ids_below(&entry.path().join("members")).unwrap_or_default() {
                let _ = crate::container::remove(engine, &id, &crate::container::RemoveRequest::default());
            }
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The entries of a pod's list of members: candidates.
pub(super) fn listed(engine: &Engine, pod: &Pod) -> Result<Vec<String>> {
    ids_below(&place(engine, &pod.name).join("members"))
}
