//! `run`: create, start, attach, and the process's exit code as our own.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use hull_engine::container::{self, RemoveRequest, StartRequest};
use hull_engine::{Engine, event};
use hull_spec::ErrorKind;
use hull_spec::container::CreateRequest;

use super::{Command, create, pod};
use crate::args::{Count, Matches};
use crate::attach::{self, Ending, Options, Remote};
use crate::container::flags;
use crate::context::Context;
use crate::error::{ENGINE, Failure, NOT_EXECUTABLE, NOT_FOUND, Outcome, Result, print_line};
use crate::terminal::Raw;
use crate::{detach_keys, env, terminal};

pub(crate) const COMMAND: Command = Command {
    names: &["run", "container run"],
    synopsis: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a container and run a command in it",
    flags: flags::RUN,
    count: Count::AtLeast(1),
    interspersed: false,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let detached = args.on("detach");
    if detached && args.changed("attach") {
        return Err(Failure::new(
            "conflicting options: cannot specify both --attach and --detach",
        ));
    }
    let request = create::read_request(args, ctx, detached).map_err(|f| f.code(ENGINE))?;
    let keys = if detached {
        Vec::new()
    } else {
        read_detach_keys(args, ctx, request.config.tty)?
    };
    if !detached {
        check_terminal(request.config.attach_stdin, request.config.tty)?;
    }
    let engine = ctx.engine();
    let request = pod::enter(args, &engine, request).map_err(|f| f.code(ENGINE))?;
    let id = create::create(args, ctx, &engine, &request).map_err(|f| f.code(ENGINE))?;
    // The monitor will be a fork of this process: what was only needed to look the image up must not stay in its memory.
    drop(engine);
    let engine = ctx.engine();
    let raw = Raw::prepare(request.config.attach_stdin && request.config.tty);
    let started = container::start(&engine, &id, &StartRequest { attach: !detached })
        .map_err(|e| not_started(&engine, &id, &request, e))?;
    if args.value("sdnotify") == Some("conmon") {
        notify()?;
    }
    let Some(socket) = started.attach else {
        print_line(&id)?;
        return Ok(0);
    };
    // Who sees no output is told the container's ID, and not its exit code: Docker's rule.
    let deaf = !request.config.attach_stdout && !request.config.attach_stderr;
    if deaf {
        print_line(&id)?;
    }
    let forward = |signal: i32| forward(&engine, &id, signal);
    let ending = attach::attach(
        Remote::monitor(socket),
        raw,
        Options {
            stdin: request.config.attach_stdin,
            stdout: request.config.attach_stdout,
            stderr: request.config.attach_stderr,
            tty: request.config.tty,
            detach_keys: keys,
            forward: args.on_by_default("sig-proxy").then_some(&forward),
        },
    )
    .map_err(|f| f.code(ENGINE))?;
    if deaf && !matches!(ending, Ending::Signalled(_)) {
        return Ok(0);
    }
    finish(&engine, &id, ending)
}

/// Tells systemd that the container runs (`sd_notify(3)`). Without its socket nobody asks.
fn notify() -> Result<()> {
    let Some(path) = env::NOTIFY_SOCKET.get() else {
        return Ok(());
    };
    let failed =
        |e: std::io::Error| Failure::new(format!("cannot tell systemd that the container runs: {e}")).code(ENGINE);
    let bytes = path.as_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let socket = UnixDatagram::unbound().map_err(failed)?;
    let state = b"READY=1\nSTATUS=The container runs";
    address
        .and_then(|address| socket.send_to_addr(state, &address))
        .map(drop)
        .map_err(failed)
}

/// The keys of `--detach-keys`, or of Docker's `config.json`. They matter only where there is a terminal to type on.
pub(super) fn read_detach_keys(args: &Matches, ctx: &Context, terminal: bool) -> Result<Vec<u8>> {
    let given = args.value("detach-keys").map(str::to_owned);
    let text = match given {
        Some(text) => text,
        None if terminal => ctx
            .docker_setting("detachKeys")
            .unwrap_or_else(|| detach_keys::DEFAULT.to_owned()),
        None => return Ok(Vec::new()),
    };
    detach_keys::parse(&text).map_err(|e| Failure::new(format!("invalid detach keys ({text}): {e}")).code(ENGINE))
}

/// A terminal in the container needs one here to type on.
pub(super) fn check_terminal(stdin: bool, tty: bool) -> Result<()> {
    if stdin && tty && !terminal::stdin_is_terminal() {
        return Err(
            Failure::new("the input device is not a TTY").hint("leave out -t where standard input is a pipe or a file")
        );
    }
    Ok(())
}

/// Passes a signal on. A container that has just ended needs none.
pub(super) fn forward(engine: &Engine, id: &str, signal: i32) {
    let _ = container::kill(engine, id, &signal.to_string());
}

/// Our exit code at the end of a session.
pub(super) fn finish(engine: &Engine, id: &str, ending: Ending) -> Outcome {
    match ending {
        Ending::Exited(code) => Ok(exit_code(code)),
        Ending::Detached => {
            if let Ok(record) = container::find(engine, id) {
                event::container(engine, &record, "detach", &[]);
            }
            Ok(0)
        }
        Ending::Signalled(signal) => Ok(attach::signal_code(signal)),
        // The monitor was killed. The container may go on without it.
        Ending::Closed => match container::wait(engine, id) {
            Ok(code) => Ok(exit_code(code)),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(Failure::new(format!(
                "the connection to container `{id}` was lost and it is gone: how it ended is not known"
            ))
            .code(ENGINE)),
            Err(e) => Err(Failure::from(e).code(ENGINE)),
        },
    }
}

/// A process's exit code as ours.
pub(super) fn exit_code(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}

/// A container that could not be started: what `--rm` asks for is done, and the exit code says why.
fn not_started(engine: &Engine, id: &str, request: &CreateRequest, e: hull_engine::Error) -> Failure {
    let code = start_code(&e);
    let mut failure = Failure::from(e).code(code);
    if request.host_config.auto_remove {
        let removal = container::remove(
            engine,
            id,
            &RemoveRequest {
                force: true,
                volumes: true,
            },
        );
        match removal {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                failure = failure.hint(format!("container `{id}` could not be removed either: {e}"));
            }
            _ => {}
        }
    }
    failure
}

/// Docker's exit code for a process that could not be started.
pub(super) fn start_code(e: &hull_engine::Error) -> u8 {
    match e.exit_code() {
        Some(127) => NOT_FOUND,
        Some(126) => NOT_EXECUTABLE,
        _ => ENGINE,
    }
}
