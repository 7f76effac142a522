//! Finding a container by name, ID or the beginning of an ID, and reading and writing its record.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hull_spec::container::Record;

use crate::{Engine, Error, Result};

/// Characters of a whole ID.
const ID_LEN: usize = 64;

/// The container that `name` means: its name (with or without Docker's leading slash), its ID, or the beginning of its
/// ID where no other ID begins so. A name that looks like the beginning of another container's ID wins over it.
///
/// # Errors
/// [`Error::NoSuchContainer`] or [`Error::Ambiguous`]; and if the record cannot be read.
pub fn find(engine: &Engine, name: &str) -> Result<Record> {
    let id = find_id(engine, name)?;
    let record = load(engine, &id).map_err(|e| match e {
        // It was removed since, or its creation has not come to its end: the person asked for `name`, so say that.
        Error::NoSuchContainer { .. } => no_such(name),
        e => e,
    })?;
    // A link to a container of another name is that of a rename, under way or killed.
    if !id.starts_with(name) && record.name != name.strip_prefix('/').unwrap_or(name) {
        return Err(no_such(name));
    }
    Ok(record)
}

/// The whole ID of the container that `name` means, without reading its record.
///
/// # Errors
/// As [`find`].
pub fn find_id(engine: &Engine, name: &str) -> Result<String> {
    if is_id(name) {
        if exists(engine, name) {
            return Ok(name.to_owned());
        }
        return Err(no_such(name));
    }
    if name.is_empty() {
        return Err(Error::Invalid(
            "invalid container name or ID: value is empty".to_owned(),
        ));
    }
    let bare = name.strip_prefix('/').unwrap_or(name);
    if is_name(bare)
        && let Ok(target) = fs::read_link(engine.names().join(bare))
        && let Some(id) = target.to_str().filter(|id| is_id(id))
        && exists(engine, id)
    {
        return Ok(id.to_owned());
    }
    if name.len() >= ID_LEN || !is_hex(name) {
        return Err(no_such(name));
    }
    let mut found = None;
    for id in ids(engine)? {
        if id.starts_with(name) && exists(engine, &id) {
            if found.is_some() {
                return Err(Error::Ambiguous {
                    prefix: name.to_owned(),
                });
            }
            found = Some(id);
        }
    }
    found.ok_or_else(|| no_such(name))
}

/// The IDs of all containers, in no order. One whose creation or removal is under way may be among them.
///
/// # Errors
/// If the folder of containers cannot be read.
pub fn ids(engine: &Engine) -> Result<Vec<String>> {
    ids_below(&engine.data.join("containers"))
}

/// The entries of `dir` that are named by an ID; none where `dir` is missing.
pub(crate) fn ids_below(dir: &Path) -> Result<Vec<String>> {
    let read = |source| Error::Read {
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(read(e)),
    };
    let mut out = Vec::new();
    for entry in entries {
        if let Ok(id) = entry.map_err(read)?.file_name().into_string()
            && is_id(&id)
        {
            out.push(id);
        }
    }
    Ok(out)
}

/// Whether a container with this whole ID has its record on disk.
#[must_use]
pub fn exists(engine: &Engine, id: &str) -> bool {
    rustix::fs::access(record_path(engine, id), rustix::fs::Access::EXISTS).is_ok()
}

/// Reads the record of the container with this whole ID.
///
/// # Errors
/// [`Error::NoSuchContainer`] where there is none; [`Error::Damaged`] where it is no record.
pub fn load(engine: &Engine, id: &str) -> Result<Record> {
    let path = record_path(engine, id);
    match fs::read(&path) {
        Ok(bytes) => Record::parse(&bytes).map_err(|source| Error::Damaged { path, source }),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(no_such(id)),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// Writes the record of a container, whose folder must be there: under another name first, so that a reader sees the
/// old record or the new one.
///
/// # Errors
/// If it cannot be written.
pub fn save(engine: &Engine, record: &Record) -> Result<()> {
    let path = record_path(engine, &record.id);
    let next = path.with_extension("json.new");
    let write = |source: io::Error| match source.kind() {
        // Removed meanwhile.
        io::ErrorKind::NotFound => no_such(&record.id),
        _ => Error::Write {
            path: path.clone(),
            source,
        },
    };
    let bytes = serde_json::to_vec(record).map_err(|e| write(e.into()))?;
    fs::write(&next, bytes).map_err(write)?;
    fs::rename(&next, &path).map_err(write)
}

/// Tells one record of a container from the next: each is a file of its own. `None` where there is none.
pub(crate) fn version(engine: &Engine, id: &str) -> Option<(u64, i64, u64)> {
    let stat = rustix::fs::stat(record_path(engine, id)).ok()?;
    Some((stat.st_ino, stat.st_mtime, stat.st_mtime_nsec as u64))
}

fn record_path(engine: &Engine, id: &str) -> PathBuf {
    engine.container_dir(id).join("config.json")
}

/// Whether `text` is a whole ID: 64 lower-case hexadecimal digits. Such a text is safe as a file name.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `text` may be a container's name: Docker's `[a-zA-Z0-9][a-zA-Z0-9_.-]+`. Such a text is safe as a file name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 1
        && bytes.len() < 256
        && bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Refuses what may be no container's name, in Docker's words. `shown` is the name as it was given.
pub(crate) fn check_name(text: &str, shown: &str) -> Result<()> {
    if is_name(text) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "Invalid container name ({shown}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

pub(super) fn no_such(name: &str) -> Error {
    Error::NoSuchContainer {
        name: name.chars().take(300).collect(),
    }
}
