//! `diff`: what a container has changed of its image's files.

use std::io::Write as _;

use hull_engine::container;
use hull_store::change::Kind;

use super::Command;
use crate::args::{Count, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome};

pub(crate) const COMMAND: Command = Command {
    names: &["diff", "container diff"],
    synopsis: "CONTAINER",
    about: "Show what a container has changed of its image's files",
    flags: &[],
    count: Count::Exactly(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    if args.arg().is_empty() {
        return Err(Failure::new("Container name cannot be empty"));
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for change in container::changes(&ctx.engine(), args.arg())? {
        let letter: &[u8] = match change.kind {
            Kind::Modified => b"C ",
            Kind::Added => b"A ",
            Kind::Deleted => b"D ",
        };
        out.write_all(&[letter, &change.path, b"\n"].concat())?;
    }
    out.flush()?;
    Ok(0)
}
