//! The state folder of one container.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use super::{Failure, Global, Outcome, write_file};
use crate::bundle::Hooks;

/// What a container is doing (OCI runtime spec, runtime.md; `paused` is runc's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// `state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    pub(super) oci_version: String,
    pub(super) id: String,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) created: String,
    /// Init on the host; 0 until it is there.
    pub(super) pid: i32,
    /// When it started, in clock ticks since boot: tells it from a later process of the same number.
    pub(super) start_ticks: u64,
    pub(super) cgroups: Vec<PathBuf>,
    /// Parent and name of the cgroups, to plan changes of their limits.
    pub(super) cgroup: (String, String),
    /// Whether the container has a PID namespace of its own, so that all of it dies with init.
    pub(super) own_pids: bool,
    pub(super) hooks: Hooks,
    pub(super) owner: u32,
}

const STATE: &str = "state.json";
const SOCKET: &str = "start.sock";
pub(super) const CONFIG: &str = "config.json";

/// Whether a name can be a container's: it becomes a folder's.
pub(super) fn check_id(id: &str) -> Outcome<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id.len() > 1024 || id == "." || id == ".." || !id.chars().all(good) {
        return Err(Failure::new(format!("invalid container id format: `{id}`")));
    }
    Ok(())
}

/// The state folder of a container.
pub(super) fn folder(global: &Global, id: &str) -> Outcome<PathBuf> {
    check_id(id)?;
    Ok(global.root.join(id))
}

/// Makes the state folder of a new container; its name is taken by that.
pub(super) fn make(global: &Global, id: &str) -> Outcome<PathBuf> {
    let folder = folder(global, id)?;
    std::fs::create_dir_all(&global.root)
        .map_err(|e| Failure::new(format!("cannot make `{}`: {e}", global.root.display())))?;
    match rustix::fs::mkdir(&folder, Mode::from_raw_mode(0o700)) {
        Ok(()) => Ok(folder),
        Err(Errno::EXIST) => Err(Failure::new(format!("container with id exists: {id}"))),
        Err(errno) => Err(Failure::new(format!("cannot make `{}`: {errno}", folder.display()))),
    }
}

impl State {
    /// Reads the state of a container.
    pub(super) fn load(global: &Global, id: &str) -> Outcome<Self> {
        let path = folder(global, id)?.join(STATE);
        let text = std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Failure::new(format!("container does not exist: {id}")),
            _ => Failure::new(format!("cannot read `{}`: {e}", path.display())),
        })?;
        serde_json::from_slice(&text).map_err(|e| Failure::new(format!("`{}` is damaged: {e}", path.display())))
    }

    /// Writes it.
    pub(super) fn save(&self, folder: &Path) -> Outcome<()> {
        let text = serde_json::to_vec(self).map_err(|e| Failure::new(e.to_string()))?;
        write_file(&folder.join(STATE), &text)
    }

    /// What the container is doing now.
    pub(super) fn status(&self, folder: &Path) -> Status {
        if self.pid == 0 {
            // Whoever was making it has not come so far, or never will.
            return if folder.join(SOCKET).exists() && connect(folder).is_ok() {
                Status::Creating
            } else {
                Status::Stopped
            };
        }
        if !alive(self.pid, self.start_ticks) {
            return Status::Stopped;
        }
        if crate::cgroup::frozen(&self.cgroups) != crate::cgroup::Freeze::Thawed {
            return Status::Paused;
        }
        if connect(folder).is_ok() {
            Status::Created
        } else {
            Status::Running
        }
    }

    /// Init, as a descriptor, if it is alive.
    pub(super) fn pidfd(&self) -> Outcome<OwnedFd> {
        let gone = || Failure::new("container not running");
        let pid = Pid::from_raw(self.pid).ok_or_else(gone)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
        // Checked with the descriptor in hand: the number cannot be reused behind it.
        if alive(self.pid, self.start_ticks) {
            Ok(pidfd)
        } else {
            Err(gone())
        }
    }

    /// The state as OCI has it, for hooks.
    pub(super) fn for_hooks(&self, status: Status) -> String {
        let mut state = serde_json::json!({
            "ociVersion": self.oci_version,
            "id": self.id,
            "status": status,
            "bundle": self.bundle,
        });
        if self.pid != 0 {
            state["pid"] = self.pid.into();
        }
        if !self.annotations.is_empty() {
            state["annotations"] = serde_json::json!(self.annotations);
        }
        state.to_string()
    }
}

/// Start time and state letter of a process (`proc_pid_stat(5)`).
pub(super) fn stat(pid: i32) -> Option<(u64, char)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(19)?.parse().ok()?, fields.first()?.chars().next()?))
}

/// When a process started, in clock ticks since boot.
pub(crate) fn start_ticks(pid: i32) -> Option<u64> {
    stat(pid).map(|(ticks, _)| ticks)
}

fn alive(pid: i32, start_ticks: u64) -> bool {
    stat(pid).is_some_and(|(ticks, letter)| ticks == start_ticks && !matches!(letter, 'Z' | 'X'))
}

/// The socket's address by a short path: a Unix address has 108 bytes.
fn address(folder: &Path) -> rustix::io::Result<(OwnedFd, SocketAddrUnix)> {
    use std::os::fd::AsRawFd;
    let fd = rustix::fs::open(
        folder,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", fd.as_raw_fd()))?;
    Ok((fd, address))
}

fn socket() -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Makes the socket at which init waits for `start`.
pub(super) fn listen(folder: &Path) -> rustix::io::Result<OwnedFd> {
    let (_fd, address) = address(folder)?;
    let socket = socket()?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

/// Connects to a waiting init. A connection that says nothing does nothing.
pub(super) fn connect(folder: &Path) -> rustix::io::Result<OwnedFd> {
    let (_fd, address) = address(folder)?;
    let socket = socket()?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        for id in ["a", "A_1+2-3.x", "..."] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "../x", "a b", "ä", &"x".repeat(1025)] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }

    #[test]
    fn a_process_is_told_by_its_start() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let (ticks, _) = stat(pid).unwrap();
        assert!(alive(pid, ticks));
        assert!(!alive(pid, ticks + 1));
        assert!(!alive(i32::MAX, ticks));
    }
}
