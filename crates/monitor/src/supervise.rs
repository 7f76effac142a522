//! The life of a monitor, in order.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use hull_runtime::cgroup;
use hull_spec::container::LastExit;
use hull_sys::clone::{Fork, exit_now, fork};
use hull_sys::{prctl, signal};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::begin::{Begun, Connected, Failed, start};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::failure::{Failure, chain};
use crate::keep::{Keep, Place};
use crate::launch::Launch;
use crate::log::now;
use crate::relay::{Outcome, Relay};
use crate::restart::Halt;
use crate::teardown::{purge, teardown};
use crate::{event, frame, resident, restart, volume};

/// A container that lives longer than this is one to keep little memory for. Long enough for a series of commands that
/// each start one not to be disturbed.
const SHORT: Duration = Duration::from_millis(200);

/// Starts a container under a monitor of its own. Returns when the container's program runs.
///
/// # Errors
/// [`Error::Start`] with the monitor's words: nothing is left on the host then.
pub fn spawn(launch: Launch) -> Result<()> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(
            |errno| Error::System {
                act: "make a socket pair",
                errno,
            },
        )?;
    match fork().map_err(|errno| Error::System {
        act: "start the container's monitor",
        errno,
    })? {
        Fork::Child => {
            drop(ours);
            let code = life(launch, theirs);
            exit_now(code)
        }
        Fork::Parent(_monitor) => {
            drop(theirs);
            drop(launch);
            let mut buffer = vec![0u8; 8192];
            let heard = rustix::io::retry_on_intr(|| rustix::net::recv(&ours, &mut buffer[..], RecvFlags::empty()));
            match heard {
                Ok((0, _)) | Err(_) => Err(Error::MonitorDied),
                Ok((_, _)) if buffer[0] == b'S' => Ok(()),
                Ok((n, _)) => Err(Error::Start(Failure::read(&buffer[..n]))),
            }
        }
    }
}

/// A container that is looked after.
pub(crate) struct Ward {
    pub(crate) keep: Keep,
    pub(crate) relay: Relay,
    /// Its lock, held.
    pub(crate) lock: File,
    /// What keeps the host's ports taken.
    pub(crate) reserved: Vec<OwnedFd>,
    /// When its process started, by a clock that does not jump.
    pub(crate) began: Instant,
    /// The delay before its last start.
    pub(crate) delay: Duration,
    /// Keeps a short container's mounts past its end, so that nobody waits while the kernel takes them apart.
    pub(crate) mounts: Option<OwnedFd>,
}

/// The monitor's whole life; the result is its exit code.
fn life(mut launch: Launch, report: OwnedFd) -> i32 {
    leave_command(&launch, &report);
    let attach = launch.attach.take();
    let attached = attach.is_some();
    restart::unhalt(&launch.places.run);
    let begun = match start(&mut launch, None) {
        Ok(begun) => begun,
        Err(failed) => {
            let failure = Failure::of(&failed.error);
            undo(&launch, failed);
            let _ = rustix::net::send(&report, &failure.write(), SendFlags::NOSIGNAL);
            return 1;
        }
    };
    let program = launch.resident.take();
    let Some(mut ward) = Ward::new(launch, begun) else {
        return 1;
    };
    if let Some(client) = attach.and_then(|stream| Client::new(stream).ok()) {
        ward.relay.clients.push(client);
    }
    ward.keep.tell_start(attached);
    let _ = rustix::net::send(&report, b"S", SendFlags::NOSIGNAL);
    drop(report);
    watch(ward, program)
}

/// Looks after a container that was just started. One that goes on for a while, or that may be started again, is a matter
/// for the resident form of this program.
fn watch(mut ward: Ward, program: Option<Vec<OsString>>) -> i32 {
    let outcome = ward.run(Some(Instant::now() + SHORT));
    let exit = match outcome {
        Ok(Outcome::Due) => None,
        ended => Some(ward.ended(ended.map(drop))),
    };
    if exit.is_none() {
        ward.mounts = None;
    }
    let stays = match &exit {
        Some(exit) => restart::again(&ward.keep, exit),
        None => true,
    };
    if let (true, Some(program)) = (stays, &program) {
        // Returns only where it cannot be: then this form goes on, larger than need be, and starts nothing again.
        resident::become_resident(&ward, exit.as_ref(), program);
        hull_sys::memory::settle();
    }
    let exit = exit.unwrap_or_else(|| {
        let relayed = ward.run(None).map(drop);
        ward.ended(relayed)
    });
    ward.end(&exit)
}

