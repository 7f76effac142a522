//! `registry serve`: a registry of our own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hull_registry::serve::settings::{Auth, Mirror, Settings, parse_duration, parse_size};
use hull_registry::serve::{Log, Server};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result, USAGE, note};

pub(crate) const SERVE: Command = Command {
    names: &["registry serve"],
    synopsis: "[OPTIONS] [FILE]",
    about: "Serve a registry, as the settings in FILE and the options say",
    flags: &[
        Flag::switch("access-log").help("Print a line for each request"),
        Flag::string("gc-grace")
            .checked(duration)
            .default("24h")
            .help("How long a blob stays that no manifest refers to"),
        Flag::string("gc-interval")
            .checked(duration)
            .default("6h")
            .help("How often garbage is collected; 0 for never"),
        Flag::switch("gc-untagged").help("Collect manifests that no tag keeps"),
        Flag::string("htpasswd").help("Let in the users of this file (bcrypt hashes, as `htpasswd -B` makes them)"),
        Flag::string("listen")
            .default("127.0.0.1:5000")
            .help("The address and port to listen on"),
        Flag::string("mirror").help("Be a cache of this registry: fetch from there what is not here"),
        Flag::switch("no-delete").help("Let nobody delete"),
        Flag::string("quota")
            .checked(size)
            .help("The most that all repositories may hold"),
        Flag::switch("read-only").help("Let nobody push or delete"),
        Flag::string("repository-quota")
            .checked(size)
            .help("The most that each repository may hold"),
        Flag::string("storage").help("Where everything is kept (default: registry, below the data root)"),
        Flag::string("tls-cert").help("The server's certificate, with its chain, in PEM form"),
        Flag::string("tls-key").help("The certificate's key, in PEM form"),
    ],
    count: Count::AtMost(1),
    interspersed: true,
    run: serve,
};

fn duration(text: &str) -> std::result::Result<(), String> {
    parse_duration(text)
        .map(drop)
        .ok_or_else(|| "not a duration, such as 90m or 24h".to_owned())
}

fn size(text: &str) -> std::result::Result<(), String> {
    parse_size(text)
        .map(drop)
        .ok_or_else(|| "not a size, such as 512MiB or 10GB".to_owned())
}

fn serve(args: &Matches, ctx: &Context) -> Outcome {
    let settings = settings(args, ctx)?;
    settings.check().map_err(|text| Failure::new(text).code(USAGE))?;
    raise_descriptors();
    let listen = settings.listen.clone();
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let storage = settings.storage.clone();
    let log: Log = Arc::new(note);
    let server = Server::open(settings, super::pull::settings(ctx)?, log)?;
    let fail =
        |error: std::io::Error| Failure::from(anyhow::Error::from(error).context(format!("cannot listen on {listen}")));
    let listener = TcpListener::bind(&listen).map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    note(&format!("serving {} on {scheme}://{address}", storage.display()));
    server.run(listener)?;
    Ok(0)
}

/// The file first, the flags over it.
fn settings(args: &Matches, ctx: &Context) -> Result<Settings> {
    let mut settings = Settings {
        storage: ctx.settings.root.join("registry"),
        ..Settings::default()
    };
    if !args.arg().is_empty() {
        settings.read_file(Path::new(args.arg()))?;
    }
    if let Some(listen) = args.value("listen") {
        listen.clone_into(&mut settings.listen);
    }
    if let Some(storage) = args.value("storage") {
        settings.storage = PathBuf::from(storage);
    }
    match (args.value("tls-cert"), args.value("tls-key")) {
        (Some(certificate), Some(key)) => settings.tls = Some((certificate.into(), key.into())),
        (None, None) => {}
        _ => return Err(Failure::new("--tls-cert and --tls-key go together").code(USAGE)),
    }
    if let Some(file) = args.value("htpasswd") {
        settings.auth = Auth::Htpasswd {
            file: file.into(),
            realm: "registry".to_owned(),
        };
    }
    if let Some(upstream) = args.value("mirror") {
        settings.mirror = Some(Mirror {
            upstream: upstream.to_owned(),
            ttl: Mirror::TTL,
            credentials: None,
        });
    }
    for (flag, place) in [
        ("quota", &mut settings.quota.total),
        ("repository-quota", &mut settings.quota.repository),
    ] {
        if let Some(bytes) = args.value(flag).and_then(parse_size) {
            *place = Some(bytes);
        }
    }
    if let Some(grace) = args.value("gc-grace").and_then(parse_duration) {
        settings.gc.grace = grace;
    }
    if let Some(interval) = args.value("gc-interval").and_then(parse_duration) {
        settings.gc.interval = (!interval.is_zero()).then_some(interval);
    }
    let switch = |flag: &str, place: &mut bool, value: bool| {
        if args.changed(flag) {
            *place = args.on(flag) == value;
        }
    };
    switch("gc-untagged", &mut settings.gc.untagged, true);
    switch("read-only", &mut settings.read_only, true);
    switch("access-log", &mut settings.access_log, true);
    switch("no-delete", &mut settings.delete, false);
    Ok(settings)
}

/// A connection that pulls needs two descriptors, and the usual soft limit is for programs that use `select`.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer it serves fewer at once, and says so when it comes to that.
    let _ = setrlimit(Resource::Nofile, limit);
}
