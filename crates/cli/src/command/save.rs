//! `save`: images into an archive.

use std::path::Path;

use hull_engine::container;
use hull_engine::image::{self, SaveRequest};

use super::Command;
use super::export::Output;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::terminal;

pub(crate) const COMMAND: Command = Command {
    names: &["save", "image save"],
    synopsis: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Save images to an archive, which is an OCI image layout, too",
    flags: &[
        Flag::string("output")
            .short('o')
            .help("Write to this file instead of standard output"),
        Flag::string("platform").help("The platform that the images must be for, os[/arch[/variant]]"),
    ],
    count: Count::AtLeast(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let request = SaveRequest {
        names: args.args().to_vec(),
        platform: args.value("platform").map(str::parse).transpose()?,
    };
    let path = args.value("output").filter(|path| !path.is_empty());
    let engine = ctx.engine();
    let Some(path) = path else {
        if terminal::stdout_is_terminal() {
            return Err(Failure::new(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        let output = rustix::io::dup(rustix::stdio::stdout())?;
        // Not a pipe, or not allowed: as it was.
        let _ = rustix::pipe::fcntl_setpipe_size(&output, 1 << 20);
        image::save(&engine, &request)?.write("standard output", output)?;
        return Ok(0);
    };
    container::check_output(path).map_err(|e| Failure::new(format!("failed to save image: {e}")))?;
    // Looked for before a file is made.
    let images = image::save(&engine, &request)?;
    let output = Output::create(Path::new(path))?;
    images.write(path, output.descriptor()?)?;
    output.publish()?;
    Ok(0)
}
