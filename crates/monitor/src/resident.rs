//! The resident form of this program: what looks after a container for the rest of its life.
//!
//! The monitor that started a container is a fork of the command, with all that the command had in memory. Once the
//! container runs, it executes this program anew, bound to a fixed address ([`crate::prelink`]), and hands itself what it
//! holds: descriptors by their numbers and a description in a memory file. The process stays the same one: the container
//! stays its child and the lock stays held. A monitor in this form also starts its container again, and one of this form
//! takes the place of a monitor that was killed.

use std::ffi::{CString, OsString};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hull_spec::container::LastExit;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::health;
use crate::keep::Keep;
use crate::log::{Held, Log};
use crate::prelink;
use crate::relay::{Input, Relay};
use crate::restart::{self, Hooks};
use crate::supervise::{Ward, take_role};

/// The name that this program is called by to become a monitor.
pub const NAME: &str = "hull-monitor";

/// Where a memory file for one start is enough: above it, nobody wrote it.
const HANDOFF_MAX: u64 = 64 << 20;

/// What one form hands to the next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handoff {
    pub(crate) keep: Keep,
    pub(crate) lock: RawFd,
    pub(crate) init: RawFd,
    pub(crate) stdin: Option<RawFd>,
    pub(crate) outputs: [Option<RawFd>; 2],
    pub(crate) listener: Option<RawFd>,
    pub(crate) reserved: Vec<RawFd>,
    pub(crate) clients: Vec<(RawFd, Vec<u8>, Vec<u8>)>,
    pub(crate) input: Input,
    /// What the log has not handed on yet.
    #[serde(default)]
    pub(crate) log: Held,
    /// How it ended, where it has.
    pub(crate) exit: Option<LastExit>,
    /// For how long it runs, in milliseconds, and the last delay of a restart.
    pub(crate) age: u64,
    pub(crate) delay: u64,
}

/// Executes this program as the monitor of `ward`. `program` is what it takes after its name and the descriptor of the
/// handoff. Returns only where that cannot be done; then everything is as before.
pub(crate) fn become_resident(ward: &Ward, exit: Option<&LastExit>, program: &[OsString]) {
    execute(&Handoff::of(ward, exit.cloned()), program);
}

/// Executes this program with a handoff; returns only on failure.
pub(crate) fn execute(handoff: &Handoff, program: &[OsString]) {
    let passed = handoff.descriptors();
    let Some(file) = handoff.write() else { return };
    let mut arguments = vec![CString::from(c"hull-monitor")];
    arguments.extend(CString::new(file.as_raw_fd().to_string()));
    for argument in program {
        let Ok(argument) = CString::new(argument.clone().into_vec()) else {
            return;
        };
        arguments.push(argument);
    }
    let keep = |keep: bool| {
        for fd in passed.iter().copied().chain([file.as_raw_fd()]) {
            let _ = hull_sys::exec::keep_on_exec(fd, keep);
        }
    };
    keep(true);
    let bound =
        bound_executable(&handoff.keep.data).and_then(|path| CString::new(path.into_os_string().into_vec()).ok());
    if let Some(bound) = bound {
        let _ = hull_sys::exec::execve(&bound, &arguments, &[]);
    }
    let _ = hull_sys::exec::execve(c"/proc/self/exe", &arguments, &[]);
    keep(false);
}

impl Handoff {
    fn of(ward: &Ward, exit: Option<LastExit>) -> Self {
        let relay = &ward.relay;
        let raw = |file: &Option<File>| file.as_ref().map(AsRawFd::as_raw_fd);
        let client = |client: &Client| {
            let (queue, heard) = client.pending();
            (client.stream.as_raw_fd(), queue, heard)
        };
        Self {
            lock: ward.lock.as_raw_fd(),
            init: relay.init.as_raw_fd(),
            stdin: raw(&relay.stdin),
            outputs: relay.outputs.each_ref().map(raw),
            listener: Some(relay.listener.as_raw_fd()),
            reserved: ward.reserved.iter().map(AsRawFd::as_raw_fd).collect(),
            clients: relay.clients.iter().map(client).collect(),
            input: relay.input.clone(),
            log: relay.log.held(),
            exit,
            age: millis(ward.began.elapsed()),
            delay: millis(ward.delay),
            keep: ward.keep.clone(),
        }
    }

    fn descriptors(&self) -> Vec<RawFd> {
        let mut all = vec![self.lock, self.init];
        all.extend(self.stdin);
        all.extend(self.outputs.iter().flatten());
        all.extend(self.listener);
        all.extend(self.log.descriptor());
        all.extend(&self.reserved);
        all.extend(self.clients.iter().map(|(fd, ..)| fd));
        all
    }

    fn write(&self) -> Option<File> {
        let fd = rustix::fs::memfd_create(NAME, rustix::fs::MemfdFlags::CLOEXEC).ok()?;
        let mut file = File::from(fd);
        file.write_all(&serde_json::to_vec(self).ok()?).ok()?;
        Some(file)
    }

