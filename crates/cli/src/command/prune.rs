//! `container prune`, `image prune` and `system prune`.

use hull_engine::filter::Filters;
use hull_engine::{container, image, volume};
use hull_store::image::Removed;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result};
use crate::output::{self, filter, size};

const FORCE: Flag = Flag::switch("force").short('f').help("Do not prompt for confirmation");

pub(crate) const CONTAINER: Command = Command {
    names: &["container prune"],
    synopsis: "[OPTIONS]",
    about: "Remove all stopped containers",
    flags: &[filter::LONG_FLAG, FORCE],
    count: Count::None,
    interspersed: true,
    run: |args, ctx| {
        let warning = "WARNING! This will remove all stopped containers.";
        if !agreed(args, warning)? {
            return Ok(0);
        }
        finish(&containers(ctx, filter::read(args))?)
    },
};

pub(crate) const IMAGE: Command = Command {
    names: &["image prune"],
    synopsis: "[OPTIONS]",
    about: "Remove unused images",
    flags: &[
        Flag::switch("all")
            .short('a')
            .help("Remove all unused images, not just dangling ones"),
        filter::LONG_FLAG,
        FORCE,
    ],
    count: Count::None,
    interspersed: true,
    run: |args, ctx| {
        let all = args.on("all");
        let which = if all { ALL_IMAGES } else { DANGLING };
        if !agreed(args, &format!("WARNING! This will remove {which}."))? {
            return Ok(0);
        }
        finish(&images(ctx, filter::read(args), all)?)
    },
};

pub(crate) const SYSTEM: Command = Command {
    names: &["system prune"],
    synopsis: "[OPTIONS]",
    about: "Remove unused data",
    flags: &[
        Flag::switch("all")
            .short('a')
            .help("Remove all unused images not just dangling ones"),
        filter::LONG_FLAG,
        FORCE,
        Flag::switch("volumes").help("Prune anonymous volumes"),
    ],
    count: Count::None,
    interspersed: true,
    run: system,
};

const DANGLING: &str = "all dangling images";
const ALL_IMAGES: &str = "all images without at least one container associated to them";

fn system(args: &Matches, ctx: &Context) -> Outcome {
    let filters = filter::read(args);
    let (all, volumes) = (args.on("all"), args.on("volumes"));
    if volumes && filters.has("until") {
        return Err(Failure::new(
            "ERROR: The \"until\" filter is not supported with \"--volumes\"",
        ));
    }
    let given: Vec<&str> = args.values("filter").collect();
    if !agreed(args, &warning(all, volumes, &given))? {
        return Ok(0);
    }
    let mut pruned = vec![containers(ctx, filters.clone())?];
    if volumes {
        pruned.push(unnamed_volumes(ctx, filters.clone())?);
    }
    pruned.push(images(ctx, filters, all)?);
    let whole = Pruned {
        text: pruned.iter().map(|part| part.text.as_str()).collect(),
        bytes: pruned.iter().map(|part| part.bytes).sum(),
    };
    finish(&whole)
}

/// Docker's list of what will go. There are no networks of a user's own and no build cache to remove.
fn warning(all: bool, volumes: bool, filters: &[&str]) -> String {
    let mut lines = vec![
        "all stopped containers",
        "all networks not used by at least one container",
    ];
    if volumes {
        lines.push("all anonymous volumes not used by at least one container");
    }
    lines.extend(if all {
        [ALL_IMAGES, "all build cache"]
    } else {
        [DANGLING, "unused build cache"]
    });
    let list = |lines: &[&str]| lines.iter().map(|line| format!("  - {line}\n")).collect::<String>();
    let mut text = format!("WARNING! This will remove:\n{}", list(&lines));
    if !filters.is_empty() {
        text += &format!("\n  Items to be pruned will be filtered with:\n{}", list(filters));
    }
    text
}

fn agreed(args: &Matches, warning: &str) -> Result<bool> {
    Ok(args.on("force") || output::confirm(warning)?)
}

/// What went, as Docker tells it.
struct Pruned {
    text: String,
    bytes: u64,
}

impl Pruned {
    fn new(title: &str, lines: &[String], bytes: u64) -> Self {
        let text = match lines {
            [] => String::new(),
            lines => format!("Deleted {title}:\n{}\n\n", lines.join("\n")),
        };
        Self { text, bytes }
    }
}

fn finish(pruned: &Pruned) -> Outcome {
    output::print(&format!(
        "{}Total reclaimed space: {}\n",
        pruned.text,
        size::long(pruned.bytes)
    ))?;
    Ok(0)
}

fn containers(ctx: &Context, filters: Filters) -> Result<Pruned> {
    let engine = ctx.engine();
    // Those that died unseen are buried first.
    container::recover(&engine)?;
    let pruned = container::prune(&engine, &container::PruneRequest { filters })?;
    Ok(Pruned::new("Containers", &pruned.ids, pruned.bytes))
}

fn images(ctx: &Context, mut filters: Filters, all: bool) -> Result<Pruned> {
    if all {
        filters.add("dangling", "false");
    }
    let engine = ctx.engine();
    if !engine.data.exists() {
        return Ok(Pruned::new("Images", &[], 0));
    }
    let pruned = image::prune(&engine, &image::PruneRequest { filters })?;
    let lines = pruned.removed.iter().map(|removed| match removed {
        Removed::Untagged(reference) => format!("untagged: {}", reference.familiar()),
        Removed::Deleted(digest) => format!("deleted: {digest}"),
    });
    Ok(Pruned::new("Images", &lines.collect::<Vec<_>>(), pruned.bytes))
}

fn unnamed_volumes(ctx: &Context, filters: Filters) -> Result<Pruned> {
    let pruned = volume::prune(&ctx.engine(), &volume::PruneRequest { filters })?;
    Ok(Pruned::new("Volumes", &pruned.names, pruned.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_dockers() {
        assert_eq!(
            warning(false, false, &[]),
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  \
             - all dangling images\n  - unused build cache\n"
        );
        assert_eq!(
            warning(true, true, &["label=x", "label!=y"]),
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  \
             - all anonymous volumes not used by at least one container\n  - all images without at least one container \
             associated to them\n  - all build cache\n\n  Items to be pruned will be filtered with:\n  - label=x\n  - \
             label!=y\n"
        );
    }
}
