//! `image copy`: between registries, the store, archives, folders, Docker's engine and other hosts.

use std::path::PathBuf;
use std::sync::Arc;

use hull_registry::Client;
use hull_registry::copy::{Around, Copied, Format, Options, Place, StoreSource, copy, ssh};
use hull_spec::Reference;
use hull_store::{Access, Store};

use super::{Command, pull, push};
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result, USAGE, print_line};
use crate::progress::Show;

pub(crate) const COMMAND: Command = Command {
    names: &["image copy"],
    synopsis: "[OPTIONS] SOURCE TARGET",
    about: "Copy an image from one place to another",
    flags: &[
        ALL,
        push::COMPRESSION,
        push::DIGEST_FILE,
        SOCKET,
        FORMAT,
        push::LEVEL,
        Flag::string("platform").help("The platform to copy of several, os[/arch[/variant]]"),
        PRESERVE,
        Flag::switch("quiet").short('q').help("Print nothing but the digest"),
        REFERRERS,
        Flag::string("ssh")
            .default("\"ssh\"")
            .help("To ssh://: the program that connects, with its options"),
    ],
    count: Count::Exactly(2),
    interspersed: true,
    run,
};

pub(super) const ALL: Flag = Flag::switch("all")
    .short('a')
    .help("Copy every platform, with the index over them");
pub(super) const FORMAT: Flag = Flag::string("format")
    .checked(check_format)
    .help("Convert documents to this format: oci or v2s2");
pub(super) const PRESERVE: Flag = Flag::switch("preserve-digests").help("Fail rather than change a digest");
pub(super) const REFERRERS: Flag =
    Flag::switch("referrers").help("Copy what is attached to the image, too: signatures, SBOMs, attestations");
const SOCKET: Flag = Flag::string("docker-socket")
    .default("\"/var/run/docker.sock\"")
    .help("Where Docker's engine listens, for docker-daemon:");

fn check_format(text: &str) -> std::result::Result<(), String> {
    match text {
        "oci" | "v2s2" => Ok(()),
        _ => Err("must be oci or v2s2".to_owned()),
    }
}

/// What the flags ask for.
pub(super) fn options(args: &Matches, ctx: &Context) -> Result<Options> {
    let knows = |flag: &str| args.knows(flag);
    let platform = match knows("platform") {
        true => ctx
            .platform(args.value("platform"))?
            .filter(|_| args.changed("platform")),
        false => None,
    };
    let options = Options {
        all: args.on("all"),
        strict: platform.is_some(),
        platform,
        format: args.value("format").map(|format| match format {
            "oci" => Format::Oci,
            _ => Format::Docker,
        }),
        form: match knows("compression") {
            true => push::form(args)?,
            false => None,
        },
        plain: None,
        preserve_digests: args.on("preserve-digests"),
        referrers: args.on("referrers"),
        spool: ctx.settings.root.join("ingest"),
        memory: Some(ctx.settings.root.join("packed")),
    };
    if options.all && options.platform.is_some() {
        return Err(Failure::new("--all and --platform cannot be used together").code(USAGE));
    }
    Ok(options)
}

/// What places need.
pub(super) fn around<'s>(args: &Matches, ctx: &Context, store: &'s Store, show: Show) -> Result<Around<'s>> {
    let socket = match args.knows("docker-socket") {
        true => args.value("docker-socket"),
        false => None,
    };
    Ok(Around {
        store,
        client: Arc::new(Client::new(pull::settings(ctx)?)),
        socket: PathBuf::from(socket.unwrap_or("/var/run/docker.sock")),
        spool: ctx.settings.root.join("ingest"),
        progress: show.progress(),
    })
}

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let show = if args.on("quiet") { Show::Nothing } else { Show::Stderr };
    let options = options(args, ctx)?;
    let [from, to] = args.args() else {
        return Err(Failure::new("a source and a target are needed"));
    };
    // An engine of its own: the store is opened for writing.
    let engine = ctx.engine();
    let store = engine.store(Access::Write)?;
    let copied = match to.strip_prefix("ssh://") {
        Some(host) => to_host(args, store, from, host, &options, show)?,
        None => {
            let around = around(args, ctx, store, show)?;
            let source = Place::parse(from)?.source(&around, options.all, options.platform.as_ref())?;
            let target = Place::parse(to)?.target(&around)?;
            copy(source.as_ref(), target.as_ref(), &options, &around.progress)?
        }
    };
    push::write_digest(args, &copied)?;
    print_line(copied.digest.as_str())?;
    Ok(0)
}

/// Sends an image of the store to another host.
fn to_host(args: &Matches, store: &Store, name: &str, host: &str, options: &Options, show: Show) -> Result<Copied> {
    let name: Reference = name.strip_prefix("store:").unwrap_or(name).parse()?;
    let name = name.or_latest();
    let source = StoreSource::new(store, &name, options.all, options.platform.as_ref())?;
    let program: Vec<String> = args
        .value("ssh")
        .unwrap_or("ssh")
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let host = ssh::Host::parse(host, program)?;
    let progress = show.progress();
    let target = host.connect(&name)?;
    Ok(copy(&source, target.as_ref(), options, &progress)?)
}

/// The other end of a copy to a host: not for people.
pub(crate) const RECEIVE: Command = Command {
    names: &["image receive"],
    synopsis: "",
    about: "Take an image from `image copy` of another host, on standard input",
    flags: &[],
    count: Count::None,
    interspersed: true,
    run: |_, ctx| {
        let engine = ctx.engine();
        let store = engine.store(Access::Write)?;
        ssh::receive(store, std::io::stdin(), std::io::stdout())?;
        Ok(0)
    },
};
