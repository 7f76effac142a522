//! `push`.

use std::sync::Arc;

use hull_engine::event;
use hull_registry::copy::Copied;
use hull_registry::{Client, PushOptions};
use hull_spec::manifest::Compression;
use hull_spec::{ErrorKind, Reference};
use hull_store::Access;
use hull_store::recompress::Form;

use super::{Command, pull};
use crate::args::{Count, Flag, Matches};
use crate::container::refuse_content_trust;
use crate::context::Context;
use crate::error::{Failure, Outcome, Result, USAGE, print_line};
use crate::progress::Show;

pub(crate) const COMMAND: Command = Command {
    names: &["push", "image push"],
    synopsis: "[OPTIONS] NAME[:TAG]",
    about: "Upload an image to a registry",
    flags: &[
        Flag::switch("all-platforms").help("Push every platform of the index that the image came in, with the index"),
        Flag::switch("all-tags")
            .short('a')
            .help("Push all tags of an image to the repository"),
        COMPRESSION,
        DIGEST_FILE,
        Flag::switch("disable-content-trust").default("true").hidden(),
        LEVEL,
        Flag::string("platform").help("Push one platform of the index that the image came in, os[/arch[/variant]]"),
        Flag::switch("quiet").short('q').help("Suppress verbose output"),
    ],
    count: Count::Exactly(1),
    interspersed: true,
    run,
};

pub(super) const COMPRESSION: Flag = Flag::string("compression")
    .checked(check_compression)
    .help("How layers are to be compressed: gzip or zstd");
pub(super) const LEVEL: Flag =
    Flag::int("level").help("How hard they are compressed: 1 to 9 for gzip, 1 to 22 for zstd");
pub(super) const DIGEST_FILE: Flag = Flag::string("digestfile").help("Write the image's digest to this file");

fn check_compression(text: &str) -> std::result::Result<(), String> {
    match text {
        "gzip" | "zstd" => Ok(()),
        "zstd:chunked" => Err("zstd:chunked is not there yet".to_owned()),
        _ => Err("must be gzip or zstd".to_owned()),
    }
}

/// What `--compression` and `--level` ask for.
pub(super) fn form(args: &Matches) -> Result<Option<Form>> {
    let compression = match args.value("compression") {
        Some("zstd") => Compression::Zstd,
        Some(_) => Compression::Gzip,
        None if args.changed("level") => {
            return Err(Failure::new("--level needs --compression").code(USAGE));
        }
        None => return Ok(None),
    };
    let most = if compression == Compression::Zstd { 22 } else { 9 };
    let level = match args.int("level") {
        Some(level) => match u32::try_from(level) {
            Ok(level) if (1..=most).contains(&level) => Some(level),
            _ => return Err(Failure::new(format!("--level must be 1 to {most}")).code(USAGE)),
        },
        None => None,
    };
    Ok(Some(Form { compression, level }))
}

/// Writes a digest where `--digestfile` says.
pub(super) fn write_digest(args: &Matches, copied: &Copied) -> Result<()> {
    let Some(path) = args.value("digestfile") else {
        return Ok(());
    };
    std::fs::write(path, copied.digest.as_str())
        .map_err(|e| anyhow::Error::from(e).context(format!("cannot write `{path}`")).into())
}

fn run(args: &Matches, ctx: &Context) -> Outcome {
    refuse_content_trust(args).map_err(|e| Failure::new(e).code(USAGE))?;
    let reference: Reference = args.arg().parse()?;
    let options = PushOptions {
        all: args.on("all-platforms"),
        platform: ctx
            .platform(args.value("platform"))?
            .filter(|_| args.changed("platform")),
        form: form(args)?,
        memory: Some(ctx.settings.root.join("packed")),
    };
    if options.all && options.platform.is_some() {
        return Err(Failure::new("--all-platforms and --platform cannot be used together").code(USAGE));
    }
    let show = if args.on("quiet") { Show::Nothing } else { Show::Stdout };
    if reference.digest().is_some() {
        return Err(Failure::new("cannot push a digest reference"));
    }
    let all_tags = args.on("all-tags");
    if all_tags && reference.tag().is_some() {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    if all_tags && args.changed("digestfile") {
        return Err(Failure::new("--digestfile takes the digest of one image, not of --all-tags").code(USAGE));
    }
    if reference.tag().is_none() && !all_tags {
        show.print("Using default tag: latest");
    }
    // An engine of its own: the store is opened for writing.
    let engine = ctx.engine();
    let store = engine.store(Access::Write)?;
    show.print(&format!("The push refers to repository [{}]", reference.name()));
    let tagged = tags(&hull_store::image::list(store)?, &reference);
    if tagged.is_empty() {
        let name = reference.familiar_name();
        return Err(Failure::new(format!(
            "An image does not exist locally with the tag: {name}"
        )));
    }
    let wanted = if all_tags {
        tagged
    } else {
        vec![reference.clone().or_latest()]
    };
    let client = Arc::new(Client::new(pull::settings(ctx)?));
    for reference in &wanted {
        let pushed =
            hull_registry::push(store, &client, reference, &options, &show.progress()).map_err(|e| match e {
                hull_registry::Error::Store(e @ hull_store::Error::NoImage { .. })
                    if e.kind() == ErrorKind::NotFound =>
                {
                    Failure::new(format!("tag does not exist: {}", reference.familiar()))
                }
                e => e.into(),
            })?;
        let image = hull_engine::image::find(&engine, &reference.to_string()).ok();
        let (id, name) = (reference.familiar(), reference.familiar_name());
        event::image(&engine, "push", &id, &name, image.as_ref());
        write_digest(args, &pushed)?;
    }
    if show == Show::Nothing {
        let printed = if all_tags { reference } else { reference.or_latest() };
        print_line(&printed.to_string())?;
    }
    Ok(0)
}

/// All names of images in the repository, sorted.
fn tags(images: &[hull_store::image::Summary], repository: &Reference) -> Vec<Reference> {
    let names = images.iter().flat_map(|image| &image.tags);
    let mut tags: Vec<Reference> = names.filter(|name| name.name() == repository.name()).cloned().collect();
    tags.sort();
    tags
}
