//! `volume update`: of cluster volumes only, as in Docker.

use hull_engine::volume;

use crate::args::{Count, Flag, Matches};
use crate::command::Command;
use crate::context::Context;
use crate::error::{Failure, Outcome};

pub(in crate::command) const COMMAND: Command = Command {
    names: &["volume update"],
    synopsis: "[OPTIONS] [VOLUME]",
    about: "Update a volume (cluster volumes only, which hull does not have)",
    flags: &[Flag::string("availability")
        .default("\"active\"")
        .help("Cluster Volume availability (\"active\", \"pause\", \"drain\")")],
    count: Count::Exactly(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    volume::inspect(&ctx.engine(), args.arg())?;
    Err(Failure::new("Can only update cluster volumes"))
}
