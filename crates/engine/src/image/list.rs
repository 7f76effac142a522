//! `images`: the images with their names, newest first.

use std::collections::BTreeMap;

use hull_spec::Reference;
use hull_store::{Access, image};
use jiff::Timestamp;
use serde::Serialize;

use crate::elapsed;
use crate::filter::Filters;
use crate::{Engine, Result};

/// Which images to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// What they have to match.
    pub filters: Filters,
}

/// An image in a list: Docker's JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    /// How many containers use it; -1 for not counted.
    pub containers: i64,
    /// Seconds since 1970.
    pub created: i64,
    /// The digest of its config.
    pub id: String,
    /// Its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// The image it was built from; never known of a pulled one.
    pub parent_id: String,
    /// `repository@digest`.
    pub repo_digests: Vec<String>,
    /// `repository:tag`.
    pub repo_tags: Vec<String>,
    /// Bytes of layers that others have too; -1 for not counted.
    pub shared_size: i64,
    /// Bytes of its layers, unpacked.
    pub size: u64,
}

/// Lists images, newest first.
///
/// # Errors
/// If a filter is unknown or malformed, or names an image that is not there; or if the store cannot be read.
pub fn list(engine: &Engine, request: &ListRequest) -> Result<Vec<Summary>> {
    let filters = &request.filters;
    filters.only(&["before", "dangling", "label", "reference", "since", "until"])?;
    let dangling = filters.flag("dangling")?;
    let before = mark(engine, filters, "before")?;
    let since = mark(engine, filters, "since")?;
    let until = until(filters)?;
    let mut out: Vec<(Timestamp, Summary)> = Vec::new();
    for mut found in image::list(engine.store(Access::Read)?)? {
        let created = found
            .image
            .config
            .created
            .as_deref()
            .and_then(elapsed::moment)
            .unwrap_or_default();
        let labels = found
            .image
            .config
            .config
            .as_ref()
            .map(|c| c.labels.clone())
            .unwrap_or_default();
        let keep = before.is_none_or(|mark| created < mark)
            && since.is_none_or(|mark| created > mark)
            && until.is_none_or(|mark| created <= mark)
            && dangling.is_none_or(|wanted| wanted == found.tags.is_empty())
            && filters.labels(&labels);
        if !keep {
            continue;
        }
        if filters.has("reference") {
            let wanted = |name: &Reference| filters.values("reference").iter().any(|p| matches(name, p));
            found.tags.retain(wanted);
            found.digests.retain(wanted);
            if found.tags.is_empty() && found.digests.is_empty() {
                continue;
            }
        }
        let familiar = |names: Vec<Reference>| names.iter().map(Reference::familiar).collect();
        let summary = Summary {
            containers: -1,
            created: created.as_second(),
            id: found.image.id.to_string(),
            labels: Some(labels).filter(|labels| !labels.is_empty()),
            parent_id: String::new(),
            repo_digests: familiar(found.digests),
            repo_tags: familiar(found.tags),
            shared_size: -1,
            size: found.image.size,
        };
        out.push((created, summary));
    }
    out.sort_by(|(a_time, a), (b_time, b)| (b_time, &a.repo_tags, &a.id).cmp(&(a_time, &b.repo_tags, &b.id)));
    Ok(out.into_iter().map(|(_, summary)| summary).collect())
}

/// When the image that `before` or `since` names was made.
fn mark(engine: &Engine, filters: &Filters, name: &str) -> Result<Option<Timestamp>> {
    let Some(image) = filters.values(name).last() else {
        return Ok(None);
    };
    let image = super::find(engine, image)?;
    Ok(Some(
        image
            .config
            .created
            .as_deref()
            .and_then(elapsed::moment)
            .unwrap_or_default(),
    ))
}

fn until(filters: &Filters) -> Result<Option<Timestamp>> {
    let Some(value) = filters.values("until").last() else {
        return Ok(None);
    };
    crate::moment::parse(value, Timestamp::now(), &jiff::tz::TimeZone::UTC)
        .map(Some)
        .ok_or_else(|| filters.bad("until", value))
}

/// Whether a name matches a pattern of `reference` filters: Go's `path.Match` on the familiar name, with or without
/// the tag.
fn matches(name: &Reference, pattern: &str) -> bool {
    // A pattern without a wildcard that is a whole reference also matches in its long form: `docker.io/library/x`.
    if pattern.parse::<Reference>().is_ok_and(|p| {
        p.name() == name.name()
            && (p.tag().is_none() || p.tag() == name.tag())
            && (p.digest().is_none() || p.digest() == name.digest())
    }) {
        return true;
    }
    glob(pattern, &name.familiar()) || glob(pattern, &name.familiar_name())
}

/// Go's `path.Match`: `*` and `?` stand for anything but `/`, `[a-z]` for one of a class, `\` takes the next as it is.
/// A malformed pattern matches nothing.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Where to go on when the rest does not match: one more character for the last star.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&'*') {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if p == pattern.len() && t == text.len() {
            return true;
        }
        if let Some(next) = text.get(t).and_then(|&c| one(&pattern, p, c)) {
            (p, t) = (next, t + 1);
            continue;
        }
        match star {
            Some((after, from)) if text.get(from).is_some_and(|&c| c != '/') => {
                star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// Where the pattern goes on after the element at `p` if that matches `c`.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match pattern.get(p)? {
        '?' => (c != '/').then_some(p + 1),
        '\\' => (*pattern.get(p + 1)? == c).then_some(p + 2),
        '[' => {
            let mut at = p + 1;
            let negated = pattern.get(at) == Some(&'^');
            at += usize::from(negated);
            let first = at;
            let mut hit = false;
            while pattern.get(at) != Some(&']') || at == first {
                let low = *pattern.get(at)?;
                let high = match (pattern.get(at + 1), pattern.get(at + 2)) {
                    (Some('-'), Some(&high)) if high != ']' => {
                        at += 2;
                        high
                    }
                    _ => low,
                };
                hit |= (low..=high).contains(&c);
                at += 1;
            }
            (hit != negated && c != '/').then_some(at + 1)
        }
        &literal => (literal == c).then_some(p + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_gos() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "abc", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("b*", "busybox", true),
            ("*box", "busybox", true),
            ("b*s*x", "busybox", true),
            ("b*s*y", "busybox", false),
            ("b?sy", "busy", true),
            ("a?b", "a/b", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[a-", "a", false),
            ("\\*", "*", true),
            ("\\", "a", false),
            ("a*", "b", false),
            ("a***b", "axxb", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn references_match_in_short_and_long_form() {
        let name: Reference = "busybox:1.36".parse().unwrap();
        for (pattern, expected) in [
            ("busybox", true),
            ("busybox:1.36", true),
            ("busybox:latest", false),
            ("docker.io/library/busybox", true),
            ("busy*", true),
            ("busybox:1.*", true),
            ("*:latest", false),
            ("library/*", false),
        ] {
            assert_eq!(matches(&name, pattern), expected, "{pattern}");
        }
    }
}
