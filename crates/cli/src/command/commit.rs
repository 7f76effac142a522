//! `commit`: an image out of a container.

use hull_engine::container::{self, CommitRequest};
use hull_spec::Reference;

use super::{Command, cp};
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, print_line};

pub(crate) const COMMAND: Command = Command {
    names: &["commit", "container commit"],
    synopsis: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    about: "Make an image of a container's files",
    flags: &[
        Flag::string("author")
            .short('a')
            .help("Who made it, such as \"John Hannibal Smith <hannibal@a-team.com>\""),
        Flag::list("change")
            .short('c')
            .help("Change how the image runs by an instruction of a Dockerfile"),
        Flag::string("message").short('m').help("A remark"),
        Flag::switch("pause")
            .short('p')
            .default("true")
            .help("Freeze a running container meanwhile"),
    ],
    count: Count::Between(1, 2),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let name = args.args().get(1).filter(|name| !name.is_empty());
    let name = name.map(|name| reference(name)).transpose()?;
    let request = CommitRequest {
        author: args.text("author"),
        comment: args.text("message"),
        changes: args.list("change"),
        pause: args.on_by_default("pause"),
        name,
    };
    let mut skipped = |path: &[u8]| cp::socket(ctx, path);
    let id = container::commit(&ctx.engine(), args.arg(), &request, &mut skipped)?;
    print_line(id.as_str())?;
    Ok(0)
}

fn reference(text: &str) -> Result<Reference, Failure> {
    let reference: Reference = text.parse().map_err(|e| Failure::from(anyhow::Error::from(e)))?;
    if reference.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    Ok(reference.or_latest())
}
