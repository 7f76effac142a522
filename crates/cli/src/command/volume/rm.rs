//! `volume rm`.

use hull_engine::volume;

use crate::args::{Count, Flag, Matches};
use crate::command::Command;
use crate::context::Context;
use crate::error::{Outcome, for_each};

pub(in crate::command) const COMMAND: Command = Command {
    names: &["volume rm", "volume remove"],
    synopsis: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Remove one or more volumes that no container uses",
    flags: &[Flag::switch("force")
        .short('f')
        .help("A volume that is not there is no failure")],
    count: Count::AtLeast(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    let force = args.on("force");
    for_each(args.args(), |name| {
        volume::remove(&engine, name, force)?;
        Ok(Some(name.to_owned()))
    })
}
