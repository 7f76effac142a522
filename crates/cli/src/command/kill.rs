//! `kill`.

use hull_engine::container;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, for_each};

pub(crate) const COMMAND: Command = Command {
    names: &["kill", "container kill"],
    synopsis: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Send a signal to running containers",
    flags: &[Flag::string("signal")
        .short('s')
        .help("The signal, by name or number (KILL unless given)")],
    count: Count::AtLeast(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    let signal = args.value("signal").filter(|s| !s.is_empty()).unwrap_or("KILL");
    for_each(args.args(), |name| {
        container::kill(&engine, name, signal)
            .map_err(|e| Failure::new(format!("cannot kill container: {name}: {e}")))?;
        Ok(Some(name.to_owned()))
    })
}
