//! The mounts of a container: what `inspect` shows, and what it takes to make them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// A mount as `inspect` shows it and as it is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs` or `image`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Volume name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Host path; empty for a tmpfs.
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// Volume driver.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// The options as given.
    pub mode: String,
    /// Whether it can be written.
    #[serde(rename = "RW")]
    pub rw: bool,
    /// Propagation of a bind.
    pub propagation: String,
    /// What else is needed to make it; `inspect` does not show it.
    #[serde(rename = "Hull", skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<MountPlan>>,
}

/// What is known of a mount beyond Docker's fields, decided when the container is created.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MountPlan {
    /// A volume made for this mount alone, which goes with the container where it is removed with its volumes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
    /// A bind whose source is made where it is missing, at each start.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub make_source: bool,
    /// A path within the source that is mounted in its place.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subpath: String,
    /// A bind without the mounts below its source.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub non_recursive: bool,
    /// Read-only without the mounts below.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only_non_recursive: bool,
    /// Options of a tmpfs, as `mount(8)` takes them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tmpfs: String,
    /// The options of a volume that has a file system of its own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub file_system: BTreeMap<String, String>,
    /// User and group in the container that the source is given to at each start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<[u32; 2]>,
    /// Whether the source gets the SELinux label that containers share, at each start.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub relabel: bool,
    /// Whose files on disk appear as whose in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_map: Option<OwnerMap>,
    /// The image that is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<MountedImage>,
}

/// Owners on disk and as they are seen in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OwnerMap {
    /// Users.
    pub uids: Vec<OwnerRange>,
    /// Groups.
    pub gids: Vec<OwnerRange>,
    /// Whether the IDs that are seen are the host's even where the container has a user namespace of its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host: bool,
}

/// A range of owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OwnerRange {
    /// First ID on disk.
    pub disk: u32,
    /// First ID that is seen.
    pub seen: u32,
    /// How many.
    pub count: u32,
}

/// The image of an image mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MountedImage {
    /// Its ID.
    pub id: Digest,
    /// Chain IDs of its layers, lowest first.
    pub layers: Vec<Digest>,
}
