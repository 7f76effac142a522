//! `wait`.

use hull_engine::container;

use super::Command;
use crate::args::{Count, Matches};
use crate::context::Context;
use crate::error::{Outcome, for_each};

pub(crate) const COMMAND: Command = Command {
    names: &["wait", "container wait"],
    synopsis: "CONTAINER [CONTAINER...]",
    about: "Wait until containers stop, and print their exit codes",
    flags: &[],
    count: Count::AtLeast(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    for_each(args.args(), |name| {
        Ok(Some(container::wait(&engine, name)?.to_string()))
    })
}
