//! `volume ls`.

use hull_monitor::volume::users;

use super::about::{self, folder};
use super::inspect::{self, Volume};
use crate::filter::Filters;
use crate::{Engine, Error, Result};

/// Which volumes are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// `dangling`, `driver`, `label` and `name`.
    pub filters: Filters,
}

/// The volumes, by name.
///
/// # Errors
/// Filters that mean nothing; what cannot be read.
pub fn list(engine: &Engine, request: &ListRequest) -> Result<Vec<Volume>> {
    let filters = &request.filters;
    filters.only(&["dangling", "driver", "label", "name"])?;
    let dangling = filters.flag("dangling")?;
    let names = filters.patterns("name");
    super::sweep(engine);
    let mut out = Vec::new();
    for name in about::names(engine)? {
        let named = |patterns: &Vec<_>| {
            patterns
                .iter()
                .any(|pattern: &regex_lite::Regex| pattern.is_match(&name))
        };
        if !names.as_ref().is_none_or(named) {
            continue;
        }
        let about = match about::load(engine, &name) {
            Ok(about) => about,
            // Removed meanwhile.
            Err(Error::NoSuchVolume { .. }) => continue,
            Err(e) => return Err(e),
        };
        let labels = about.labels.clone().unwrap_or_default();
        if !filters.is("driver", "local") || !filters.labels(&labels) {
            continue;
        }
        if let Some(dangling) = dangling
            && users(&folder(engine, &name), true)?.is_empty() != dangling
        {
            continue;
        }
        out.push(inspect::of(engine, &name, about));
    }
    Ok(out)
}
