//! `manifest create`, `annotate`, `push`, `inspect` and `rm`.

use std::sync::Arc;

use hull_registry::lists::{Annotations, Entry, Lists};
use hull_registry::{Client, Error};
use hull_spec::manifest::media;
use hull_spec::{Progress, Reference};
use serde_json::value::RawValue;

use super::{Command, pull};
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result, for_each, print_line};
use crate::output::json::Json;

const INSECURE: Flag = Flag::switch("insecure").help("Allow communication with an insecure registry");

pub(crate) const CREATE: Command = Command {
    names: &["manifest create"],
    synopsis: "MANIFEST_LIST MANIFEST [MANIFEST...]",
    about: "Create a local manifest list for annotating and pushing to a registry",
    flags: &[
        Flag::switch("amend").short('a').help("Amend an existing manifest list"),
        INSECURE,
    ],
    count: Count::AtLeast(2),
    interspersed: true,
    run: create,
};

pub(crate) const ANNOTATE: Command = Command {
    names: &["manifest annotate"],
    synopsis: "[OPTIONS] MANIFEST_LIST MANIFEST",
    about: "Add additional information to a local image manifest",
    flags: &[
        Flag::string("arch").help("Set architecture"),
        Flag::string("os").help("Set operating system"),
        Flag::list("os-features")
            .named("strings")
            .help("Set operating system feature"),
        Flag::string("os-version").help("Set operating system version"),
        Flag::string("variant").help("Set architecture variant"),
    ],
    count: Count::Exactly(2),
    interspersed: true,
    run: annotate,
};

pub(crate) const PUSH: Command = Command {
    names: &["manifest push"],
    synopsis: "[OPTIONS] MANIFEST_LIST",
    about: "Push a manifest list to a repository",
    flags: &[
        Flag::switch("insecure").help("Allow push to an insecure registry"),
        Flag::switch("purge")
            .short('p')
            .help("Remove the local manifest list after push"),
    ],
    count: Count::Exactly(1),
    interspersed: true,
    run: push,
};

pub(crate) const INSPECT: Command = Command {
    names: &["manifest inspect"],
    synopsis: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    about: "Display an image manifest, or manifest list",
    flags: &[
        INSECURE,
        Flag::switch("verbose")
            .short('v')
            .help("Output additional info including layers and platform"),
    ],
    count: Count::Between(1, 2),
    interspersed: true,
    run: inspect,
};

pub(crate) const RM: Command = Command {
    names: &["manifest rm"],
    synopsis: "MANIFEST_LIST [MANIFEST_LIST...]",
    about: "Delete one or more manifest lists from local storage",
    flags: &[],
    count: Count::AtLeast(1),
    interspersed: true,
    run: |args, ctx| {
        let lists = lists(args, ctx, &[])?;
        for_each(args.args(), |name| {
            lists.remove(&name.parse::<Reference>()?.or_latest())?;
            Ok(None)
        })
    },
};

/// The lists, and a client for the registries of `names`.
fn lists(args: &Matches, ctx: &Context, names: &[&Reference]) -> Result<Lists> {
    let mut settings = pull::settings(ctx)?;
    if args.knows("insecure") && args.on("insecure") {
        for name in names {
            let registry = settings.registries.entry(name.registry().to_owned());
            registry.or_default().insecure = true;
        }
    }
    Ok(Lists::new(
        ctx.settings.root.join("lists"),
        Arc::new(Client::new(settings)),
    ))
}

fn name(text: &str) -> Result<Reference> {
    Ok(text.parse::<Reference>()?.or_latest())
}

fn create(args: &Matches, ctx: &Context) -> Outcome {
    let list = name(args.arg())?;
    let manifests = args.args()[1..]
        .iter()
        .map(|text| name(text))
        .collect::<Result<Vec<_>>>()?;
    let lists = lists(args, ctx, &manifests.iter().collect::<Vec<_>>())?;
    lists.create(&list, &manifests, args.on("amend"))?;
    print_line(&format!("Created manifest list {list}"))?;
    Ok(0)
}

fn annotate(args: &Matches, ctx: &Context) -> Outcome {
    let (list, manifest) = (name(&args.args()[0])?, name(&args.args()[1])?);
    let text = |flag: &str| args.value(flag).filter(|text| !text.is_empty()).map(str::to_owned);
    let change = Annotations {
        os: text("os"),
        architecture: text("arch"),
        variant: text("variant"),
        os_version: text("os-version"),
        os_features: args
            .values("os-features")
            .flat_map(|text| text.split(','))
            .map(str::to_owned)
            .collect(),
    };
    lists(args, ctx, &[])?.annotate(&list, &manifest, &change)?;
    Ok(0)
}

