//! `create` and `run`: from a bundle to an init that waits for `start`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::arguments::{Arguments, Flag};
use super::state::{self, CONFIG, State, Status};
use super::{Caller, Failure, Global, Outcome, clock, delete, start, terminal};
use crate::bundle::{Bundle, Host};
use crate::container::{Container, Namespace, Rootfs};
use crate::create::{Setup, Starting};
use crate::finish::Stdio;
use crate::{bundle, cgroup, finish};

pub(super) const FLAGS: &[Flag] = &[
    Flag::value(&["bundle", "b"]),
    Flag::value(&["console-socket"]),
    Flag::value(&["pidfd-socket"]),
    Flag::value(&["pid-file"]),
    Flag::switch(&["no-pivot"]),
    Flag::switch(&["no-new-keyring"]),
    Flag::value(&["preserve-fds"]),
];

pub(super) const RUN_FLAGS: &[Flag] = &[
    Flag::value(&["bundle", "b"]),
    Flag::value(&["console-socket"]),
    Flag::value(&["pidfd-socket"]),
    Flag::value(&["pid-file"]),
    Flag::switch(&["no-pivot"]),
    Flag::switch(&["no-new-keyring"]),
    Flag::value(&["preserve-fds"]),
    Flag::switch(&["detach", "d"]),
    Flag::switch(&["keep"]),
    Flag::switch(&["no-subreaper"]),
];

/// A container that was made and waits for its start.
struct Made {
    folder: PathBuf,
    state: State,
    starting: Starting,
    /// The terminal's master, where no console socket took it.
    console: Option<OwnedFd>,
}

pub(super) fn command(caller: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    make(caller, global, args, true)?;
    Ok(0)
}

pub(super) fn run(caller: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    let detach = args.has("detach");
    let signals = if detach { None } else { Some(terminal::Signals::take()?) };
    let made = make(caller, global, args, detach)?;
    let started = start::start(caller, global, &made.folder, &made.state);
    if let Err(failure) = started {
        // It never ran; there is nothing of it to keep.
        delete::remove(caller, global, &made.folder, &made.state, true)?;
        return Err(failure);
    }
    let Some(signals) = signals else { return Ok(0) };
    let code = terminal::attend(caller, &signals, &made.starting.child, made.console.as_ref())?;
    if !args.has("keep") {
        delete::remove(caller, global, &made.folder, &made.state, true)?;
    }
    Ok(code)
}

fn make(caller: &mut Caller<'_>, global: &Global, args: &Arguments, detach: bool) -> Outcome<Made> {
    let id = &args.rest[0];
    refuse(args)?;
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(
            "a user other than root needs a user namespace to make containers in: try `unshare -Ur hull-runtime ...`",
        ));
    }
    let folder = Path::new(args.value("bundle").unwrap_or("."));
    let mut bundle = Bundle::open(folder, &Host::here())?;
    for warning in &bundle.warnings {
        global.warn(caller, warning);
    }
    bundle.container.process.preserve_fds = preserved(caller, global, args)?;
    let console_socket = terminal::socket(args.value("console-socket"), bundle.container.process.terminal, detach)?;
    let folder = state::make(global, id)?;
    let made = fill(caller, &folder, id, bundle, console_socket.as_ref());
    let made = made.and_then(|made| {
        write_pid(args, &made.state)?;
        Ok(made)
    });
    made.inspect_err(|_| {
        // What was half made goes; the first failure is the one to tell.
        if let Ok(state) = State::load(global, id) {
            let _ = delete::remove(caller, global, &folder, &state, false);
        }
        let _ = std::fs::remove_dir_all(&folder);
    })
}

fn refuse(args: &Arguments) -> Outcome<()> {
    for flag in ["no-pivot", "pidfd-socket"] {
        if args.value(flag).is_some_and(|value| value != "false") {
            return Err(Failure::new(format!("--{flag} is not supported")));
        }
    }
    Ok(())
}

/// How many descriptors from 3 on the process keeps: they must be there, or it would get some of ours.
pub(super) fn preserved(caller: &Caller<'_>, global: &Global, args: &Arguments) -> Outcome<u32> {
    let count = args
        .number::<u32>("preserve-fds")?
        .unwrap_or(0)
        .saturating_add(caller.listen_fds);
    if count > global.inherited {
        return Err(Failure::new(format!(
            "--preserve-fds: descriptor {} is not open",
            global.inherited + 3
        )));
    }
    Ok(count)
}

fn write_pid(args: &Arguments, state: &State) -> Outcome<()> {
    match args.value("pid-file").filter(|path| !path.is_empty()) {
        Some(path) => super::write_file(Path::new(path), state.pid.to_string().as_bytes()),
        None => Ok(()),
    }
}

