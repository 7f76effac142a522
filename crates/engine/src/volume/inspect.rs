//! `volume inspect`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::about::{self, About, folder};
use crate::{Engine, Result};

/// Docker's `Volume` (Engine API 1.47), in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    /// RFC 3339, in seconds.
    pub created_at: String,
    /// Always `local`.
    pub driver: String,
    /// Its labels; `None` where none were given.
    pub labels: Option<BTreeMap<String, String>>,
    /// Where its files are on the host. A volume with a file system of its own shows it in its containers only.
    pub mountpoint: String,
    /// Its name.
    pub name: String,
    /// The driver's options; `None` where none were given.
    pub options: Option<BTreeMap<String, String>>,
    /// Always `local`.
    pub scope: String,
}

/// What is known of a volume.
///
/// # Errors
/// [`crate::Error::NoSuchVolume`].
pub fn inspect(engine: &Engine, name: &str) -> Result<Volume> {
    Ok(of(engine, name, about::load(engine, name)?))
}

pub(super) fn of(engine: &Engine, name: &str, about: About) -> Volume {
    let seconds: Option<jiff::Timestamp> = about.created_at.parse().ok();
    Volume {
        created_at: seconds.map_or(about.created_at, |time| format!("{time:.0}")),
        driver: "local".to_owned(),
        labels: about.labels,
        mountpoint: folder(engine, name).join("_data").display().to_string(),
        name: name.to_owned(),
        options: about.options,
        scope: "local".to_owned(),
    }
}
