//! What a container is asked to be, in Docker Engine API's own shapes (v1.47, `POST /containers/create`).
//!
//! One request struct serves the command line, the API and the file that a container is kept in: `config.json` holds a
//! [`Record`]. Empty values are kept apart from missing ones only where Docker tells them apart.

mod host;
mod mount;
mod record;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

pub use host::*;
pub use mount::*;
pub use record::*;

/// Docker's `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// JSON `null` reads as the default: Go writes nil maps and slices so.
pub(crate) fn null_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// An empty list is written as `null`, as Go's nil slices are.
pub(crate) fn empty_null<T: Serialize, S: serde::Serializer>(list: &[T], s: S) -> Result<S::Ok, S::Error> {
    Some(list).filter(|list| !list.is_empty()).serialize(s)
}

/// A number that Go leaves out of JSON.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// How a process runs in a container: of an image (its defaults) or of a container (the merged result).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// Host name; empty for the short ID.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// `user[:group]`, by name or number.
    pub user: String,
    /// Whether the creator attached standard input.
    pub attach_stdin: bool,
    /// Whether the creator attached standard output.
    pub attach_stdout: bool,
    /// Whether the creator attached standard error.
    pub attach_stderr: bool,
    /// Ports the image says it serves, `80/tcp`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// Whether the process gets a terminal.
    pub tty: bool,
    /// Whether standard input is kept open.
    pub open_stdin: bool,
    /// Whether standard input ends with its first client.
    pub stdin_once: bool,
    /// `NAME=value`.
    #[serde(deserialize_with = "null_default", serialize_with = "empty_null")]
    pub env: Vec<String>,
    /// Arguments, or the command where there is no entrypoint.
    pub cmd: Option<Vec<String>>,
    /// How health is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Windows: the command is escaped already.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// The image's name as it was given.
    pub image: String,
    /// Mount points of anonymous volumes.
    pub volumes: Option<BTreeMap<String, Empty>>,
    /// Working directory.
    pub working_dir: String,
    /// The program.
    pub entrypoint: Option<Vec<String>>,
    /// Triggers for images built from this one.
    pub on_build: Option<Vec<String>>,
    /// Labels.
    #[serde(deserialize_with = "null_default")]
    pub labels: BTreeMap<String, String>,
    /// Signal that stops it, by name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds until a stop becomes a kill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Shell of a Dockerfile's shell form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// A health check; times in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`, `CMD` args.. or `CMD-SHELL` line.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one check.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Grace after the start.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between checks during the grace.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures until unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The request to create a container: `POST /containers/create?name=..&platform=..`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateRequest {
    /// What runs.
    #[serde(flatten)]
    pub config: Config,
    /// Where and how it runs.
    pub host_config: HostConfig,
    /// Its networks. The first is the one of `HostConfig.NetworkMode`.
    pub networking_config: NetworkingConfig,
    /// The name; empty for a made-up one. A query parameter in the API.
    #[serde(skip)]
    pub name: String,
    /// The ID of the pod that it is in. Docker has none.
    #[serde(skip)]
    pub pod: Option<String>,
    /// The platform wanted. A query parameter in the API.
    #[serde(skip)]
    pub platform: Option<crate::Platform>,
}
