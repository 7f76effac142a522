//! `inspect`, `container inspect` and `image inspect`.

use hull_engine::{Engine, container, image, network, volume};
use hull_spec::ErrorKind;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{FAILED, Failure, Outcome, Result};
use crate::output;
use crate::output::data::Data;
use crate::output::json::{self, Json};
use crate::output::template::Template;

pub(super) const FORMAT: Flag = Flag::string("format").short('f').help(
    "Format output using a custom template: 'json' prints in JSON format, and 'TEMPLATE' prints using the given Go template",
);
const SIZE: Flag = Flag::switch("size")
    .short('s')
    .help("Display total file sizes if the type is container");

pub(crate) const COMMAND: Command = Command {
    names: &["inspect"],
    synopsis: "[OPTIONS] NAME|ID [NAME|ID...]",
    about: "Return low-level information on objects",
    flags: &[
        FORMAT,
        SIZE,
        Flag::string("type").help("Return JSON for the specified type: container, image, network or volume"),
    ],
    count: Count::AtLeast(1),
    interspersed: true,
    run: |args, ctx| {
        let kind = args.value("type").map_or(Ok(Kind::Any), kind)?;
        show(args, ctx, kind, args.on("size"))
    },
};

pub(crate) const CONTAINER: Command = Command {
    names: &["container inspect"],
    synopsis: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Display detailed information on one or more containers",
    flags: &[FORMAT, SIZE],
    count: Count::AtLeast(1),
    interspersed: true,
    run: |args, ctx| show(args, ctx, Kind::Container, args.on("size")),
};

pub(crate) const IMAGE: Command = Command {
    names: &["image inspect"],
    synopsis: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Display detailed information on one or more images",
    flags: &[FORMAT],
    count: Count::AtLeast(1),
    interspersed: true,
    run: |args, ctx| show(args, ctx, Kind::Image, false),
};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A container, or else an image, a network, or a volume.
    Any,
    Container,
    Image,
    Network,
    Volume,
    /// There are none.
    Plugin,
}

fn kind(text: &str) -> Result<Kind> {
    match text {
        "container" => Ok(Kind::Container),
        "image" => Ok(Kind::Image),
        "network" => Ok(Kind::Network),
        "volume" => Ok(Kind::Volume),
        "plugin" => Ok(Kind::Plugin),
        "node" | "secret" | "service" | "task" | "config" => Err(Failure::new(format!(
            "hull has no swarm: there is no {text} to inspect"
        ))),
        text => Err(Failure::new(format!(
            "{}: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \
             \"plugin\", \"secret\", \"service\", \"task\", \"volume\"",
            if text.is_empty() {
                "type is empty".to_owned()
            } else {
                format!("unknown type: \"{text}\"")
            }
        ))),
    }
}

pub(super) fn show(args: &Matches, ctx: &Context, kind: Kind, with_size: bool) -> Outcome {
    let engine = ctx.engine();
    let template = match args.value("format").unwrap_or_default() {
        "" | "json" => None,
        source => Some(
            Template::parse(source).map_err(|e| Failure::new(format!("template parsing error: {e}")).code(TEMPLATE))?,
        ),
    };
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in args.args() {
        let name = name.strip_prefix('/').unwrap_or(name);
        match look_up(&engine, name, kind, with_size) {
            Ok(json) => found.push(json),
            Err(failure) => failures.push(failure),
        }
    }
    match (template, args.value("format")) {
        (Some(template), _) => {
            let (mut text, mut wrong) = (String::new(), None);
            for json in &found {
                match template.execute(&Data::document(json)) {
                    Ok(more) => text += &format!("{more}\n"),
                    Err(e) => {
                        wrong = Some(e);
                        break;
                    }
                }
            }
            if text.is_empty() {
                // Docker ends the line that it did not begin.
                text.push('\n');
            }
            output::print(&text)?;
            if let Some(e) = wrong {
                return Err(Failure::new(format!("template parsing error: {e}")));
            }
        }
        (None, Some("json")) => output::print(&format!("{}\n", serde_json::to_string(&found)?))?,
        (None, _) => output::print(&format!("{}\n", json::pretty(&found)?))?,
    }
    let code = if failures.is_empty() { 0 } else { FAILED };
    for failure in &failures {
        failure.report();
    }
    Ok(code)
}

/// Docker's exit code for a malformed template.
const TEMPLATE: u8 = 64;

fn look_up(engine: &Engine, name: &str, kind: Kind, with_size: bool) -> Result<Json> {
    // What is no image's name is nothing's name.
    let passes = |kinds: &[ErrorKind], found: ErrorKind| kind == Kind::Any && kinds.contains(&found);
    if matches!(kind, Kind::Any | Kind::Container) {
        match container::inspect(engine, name, with_size) {
            Ok(found) => return Ok(Json::of(&found)?),
            Err(e) if passes(&[ErrorKind::NotFound], e.kind()) => {}
            Err(e) => return Err(e.into()),
        }
    }
    if matches!(kind, Kind::Any | Kind::Image) {
        match image::inspect(engine, name) {
            Ok(found) => return Ok(Json::of(&found)?),
            Err(e) if passes(&[ErrorKind::NotFound, ErrorKind::Invalid], e.kind()) => {}
            Err(e) => return Err(e.into()),
        }
    }
    if matches!(kind, Kind::Any | Kind::Network) {
        match network::inspect(engine, name) {
            Ok(found) => return Ok(Json::of(&found)?),
            Err(e) if passes(&[ErrorKind::NotFound], e.kind()) => {}
            Err(e) => return Err(e.into()),
        }
    }
    if kind == Kind::Plugin {
        return Err(Failure::new(format!("plugin \"{name}\" not found")));
    }
    match volume::inspect(engine, name) {
        Ok(found) => Ok(Json::of(&found)?),
        Err(e) if passes(&[ErrorKind::NotFound], e.kind()) => Err(Failure::new(format!("No such object: {name}"))),
        Err(e) => Err(e.into()),
    }
}
