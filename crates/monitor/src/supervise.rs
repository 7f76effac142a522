//! The life of a monitor, in order.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use hull_network::{EndpointPlan, Netns};
use hull_runtime::create::{Setup, Starting, create};
use hull_runtime::{Stdio, cgroup};
use hull_spec::ErrorKind;
use hull_spec::container::{LastExit, LiveState};
use hull_sys::clone::{Fork, exit_now, fork};
use hull_sys::{prctl, signal};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::client::Client;
use crate::error::{Error, Result, at};
use crate::launch::{Launch, NetworkPlan};
use crate::log::{Log, now};
use crate::relay::Relay;
use crate::teardown::{Remains, purge, teardown, write_json};
use crate::{frame, socket};

/// Why a container does not run, as its monitor told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What failed, on what and why.
    pub message: String,
    /// Which kind of failure.
    pub kind: ErrorKind,
    /// The container's exit code: 127 where its program is missing, 126 where it cannot be executed.
    pub exit_code: Option<i32>,
}

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

const KINDS: [ErrorKind; 8] = [
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::Invalid,
    ErrorKind::Denied,
    ErrorKind::Unavailable,
    ErrorKind::Unsupported,
    ErrorKind::Exhausted,
    ErrorKind::Internal,
];

impl Failure {
    fn of(error: &Error) -> Self {
        let exit_code = match error {
            Error::Runtime(e) => e.exit_code(),
            _ => None,
        };
        Self {
            message: chain(error),
            kind: error.kind(),
            exit_code,
        }
    }

    fn write(&self) -> Vec<u8> {
        let kind = KINDS.iter().position(|k| *k == self.kind).unwrap_or(KINDS.len() - 1);
        let mut out = vec![
            b'F',
            u8::try_from(kind).unwrap_or(7),
            u8::try_from(self.exit_code.unwrap_or(0)).unwrap_or(0),
        ];
        out.extend(self.message.bytes().take(8000));
        out
    }

    fn read(message: &[u8]) -> Self {
        let byte = |at: usize| message.get(at).copied().unwrap_or_default();
        Self {
            message: String::from_utf8_lossy(message.get(3..).unwrap_or_default()).into_owned(),
            kind: KINDS.get(usize::from(byte(1))).copied().unwrap_or(ErrorKind::Internal),
            exit_code: Some(i32::from(byte(2))).filter(|code| *code != 0),
        }
    }
}

/// An error and what caused it in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}

/// The monitor's whole life; the result is its exit code.
fn life(mut launch: Launch, report: OwnedFd) -> i32 {
    leave_command(&launch, &report);
    let attach = launch.attach.take();
    let mut running = match start(&mut launch) {
        Ok(running) => running,
        Err(failed) => {
            let failure = Failure::of(&failed.error);
            undo(&launch, failed);
            let _ = rustix::net::send(&report, &failure.write(), SendFlags::NOSIGNAL);
            return 1;
        }
    };
    if let Some(client) = attach.and_then(|stream| Client::new(stream).ok()) {
        running.relay.clients.push(client);
    }
    let _ = rustix::net::send(&report, b"S", SendFlags::NOSIGNAL);
    drop(report);
    launch.container = hull_runtime::Container::default();
    let relayed = running.relay.run();
    let exit = LastExit {
        exit_code: reap(&running.relay.init),
        oom_killed: cgroup::oom_killed(&launch.cgroups.folders),
        error: relayed.err().map(|e| chain(&e)).unwrap_or_default(),
        started_at: running.started_at,
        finished_at: now(),
    };
    let released = running.network.map_or(Ok(()), |n| n.release());
    let remains = Remains {
        data: &launch.places.data,
        run: &launch.places.run,
        cgroups: &launch.cgroups.folders,
        remove: launch.auto_remove.then_some(launch.places.name.as_path()),
    };
    let cleaned = teardown(&remains, &exit);
    let removed = matches!(cleaned, Ok(Some(_)));
    let volumes = launch.volumes.iter().filter(|_| removed).map(|volume| purge(volume));
    let volumes = volumes.fold(Ok(()), Result::and);
    for mut client in running.relay.clients {
        client.send(frame::EXIT, &exit.exit_code.to_le_bytes());
        client.finish();
    }
    // Nobody need wait for this: the container is gone already.
    let purged = match &cleaned {
        Ok(Some(trash)) => purge(trash),
        _ => Ok(()),
    };
    i32::from(released.is_err() || cleaned.is_err() || purged.is_err() || volumes.is_err())
}

