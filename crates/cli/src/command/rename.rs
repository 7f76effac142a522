//! `rename`.

use hull_engine::container;

use super::Command;
use crate::args::{Count, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, note};

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
    let Err(e) = container::rename(&ctx.engine(), old.trim(), new.trim()) else {
        return Ok(0);
    };
    let code = Failure::from(e).report();
    note(&format!("failed to rename container named {}", old.trim()));
    Ok(code)
}
