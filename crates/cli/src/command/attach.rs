//! `attach`: this terminal on a running container.

use hull_engine::container::{self, status};
use hull_spec::container::Status;

use super::{Command, run as run_command};
use crate::args::{Count, Flag, Matches};
use crate::attach::{self, Options, Remote};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::terminal::Raw;

pub(crate) const COMMAND: Command = Command {
    names: &["attach", "container attach"],
    synopsis: "[OPTIONS] CONTAINER",
    about: "Attach to a running container",
    flags: &[
        Flag::string("detach-keys").help("Keys that detach, instead of ctrl-p,ctrl-q"),
        Flag::switch("no-stdin").help("Do not attach standard input"),
        Flag::switch("sig-proxy")
            .default("true")
            .help("Forward signals to the container"),
    ],
    count: Count::Exactly(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    let record = container::find(&engine, args.arg())?;
    match status::derive(&engine, &record)?.status {
        Status::Running => {}
        Status::Paused => {
            return Err(Failure::new(
                "You cannot attach to a paused container, unpause it first",
            ));
        }
        _ => return Err(stopped()),
    }
    let tty = record.config.tty;
    let stdin = record.config.open_stdin && !args.on("no-stdin");
    run_command::check_terminal(stdin, tty)?;
    let keys = run_command::read_detach_keys(args, ctx, tty)?;
    let raw = Raw::prepare(stdin && tty);
    let socket = container::attach(&engine, &record.id).map_err(|e| match e {
        // It has ended meanwhile.
        hull_engine::Error::NotRunning { .. } => stopped(),
        e => e.into(),
    })?;
    let forward = |signal: i32| run_command::forward(&engine, &record.id, signal);
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
    run_command::finish(&engine, &record.id, ending)
}

fn stopped() -> Failure {
    Failure::new("You cannot attach to a stopped container, start it first")
}
