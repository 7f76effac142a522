//! A further process in a running container: `exec`.
//!
//! The caller itself enters the container's namespaces (it has one thread and does nothing else afterwards than to wait
//! for and speak with the process), then makes the process by one `clone3`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_sys::clone::{Child, Fork, Request, clone3, join_namespaces};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal};

use crate::cgroup;
use crate::container::{Process, namespace_flag};
use crate::error::{During, Error, Result};
use crate::finish::{self, Stdio};
use crate::init;

/// Where a process is started.
#[derive(Debug)]
pub struct Target<'a> {
    /// The container's init.
    pub pid: Pid,
    /// The same, as a descriptor.
    pub pidfd: BorrowedFd<'a>,
    /// The container's cgroups.
    pub cgroups: &'a [PathBuf],
}

/// How the process's standard descriptors are made.
#[derive(Debug)]
pub enum Io {
    /// As given.
    Given(Stdio),
    /// A new terminal of the container.
    Terminal,
}

/// A process that was started in a container.
#[derive(Debug)]
pub struct Joined {
    /// The process.
    pub child: Child,
    /// The terminal's master.
    pub console: Option<OwnedFd>,
}

/// Starts `process` in the container of `target`. Afterwards the calling process is in the container's namespaces,
/// except for its PID and cgroup namespaces, and must not open paths that it means to be the host's.
///
/// # Errors
/// [`Error::NotFound`] and [`Error::NotExecutable`] for the program, others for what the kernel refuses.
pub fn exec(target: &Target<'_>, process: &Process, io: Io) -> Result<Joined> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .during(|| "make a socket pair".to_owned())?;
    let entries = open_cgroups(target.cgroups)?;
    if let Some(score) = process.oom_score_adj {
        // Inherited by the process, and the caller is on its way out.
        let _ = cgroup::put(Path::new("/proc/self/oom_score_adj"), &score.to_string());
    }
    join_all(target)?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .during(|| "open the container's root".to_owned())?;
    let (io, console) = match io {
        Io::Given(stdio) => (Ok(stdio), None),
        Io::Terminal => {
            let (master, slave) = init::open_terminal(root.as_fd(), process.console_size)?;
            (Err(slave), Some(master))
        }
    };
    let unified = target
        .cgroups
        .first()
        .filter(|c| cgroup::is_unified(c))
        .and(entries.first());
    let request = Request {
        cgroup: unified.map(AsFd::as_fd),
        ..Request::default()
    };
    let child = match clone3(&request).during(|| "make a process".to_owned())? {
        Fork::Parent(child) => child,
        Fork::Child => {
            drop(ours);
            let entries = if unified.is_some() { &[] } else { entries.as_slice() };
            let error = match steps(process, io, entries, target.pidfd, &theirs) {
                Ok(never) => match never {},
                Err(error) => error,
            };
            finish::report(theirs.as_fd(), &error);
            hull_sys::clone::exit_now(1)
        }
    };
    drop(theirs);
    let mut buffer = vec![0u8; 8192];
    let program = process.args.first().map_or("", String::as_str);
    match rustix::io::retry_on_intr(|| rustix::net::recv(&ours, &mut buffer[..], RecvFlags::empty())) {
        Ok((0, _)) | Err(Errno::CONNRESET) => Ok(Joined { child, console }),
        Ok((n, _)) => {
            let _ = rustix::process::waitid(
                rustix::process::WaitId::PidFd(child.pidfd.as_fd()),
                rustix::process::WaitIdOptions::EXITED,
            );
            Err(finish::received(&buffer[..n], program))
        }
        Err(errno) => Err(Error::System {
            act: "hear from the new process".to_owned(),
            errno,
        }),
    }
}

fn steps(
    process: &Process,
    io: std::result::Result<Stdio, OwnedFd>,
    entries: &[OwnedFd],
    container: BorrowedFd<'_>,
    sync: &OwnedFd,
) -> Result<std::convert::Infallible> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).during(|| "hide the process".to_owned())?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).during(|| "follow the caller".to_owned())?;
    rustix::process::setsid().during(|| "make a session".to_owned())?;
    init::new_keyring()?;
    for entry in entries {
        rustix::io::write(entry, b"0").during(|| "enter the container's cgroups".to_owned())?;
    }
    // Only now: where cgroup v2 is mounted with `nsdelegate`, as systemd does, no process is moved to or born in a cgroup unless
    // the creator's cgroup namespace shows both that cgroup and the creator's own (`cgroups(7)`).
    join_namespaces(container, namespace_flag::NEWCGROUP)
        .during(|| "join the container's cgroup namespace".to_owned())?;
    let stdio = match io {
        Ok(stdio) => stdio,
        Err(slave) => init::terminal_stdio(slave)?,
    };
    let prepared = finish::prepare(process)?;
    rustix::process::set_parent_process_death_signal(None).during(|| "outlive the caller".to_owned())?;
    let sync = rustix::io::fcntl_dupfd_cloexec(sync, 3).during(|| "copy the error socket".to_owned())?;
    Err(finish::become_program(process, prepared, stdio, sync))
}

/// Opens what is needed to enter the cgroups, before their paths are out of sight.
fn open_cgroups(cgroups: &[PathBuf]) -> Result<Vec<OwnedFd>> {
    let open = |cgroup: &PathBuf| {
        let (path, flags) = if cgroup::is_unified(cgroup) {
            (cgroup.clone(), OFlags::PATH | OFlags::DIRECTORY)
        } else {
            (cgroup::entry_file(cgroup), OFlags::WRONLY)
        };
        rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| Error::Path {
            act: "open cgroup",
            path,
            errno,
        })
    };
    cgroups.iter().map(open).collect()
}

/// Enters the container's namespaces, except for its cgroup namespace, which the new process enters by itself. To enter
/// one's own again changes nothing, except that the kernel refuses it for the user namespace: rights over the others come
/// with that one, so it goes first, if it is another.
fn join_all(target: &Target<'_>) -> Result<()> {
    let pid = target.pid.as_raw_nonzero();
    let id = |of: &str| rustix::fs::stat(format!("/proc/{of}/ns/user")).map(|s| (s.st_dev, s.st_ino));
    let theirs = id(&pid.to_string()).during(|| "look at the container's user namespace".to_owned())?;
    if id("self").is_ok_and(|ours| ours != theirs) {
        join_namespaces(target.pidfd, namespace_flag::NEWUSER)
            .during(|| "join the container's user namespace".to_owned())?;
    }
    let others = namespace_flag::NEWIPC
        | namespace_flag::NEWUTS
        | namespace_flag::NEWNET
        | namespace_flag::NEWPID
        | namespace_flag::NEWNS;
    join_namespaces(target.pidfd, others).during(|| "join the container's namespaces".to_owned())
}

/// Opens a descriptor of process `pid`.
///
/// # Errors
/// `ESRCH` where it is gone.
pub fn open_process(pid: Pid) -> rustix::io::Result<OwnedFd> {
    rustix::process::pidfd_open(pid, PidfdFlags::empty())
}
