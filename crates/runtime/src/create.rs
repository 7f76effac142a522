//! From a description to a process: one `clone3`, with the host's side done while init makes its mounts.
//!
//! The creator and init share one socket of packets. Init sends `C` with the terminal's master, `E..` when a step
//! fails; the creator sends `G` when cgroups, ID maps and network are there. The socket closes when the program
//! starts, which is how success is told; the launcher's last word is a bare errno.

use std::cell::RefCell;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use hull_sys::clone::{Child, Fork, Request, clone3};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
};

use crate::container::{Container, Namespace, namespace_flag};
use crate::error::{During, Error, Result};
use crate::finish::{self, Stdio};
use crate::{cgroup, init, mount};

/// What init needs beside the container's description.
pub struct Setup<'a> {
    /// The container's cgroups.
    pub cgroups: &'a cgroup::Plan,
    /// The standard descriptors; not used where the process has a terminal.
    pub stdio: Stdio,
    /// Mounts that the creator has made and that are in no tree yet, for [`crate::container::Source::Prepared`].
    pub prepared: Vec<OwnedFd>,
    /// Runs in the container's network namespace once the outside is ready: addresses and routes.
    pub inside: &'a dyn Fn() -> std::result::Result<(), String>,
    /// Runs in init last, before privileges are given up and the program starts: waits for OCI's `start`, runs hooks.
    pub before_program: &'a dyn Fn() -> std::result::Result<(), String>,
    /// Run when the mounts are made, before the root is entered: OCI's createContainer hooks.
    pub before_pivot: &'a dyn Fn() -> std::result::Result<(), String>,
}

/// A container whose init is on its way to the program.
#[derive(Debug)]
pub struct Starting {
    /// Init.
    pub child: Child,
    sync: OwnedFd,
    program: String,
    /// What is handed to init once its ID maps are written.
    made: RefCell<Option<mount::Made>>,
    /// Cgroups that the creator has to put it into: in a user namespace it has no right to.
    enters: Vec<PathBuf>,
}

/// Starts the container's init. It makes its mounts at once and then waits for [`Starting::proceed`].
///
/// # Errors
/// What the kernel says to `clone3`, and whatever stops init: see [`Starting::wait`].
pub fn create(container: &Container, mut setup: Setup<'_>) -> Result<Starting> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .during(|| "make a socket pair".to_owned())?;
    let unified = setup.cgroups.folders.first().filter(|_| setup.cgroups.is_unified());
    let cgroup = match unified {
        Some(folder) => {
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
            let open = rustix::fs::open(folder, flags, rustix::fs::Mode::empty());
            Some(open.during(|| format!("open cgroup `{}`", folder.display()))?)
        }
        None => None,
    };
    let sealed = if container.process.init {
        Some(crate::reaper::sealed_executable()?)
    } else {
        None
    };
    let made = mount::Made {
        prepared: std::mem::take(&mut setup.prepared),
        foreign: mount::handed::foreign(container)?,
        // Before a PID namespace is joined: their processes are found by their numbers here.
        idmaps: mount::idmap::namespaces(&mount::idmaps(container))?,
    };
    join_pid_namespace(container)?;
    let request = Request {
        namespaces: container.namespaces.clone_flags(),
        cgroup: cgroup.as_ref().map(AsFd::as_fd),
        sibling: false,
    };
    if container.namespaces.user.is_new() {
        // A process that hides has files in /proc that are none of a normal user's: its maps could not be written. It hides
        // itself again as soon as they are.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
            .during(|| "show init to its creator".to_owned())?;
    }
    match clone3(&request).map_err(|errno| clone_error(errno, container))? {
        Fork::Parent(child) => {
            drop(theirs);
            let program = container.process.args.first().cloned().unwrap_or_default();
            let by_creator = container.namespaces.user.is_new() && cgroup.is_none();
            Ok(Starting {
                child,
                sync: ours,
                program,
                made: RefCell::new(Some(made).filter(|_| mount::handed::needed(container))),
                enters: if by_creator {
                    setup.cgroups.folders.clone()
                } else {
                    Vec::new()
                },
            })
        }
        Fork::Child => {
            drop(ours);
            let given = init::Given {
                in_cgroup: cgroup.is_some(),
                sealed,
                made,
            };
            let error = init::run(container, setup, theirs.as_fd(), given);
            finish::report(theirs.as_fd(), &error);
            hull_sys::clone::exit_now(1)
        }
    }
}