/// Becomes independent of the command: its session, its terminal, its descriptors.
fn leave_command(launch: &Launch, report: &OwnedFd) {
    let _ = rustix::process::setsid();
    let _ = prctl::set_name(c"hull-monitor");
    for ignored in [libc_signal::HUP, libc_signal::INT, libc_signal::QUIT, libc_signal::PIPE] {
        signal::ignore(ignored);
    }
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
    hull_sys::exec::close_all_but(&mut keep);
}

mod libc_signal {
    pub(super) const HUP: i32 = 1;
    pub(super) const INT: i32 = 2;
    pub(super) const QUIT: i32 = 3;
    pub(super) const PIPE: i32 = 13;
}

/// A container that runs.
struct Running {
    relay: Relay,
    network: Option<Connected>,
    started_at: String,
}

/// A start that failed, and what it had made.
struct Failed {
    error: Error,
    begun: Begun,
}

/// A container's place on a network, with what keeps it.
struct Connected {
    settings: hull_network::Settings,
    plan: EndpointPlan,
    /// Keeps the host's ports taken for as long as the container runs.
    _reserved: Vec<OwnedFd>,
}

impl Connected {
    fn release(&self) -> Result<()> {
        Ok(hull_network::endpoint::release(&self.settings, &self.plan)?)
    }
}

/// The ends of the container's standard streams that the monitor keeps.
struct Pipes {
    stdin: Option<File>,
    outputs: [Option<File>; 2],
}

/// What a start has made so far.
#[derive(Default)]
struct Begun {
    starting: Option<Starting>,
    network: Option<Connected>,
    started_at: String,
}

/// Starts the container. Init is made first: it makes its mounts while the host's side is done here.
fn start(launch: &mut Launch) -> Result<Running, Box<Failed>> {
    let mut begun = Begun::default();
    match begin(launch, &mut begun) {
        Ok(relay) => Ok(Running {
            relay,
            network: begun.network,
            started_at: begun.started_at,
        }),
        Err(error) => {
            let cause = match &error {
                Error::Runtime(_) => None,
                _ => begun.starting.as_ref().and_then(Starting::last_words),
            };
            Err(Box::new(Failed {
                error: cause.map_or(error, Error::from),
                begun,
            }))
        }
    }
}

fn begin(launch: &mut Launch, begun: &mut Begun) -> Result<Relay> {
    if cgroups_first(launch) {
        make_cgroups(launch)?;
    }
    let (stdio, pipes) = pipes(launch)?;
    let nothing = || Ok(());
    // A bridge's end is set up from outside, at the same time. The loopback interface alone is init's: a normal user may
    // not look into the namespace of a process that hides its memory.
    let loopback = matches!(launch.network, NetworkPlan::Loopback);
    let inside = || match loopback {
        true => hull_network::endpoint::loopback_inside().map_err(|e| chain(&e)),
        false => Ok(()),
    };
    let setup = Setup {
        cgroups: &launch.cgroups,
        stdio,
        inside: &inside,
        before_program: &nothing,
        before_pivot: &nothing,
    };
    let starting = begun.starting.insert(create(&launch.container, setup)?);
    begun.started_at = now();
    starting.write_id_maps(&launch.container)?;
    if !cgroups_first(launch) {
        cgroup::create(&launch.cgroups)?;
    }
    begun.network = connect(launch)?;
    if let Some(connected) = &begun.network {
        plug_in(starting, connected)?;
    }
    write_state(launch, starting, begun.network.as_ref(), &begun.started_at)?;
    let listener = socket::listen(&launch.places.run)?;
    let log = Log::open(&launch.log)?;
    starting.proceed()?;
    let console = if launch.container.process.terminal {
        Some(File::from(starting.console()?))
    } else {
        None
    };
    starting.wait()?;
    let mut outputs = pipes.outputs;
    let terminal = console.is_some();
    if terminal {
        outputs[0] = console;
    }
    for output in outputs.iter().flatten().chain(pipes.stdin.iter()) {
        let _ = rustix::io::ioctl_fionbio(output, true);
    }
    let init = starting.child.pidfd.try_clone().map_err(|_| Error::MonitorDied)?;
    Ok(Relay {
        init,
        stdin: pipes.stdin,
        outputs,
        terminal,
        listener,
        clients: Vec::new(),
        log,
        stdin_once: launch.stdin_once,
    })
}

