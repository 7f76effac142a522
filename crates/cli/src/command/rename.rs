//! `rename`.

use hull_engine::container;

use super::Command;
use crate::args::{Count, Matches};
use crate::context::Context;
use crate::error::Outcome;

pub(crate) const COMMAND: Command = Command {
    names: &["rename", "container rename"],
    synopsis: "CONTAINER NEW_NAME",
    about: "Give a container another name",
    flags: &[],
    count: Count::Exactly(2),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let [old, new] = args.args() else { return Ok(1) };
    container::rename(&ctx.engine(), old.trim(), new.trim())?;
    Ok(0)
}
