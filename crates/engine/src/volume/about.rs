//! What is known of a volume, and what its name may be.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Engine, Error, Result};

/// The label of a volume that was given no name: Docker's.
pub(super) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// `volume.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct About {
    /// RFC 3339, UTC.
    pub(super) created_at: String,
    /// Labels; `None` where none were given.
    pub(super) labels: Option<BTreeMap<String, String>>,
    /// Options of the driver; `None` where none were given.
    pub(super) options: Option<BTreeMap<String, String>>,
}

/// `DATA/volumes`.
pub(super) fn volumes(engine: &Engine) -> PathBuf {
    engine.data.join("volumes")
}

/// `DATA/volumes/NAME`. The name must have been checked.
pub(crate) fn folder(engine: &Engine, name: &str) -> PathBuf {
    volumes(engine).join(name)
}

/// Whether `name` may be a volume's, and so is safe as a file name.
pub(crate) fn is_volume(name: &str) -> bool {
    check_name(name).is_ok()
}

/// Docker's rule for names: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, and what fits a file's name.
///
/// # Errors
/// Docker's words for what is wrong.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let bytes = name.as_bytes();
    let why = if bytes.len() == 1 {
        "volume name is too short, names should be at least two alphanumeric characters".to_owned()
    } else if !bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        || !bytes
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    {
        format!(
            "\"{}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
             allowed. If you intended to pass a host directory, use absolute path",
            shown(name)
        )
    } else if bytes.len() > 255 {
        "volume name is too long, names should be at most 255 characters".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::Volume { name: shown(name), why })
}

/// A name as messages show it.
fn shown(name: &str) -> String {
    name.chars().take(300).collect()
}

/// What is known of the volume.
///
/// # Errors
/// [`Error::NoSuchVolume`]; what is there and cannot be read.
pub(super) fn load(engine: &Engine, name: &str) -> Result<About> {
    let missing = || Error::NoSuchVolume { name: shown(name) };
    if !is_volume(name) {
        return Err(missing());
    }
    let path = folder(engine, name).join("volume.json");
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| Error::Damaged { path, source }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(missing()),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// The names of all volumes, in Docker's order: runs of digits by their value.
///
/// # Errors
/// If they cannot be read.
pub(super) fn names(engine: &Engine) -> Result<Vec<String>> {
    let path = volumes(engine);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Read { path, source }),
    };
    let mut out: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_volume(name))
        .collect();
    out.sort_by(|a, b| natural(a, b));
    Ok(out)
}

/// Compares texts with their runs of digits as numbers.
fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut x, mut y) = (a.as_bytes(), b.as_bytes());
    loop {
        let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
        let (n, m) = (digits(x), digits(y));
        if n > 0 && m > 0 {
            let number = |text: &[u8]| {
                let zeros = text.iter().take_while(|b| **b == b'0').count();
                text[zeros..].to_vec()
            };
            let (left, right) = (number(&x[..n]), number(&y[..m]));
            let order = left.len().cmp(&right.len()).then(left.cmp(&right)).then(n.cmp(&m));
            if order.is_ne() {
                return order;
            }
            (x, y) = (&x[n..], &y[m..]);
            continue;
        }
        match (x.split_first(), y.split_first()) {
            (Some((p, rest)), Some((q, other))) if p == q => (x, y) = (rest, other),
            (p, q) => return p.map(|(b, _)| b).cmp(&q.map(|(b, _)| b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for name in ["ab", "a-b_c.d", "0x", &"a".repeat(255)] {
            assert!(is_volume(name), "{name}");
        }
        let check = |name: &str, expected: &str| {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains(expected), "{name:?}: {error}");
        };
        check("a", "too short");
        check("", "invalid characters");
        check("../x", "invalid characters");
        check(".hidden", "invalid characters");
        check("a/b", "invalid characters");
        check("a\0b", "invalid characters");
        check("a\nb", "invalid characters");
        check("\u{e9}t\u{e9}", "invalid characters");
        check(&"a".repeat(256), "too long");
        assert!(check_name(&"/".repeat(100_000)).unwrap_err().to_string().len() < 1000);
    }

    #[test]
    fn names_are_sorted_as_people_count() {
        let mut names = ["v10", "v2", "v02", "a", "v", "v2b", "V3"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["V3", "a", "v", "v2", "v2b", "v02", "v10"]);
    }
}
