//! Every environment variable that hull reads. No other file reads the environment, except to pass a variable on to a
//! container by name (`-e NAME`).

use std::ffi::OsString;
use std::path::PathBuf;

/// A variable: its name, and what it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variable {
    /// The name.
    pub(crate) name: &'static str,
    /// One sentence for the manual.
    pub(crate) help: &'static str,
}

macro_rules! variables {
    ($($ident:ident = $name:literal, $help:literal;)*) => {
        $(pub(crate) const $ident: Variable = Variable { name: $name, help: $help };)*
        /// All of them, in the order of the manual.
        pub(crate) const ALL: &[Variable] = &[$($ident),*];
    };
}

variables! {
    HULL_ROOT = "HULL_ROOT", "Where images and containers are kept, unless --root says otherwise";
    HULL_RUN_ROOT = "HULL_RUN_ROOT", "Where the state of running containers is kept, unless --run-root says otherwise";
    HULL_CONFIG = "HULL_CONFIG", "The configuration file, unless --config-file says otherwise";
    DOCKER_CONFIG = "DOCKER_CONFIG", "The folder of Docker's config.json with its registry credentials, unless --config says otherwise";
    DOCKER_DEFAULT_PLATFORM = "DOCKER_DEFAULT_PLATFORM", "The platform of images, unless --platform says otherwise";
    XDG_DATA_HOME = "XDG_DATA_HOME", "Without root: images and containers are kept below it (default ~/.local/share)";
    XDG_RUNTIME_DIR = "XDG_RUNTIME_DIR", "Without root: the state of running containers is kept below it";
    XDG_CONFIG_HOME = "XDG_CONFIG_HOME", "Without root: hull/config.toml is looked for below it (default ~/.config)";
    LISTEN_FDS = "LISTEN_FDS", "As hull-runtime: descriptors that systemd's socket activation passes on to the container";
    NOTIFY_SOCKET = "NOTIFY_SOCKET", "With --sdnotify conmon: where systemd is told that the container runs";
    QUADLET_UNIT_DIRS = "QUADLET_UNIT_DIRS", "As hull-generator: where Quadlet's files are looked for, instead of the usual folders";
    HULL_HELLO = "HULL_HELLO", "Set to 1 by the image `hello`: the binary, called `hello`, tells what it sees in its container";
    HOME = "HOME", "The home folder that the defaults above start from";
    PATH = "PATH", "Where credential helpers (docker-credential-NAME) are looked for";
    HTTP_PROXY = "HTTP_PROXY", "The proxy for registries over plain HTTP";
    HTTP_PROXY_LOWER = "http_proxy", "The same";
    HTTPS_PROXY = "HTTPS_PROXY", "The proxy for registries over HTTPS";
    HTTPS_PROXY_LOWER = "https_proxy", "The same";
    NO_PROXY = "NO_PROXY", "Hosts and domains that are asked without a proxy, separated by commas";
    NO_PROXY_LOWER = "no_proxy", "The same";
}

impl Variable {
    /// The value, unless it is empty: an empty variable counts as unset.
    pub(crate) fn get(self) -> Option<OsString> {
        std::env::var_os(self.name).filter(|value| !value.is_empty())
    }

    /// The value as a path.
    pub(crate) fn path(self) -> Option<PathBuf> {
        self.get().map(PathBuf::from)
    }

    /// The value as text; `None` where it is no UTF-8.
    pub(crate) fn text(self) -> Option<String> {
        self.get().and_then(|value| value.into_string().ok())
    }
}

/// The whole environment, for the program whose init this process is.
pub(crate) fn all() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

/// A variable of the user's own, which `-e NAME` passes on.
pub(crate) fn passed_on(name: &str) -> Option<String> {
    // Names with `=` or NUL cannot be in the environment, and asking for them would panic.
    if name.is_empty() || name.contains(['=', '\0']) {
        return None;
    }
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}
