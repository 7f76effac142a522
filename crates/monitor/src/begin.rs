//! Starting a container: from what the monitor is told to a process that runs.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use hull_network::{EndpointPlan, Netns};
use hull_runtime::create::{Setup, Starting, create};
use hull_runtime::{Stdio, cgroup};
use hull_spec::ErrorKind;
use hull_spec::container::{LastExit, LiveState};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::error::{Error, Result, at};
use crate::failure::chain;
use crate::launch::{Launch, NetworkPlan};
use crate::log::{Log, now};
use crate::relay::{Input, Relay};
use crate::supervise::run_root;
use crate::teardown::write_json;
use crate::{socket, volume};

/// The ends of the container's standard streams that the monitor keeps.
struct Pipes {
    stdin: Option<File>,
    outputs: [Option<File>; 2],
}

/// What a start has made so far.
#[derive(Default)]
pub(crate) struct Begun {
    pub(crate) starting: Option<Starting>,
    pub(crate) network: Option<Connected>,
    pub(crate) started_at: String,
    /// Once it runs.
    pub(crate) relay: Option<Relay>,
}

/// A start that failed, and what it had made.
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) begun: Begun,
}

/// A container's place on a network, with what keeps it.
pub(crate) struct Connected {
    pub(crate) settings: hull_network::Settings,
    pub(crate) plan: EndpointPlan,
    /// Keeps the host's ports taken for as long as the container runs.
    pub(crate) reserved: Vec<OwnedFd>,
}

/// Starts the container. Init is made first: it makes its mounts while the host's side is done here.
pub(crate) fn start(launch: &mut Launch, listener: Option<UnixListener>) -> Result<Begun, Box<Failed>> {
    let mut begun = Begun::default();
    match begin(launch, &mut begun, listener) {
        Ok(relay) => {
            begun.relay = Some(relay);
            Ok(begun)
        }
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

fn begin(launch: &mut Launch, begun: &mut Begun, listener: Option<UnixListener>) -> Result<Relay> {
    if cgroups_first(launch) {
        make_cgroups(launch)?;
    }
    let (stdio, pipes) = pipes(launch)?;
    // Held until init has mounted them: the next container with one of them then finds it here.
    let mut volumes = volume::open(&launch.file_systems, run_root(&launch.places.run))?;
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
        prepared: std::mem::take(&mut volumes.mounts),
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
    write_state(launch, starting, begun.network.as_ref(), &begun.started_at, &pipes)?;
    outlive(&launch.places.data, &begun.started_at);
    let listener = match listener {
        Some(listener) => listener,
        None => socket::listen(&launch.places.run)?,
    };
    let log = Log::open(&launch.log)?;
    starting.proceed()?;
    let console = if launch.container.process.terminal {
        Some(File::from(starting.console()?))
    } else {
        None
    };
    starting.wait()?;
    drop(volumes);
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
        input: Input::default(),
        probe: None,
        settled: false,
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
    let (out_read, out_write) = pipe()?;
    let (err_read, err_write) = pipe()?;
    // The container can read what it writes: as long as one of its processes holds a pipe, the pipe has a reader. Without a
    // monitor it is not told to give up writing, and whoever takes the monitor's place finds all that was written.
    let both = |end: &OwnedFd| {
        let path = format!("/proc/self/fd/{}", end.as_raw_fd());
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(errno)
    };
    let (stdout, stderr) = (both(&out_write)?, both(&err_write)?);
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
        reserved,
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

fn write_state(
    launch: &Launch,
    starting: &Starting,
    connected: Option<&Connected>,
    started_at: &str,
    pipes: &Pipes,
) -> Result<()> {
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
        restarting: false,
        restarts: launch.restarts,
        streams: pipes.outputs.each_ref().map(|output| output.as_ref().map_or(0, inode)),
        cgroups: launch.cgroups.folders.iter().map(|f| f.display().to_string()).collect(),
        networks,
        ports,
    };
    write_json(&launch.places.run.join("state.json"), &state)
}

/// Notes with the container's last end, if there was one, that it was started since: should the host go down now, that is
/// neither how nor why it ended. A full disk keeps no container from its start.
fn outlive(data: &std::path::Path, started_at: &str) {
    let path = data.join("exit.json");
    let Ok(bytes) = std::fs::read(&path) else { return };
    let Ok(mut exit) = serde_json::from_slice::<LastExit>(&bytes) else {
        return;
    };
    started_at.clone_into(&mut exit.started_again);
    exit.stopped = false;
    let _ = write_json(&path, &exit);
}

/// A pipe's number, which tells it from all others.
pub(crate) fn inode(file: &File) -> u64 {
    rustix::fs::fstat(file).map_or(0, |stat| stat.st_ino)
}

/// When a process started: field 22 of its stat file. The name in field 2 may hold anything, so fields are counted from
/// its last parenthesis.
pub(crate) fn start_ticks(pid: i32) -> Result<u64> {
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
