//! `pull`, and the pulls of `run` and `create`.

use std::sync::Arc;

use hull_engine::event;
use hull_registry::{Client, PullOptions, Pulled, Settings};
use hull_spec::{Platform, Reference};
use hull_store::Access;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::container::refuse_content_trust;
use crate::context::Context;
use crate::env;
use crate::error::{Failure, Outcome, Result, USAGE, print_line};
use crate::progress::Show;

pub(crate) const COMMAND: Command = Command {
    names: &["pull", "image pull"],
    synopsis: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Download an image from a registry",
    flags: &[
        Flag::switch("all-tags")
            .short('a')
            .refused("pulling all tags of a repository comes in a later version"),
        Flag::switch("disable-content-trust").default("true").hidden(),
        Flag::string("platform").help("Platform of the image, os[/arch[/variant]]"),
        Flag::switch("quiet")
            .short('q')
            .help("Print nothing but the image's name"),
    ],
    count: Count::Exactly(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    refuse_content_trust(args).map_err(|e| Failure::new(e).code(USAGE))?;
    let reference: Reference = args.arg().parse()?;
    let platform = ctx.platform(args.value("platform"))?;
    let quiet = args.on("quiet");
    let show = if quiet { Show::Nothing } else { Show::Stdout };
    if reference.tag().is_none() && reference.digest().is_none() {
        show.print("Using default tag: latest");
    }
    let pulled = pull(ctx, &reference.or_latest(), platform, show)?;
    print_line(&pulled.reference.to_string())?;
    Ok(0)
}

/// Pulls an image and shows how it goes, down to Docker's last lines but one.
pub(super) fn pull(ctx: &Context, reference: &Reference, platform: Option<Platform>, show: Show) -> Result<Pulled> {
    // An engine of its own: the caller's may have opened the store for reading.
    let engine = ctx.engine();
    let store = engine.store(Access::Write)?;
    let client = Arc::new(Client::new(settings(ctx)?));
    let options = PullOptions { platform };
    let pulled = hull_registry::pull(store, &client, reference, &options, &show.progress())?;
    let image = hull_engine::image::find(&engine, &pulled.reference.to_string()).ok();
    event::image(
        &engine,
        "pull",
        &reference.familiar(),
        &reference.familiar_name(),
        image.as_ref(),
    );
    for line in pulled.status_lines() {
        show.print(&line);
    }
    for warning in &pulled.warnings {
        ctx.warn(warning);
    }
    ctx.tidy();
    Ok(pulled)
}

/// What the registry client is told: the configuration file and this user's surroundings.
pub(super) fn settings(ctx: &Context) -> Result<Settings> {
    let mut settings = Settings::default();
    settings.read_file(&ctx.settings.config)?;
    settings.credentials = ctx.docker_config.as_ref().map(|dir| dir.join("config.json"));
    settings.helper_path = env::PATH
        .get()
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    let proxy = |upper: env::Variable, lower: env::Variable| upper.text().or_else(|| lower.text());
    settings.proxy.http = proxy(env::HTTP_PROXY, env::HTTP_PROXY_LOWER);
    settings.proxy.https = proxy(env::HTTPS_PROXY, env::HTTPS_PROXY_LOWER);
    settings.proxy.none = proxy(env::NO_PROXY, env::NO_PROXY_LOWER).unwrap_or_default();
    Ok(settings)
}
