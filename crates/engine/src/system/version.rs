//! `version`: what hull is.

use std::collections::BTreeMap;

use serde::Serialize;

use super::host;

/// The version of Docker's Engine API whose shapes hull speaks.
pub const API_VERSION: &str = "1.47";
/// The oldest version that clients may speak.
pub const MIN_API_VERSION: &str = "1.24";

/// Docker's `/version` (Engine API 1.47), in its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Version {
    /// What it is sold as.
    pub platform: Platform,
    /// Its parts.
    pub components: Vec<Component>,
    /// hull's version.
    pub version: String,
    /// [`API_VERSION`].
    pub api_version: String,
    /// [`MIN_API_VERSION`].
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    /// The commit it was built from, where the build was told.
    pub git_commit: String,
    /// Empty: hull is not written in Go. Clients expect the key.
    pub go_version: String,
    /// Operating system, in Go's words.
    pub os: String,
    /// Instruction set, in Go's words.
    pub arch: String,
    /// The kernel's release.
    pub kernel_version: String,
    /// When it was built, where the build was told.
    pub build_time: String,
}

/// A product's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Platform {
    /// The name.
    pub name: String,
}

/// A part of hull.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// More about it.
    pub details: BTreeMap<String, String>,
}

/// What hull is.
#[must_use]
pub fn version() -> Version {
    let own = env!("CARGO_PKG_VERSION").to_owned();
    let commit = option_env!("HULL_GIT_COMMIT").unwrap_or_default().to_owned();
    let built = option_env!("HULL_BUILD_TIME").unwrap_or_default().to_owned();
    let platform = hull_spec::Platform::host();
    let kernel = host::kernel_release();
    let details = [
        ("ApiVersion", API_VERSION),
        ("Arch", &platform.architecture),
        ("BuildTime", &built),
        ("Experimental", "false"),
        ("GitCommit", &commit),
        ("GoVersion", ""),
        ("KernelVersion", &kernel),
        ("MinAPIVersion", MIN_API_VERSION),
        ("Os", &platform.os),
    ];
    let component = |name: &str, details: &[(&str, &str)]| Component {
        name: name.to_owned(),
        version: own.clone(),
        details: details
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    };
    Version {
        platform: Platform {
            name: "hull".to_owned(),
        },
        components: vec![
            component("Engine", &details),
            component("hull-runtime", &[("GitCommit", &commit)]),
        ],
        version: own.clone(),
        api_version: API_VERSION.to_owned(),
        min_api_version: MIN_API_VERSION.to_owned(),
        git_commit: commit.clone(),
        go_version: String::new(),
        os: platform.os.clone(),
        arch: platform.architecture.clone(),
        kernel_version: kernel.clone(),
        build_time: built.clone(),
    }
}