impl Ward {
    pub(crate) fn new(launch: Launch, begun: Begun) -> Option<Self> {
        let (network, reserved) = match begun.network {
            Some(Connected {
                settings,
                plan,
                reserved,
            }) => (Some(Place { settings, plan }), reserved),
            None => (None, Vec::new()),
        };
        let starting = begun.starting.as_ref()?;
        // A container that stays at its end may be started again at once, and its files are mounted once at a time.
        let mounts = match launch.auto_remove && launch.own_mounts_only {
            true => hull_sys::pidfd::mount_namespace(starting.child.pidfd.as_fd()).ok(),
            false => None,
        };
        Some(Self {
            keep: Keep {
                id: launch.id,
                data: launch.places.data,
                run: launch.places.run,
                name: launch.places.name,
                pid: starting.child.pid.as_raw_pid(),
                cgroups: launch.cgroups.folders,
                log: launch.log,
                network,
                terminal: launch.container.process.terminal,
                stdin_once: launch.stdin_once,
                auto_remove: launch.auto_remove,
                volumes: launch.volumes,
                uses: launch.uses,
                subject: Some(launch.subject),
                started_at: begun.started_at,
                restarts: launch.restarts,
            },
            relay: begun.relay?,
            lock: launch.places.lock,
            reserved,
            began: Instant::now(),
            delay: Duration::ZERO,
            mounts,
        })
    }

    /// Runs the relay, and tells of what happens to the container meanwhile.
    pub(crate) fn run(&mut self, due: Option<Instant>) -> Result<Outcome> {
        loop {
            match self.relay.run(due)? {
                Outcome::Resized { rows, columns } => {
                    let Some(subject) = &self.keep.subject else { continue };
                    let event = subject.event("resize").with("height", rows.to_string());
                    let event = event.with("width", columns.to_string());
                    event::append(event::data_root(&self.keep.data), &event);
                }
                other => return Ok(other),
            }
        }
    }

    /// How the container's init ended, which it has.
    pub(crate) fn ended(&self, relayed: Result<()>) -> LastExit {
        LastExit {
            exit_code: reap(&self.relay.init),
            oom_killed: cgroup::oom_killed(&self.keep.cgroups),
            error: relayed.err().map(|e| chain(&e)).unwrap_or_default(),
            started_at: self.keep.started_at.clone(),
            finished_at: now(),
            stopped: restart::halted(&self.keep.run) == Some(Halt::Asked),
            restarts: self.keep.restarts,
            started_again: String::new(),
        }
    }

    /// Takes away what the container had, and tells those who are attached; the result is the monitor's exit code.
    pub(crate) fn end(mut self, exit: &LastExit) -> i32 {
        tell_waiting(&self.lock, exit);
        let released = self.keep.release();
        let cleaned = teardown(&self.keep.remains(), exit);
        let removed = matches!(cleaned, Ok(Some(_)));
        let keep = &mut self.keep;
        let volumes = match removed {
            true => volume::release(&keep.id, &keep.uses, &mut keep.volumes, run_root(&keep.run)),
            false => Ok(()),
        };
        self.keep.tell_end(exit, removed);
        dismiss(self.relay.clients, exit);
        // Nobody need wait for this: the container is gone already.
        let purged = match &cleaned {
            Ok(Some(trash)) => purge(trash),
            _ => Ok(()),
        };
        i32::from(released.is_err() || cleaned.is_err() || purged.is_err() || volumes.is_err())
    }
}

/// Leaves the exit code to those who wait for the lock, in the lock itself: when they have it, the container may have been
/// removed, or run again.
fn tell_waiting(lock: &File, exit: &LastExit) {
    use std::os::unix::fs::FileExt;
    // Who is not told here looks at `exit.json`.
    let _ = lock.write_all_at(&exit.exit_code.to_le_bytes(), 0);
}

/// What the monitor that had `lock` has left in it: the exit code of its container's last run.
///
/// # Errors
/// If it cannot be read.
pub fn told_end(lock: &mut File) -> std::io::Result<Option<i32>> {
    let mut code = Vec::new();
    lock.take(4).read_to_end(&mut code)?;
    Ok(code.try_into().ok().map(i32::from_le_bytes))
}

/// The run root, `RUN` of `RUN/containers/ID`.
pub(crate) fn run_root(run: &Path) -> &Path {
    run.parent().and_then(Path::parent).unwrap_or(Path::new("/"))
}

