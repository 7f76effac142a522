//! `load`: images out of an archive.

use std::path::Path;

use hull_engine::image::{self, Input, LoadRequest, Loaded};

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, print_line, reason};
use crate::progress::{Show, Words};
use crate::terminal;

pub(crate) const COMMAND: Command = Command {
    names: &["load", "image load"],
    synopsis: "[OPTIONS]",
    about: "Load images from an archive or a folder of images",
    flags: &[
        Flag::string("input")
            .short('i')
            .help("Read from this archive or folder instead of standard input"),
        Flag::string("platform").help("Of an image for several platforms, load the one for this, os[/arch[/variant]]"),
        Flag::switch("quiet")
            .short('q')
            .help("Show no progress, which there is on a terminal only"),
    ],
    count: Count::None,
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let path = args.value("input").filter(|path| !path.is_empty());
    let input = match path {
        Some(path) => {
            // Docker's words, before anything is made.
            std::fs::metadata(path).map_err(|e| Failure::new(format!("open {path}: {}", reason(&e))))?;
            Input::Path(Path::new(path))
        }
        None if terminal::stdin_is_terminal() => {
            return Err(Failure::new("requested load from stdin, but stdin is empty"));
        }
        None => Input::Descriptor(rustix::io::dup(rustix::stdio::stdin())?),
    };
    let show = match terminal::stdout_is_terminal() && !args.on("quiet") {
        true => Show::Stdout,
        false => Show::Nothing,
    };
    let request = LoadRequest {
        input,
        platform: args.value("platform").map(str::parse).transpose()?,
    };
    let mut failed = None;
    let mut each = |loaded: Loaded| {
        let line = match loaded {
            Loaded::Name(name) => format!("Loaded image: {}", name.familiar()),
            Loaded::Id(id) => format!("Loaded image ID: {id}"),
            Loaded::Renamed(name, id) => format!(
                "The image {} already exists, renaming the old one with ID {id} to empty string",
                name.familiar()
            ),
        };
        // What is loaded is loaded: the rest is, too, and the failure is told in the end.
        if let Err(failure) = print_line(&line) {
            failed.get_or_insert(failure);
        }
    };
    image::load(&ctx.engine(), request, &show.progress_in(Words::Load), &mut each)?;
    ctx.tidy();
    match failed {
        Some(failure) => Err(failure),
        None => Ok(0),
    }
}
