//! `rmi`.

use hull_engine::image;
use hull_store::image::Removed;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, for_each};
use hull_spec::ErrorKind;

pub(crate) const COMMAND: Command = Command {
    names: &["rmi", "image rm", "image remove"],
    synopsis: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove images",
    flags: &[
        Flag::switch("force")
            .short('f')
            .help("Remove it although a stopped container uses it; a missing one is no failure"),
        // An image has no untagged parents here, so none is ever deleted.
        Flag::switch("no-prune").help("Keep untagged parents; there are none, so this changes nothing"),
        Flag::list("platform")
            .named("strings")
            .refused("an image has one platform here: remove the image itself"),
    ],
    count: Count::AtLeast(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    let force = args.on("force");
    let mut missing = Vec::new();
    let code = for_each(args.args(), |name| match image::remove(&engine, name, force) {
        Ok(removed) => Ok(Some(lines(&removed))),
        Err(e) if force && e.kind() == ErrorKind::NotFound => {
            missing.push(Failure::from(e));
            Ok(None)
        }
        Err(e) => Err(e.into()),
    })?;
    // Told, but no failure: what was asked for is so.
    for failure in missing {
        failure.report();
    }
    Ok(code)
}

/// Docker's lines.
fn lines(removed: &[Removed]) -> String {
    let lines = removed.iter().map(|removed| match removed {
        Removed::Untagged(reference) => format!("Untagged: {}", reference.familiar()),
        Removed::Deleted(digest) => format!("Deleted: {digest}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}
