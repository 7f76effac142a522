//! `import`: an image out of an archive of files.

use std::fs::File;
use std::io::Read;

use hull_engine::image::{self, ImportRequest};
use hull_spec::Reference;

use super::{Command, pull};
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result, print_line, reason};
use crate::progress::Show;

pub(crate) const COMMAND: Command = Command {
    names: &["import", "image import"],
    synopsis: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    about: "Make an image of an archive of files",
    flags: &[
        Flag::list("change")
            .short('c')
            .help("Change how the image runs by an instruction of a Dockerfile"),
        Flag::string("message")
            .short('m')
            .help("A remark for the image's history"),
        Flag::string("platform").help("The platform that the files are for, os[/arch[/variant]]"),
    ],
    count: Count::AtLeast(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let source = args.arg();
    let name = args.args().get(1).filter(|name| !name.is_empty());
    let remote = source.starts_with("http://") || source.starts_with("https://");
    let message = args.value("message").filter(|text| !text.is_empty());
    let request = ImportRequest {
        changes: args.list("change"),
        // The daemon sees a local file as its standard input.
        message: message.map_or_else(
            || format!("Imported from {}", if remote { source } else { "-" }),
            str::to_owned,
        ),
        platform: args
            .value("platform")
            .filter(|p| !p.is_empty())
            .map(str::parse)
            .transpose()?,
        name: name.map(|name| reference(name)).transpose()?,
    };
    let mut input: Box<dyn Read + Send> = match source {
        "-" => Box::new(File::from(rustix::io::dup(rustix::stdio::stdin())?)),
        url if remote => {
            Show::Stderr.print(&format!("Downloading from {url}"));
            hull_registry::open_url(&pull::settings(ctx)?, url)?
        }
        path => {
            let opened = File::open(path).map_err(|e| Failure::new(format!("open {path}: {}", reason(&e))))?;
            Box::new(opened)
        }
    };
    let id = image::import(&ctx.engine(), &mut *input, &request)?;
    print_line(id.as_str())?;
    ctx.tidy();
    Ok(0)
}

fn reference(text: &str) -> Result<Reference> {
    let reference: Reference = text.parse()?;
    if reference.digest().is_some() {
        return Err(Failure::new("cannot import digest reference"));
    }
    Ok(reference.or_latest())
}
