//! `inspect` of an image, as Docker's JSON.

use std::collections::BTreeMap;

use hull_spec::Reference;
use hull_spec::container::Config;
use hull_store::{Access, image, snapshot};
use serde::Serialize;

use crate::elapsed::NEVER;
use crate::{Engine, Result};

/// Docker's `ImageInspect` (Engine API 1.47), in its order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspect {
    /// The digest of its config.
    pub id: String,
    /// `repository:tag`.
    pub repo_tags: Vec<String>,
    /// `repository@digest`.
    pub repo_digests: Vec<String>,
    /// The image it was built from; never known of a pulled one.
    pub parent: String,
    /// A remark on its last step.
    pub comment: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The Docker that built it; not kept.
    pub docker_version: String,
    /// Who made it.
    pub author: String,
    /// How its containers run unless they say otherwise.
    pub config: Config,
    /// Instruction set.
    pub architecture: String,
    /// The instruction set's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Operating system.
    pub os: String,
    /// Bytes of its layers, unpacked.
    pub size: u64,
    /// Its layers on the host.
    pub graph_driver: GraphDriver,
    /// Its layers by diff ID.
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    /// What this host knows of it.
    pub metadata: Metadata,
}

/// Docker's `GraphDriver`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GraphDriver {
    /// `LowerDir` where there is more than one layer, and `UpperDir`.
    pub data: BTreeMap<&'static str, String>,
    /// `overlay2`.
    pub name: &'static str,
}

/// Docker's `RootFS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// Diff IDs, lowest first.
    pub layers: Vec<String>,
}

/// Docker's `Metadata`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Metadata {
    /// Not kept: Go's zero time.
    pub last_tag_time: &'static str,
}

/// All that is known of an image.
///
/// # Errors
/// If there is no such image, or the store cannot be read.
pub fn inspect(engine: &Engine, name: &str) -> Result<Inspect> {
    let store = engine.store(Access::Read)?;
    let found = image::resolve(store, name)?;
    let names = image::names(store, &found.id)?;
    let (digests, tags): (Vec<Reference>, Vec<Reference>) = names.into_iter().partition(|n| n.digest().is_some());
    let familiar = |names: Vec<Reference>| names.iter().map(Reference::familiar).collect();
    let mut dirs: Vec<String> = snapshot::lower(store, &found.layers)
        .iter()
        .map(|dir| dir.display().to_string())
        .collect();
    let mut data = BTreeMap::from([("UpperDir", dirs.remove(0))]);
    if !dirs.is_empty() {
        data.insert("LowerDir", dirs.join(":"));
    }
    let config = found.config;
    let comment = config
        .history
        .last()
        .and_then(|step| step.comment.clone())
        .unwrap_or_default();
    Ok(Inspect {
        id: found.id.to_string(),
        repo_tags: familiar(tags),
        repo_digests: familiar(digests),
        parent: String::new(),
        comment,
        created: config.created.unwrap_or_else(|| NEVER.to_owned()),
        docker_version: String::new(),
        author: config.author.unwrap_or_default(),
        config: config.config.unwrap_or_default(),
        architecture: config.architecture,
        variant: config.variant,
        os: config.os,
        size: found.size,
        graph_driver: GraphDriver { data, name: "overlay2" },
        root_fs: RootFs {
            kind: "layers",
            layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        },
        metadata: Metadata { last_tag_time: NEVER },
    })
}
