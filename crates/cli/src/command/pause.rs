//! `pause` and `unpause`.

use hull_engine::container;

use super::Command;
use crate::args::{Count, Matches};
use crate::context::Context;
use crate::error::{Outcome, for_each};

pub(crate) const COMMAND: Command = Command {
    names: &["pause", "container pause"],
    synopsis: "CONTAINER [CONTAINER...]",
    about: "Pause all processes of containers",
    flags: &[],
    count: Count::AtLeast(1),
    interspersed: true,
    run: |args, ctx| each(args, ctx, container::pause),
};

pub(crate) const UNPAUSE: Command = Command {
    names: &["unpause", "container unpause"],
    synopsis: "CONTAINER [CONTAINER...]",
    about: "Let the processes of paused containers go on",
    flags: &[],
    count: Count::AtLeast(1),
    interspersed: true,
    run: |args, ctx| each(args, ctx, container::unpause),
};

fn each(args: &Matches, ctx: &Context, act: fn(&hull_engine::Engine, &str) -> hull_engine::Result<()>) -> Outcome {
    let engine = ctx.engine();
    for_each(args.args(), |name| {
        act(&engine, name)?;
        Ok(Some(name.to_owned()))
    })
}
