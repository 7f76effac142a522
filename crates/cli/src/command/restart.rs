//! `restart`.

use hull_engine::container;
use hull_spec::ErrorKind;

use super::{Command, stop};
use crate::args::{Count, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, for_each};

pub(crate) const COMMAND: Command = Command {
    names: &["restart", "container restart"],
    synopsis: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop containers and start them again",
    flags: stop::FLAGS,
    count: Count::AtLeast(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    stop::check_time(args)?;
    let engine = ctx.engine();
    let timeout = args.int("timeout").or_else(|| args.int("time"));
    for_each(args.args(), |name| {
        container::restart(&engine, name, args.value("signal"), timeout).map_err(|e| match e.kind() {
            ErrorKind::NotFound => Failure::from(e),
            _ => anyhow::Error::from(e)
                .context(format!("Cannot restart container {name}"))
                .into(),
        })?;
        Ok(Some(name.to_owned()))
    })
}