fn push(args: &Matches, ctx: &Context) -> Outcome {
    let list = name(args.arg())?;
    let lists = lists(args, ctx, &[&list])?;
    let pushed = lists.push(&list, &ctx.settings.root.join("ingest"), &Progress::silent())?;
    for (reference, digest) in &pushed.copied {
        print_line(&format!("Pushed ref {reference} with digest: {digest}"))?;
    }
    print_line(pushed.digest.as_str())?;
    if args.on("purge") {
        lists.remove(&list)?;
    }
    Ok(0)
}

fn inspect(args: &Matches, ctx: &Context) -> Outcome {
    let first = name(args.arg())?;
    let verbose = args.on("verbose");
    if let Some(second) = args.args().get(1) {
        // One image of a list.
        let second = name(second)?;
        let lists = lists(args, ctx, &[&first, &second])?;
        let wanted = second.to_string();
        let entries = lists.entries(&first)?.unwrap_or_default();
        let entry = match entries.into_iter().find(|entry| entry.reference == wanted) {
            Some(entry) => entry,
            None => lists.describe(&second)?,
        };
        return show(&entry, verbose);
    }
    let lists = lists(args, ctx, &[&first])?;
    if let Some(entries) = lists.entries(&first)? {
        if verbose {
            let all = entries.iter().map(described).collect::<Result<Vec<_>>>()?;
            return print_tabs(&Json::List(all));
        }
        let document = lists.document(&entries)?;
        print_line(&String::from_utf8_lossy(&document.bytes))?;
        return Ok(0);
    }
    let document = lists.fetch(&first)?;
    if !media::is_index(&document.media_type) {
        return match lists.describe(&first) {
            Ok(entry) => show(&entry, verbose),
            // What is no image has no platform to tell.
            Err(Error::Json { .. }) if !verbose => print_tabs(&parse(&String::from_utf8_lossy(&document.bytes))?),
            Err(err) => Err(err.into()),
        };
    }
    if verbose {
        let index: hull_spec::manifest::Index = serde_json::from_slice(&document.bytes)?;
        let mut all = Vec::new();
        for listed in index.manifests {
            let mut entry = lists.describe(&first.with_digest(listed.digest.clone()))?;
            if listed.platform.is_some() {
                entry.descriptor.platform = listed.platform;
            }
            all.push(described(&entry)?);
        }
        return print_tabs(&Json::List(all));
    }
    print_line(&String::from_utf8_lossy(&spaced(&document.bytes)?))?;
    Ok(0)
}

/// A list as Docker prints it: indented by three spaces, whatever the registry has.
fn spaced(bytes: &[u8]) -> Result<Vec<u8>> {
    indented(&parse(&String::from_utf8_lossy(bytes))?, b"   ")
}

fn parse(text: &str) -> Result<Json> {
    Ok(serde_json::from_str(text)?)
}

fn indented(json: &Json, with: &[u8]) -> Result<Vec<u8>> {
    use serde::Serialize as _;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(with);
    json.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))?;
    Ok(out)
}

fn print_tabs(json: &Json) -> Outcome {
    print_line(&String::from_utf8_lossy(&indented(json, b"\t")?))?;
    Ok(0)
}

fn show(entry: &Entry, verbose: bool) -> Outcome {
    if verbose {
        return print_tabs(&described(entry)?);
    }
    print_tabs(&parse(&entry.raw)?)
}

/// One image with everything that is known of it, in Docker's words.
fn described(entry: &Entry) -> Result<Json> {
    let docker = entry.descriptor.media_type == media::DOCKER_MANIFEST;
    let raw: Box<RawValue> = RawValue::from_string(entry.raw.clone())
        .map_err(|_| Failure::new(format!("the manifest of {} is no JSON", entry.reference)))?;
    let descriptor = &entry.descriptor;
    let text = |text: &str| Json::Text(text.to_owned());
    let mut shown = vec![
        ("mediaType".to_owned(), text(&descriptor.media_type)),
        ("digest".to_owned(), text(descriptor.digest.as_str())),
        ("size".to_owned(), Json::Uint(descriptor.size)),
    ];
    if let Some(platform) = &descriptor.platform {
        shown.push(("platform".to_owned(), Json::of(platform)?));
    }
    Ok(Json::Object(vec![
        ("Ref".to_owned(), text(&entry.reference)),
        ("Descriptor".to_owned(), Json::Object(shown)),
        ("Raw".to_owned(), text(&base64(entry.raw.as_bytes()))),
        (
            if docker { "SchemaV2Manifest" } else { "OCIManifest" }.to_owned(),
            parse(raw.get())?,
        ),
    ]))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
