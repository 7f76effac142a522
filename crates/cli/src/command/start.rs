//! `start`: stopped containers again, attached to the one where that is asked for.

use hull_engine::container::{self, StartRequest};

use super::{Command, run as run_command};
use crate::args::{Count, Flag, Matches};
use crate::attach::{self, Options, Remote};
use crate::context::Context;
use crate::error::{Failure, Outcome, for_each, note};
use crate::terminal::Raw;

const NO_CHECKPOINTS: &str = "checkpoints come in a later version";

pub(crate) const COMMAND: Command = Command {
    names: &["start", "container start"],
    synopsis: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start stopped containers",
    flags: &[
        Flag::switch("attach")
            .short('a')
            .help("Attach to its output and forward signals to it"),
        Flag::string("checkpoint").refused(NO_CHECKPOINTS),
        Flag::string("checkpoint-dir").refused(NO_CHECKPOINTS),
        Flag::string("detach-keys").help("Keys that detach, instead of ctrl-p,ctrl-q"),
        Flag::switch("interactive")
            .short('i')
            .help("Attach standard input, too"),
        Flag::switch("sig-proxy")
            .default("true")
            .hidden()
            .help("Forward signals to the container"),
    ],
    count: Count::AtLeast(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let attached = args.on("attach") || args.on("interactive");
    if attached {
        return start_attached(args, ctx);
    }
    let engine = ctx.engine();
    let mut failed = Vec::new();
    let code = for_each(args.args(), |name| {
        if let Err(e) = container::start(&engine, name, &StartRequest { attach: false }) {
            failed.push(name.to_owned());
            return Err(e.into());
        }
        Ok(Some(name.to_owned()))
    })?;
    if !failed.is_empty() {
        note(&format!("failed to start containers: {}", failed.join(", ")));
    }
    Ok(code)
}

fn start_attached(args: &Matches, ctx: &Context) -> Outcome {
    if args.args().len() > 1 {
        return Err(Failure::new("you cannot start and attach multiple containers at once"));
    }
    let engine = ctx.engine();
    let record = container::find(&engine, args.arg())?;
    let tty = record.config.tty;
    let stdin = args.on("interactive") && record.config.open_stdin;
    run_command::check_terminal(stdin, tty)?;
    let keys = run_command::read_detach_keys(args, ctx, tty)?;
    let id = record.id;
    let raw = Raw::prepare(stdin && tty);
    let started = container::start(&engine, &id, &StartRequest { attach: true }).map_err(|e| {
        let code = run_command::start_code(&e);
        let code = if code == crate::error::ENGINE {
            crate::error::FAILED
        } else {
            code
        };
        Failure::from(e).code(code)
    })?;
    let Some(socket) = started.attach else {
        return Err(Failure::new(format!("container `{}` was running already", args.arg())));
    };
    let forward = |signal: i32| run_command::forward(&engine, &id, signal);
    let ending = attach::attach(
        Remote::monitor(socket),
        raw,
        Options {
            stdin,
            stdout: true,
            stderr: true,
            tty,
            detach_keys: keys,
            forward: args.on_by_default("sig-proxy").then_some(&forward),
        },
    )?;
    run_command::finish(&engine, &id, ending)
}
