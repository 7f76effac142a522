//! Mounts whose files appear to belong to others than on disk (`mount_setattr(2)`, "ID-mapped mounts").
//!
//! The kernel takes such a map as a user namespace, so one is made for each distinct map, by a process that does nothing
//! and ends once its namespace is open.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use hull_sys::clone::{Fork, Request, clone3, exit_now};
use hull_sys::mount::{Change, set_attributes};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::plan::Showing;
use crate::cgroup;
use crate::container::{IdMap, MountIdMap, namespace_flag};
use crate::error::{During, Error, Result};

/// User namespaces with these maps. Called by the container's creator, who may map any ID.
pub(crate) fn namespaces(maps: &[MountIdMap]) -> Result<Vec<OwnedFd>> {
    maps.iter().map(namespace).collect()
}

fn namespace(map: &MountIdMap) -> Result<OwnedFd> {
    let act = || "make a user namespace for an ID-mapped mount".to_owned();
    let (wait, go) = pipe_with(PipeFlags::CLOEXEC).during(act)?;
    let request = Request {
        namespaces: namespace_flag::NEWUSER,
        ..Request::default()
    };
    let child = match clone3(&request).during(act)? {
        Fork::Child => {
            drop(go);
            // Ends when the creator closes its end, by its own will or with its life.
            let _ = rustix::io::retry_on_intr(|| rustix::io::read(&wait, &mut [0u8; 1]));
            exit_now(0)
        }
        Fork::Parent(child) => child,
    };
    drop(wait);
    let folder = PathBuf::from(format!("/proc/{}", child.pid.as_raw_nonzero()));
    let made = [("uid_map", &map.uids), ("gid_map", &map.gids)]
        .into_iter()
        .try_for_each(|(file, maps)| {
            let path = folder.join(file);
            cgroup::put(&path, &lines(maps)).map_err(|errno| Error::Path {
                act: "write",
                path,
                errno,
            })
        })
        .and_then(|()| {
            let path = folder.join("ns/user");
            File::open(&path).map_err(|e| Error::Path {
                act: "open",
                path,
                errno: Errno::from_io_error(&e).unwrap_or(Errno::IO),
            })
        });
    drop(go);
    let _ = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED));
    Ok(made?.into())
}

/// `inside outside count` lines, which are written at once (`user_namespaces(7)`).
pub(crate) fn lines(maps: &[IdMap]) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for map in maps {
        let _ = writeln!(out, "{} {} {}", map.inside, map.outside, map.count);
    }
    out
}

/// Maps the owners of a mount that is in no tree yet; with `recursive` those of the mounts below it, too.
pub(crate) fn set(mount: &OwnedFd, namespace: &OwnedFd, recursive: bool, what: &Showing) -> Result<()> {
    let change = Change {
        idmap: Some(namespace.as_fd()),
        recursive,
        ..Change::default()
    };
    set_attributes(mount, c"", &change).map_err(|errno| {
        let what = match what {
            Showing::Path { path, .. } | Showing::Foreign(path) => format!("`{}`", path.display()),
            Showing::Layers { .. } => "an image".to_owned(),
            Showing::Prepared(_) => "a volume".to_owned(),
        };
        let why = match errno {
            Errno::INVAL => {
                "its file system, or one that is mounted below it, does not support ID-mapped mounts on this kernel"
            }
            Errno::PERM => "only the host's root may, and only of a mount that is not mapped already",
            errno => {
                return Error::System {
                    act: format!("map the owners of {what}"),
                    errno,
                };
            }
        };
        Error::Unsupported(format!("cannot map the owners of {what}: {why}"))
    })
}