/// Puts the container's end of its network into its namespace and sets it up.
fn plug_in(starting: &Starting, connected: &Connected) -> Result<()> {
    let pid = starting.child.pid.as_raw_nonzero().get();
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let namespace = File::open(&path).map_err(crate::error::io_at("open", &path))?;
    hull_network::endpoint::attach(&connected.plan, Netns::Fd(namespace.as_fd()))?;
    Ok(hull_network::endpoint::configure(&connected.plan, namespace.as_fd())?)
}

/// On cgroup v2 the process is born in its cgroup, which must be there before; on v1 it enters it itself, later, so that
/// making it costs no time of init's. Where the cgroups may turn out not to be allowed, init must be told before.
fn cgroups_first(launch: &Launch) -> bool {
    launch.cgroups_optional || launch.cgroups.is_unified()
}

fn make_cgroups(launch: &mut Launch) -> Result<()> {
    match cgroup::create(&launch.cgroups) {
        Err(e) if launch.cgroups_optional && e.kind() == ErrorKind::Denied => {
            launch.cgroups = cgroup::Plan::default();
            Ok(())
        }
        done => Ok(done?),
    }
}

fn pipes(launch: &Launch) -> Result<(Stdio, Pipes)> {
    let errno = |errno| Error::System {
        act: "make the container's standard streams",
        errno,
    };
    let root = |maps: &[hull_runtime::container::IdMap]| maps.iter().find(|m| m.inside == 0).map(|m| m.outside);
    let namespaces = &launch.container.namespaces;
    let owner = root(&namespaces.uid_maps).zip(root(&namespaces.gid_maps));
    let pipe = || -> Result<(OwnedFd, OwnedFd)> {
        let ends = pipe_with(PipeFlags::CLOEXEC).map_err(errno)?;
        if let Some((uid, gid)) = owner {
            // Root of a user namespace opens them again as /dev/stdout, and gives them to the container's user.
            let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            rustix::fs::fchown(&ends.0, Some(uid), Some(gid)).map_err(errno)?;
        }
        Ok(ends)
    };
    let null = || {
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()).map_err(errno)
    };
    if launch.container.process.terminal {
        let stdio = Stdio {
            stdin: null()?,
            stdout: null()?,
            stderr: null()?,
        };
        return Ok((
            stdio,
            Pipes {
                stdin: None,
                outputs: [None, None],
            },
        ));
    }
    let (stdin, ours) = if launch.open_stdin {
        let (read, write) = pipe()?;
        (read, Some(File::from(write)))
    } else {
        (null()?, None)
    };
    let (out_read, stdout) = pipe()?;
    let (err_read, stderr) = pipe()?;
    let outputs = [Some(File::from(out_read)), Some(File::from(err_read))];
    Ok((Stdio { stdin, stdout, stderr }, Pipes { stdin: ours, outputs }))
}