/// Tells those who are attached that the container has ended.
pub(crate) fn dismiss(clients: Vec<Client>, exit: &LastExit) {
    for mut client in clients {
        client.send(frame::EXIT, &exit.exit_code.to_le_bytes());
        client.finish();
    }
}

/// Becomes independent of the command: its session, its terminal, its descriptors.
fn leave_command(launch: &Launch, report: &OwnedFd) {
    let mut keep = vec![report.as_raw_fd(), launch.places.lock.as_raw_fd()];
    keep.extend(launch.attach.iter().map(AsRawFd::as_raw_fd));
    let namespaces = &launch.container.namespaces;
    for namespace in [
        &namespaces.pid,
        &namespaces.network,
        &namespaces.ipc,
        &namespaces.uts,
        &namespaces.user,
    ] {
        if let hull_runtime::container::Namespace::Join(fd) = namespace {
            keep.push(fd.as_raw_fd());
        }
    }
    leave(keep);
}

/// Becomes independent of the process that this one was forked from, but for the descriptors of `keep`.
pub(crate) fn leave(mut keep: Vec<i32>) {
    let _ = rustix::process::setsid();
    take_role();
    hull_sys::exec::close_all_but(&mut keep);
}

/// The name and the signals of a monitor.
pub(crate) fn take_role() {
    let _ = prctl::set_name(c"hull-monitor");
    for ignored in [libc_signal::HUP, libc_signal::INT, libc_signal::QUIT, libc_signal::PIPE] {
        signal::ignore(ignored);
    }
}

mod libc_signal {
    pub(super) const HUP: i32 = 1;
    pub(super) const INT: i32 = 2;
    pub(super) const QUIT: i32 = 3;
    pub(super) const PIPE: i32 = 13;
}

/// Waits for the end of the container's init and gives its exit code as a shell does. One that another monitor started is
/// not our child: the kernel tells how it ended since Linux 6.15, and nobody before.
pub(crate) fn reap(pidfd: &OwnedFd) -> i32 {
    match rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => UNSEEN,
        },
        _ => end_of_stranger(pidfd).unwrap_or(UNSEEN),
    }
}

/// How a process ended that is another's child: told once that one, or the host's init, has reaped it.
fn end_of_stranger(pidfd: &OwnedFd) -> Option<i32> {
    let due = Instant::now() + Duration::from_secs(2);
    while Instant::now() < due {
        match hull_sys::pidfd::exit_status(pidfd.as_fd()) {
            Ok(Some(status)) if status & 0x7f == 0 => return Some(status >> 8 & 0xff),
            Ok(Some(status)) => return Some(128 + (status & 0x7f)),
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return None,
        }
    }
    None
}

/// The exit code of a container whose end nobody saw: Docker's word for it.
const UNSEEN: i32 = 255;

/// Takes back what a failed start has made. The container stays, unless it was to be removed at its end.
pub(crate) fn undo(launch: &Launch, failed: Box<Failed>) {
    if let Some(starting) = &failed.begun.starting {
        let _ = rustix::process::pidfd_send_signal(&starting.child.pidfd, rustix::process::Signal::KILL);
        reap(&starting.child.pidfd);
    }
    if let Some(network) = &failed.begun.network {
        let _ = hull_network::endpoint::release(&network.settings, &network.plan);
    }
    let failure = Failure::of(&failed.error);
    let exit = LastExit {
        exit_code: failure.exit_code.unwrap_or(128),
        error: failure.message,
        finished_at: if failed.begun.started_at.is_empty() {
            String::new()
        } else {
            now()
        },
        restarts: launch.restarts,
        ..LastExit::default()
    };
    let remains = crate::Remains {
        data: &launch.places.data,
        run: &launch.places.run,
        cgroups: &launch.cgroups.folders,
        remove: launch.auto_remove.then_some(launch.places.name.as_path()),
    };
    if let Ok(Some(trash)) = teardown(&remains, &exit) {
        let _ = purge(&trash);
        let (data, run) = (event::data_root(&launch.places.data), run_root(&launch.places.run));
        let mut gone = launch.volumes.clone();
        // One that resists is left for `volume prune`.
        let _ = volume::release(&launch.id, &launch.uses, &mut gone, run);
        for name in gone.iter().filter_map(|folder| folder.file_name()) {
            event::append(data, &event::volume_destroyed(&name.to_string_lossy()));
        }
        event::append(data, &launch.subject.event("destroy"));
    }
}
