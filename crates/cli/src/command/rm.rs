//! `rm`.

use hull_engine::container::{self, RemoveRequest};
use hull_spec::ErrorKind;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, for_each};

pub(crate) const COMMAND: Command = Command {
    names: &["rm", "container rm", "container remove"],
    synopsis: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Remove containers",
    flags: &[
        Flag::switch("force")
            .short('f')
            .help("Kill it first if it runs; a missing one is no failure"),
        Flag::switch("link")
            .short('l')
            .refused("links are not there: use a network of your own when hull has them"),
        Flag::switch("volumes")
            .short('v')
            .help("Remove its anonymous volumes, too"),
    ],
    count: Count::AtLeast(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    let request = RemoveRequest {
        force: args.on("force"),
        volumes: args.on("volumes"),
    };
    let mut missing = Vec::new();
    let code = for_each(args.args(), |name| match container::remove(&engine, name, &request) {
        Ok(()) => Ok(Some(name.to_owned())),
        Err(e) if request.force && e.kind() == ErrorKind::NotFound => {
            missing.push(Failure::from(e));
            Ok(None)
        }
        Err(e) => Err(e.into()),
    })?;
    // What killed commands and monitors left is cleared in passing, once for all names.
    let _ = container::recover(&engine);
    // Told, but no failure: what was asked for is so.
    for failure in missing {
        failure.report();
    }
    Ok(code)
}