/// Takes the container's place on its network: its address and the host's ports.
fn connect(launch: &Launch) -> Result<Option<Connected>> {
    let NetworkPlan::Bridge(plan) = &launch.network else {
        return Ok(None);
    };
    let (settings, host_names) = (&plan.settings, &plan.host_names);
    let network = hull_network::bridge::ensure(settings)?;
    let run = launch.places.run.parent().map(PathBuf::from).unwrap_or_default();
    let alive = |id: &str| lives(&run.join(id));
    let endpoint = hull_network::endpoint::allocate(settings, &network, &plan.request, &alive)?;
    if !host_names.is_empty() {
        use std::io::Write;
        let path = launch.places.run.join("hosts");
        let line = format!("{}\t{host_names}\n", endpoint.plan.address);
        let mut options = std::fs::OpenOptions::new();
        let appended = options
            .append(true)
            .open(&path)
            .and_then(|mut f| f.write_all(line.as_bytes()));
        appended.map_err(crate::error::io_at("write", &path))?;
    }
    let reserved = endpoint.reservation.into_sockets();
    Ok(Some(Connected {
        settings: settings.clone(),
        plan: endpoint.plan,
        _reserved: reserved,
    }))
}

/// Whether a container lives, by its run folder: somebody holds its lock, or its init runs without a monitor.
fn lives(run: &std::path::Path) -> bool {
    let Ok(file) = File::open(run.join("lock")) else {
        return false;
    };
    if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK) {
        return true;
    }
    let state = std::fs::read(run.join("state.json")).ok();
    let state = state.and_then(|bytes| serde_json::from_slice::<LiveState>(&bytes).ok());
    state.is_some_and(|state| start_ticks(state.pid).is_ok_and(|ticks| ticks == state.start_ticks))
}

fn write_state(launch: &Launch, starting: &Starting, connected: Option<&Connected>, started_at: &str) -> Result<()> {
    let pid = starting.child.pid.as_raw_nonzero().get();
    let mut networks = std::collections::BTreeMap::new();
    let mut ports = hull_network::publish::Bindings::new();
    if let (Some(connected), NetworkPlan::Bridge(plan)) = (connected, &launch.network) {
        networks.insert(plan.name.clone(), connected.plan.settings());
        ports = hull_network::publish::bindings(&connected.plan.ports, &plan.exposed);
    }
    let state = LiveState {
        pid,
        start_ticks: start_ticks(pid)?,
        monitor_pid: rustix::process::getpid().as_raw_nonzero().get(),
        started_at: started_at.to_owned(),
        cgroups: launch.cgroups.folders.iter().map(|f| f.display().to_string()).collect(),
        networks,
        ports,
    };
    write_json(&launch.places.run.join("state.json"), &state)
}

/// When a process started: field 22 of its stat file. The name in field 2 may hold anything, so fields are counted from
/// its last parenthesis.
fn start_ticks(pid: i32) -> Result<u64> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let mut buffer = [0u8; 1024];
    let read = File::open(&path).and_then(|mut file| std::io::Read::read(&mut file, &mut buffer));
    let length = read.map_err(crate::error::io_at("read", &path))?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    let ticks = text
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.split(' ').nth(19))
        .and_then(|t| t.parse().ok());
    ticks.ok_or_else(|| at("understand", &path)(Errno::INVAL))
}

/// Waits for the end of a child and gives its exit code as a shell does.
fn reap(pidfd: &OwnedFd) -> i32 {
    match rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 255,
        },
        _ => 255,
    }
}

/// Takes back what a failed start has made. The container stays, unless it was to be removed at its end.
fn undo(launch: &Launch, failed: Box<Failed>) {
    if let Some(starting) = &failed.begun.starting {
        let _ = rustix::process::pidfd_send_signal(&starting.child.pidfd, rustix::process::Signal::KILL);
        reap(&starting.child.pidfd);
    }
    if let Some(network) = &failed.begun.network {
        let _ = network.release();
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
        ..LastExit::default()
    };
    let remains = Remains {
        data: &launch.places.data,
        run: &launch.places.run,
        cgroups: &launch.cgroups.folders,
        remove: launch.auto_remove.then_some(launch.places.name.as_path()),
    };
    if let Ok(Some(trash)) = teardown(&remains, &exit) {
        let _ = purge(&trash);
    }
}
