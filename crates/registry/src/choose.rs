//! Which manifest of an index is for a platform.

use hull_spec::manifest::{Descriptor, Index, media};
use hull_spec::{Platform, Reference};

use crate::Error;

/// The best entry of `index` for `wanted`. The first of equally good ones is taken, as other clients do. Entries that
/// name no platform are a last resort: the image config will tell. Attestations are for `unknown/unknown`, so they are
/// never chosen.
pub(crate) fn choose<'a>(index: &'a Index, wanted: &Platform, reference: &Reference) -> Result<&'a Descriptor, Error> {
    choose_named(index, wanted, &reference.familiar())
}

/// The same of an index that errors call `name`.
pub(crate) fn choose_named<'a>(index: &'a Index, wanted: &Platform, name: &str) -> Result<&'a Descriptor, Error> {
    let candidates = || {
        index.manifests.iter().filter(|entry| {
            media::is_manifest(&entry.media_type) || media::is_index(&entry.media_type) || entry.media_type.is_empty()
        })
    };
    let ranked = candidates()
        .filter_map(|entry| Some((wanted.rank(entry.platform.as_ref()?)?, entry)))
        .min_by_key(|(rank, _)| *rank);
    if let Some((_, entry)) = ranked {
        return Ok(entry);
    }
    let unnamed = candidates().find(|entry| entry.platform.is_none() && entry.artifact_type.is_none());
    unnamed.ok_or_else(|| {
        let mut offered: Vec<String> = candidates()
            .filter_map(|entry| entry.platform.as_ref())
            .filter(|platform| platform.os != "unknown")
            .map(|platform| crate::failure::printable(&platform.to_string()))
            .collect();
        offered.dedup();
        offered.truncate(20);
        Error::NoPlatform {
            reference: name.to_owned(),
            wanted: Box::new(wanted.clone()),
            offered,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_entry_is_chosen() {
        let check = |entries: &[Option<&str>], wanted: &str, expected: Option<usize>| {
            let manifests = entries
                .iter()
                .enumerate()
                .map(|(i, platform)| Descriptor {
                    media_type: media::OCI_MANIFEST.to_owned(),
                    digest: format!("sha256:{i:064}").parse().unwrap(),
                    size: 1,
                    urls: Vec::new(),
                    annotations: std::collections::BTreeMap::new(),
                    platform: platform.map(|p| {
                        let mut parts = p.split('/').map(str::to_owned);
                        Platform {
                            os: parts.next().unwrap(),
                            architecture: parts.next().unwrap(),
                            variant: parts.next(),
                            ..Platform::default()
                        }
                    }),
                    artifact_type: None,
                })
                .collect();
            let index = Index {
                schema_version: 2,
                media_type: None,
                manifests,
                subject: None,
                annotations: std::collections::BTreeMap::new(),
            };
            let found = choose(&index, &wanted.parse().unwrap(), &"a:x".parse().unwrap());
            let at = found.ok().and_then(|d| index.manifests.iter().position(|m| m == d));
            assert_eq!(at, expected, "{entries:?} for {wanted}");
        };
        let (amd64, v3, v6, v7) = (
            Some("linux/amd64"),
            Some("linux/amd64/v3"),
            Some("linux/arm/v6"),
            Some("linux/arm/v7"),
        );
        let unknown = Some("unknown/unknown");
        check(&[unknown, v3, amd64], "linux/amd64", Some(2));
        check(&[amd64, v3], "linux/amd64/v3", Some(1));
        check(&[v6, v7], "linux/arm/v7", Some(1));
        check(&[v7, v6], "linux/arm/v6", Some(1));
        check(&[amd64, amd64], "linux/amd64", Some(0));
        check(&[Some("windows/amd64"), unknown], "linux/amd64", None);
        check(&[unknown, None, v7], "linux/amd64", Some(1));
        check(&[], "linux/amd64", None);
    }
}