fn fill(
    caller: &mut Caller<'_>,
    folder: &Path,
    id: &str,
    bundle: Bundle,
    console_socket: Option<&OwnedFd>,
) -> Outcome<Made> {
    let config = std::fs::read(bundle.folder.join(CONFIG))?;
    super::write_file(&folder.join(CONFIG), &config)?;
    let place = bundle
        .cgroup
        .clone()
        .unwrap_or_else(|| ("hull".to_owned(), id.to_owned()));
    let mut plan = cgroup::plan(&cgroup::detect(), &place.0, &place.1, &bundle.resources)?;
    let mut state = describe(id, &bundle, &plan, place)?;
    // Before anything is made on the host, so that a later `delete` knows what to look for.
    state.save(folder)?;
    match cgroup::create(&plan) {
        // Without the host's root, and with nothing to limit, a container without a cgroup of its own does as well.
        Err(e) if e.kind() == hull_spec::ErrorKind::Denied && Host::here().user_namespace && is_free(&bundle) => {
            plan = cgroup::Plan::default();
            state.cgroups.clear();
            state.save(folder)?;
        }
        made => made?,
    }
    let listener = state::listen(folder).map_err(|e| Failure::new(format!("cannot make the start socket: {e}")))?;
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.map_err(|e| Failure::new(format!("cannot make a socket pair: {e}")))?;

    let starting = {
        // With a terminal, the caller's descriptors are not for init: while it waits they would keep a reader of the
        // caller's output waiting too.
        let null = if bundle.container.process.terminal {
            Some(open_null()?)
        } else {
            None
        };
        let stdio = match &null {
            Some(null) => Stdio {
                stdin: null.try_clone()?,
                stdout: null.try_clone()?,
                stderr: null.try_clone()?,
            },
            None => stdio(caller)?,
        };
        let init = Init {
            null: null.as_ref(),
            container: &bundle.container,
            state: &state,
            socket: theirs.as_fd(),
            listener: listener.as_fd(),
        };
        let setup = Setup {
            cgroups: &plan,
            stdio,
            prepared: Vec::new(),
            inside: &|| Ok(()),
            before_pivot: &|| init.mounted(),
            before_program: &|| init.wait_for_start(),
        };
        crate::create::create(&bundle.container, setup)?
    };
    drop((theirs, listener));
    state.pid = starting.child.pid.as_raw_nonzero().get();
    state.start_ticks = state::stat(state.pid).map_or(0, |(ticks, _)| ticks);
    state.save(folder)?;
    starting.write_id_maps(&bundle.container)?;
    starting.proceed()?;
    let mut console = None;
    if bundle.container.process.terminal {
        let master = starting.console()?;
        match console_socket {
            Some(socket) => terminal::send(socket, &master)?,
            None => console = Some(master),
        }
    }
    hear(&ours, b"M", &starting)?;
    let report = state.for_hooks(Status::Creating);
    bundle::run_hooks("prestart", &state.hooks.prestart, &report)?;
    bundle::run_hooks("createRuntime", &state.hooks.create_runtime, &report)?;
    say(&ours, b"H")?;
    hear(&ours, b"R", &starting)?;
    Ok(Made {
        folder: folder.to_owned(),
        state,
        starting,
        console,
    })
}

/// Whether a config asks for no limit and for no place of its own.
fn is_free(bundle: &Bundle) -> bool {
    bundle.cgroup.is_none() && bundle.resources == cgroup::Resources::default()
}

/// The state of a container that is about to be made.
fn describe(id: &str, bundle: &Bundle, plan: &cgroup::Plan, place: (String, String)) -> Outcome<State> {
    let Rootfs::Directory(rootfs) = bundle.container.rootfs.clone() else {
        return Err(Failure::new("a bundle's root file system is a folder"));
    };
    Ok(State {
        oci_version: bundle.version.clone(),
        id: id.to_owned(),
        bundle: bundle.folder.clone(),
        rootfs,
        annotations: bundle.annotations.clone(),
        created: clock::now(),
        pid: 0,
        start_ticks: 0,
        cgroups: plan.folders.clone(),
        cgroup: place,
        own_pids: !matches!(bundle.container.namespaces.pid, Namespace::Host),
        hooks: bundle.hooks.clone(),
        owner: rustix::process::getuid().as_raw(),
    })
}

/// What init does for this command line, in its own process.
struct Init<'a> {
    /// What init's standard descriptors become while it waits, where the program gets others.
    null: Option<&'a OwnedFd>,
    container: &'a Container,
    state: &'a State,
    socket: BorrowedFd<'a>,
    listener: BorrowedFd<'a>,
}

