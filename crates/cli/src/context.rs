//! What every command is given: the global flags, resolved, and the engine they lead to.

use std::path::PathBuf;

use hull_engine::{Engine, Settings};
use hull_spec::Platform;

use crate::args::{Flag, Matches};
use crate::env;
use crate::error::{Failure, Result, USAGE, note};

/// Flags that come before the command.
pub(crate) const GLOBAL_FLAGS: &[Flag] = &[
    Flag::string("root").help("Where images and containers are kept"),
    Flag::string("run-root").help("Where the state of running containers is kept"),
    Flag::string("config-file").help("The configuration file"),
    Flag::string("config").help("The folder of Docker's config.json with its registry credentials"),
    Flag::switch("debug")
        .short('D')
        .help("Show debug messages, as --log-level debug does"),
    Flag::string("log-level")
        .short('l')
        .checked(check_log_level)
        .default("\"info\"")
        .help("Which messages to show (\"debug\", \"info\", \"warn\", \"error\", \"fatal\")"),
    Flag::switch("version").short('v').help("Print the version and quit"),
    Flag::string("context").short('c').refused(NO_DAEMON),
    Flag::list("host").short('H').refused(NO_DAEMON),
    Flag::switch("tls").refused(NO_DAEMON),
    Flag::string("tlscacert").refused(NO_DAEMON),
    Flag::string("tlscert").refused(NO_DAEMON),
    Flag::string("tlskey").refused(NO_DAEMON),
    Flag::switch("tlsverify").refused(NO_DAEMON),
];

const NO_DAEMON: &str = "hull has no daemon to connect to: every command does its own work on this host";

fn check_log_level(text: &str) -> std::result::Result<(), String> {
    if ["debug", "info", "warn", "error", "fatal"].contains(&text) {
        return Ok(());
    }
    Err(format!("not a valid logrus Level: \"{text}\""))
}

/// The surroundings of a command.
#[derive(Debug)]
pub(crate) struct Context {
    /// The engine's places.
    pub(crate) settings: Settings,
    /// The folder of Docker's client configuration.
    pub(crate) docker_config: Option<PathBuf>,
    level: Level,
}

/// Which messages are shown besides failures, which always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Failures,
    Warnings,
    Debug,
}

impl Level {
    fn read(globals: &Matches) -> Self {
        if globals.on("debug") {
            return Self::Debug;
        }
        match globals.value("log-level") {
            Some("debug") => Self::Debug,
            Some("error" | "fatal") => Self::Failures,
            _ => Self::Warnings,
        }
    }
}

impl Context {
    /// From the global flags, then the environment, then the defaults for this user.
    ///
    /// # Errors
    /// If a path that a normal user's engine needs can be had from nowhere.
    pub(crate) fn resolve(globals: &Matches) -> Result<Self> {
        let mut settings = default_settings()?;
        let given =
            |flag: &str, variable: env::Variable| globals.value(flag).map(PathBuf::from).or_else(|| variable.path());
        // Paths outlive this process's working folder: monitors keep them.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        if let Some(root) = given("root", env::HULL_ROOT) {
            settings.root = absolute(root);
        }
        if let Some(run_root) = given("run-root", env::HULL_RUN_ROOT) {
            settings.run_root = absolute(run_root);
        }
        if let Some(config) = given("config-file", env::HULL_CONFIG) {
            settings.config = absolute(config);
        }
        settings.resident = true;
        Ok(Self {
            settings,
            docker_config: given("config", env::DOCKER_CONFIG).or_else(|| Some(env::HOME.path()?.join(".docker"))),
            level: Level::read(globals),
        })
    }

    /// Prints a warning, unless warnings are not wanted.
    pub(crate) fn warn(&self, text: &str) {
        if self.level >= Level::Warnings {
            note(&format!("WARNING: {text}"));
        }
    }

    /// Prints what only helps to find out what is going on.
    pub(crate) fn debug(&self, text: impl FnOnce() -> String) {
        if self.level >= Level::Debug {
            note(&format!("debug: {}", text()));
        }
    }

    /// The engine. Costs nothing until a verb needs it.
    pub(crate) fn engine(&self) -> Engine {
        Engine::open(&self.settings)
    }

    /// After something was added to the store: keeps what nothing refers to within its budget, and tells what that freed.
    /// What was asked for is done, so a failure is only a warning.
    pub(crate) fn tidy(&self) {
        match hull_engine::image::tidy(&self.engine()) {
            Ok(Some(freed)) if freed.bytes > 0 => note(&format!(
                "Freed {} of what nothing referred to: {} images, {} layers, {} blobs",
                crate::output::size::long(freed.bytes),
                freed.images.len(),
                freed.layers,
                freed.blobs
            )),
            Ok(_) => {}
            Err(e) => self.warn(&format!("unused images could not be collected: {e}")),
        }
    }

    /// A setting of Docker's `config.json`, such as `detachKeys`. A file that is missing or damaged has none.
    pub(crate) fn docker_setting(&self, key: &str) -> Option<String> {
        let bytes = std::fs::read(self.docker_config.as_ref()?.join("config.json")).ok()?;
        let config: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        Some(config.get(key)?.as_str()?.to_owned())
    }

    /// The platform that `--platform`, or else the environment, asks for.
    ///
    /// # Errors
    /// If it is malformed.
    pub(crate) fn platform(&self, flag: Option<&str>) -> Result<Option<Platform>> {
        let text = flag
            .map(str::to_owned)
            .or_else(|| env::DOCKER_DEFAULT_PLATFORM.text())
            .filter(|text| !text.is_empty());
        let Some(text) = text else { return Ok(None) };
        let platform = text.parse().map_err(|e| {
            Failure::from(anyhow::Error::from(e).context("error parsing specified platform")).code(USAGE)
        })?;
        Ok(Some(platform))
    }
}

fn default_settings() -> Result<Settings> {
    let rootful = rustix::process::geteuid().is_root();
    if rootful {
        return Ok(Settings::rootful());
    }
    let home = |below: &str| Some(env::HOME.path()?.join(below));
    let data = env::XDG_DATA_HOME.path().or_else(|| home(".local/share"));
    let config = env::XDG_CONFIG_HOME.path().or_else(|| home(".config"));
    let run = env::XDG_RUNTIME_DIR.path().or_else(|| {
        let uid = rustix::process::geteuid().as_raw();
        Some(PathBuf::from(format!("/run/user/{uid}"))).filter(|dir| dir.is_dir())
    });
    let (Some(data), Some(config)) = (data, config) else {
        return Err(
            Failure::new("cannot tell where to keep images and containers: HOME is not set")
                .hint("set HOME, or XDG_DATA_HOME and XDG_CONFIG_HOME"),
        );
    };
    // Without a session there is no runtime folder. /tmp is not private, so one below the data folder is used. It
    // outlives a reboot; the engine tells a process of before from one of now by its start time.
    let session = run.is_some();
    let mut settings = Settings::rootless(&data, &run.unwrap_or_default(), &config);
    if !session {
        settings.run_root = settings.root.join("run");
    }
    Ok(settings)
}
