//! `stop`.

use hull_engine::container;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Outcome, for_each};

pub(crate) const COMMAND: Command = Command {
    names: &["stop", "container stop"],
    synopsis: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop running containers",
    flags: &[
        Flag::string("signal")
            .short('s')
            .help("Signal that asks it to stop, instead of its own"),
        Flag::int("timeout")
            .short('t')
            .help("Seconds until it is killed; -1 to wait for ever"),
        Flag::int("time").hidden(),
    ],
    count: Count::AtLeast(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    let timeout = args.int("timeout").or_else(|| args.int("time"));
    for_each(args.args(), |name| {
        container::stop(&engine, name, args.value("signal"), timeout)?;
        Ok(Some(name.to_owned()))
    })
}
