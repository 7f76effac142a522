//! `stop`.

use hull_engine::container;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result, for_each, note};

pub(crate) const COMMAND: Command = Command {
    names: &["stop", "container stop"],
    synopsis: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop running containers",
    flags: FLAGS,
    count: Count::AtLeast(1),
    interspersed: true,
    run,
};

/// Of `stop` and of `restart`.
pub(super) const FLAGS: &[Flag] = &[
    Flag::string("signal")
        .short('s')
        .help("Signal that asks it to stop, instead of its own"),
    Flag::int("timeout")
        .short('t')
        .help("Seconds until it is killed; -1 to wait for ever"),
    Flag::int("time").hidden(),
];

fn run(args: &Matches, ctx: &Context) -> Outcome {
    check_time(args)?;
    let engine = ctx.engine();
    let timeout = args.int("timeout").or_else(|| args.int("time"));
    for_each(args.args(), |name| {
        container::stop(&engine, name, args.value("signal"), timeout).map_err(|e| cannot("stop", name, e))?;
        Ok(Some(name.to_owned()))
    })
}

/// `--time` is `--timeout` of older clients.
pub(super) fn check_time(args: &Matches) -> Result<()> {
    if args.changed("time") && args.changed("timeout") {
        return Err(Failure::new(
            "conflicting options: cannot specify both --timeout and --time",
        ));
    }
    if args.changed("time") {
        note("Flag --time has been deprecated, use --timeout instead");
    }
    Ok(())
}

/// A failed act, in one line as Docker has it; what no container has or does is told bare.
pub(super) fn cannot(act: &str, name: &str, e: hull_engine::Error) -> Failure {
    match e {
        e @ (hull_engine::Error::Invalid(_) | hull_engine::Error::NotRunning { .. }) => {
            Failure::new(format!("cannot {act} container: {name}: {e}"))
        }
        e => e.into(),
    }
}
