//! `top`.

use hull_engine::container;

use super::Command;
use crate::args::{Count, Matches};
use crate::context::Context;
use crate::error::Outcome;
use crate::output::{self, table};

/// The least width of a column, which Docker has wider here than in its lists.
const WIDTH: usize = 20;

pub(crate) const COMMAND: Command = Command {
    names: &["top", "container top"],
    synopsis: "CONTAINER [ps OPTIONS]",
    about: "Show the processes of a container",
    flags: &[],
    count: Count::AtLeast(1),
    interspersed: false,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    print(&container::top(&ctx.engine(), args.arg(), &args.args()[1..])?)
}

/// Prints processes as a table.
pub(super) fn print(processes: &container::Processes) -> Outcome {
    let mut text = processes.titles.join("\t") + "\n";
    for row in &processes.rows {
        text.push_str(&row.join("\t"));
        text.push('\n');
    }
    output::print(&table::layout_wide(&text, WIDTH))?;
    Ok(0)
}