    fn read(fd: RawFd) -> Option<Self> {
        let path = format!("/proc/self/fd/{fd}");
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(HANDOFF_MAX).read_to_end(&mut bytes).ok()?;
        drop(own(fd));
        serde_json::from_slice(&bytes).ok()
    }

    /// What was handed over, as it was before.
    fn restore(self) -> Option<(Ward, Option<LastExit>)> {
        let listener = match self.listener {
            Some(fd) => UnixListener::from(own(fd)?),
            None => crate::socket::listen(&self.keep.run).ok()?,
        };
        let client = |(fd, queue, heard): (RawFd, Vec<u8>, Vec<u8>)| {
            Client::resume(UnixStream::from(own(fd)?), queue, &heard).ok()
        };
        let mut relay = Relay {
            init: own(self.init)?,
            stdin: self.stdin.and_then(own).map(File::from),
            outputs: self.outputs.map(|fd| fd.and_then(own).map(File::from)),
            terminal: self.keep.terminal,
            listener,
            clients: self.clients.into_iter().filter_map(client).collect(),
            log: Log::resume(&self.keep.log, self.log).ok()?,
            stdin_once: self.keep.stdin_once,
            input: self.input,
            probe: None,
            settled: false,
        };
        relay.take_over();
        let ward = Ward {
            relay,
            lock: File::from(own(self.lock)?),
            reserved: self.reserved.into_iter().filter_map(own).collect(),
            began: Instant::now()
                .checked_sub(Duration::from_millis(self.age))
                .unwrap_or_else(Instant::now),
            delay: Duration::from_millis(self.delay),
            mounts: None,
            keep: self.keep,
        };
        Some((ward, self.exit))
    }
}

/// A descriptor that was handed over.
fn own(fd: RawFd) -> Option<OwnedFd> {
    hull_sys::exec::inherited(fd).ok()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The monitor's life in this form. `fd` holds the handoff; the result is the exit code.
pub fn main(fd: RawFd, hooks: Hooks<'_>) -> i32 {
    take_role();
    // Its own executable is not to be swept away while it may have to start it again.
    let _own = shared_executable();
    let Some((mut ward, mut exit)) = Handoff::read(fd).and_then(Handoff::restore) else {
        return 1;
    };
    hull_sys::memory::settle();
    loop {
        let (ended, revive) = match exit.take() {
            Some(ended) => (ended, false),
            None => health::attend(&mut ward, hooks),
        };
        if !revive && !restart::again(&ward.keep, &ended) {
            return ward.end(&ended);
        }
        match restart::restart(ward, ended, hooks) {
            Ok(next) => ward = next,
            Err(left) => {
                let (ward, ended) = *left;
                return ward.end(&ended);
            }
        }
    }
}

fn shared_executable() -> Option<File> {
    let file = File::open("/proc/self/exe").ok()?;
    flock(&file, FlockOperation::NonBlockingLockShared).ok()?;
    Some(file)
}

/// This program bound to an address, `DATA/resident/hull-BUILD-BOOT`: made at its first use since the host's boot, so that
/// the address is another one each time, and so that none is ever run that a crash of the host has left half written.
/// `None` where it cannot be made.
fn bound_executable(container: &Path) -> Option<PathBuf> {
    let folder = container.parent()?.parent()?.join("resident");
    let own = File::open("/proc/self/exe").ok()?;
    let mut head = vec![0; 16 << 10];
    let length = (&own).read(&mut head).ok()?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let path = folder.join(format!(
        "hull-{}-{}",
        prelink::build_id(head.get(..length)?)?,
        boot.trim()
    ));
    if is_there(&path) {
        return Some(path);
    }
    DirBuilder::new().mode(0o700).recursive(true).create(&folder).ok()?;
    // One makes it; the others wait for it.
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(folder.join("lock"))
        .ok()?;
    rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive)).ok()?;
    if !is_there(&path) {
        make(&own, &path).ok()?;
        sweep(&folder, &path);
    }
    Some(path)
}

fn is_there(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

fn make(own: &File, path: &Path) -> std::io::Result<()> {
    let mut own = own;
    std::io::Seek::rewind(&mut own)?;
    let mut image = Vec::new();
    own.read_to_end(&mut image)?;
    let mut random = [0; 4];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    // Between 64 and 320 GB: free on every processor, whatever the size of its address space.
    let page = u64::from(u32::from_le_bytes(random) >> 6);
    prelink::prelink(&mut image, 0x10_0000_0000 + (page << 12)).map_err(std::io::Error::other)?;
    prelink::trim(&mut image).map_err(std::io::Error::other)?;
    let new = path.with_file_name("new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o500)
        .open(&new)?;
    file.write_all(&image)?;
    drop(file);
    std::fs::rename(&new, path)
}

/// Removes the executables of other versions that nobody runs.
fn sweep(folder: &Path, current: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path == current || entry.file_name() == "lock" {
            continue;
        }
        let unused =
            File::open(&path).is_ok_and(|f| flock(f.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok());
        if unused {
            let _ = std::fs::remove_file(&path);
        }
    }
}