impl Init<'_> {
    /// All is mounted, and the root not entered: the time of hooks on both sides.
    fn mounted(&self) -> Result<(), String> {
        let told = rustix::net::send(self.socket, b"M", SendFlags::NOSIGNAL);
        told.map_err(|e| format!("cannot speak to the creator: {e}"))?;
        let mut byte = [0u8; 1];
        match rustix::io::retry_on_intr(|| rustix::net::recv(self.socket, &mut byte[..], RecvFlags::empty())) {
            Ok((1, _)) => {}
            _ => return Err("the creator gave up".to_owned()),
        }
        let mut state = self.state.clone();
        state.pid = i32::try_from(std::process::id()).unwrap_or_default();
        let report = state.for_hooks(Status::Creating);
        bundle::run_hooks("createContainer", &self.state.hooks.create_container, &report).map_err(|e| e.to_string())
    }

    /// Waits, with the creator gone, until somebody says `start`.
    fn wait_for_start(&self) -> Result<(), String> {
        self.find_program()?;
        if let Some(null) = self.null {
            let placed = rustix::stdio::dup2_stdin(null)
                .and_then(|()| rustix::stdio::dup2_stdout(null))
                .and_then(|()| rustix::stdio::dup2_stderr(null));
            placed.map_err(|e| format!("cannot let go of the caller's descriptors: {e}"))?;
        }
        // From here on init is on its own: its creator leaves, and is not to take it along.
        rustix::process::set_parent_process_death_signal(None)
            .map_err(|e| format!("cannot outlive the creator: {e}"))?;
        let told = rustix::net::send(self.socket, b"R", SendFlags::NOSIGNAL);
        told.map_err(|e| format!("cannot speak to the creator: {e}"))?;
        let connection = loop {
            let accepted = rustix::io::retry_on_intr(|| rustix::net::accept_with(self.listener, SocketFlags::CLOEXEC));
            let connection = accepted.map_err(|e| format!("cannot wait for the start: {e}"))?;
            let mut byte = [0u8; 1];
            let heard = rustix::net::recv(&connection, &mut byte[..], RecvFlags::empty());
            // Others only look whether somebody waits here.
            if matches!(heard, Ok((1, _)) if byte[0] == b'S') {
                break connection;
            }
        };
        let mut state = self.state.clone();
        state.pid = i32::try_from(std::process::id()).unwrap_or_default();
        let report = state.for_hooks(Status::Created);
        let done = bundle::run_hooks("startContainer", &self.state.hooks.start_container, &report);
        done.map_err(|e| {
            let message = e.to_string();
            let _ = rustix::net::send(&connection, message.as_bytes(), SendFlags::NOSIGNAL);
            message
        })?;
        // Closed by the exec, which is how the other side learns of it.
        std::mem::forget(connection);
        Ok(())
    }

    /// Callers expect that `create` fails where the program is missing. It is looked for again once the process is the
    /// user that it will be.
    fn find_program(&self) -> Result<(), String> {
        let process = &self.container.process;
        let env: Vec<_> = process
            .env
            .iter()
            .filter_map(|e| std::ffi::CString::new(e.as_str()).ok())
            .collect();
        finish::find_program(&process.args[0], &env)
            .map(drop)
            .map_err(|e| e.to_string())
    }
}

fn open_null() -> Outcome<OwnedFd> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())
        .map_err(|e| Failure::new(format!("cannot open `/dev/null`: {e}")))
}

fn say(socket: &OwnedFd, word: &[u8]) -> Outcome<()> {
    // Where init is gone, the next word that it owes tells why.
    let _ = rustix::net::send(socket, word, SendFlags::NOSIGNAL);
    Ok(())
}

/// Waits for a word of init, or for why there is none.
fn hear(socket: &OwnedFd, word: &[u8], starting: &Starting) -> Outcome<()> {
    let mut byte = [0u8; 1];
    match rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut byte[..], RecvFlags::empty())) {
        Ok((1, _)) if byte == word => Ok(()),
        _ => {
            starting.wait()?;
            Err(Failure::new("the container's init died"))
        }
    }
}

/// Copies of the caller's standard descriptors.
pub(super) fn stdio(caller: &Caller<'_>) -> Outcome<Stdio> {
    let copy = |fd: BorrowedFd<'_>| {
        fd.try_clone_to_owned()
            .map_err(|e| Failure::new(format!("cannot copy a standard descriptor: {e}")))
    };
    Ok(Stdio {
        stdin: copy(caller.stdin)?,
        stdout: copy(caller.stdout)?,
        stderr: copy(caller.stderr)?,
    })
}