/// A PID namespace is joined by the parent, for its children (`pid_namespaces(7)`).
fn join_pid_namespace(container: &Container) -> Result<()> {
    if let Namespace::Join(fd) = &container.namespaces.pid {
        return hull_sys::clone::join_namespaces(fd.as_fd(), namespace_flag::NEWPID)
            .during(|| "join the PID namespace".to_owned());
    }
    Ok(())
}

fn clone_error(errno: Errno, container: &Container) -> Error {
    let hint = match errno {
        Errno::PERM if container.namespaces.user.is_new() => {
            " (are user namespaces allowed? see the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone)"
        }
        Errno::NOSPC => " (a limit of namespaces is reached: see the sysctls user.max_*_namespaces)",
        _ => "",
    };
    Error::System {
        act: format!("make the container's namespaces{hint}"),
        errno,
    }
}

impl Starting {
    /// Writes the ID maps of a new user namespace, and hands init what it has no right to in there.
    ///
    /// # Errors
    /// `EPERM` where the caller may not map these IDs; a file system whose owners cannot be mapped.
    pub fn write_id_maps(&self, container: &Container) -> Result<()> {
        if !container.namespaces.user.is_new() {
            return Ok(());
        }
        let pid = self.child.pid.as_raw_nonzero();
        for (file, maps) in [
            ("uid_map", &container.namespaces.uid_maps),
            ("gid_map", &container.namespaces.gid_maps),
        ] {
            let path = PathBuf::from(format!("/proc/{pid}/{file}"));
            cgroup::put(&path, &mount::idmap::lines(maps)).map_err(|errno| Error::Path {
                act: "write",
                path,
                errno,
            })?;
        }
        if let Some(score) = container.process.oom_score_adj {
            init::set_oom_score(&pid.to_string(), score)?;
        }
        if let Some(made) = self.made.take() {
            let path = PathBuf::from(format!("/proc/{pid}/ns/user"));
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
            let user = rustix::fs::open(&path, flags, rustix::fs::Mode::empty());
            let user = user.during(|| "open the container's user namespace".to_owned())?;
            mount::handed::give(container, made, user.as_fd(), self.sync.as_fd())?;
        }
        Ok(())
    }

    /// Tells init that its cgroups, ID maps and network are ready.
    ///
    /// # Errors
    /// If init is gone; [`Starting::wait`] tells why.
    pub fn proceed(&self) -> Result<()> {
        cgroup::enter_process(&self.enters, self.child.pid.as_raw_nonzero().get())?;
        match rustix::net::send(&self.sync, b"G", SendFlags::NOSIGNAL) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::System {
                act: "speak to the container's init".to_owned(),
                errno,
            }),
        }
    }

    /// Waits until init has sent its terminal's master.
    ///
    /// # Errors
    /// Why init ended instead.
    pub fn console(&self) -> Result<OwnedFd> {
        let mut buffer = vec![0u8; 8192];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = past_reset(|| {
            rustix::net::recvmsg(
                &self.sync,
                &mut [IoSliceMut::new(&mut buffer)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )
        })
        .during(|| "hear from the container's init".to_owned())?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message
                && let Some(fd) = fds.next()
            {
                return Ok(fd);
            }
        }
        Err(finish::received(&buffer[..received.bytes], &self.program))
    }

    /// Why init has ended already, if it has said so: what failed outside because of that is not worth telling.
    #[must_use]
    pub fn last_words(&self) -> Option<Error> {
        let mut buffer = vec![0u8; 8192];
        match rustix::net::recv(&self.sync, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((n, _)) if n > 0 => Some(finish::received(&buffer[..n], &self.program)),
            _ => None,
        }
    }

    /// Waits until the program has started.
    ///
    /// # Errors
    /// Why it did not: init's own words, or the launcher's errno.
    pub fn wait(&self) -> Result<()> {
        let mut buffer = vec![0u8; 8192];
        match past_reset(|| rustix::net::recv(&self.sync, &mut buffer[..], RecvFlags::empty())) {
            Ok((0, _)) | Err(Errno::CONNRESET) => Ok(()),
            Ok((n, _)) => Err(finish::received(&buffer[..n], &self.program)),
            Err(errno) => Err(Error::System {
                act: "hear from the container's init".to_owned(),
                errno,
            }),
        }
    }

    /// The socket, for a loop that waits for several things: readable when [`Starting::wait`] would return.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.sync.as_fd()
    }
}

/// Receives. Where init ended before it read the word to proceed, the kernel tells that once, as a reset connection, ahead
/// of what init said last.
fn past_reset<T>(mut receive: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    match rustix::io::retry_on_intr(&mut receive) {
        Err(Errno::CONNRESET) => rustix::io::retry_on_intr(receive),
        received => received,
    }
}
