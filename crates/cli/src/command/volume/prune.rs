//! `volume prune`.

use hull_engine::volume::{self, PruneRequest};

use crate::args::{Count, Flag, Matches};
use crate::command::Command;
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::{self, filter, size};

pub(in crate::command) const COMMAND: Command = Command {
    names: &["volume prune"],
    synopsis: "[OPTIONS]",
    about: "Remove unused local volumes",
    flags: &[
        Flag::switch("all")
            .short('a')
            .help("Remove all unused volumes, not just anonymous ones"),
        filter::LONG_FLAG,
        Flag::switch("force").short('f').help("Do not prompt for confirmation"),
    ],
    count: Count::AtMost(0),
    interspersed: true,
    run,
};

const ANONYMOUS: &str = "WARNING! This will remove anonymous local volumes not used by at least one container.";
const ALL: &str = "WARNING! This will remove all local volumes not used by at least one container.";

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let mut filters = filter::read(args);
    let all = args.on("all");
    if all && filters.has("all") {
        return Err(Failure::new(
            "conflicting options: cannot specify both --all and --filter all=1",
        ));
    }
    if all {
        filters.add("all", "true");
    }
    let warning = if all { ALL } else { ANONYMOUS };
    if !args.on("force") && !output::confirm(warning)? {
        return Ok(0);
    }
    let pruned = volume::prune(&ctx.engine(), &PruneRequest { filters })?;
    let mut text = String::new();
    if !pruned.names.is_empty() {
        text = format!("Deleted Volumes:\n{}\n\n", pruned.names.join("\n"));
    }
    output::print(&format!("{text}Total reclaimed space: {}\n", size::short(pruned.bytes)))?;
    Ok(0)
}
