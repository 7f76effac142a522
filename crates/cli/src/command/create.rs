//! `create`, and what `run` shares with it: the request, the image it needs, and the file that gets the ID.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use hull_engine::image::hello;
use hull_engine::{Engine, container};
use hull_spec::container::CreateRequest;
use hull_spec::{Platform, Reference};

use super::{Command, pod, pull};
use crate::args::{Count, Matches};
use crate::container::{Refusal, Surroundings, flags, request};
use crate::context::Context;
use crate::error::{ENGINE, FAILED, Failure, Outcome, Result, note, print_line};
use crate::progress::Show;
use crate::{env, terminal};

pub(crate) const COMMAND: Command = Command {
    names: &["create", "container create"],
    synopsis: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a container without starting it",
    flags: flags::CREATE,
    count: Count::AtLeast(1),
    interspersed: false,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let request = read_request(args, ctx, false)?;
    let engine = ctx.engine();
    let request = pod::enter(args, &engine, request).map_err(|f| f.code(FAILED))?;
    let id = create(args, ctx, &engine, &request).map_err(|f| f.code(FAILED))?;
    print_line(&id)?;
    Ok(0)
}

/// The request that the command line makes. All of it is checked before anything is done. The exit codes are those of
/// `create`, where Docker's client has one and its daemon another.
pub(super) fn read_request(args: &Matches, ctx: &Context, detached: bool) -> Result<CreateRequest> {
    let refused = |refusal: Refusal| {
        let code = match refusal {
            Refusal::Line(_) => ENGINE,
            Refusal::Wish(_) => FAILED,
        };
        Failure::new(refusal.text()).code(code)
    };
    let around = Surroundings {
        directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        variable: &env::passed_on,
        console_size: if args.on("tty") { terminal::size() } else { [0, 0] },
    };
    let mut out = request(args, detached, &around).map_err(refused)?;
    check_name(&out.config.image)?;
    out.platform = ctx.platform(args.value("platform")).map_err(|f| f.code(FAILED))?;
    Policy::read(args)?;
    Ok(out)
}

/// An image is named by a reference, or by its ID.
fn check_name(image: &str) -> std::result::Result<(), hull_spec::Error> {
    let hex = image.strip_prefix("sha256:").unwrap_or(image);
    if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    image.parse::<Reference>().map(drop)
}

/// When the image is pulled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Always,
    Missing,
    Never,
}

impl Policy {
    fn read(args: &Matches) -> Result<Self> {
        match args.value("pull").unwrap_or("missing") {
            "always" => Ok(Self::Always),
            "missing" | "" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            other => Err(Failure::new(format!(
                "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
            ))
            .code(ENGINE)),
        }
    }
}

/// Creates the container, pulling its image as `--pull` says, and writes its ID to the `--cidfile`. Returns the ID.
pub(super) fn create(args: &Matches, ctx: &Context, engine: &Engine, request: &CreateRequest) -> Result<String> {
    let policy = Policy::read(args)?;
    let cidfile = CidFile::claim(&request.host_config.container_id_file)?;
    let image = &request.config.image;
    if policy == Policy::Always {
        pull_image(args, ctx, request)?;
    }
    let embedded = policy == Policy::Missing && is_embedded(request);
    if embedded && hello::is_outdated(engine)? {
        hello::make(&ctx.engine())?;
    }
    let created = match container::create(engine, request) {
        Err(e) if embedded && is_missing_image(&e) => {
            // An engine of its own: this one may have opened the store for reading.
            hello::make(&ctx.engine())?;
            container::create(engine, request)?
        }
        Err(e) if policy == Policy::Missing && is_missing_image(&e) => {
            let name: Reference = image.parse()?;
            note(&format!(
                "Unable to find image '{}' locally",
                name.or_latest().familiar()
            ));
            pull_image(args, ctx, request)?;
            container::create(engine, request)?
        }
        created => created?,
    };
    for warning in &created.warnings {
        ctx.warn(warning);
    }
    cidfile.write(&created.id)?;
    Ok(created.id)
}

/// Whether the image is the one that is made of this binary, for the platform that this binary is for.
fn is_embedded(request: &CreateRequest) -> bool {
    let host = Platform::host();
    hello::is_name(&request.config.image) && request.platform.as_ref().is_none_or(|p| p.rank(&host).is_some())
}

fn is_missing_image(e: &hull_engine::Error) -> bool {
    matches!(
        e,
        hull_engine::Error::NoSuchImage { .. } | hull_engine::Error::Store(hull_store::Error::NoImage { .. })
    )
}

fn pull_image(args: &Matches, ctx: &Context, request: &CreateRequest) -> Result<()> {
    let name: Reference = request.config.image.parse()?;
    let show = if args.on("quiet") { Show::Nothing } else { Show::Stderr };
    pull::pull(ctx, &name.or_latest(), request.platform.clone(), show)?;
    Ok(())
}

/// The file of `--cidfile`: claimed before the container is made, so that two commands cannot share one, and removed
/// where none was made.
struct CidFile(Option<(PathBuf, File)>);

impl CidFile {
    fn claim(path: &str) -> Result<Self> {
        if path.is_empty() {
            return Ok(Self(None));
        }
        let path = PathBuf::from(path);
        let file = File::create_new(&path).map_err(|e| {
            let text = if e.kind() == std::io::ErrorKind::AlreadyExists {
                format!(
                    "container ID file found, make sure the other container isn't running or delete {}",
                    path.display()
                )
            } else {
                format!(
                    "failed to create the container ID file: open {}: {}",
                    path.display(),
                    crate::error::reason(&e)
                )
            };
            Failure::new(text).code(ENGINE)
        })?;
        Ok(Self(Some((path, file))))
    }

    fn write(mut self, id: &str) -> Result<()> {
        if let Some((path, file)) = &mut self.0 {
            file.write_all(id.as_bytes())
                .map_err(|e| Failure::new(format!("cannot write the container ID to `{}`: {e}", path.display())))?;
            self.0 = None;
        }
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
