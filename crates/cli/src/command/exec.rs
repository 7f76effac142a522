//! `exec`: another process in a running container.

mod background;

use std::os::fd::OwnedFd;

use hull_engine::container::{self, ExecIo, ExecProcess, ExecRequest};

use super::{Command, run as run_command};
use crate::args::{Count, Flag, Matches};
use crate::attach::{self, Ending, Options, Remote};
use crate::container::read_environment;
use crate::context::Context;
use crate::error::{FAILED, Failure, NOT_EXECUTABLE, Outcome, Result};
use crate::terminal::Raw;
use crate::{env, terminal};

pub(crate) const COMMAND: Command = Command {
    names: &["exec", "container exec"],
    synopsis: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Run another command in a running container",
    flags: &[
        Flag::switch("detach")
            .short('d')
            .help("Leave it running in the background"),
        Flag::string("detach-keys").help("Keys that detach, instead of ctrl-p,ctrl-q"),
        Flag::list("env")
            .short('e')
            .checked(crate::container::check_variable)
            .help("Set a variable, or pass one on by its name"),
        Flag::list("env-file").help("Set the variables in a file, one a line"),
        Flag::switch("interactive").short('i').help("Pass standard input on"),
        Flag::switch("privileged").help("Give it all capabilities"),
        Flag::switch("tty").short('t').help("Give it a terminal"),
        Flag::string("user")
            .short('u')
            .help("User, and group after a colon, by name or number"),
        Flag::string("workdir").short('w').help("Working directory"),
    ],
    count: Count::AtLeast(2),
    interspersed: false,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let detached = args.on("detach");
    let environment =
        read_environment(args.values("env-file"), args.values("env"), env::passed_on).map_err(Failure::new)?;
    let tty = args.on("tty");
    let stdin = args.on("interactive") && !detached;
    let keys = run_command::read_detach_keys(args, ctx, tty).map_err(|failure| {
        let given = args.value("detach-keys").unwrap_or_default();
        Failure::new(format!("Invalid escape keys ({given}) provided")).hint(failure.message())
    })?;
    run_command::check_terminal(stdin, tty)?;
    let given = |flag: &str| args.value(flag).filter(|text| !text.is_empty()).map(str::to_owned);
    let request = ExecRequest {
        cmd: args.args()[1..].to_vec(),
        env: environment,
        user: given("user"),
        working_dir: given("workdir"),
        tty,
        stdin,
        privileged: args.on("privileged"),
        detach: detached,
        console_size: if tty { terminal::size() } else { [0, 0] },
    };
    // Before the process: afterwards we are in the container's namespaces, where nothing of ours may be forked.
    let raw = Raw::prepare(stdin && tty);
    let start = || {
        container::exec(&ctx.engine(), args.arg(), &request).map_err(|e| {
            // Docker's code for a process that could not be made, whatever the reason; nobody waits for a detached one.
            let made = matches!(e, hull_engine::Error::Exec { .. });
            let code = match e.exit_code() {
                Some(code) => run_command::exit_code(code),
                None if made => NOT_EXECUTABLE,
                None => FAILED,
            };
            Failure::from(e).code(if detached { FAILED } else { code })
        })
    };
    if detached {
        return background::leave(start);
    }
    let process = start()?;
    let options = Options {
        stdin,
        stdout: true,
        stderr: true,
        tty,
        detach_keys: keys,
        // As Docker's: a signal ends the client, and the process goes on.
        forward: None,
    };
    let ExecProcess { pidfd, io, told } = process;
    let waitable = pidfd.try_clone()?;
    let Some(remote) = remote(pidfd, io, stdin)? else {
        return Ok(0);
    };
    match attach::attach(remote, raw, options)? {
        Ending::Exited(code) => {
            told.ended(code);
            Ok(run_command::exit_code(code))
        }
        Ending::Detached => {
            told.detached();
            Ok(0)
        }
        Ending::Signalled(signal) => Ok(attach::signal_code(signal)),
        Ending::Closed => {
            let ended = ExecProcess {
                pidfd: waitable,
                io: ExecIo::Detached,
                told,
            };
            let code = ended.wait();
            ended.told.ended(code);
            Ok(run_command::exit_code(code))
        }
    }
}

/// The process as the other side of a session; `None` where it is detached.
fn remote(pidfd: OwnedFd, io: ExecIo, stdin_wanted: bool) -> Result<Option<Remote>> {
    Ok(match io {
        ExecIo::Detached => None,
        ExecIo::Pipes { stdin, stdout, stderr } => Some(Remote::Process {
            pidfd,
            stdin,
            stdout: Some(stdout),
            stderr: Some(stderr),
            tty: false,
        }),
        ExecIo::Terminal(master) => Some(Remote::Process {
            pidfd,
            stdin: if stdin_wanted { Some(master.try_clone()?) } else { None },
            stdout: Some(master),
            stderr: None,
            tty: true,
        }),
    })
}
