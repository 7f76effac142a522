//! Finding an image by what a person typed.

use hull_spec::image::ImageConfig;
use hull_spec::{Digest, Reference};
use rusqlite::{Connection, OptionalExtension, Row};

use super::{Image, lookup};
use crate::error::{Error, Result};
use crate::index::Statement;
use crate::{Access, Store};

const COLUMNS: &str = "id, manifest, config, layers, blobs, size";

/// Finds an image by reference (`busybox`, `busybox:1`, `busybox@sha256:..`), by ID or by the first digits of its ID,
/// in Docker's order: names win over short IDs.
///
/// # Errors
/// [`Error::NoImage`], [`Error::Ambiguous`], a malformed name, or an index that cannot be read.
pub fn resolve(store: &Store, name_or_id: &str) -> Result<Image> {
    if store.access() == Access::Write {
        return look_up(store, name_or_id);
    }
    if let Some(image) = lookup::recall(store, name_or_id) {
        return Ok(image);
    }
    let before = lookup::begin(store);
    let image = look_up(store, name_or_id)?;
    lookup::remember(store, name_or_id, &image, before);
    Ok(image)
}

fn look_up(store: &Store, name_or_id: &str) -> Result<Image> {
    let missing = || Error::NoImage {
        name: asked(name_or_id),
    };
    if !store.has_index() {
        name_or_id_is_sound(name_or_id)?;
        return Err(missing());
    }
    store.with_index(|db| {
        if let Some(id) = full_id(name_or_id) {
            return by_id(db, &id)?.ok_or_else(missing);
        }
        let parsed = name_or_id.parse::<Reference>();
        if let Ok(reference) = &parsed
            && let Some(image) = by_name(db, reference)?
        {
            return Ok(image);
        }
        if let Some(image) = by_prefix(db, name_or_id)? {
            return Ok(image);
        }
        Err(match parsed {
            Err(error) if short_id(name_or_id).is_none() => error.into(),
            _ => missing(),
        })
    })
}

/// Whether an image with this ID is there.
///
/// # Errors
/// If the index cannot be read.
pub fn exists(store: &Store, id: &Digest) -> Result<bool> {
    if !store.has_index() {
        return Ok(false);
    }
    store.with_index(|db| {
        db.prepare_cached("SELECT 1 FROM images WHERE id = ?1")
            .and_then(|mut s| s.exists([id.as_str()]))
            .act("look for an image")
    })
}

/// All references to an image, tags before digests, each sorted.
///
/// # Errors
/// If the index cannot be read.
pub fn names(store: &Store, id: &Digest) -> Result<Vec<Reference>> {
    if !store.has_index() {
        return Ok(Vec::new());
    }
    store.with_index(|db| names_of(db, id))
}

pub(super) fn names_of(db: &Connection, id: &Digest) -> Result<Vec<Reference>> {
    let mut statement = db
        .prepare_cached("SELECT name FROM refs WHERE image = ?1 ORDER BY name")
        .act("list an image's names")?;
    let names = statement
        .query_map([id.as_str()], |row| row.get::<_, String>(0))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .act("list an image's names")?;
    let mut names = names
        .iter()
        .map(|n| Ok(n.parse()?))
        .collect::<Result<Vec<Reference>>>()?;
    names.sort_by_key(|n| n.digest().is_some());
    Ok(names)
}

/// The name as the index has it: a digest names alone, whatever tag stands beside it.
pub(super) fn key(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => reference.with_digest(digest.clone()).to_string(),
        None => reference.clone().or_latest().to_string(),
    }
}

pub(super) fn by_name(db: &Connection, reference: &Reference) -> Result<Option<Image>> {
    let image = db
        .prepare_cached(
            "SELECT i.id, i.manifest, i.config, i.layers, i.blobs, i.size
             FROM refs r JOIN images i ON i.id = r.image WHERE r.name = ?1",
        )
        .and_then(|mut s| s.query_row([key(reference)], columns).optional())
        .act("look for an image by name")?;
    image.map(|c| c.image(Some(reference.clone().or_latest()))).transpose()
}

pub(super) fn by_id(db: &Connection, id: &Digest) -> Result<Option<Image>> {
    let image = db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM images WHERE id = ?1"))
        .and_then(|mut s| s.query_row([id.as_str()], columns).optional())
        .act("look for an image by ID")?;
    image.map(|c| c.image(None)).transpose()
}

pub(super) fn by_prefix(db: &Connection, text: &str) -> Result<Option<Image>> {
    let Some(digits) = short_id(text) else {
        return Ok(None);
    };
    // Digits sort before `g`, so this is a range of the primary key.
    let (low, high) = (format!("sha256:{digits}"), format!("sha256:{digits}g"));
    let ids = db
        .prepare_cached("SELECT id FROM images WHERE id >= ?1 AND id < ?2")
        .and_then(|mut s| {
            s.query_map([low, high], |row| row.get::<_, String>(0))?
                .collect::<Result<Vec<_>, _>>()
        })
        .act("look for an image by ID")?;
    match &ids[..] {
        [] => Ok(None),
        [id] => by_id(db, &id.parse()?),
        several => Err(Error::Ambiguous {
            prefix: digits.to_owned(),
            count: several.len(),
        }),
    }
}

/// `sha256:HEX` or 64 digits.
pub(super) fn full_id(text: &str) -> Option<Digest> {
    match text.parse() {
        Ok(digest) => Some(digest),
        Err(_) => format!("sha256:{text}").parse().ok(),
    }
}

/// The digits of a shortened ID, with or without its algorithm.
pub(super) fn short_id(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    (!digits.is_empty() && digits.len() <= 64 && digits.bytes().all(hex)).then_some(digits)
}

/// The name with Docker's default tag, as its message has it.
pub(super) fn asked(text: &str) -> String {
    if full_id(text).is_some() {
        return text.to_owned();
    }
    text.parse::<Reference>()
        .map_or_else(|_| text.to_owned(), |r| r.or_latest().familiar())
}

fn name_or_id_is_sound(text: &str) -> Result<()> {
    if full_id(text).is_none() && short_id(text).is_none() {
        text.parse::<Reference>()?;
    }
    Ok(())
}

/// One row of `images`.
pub(super) struct Columns {
    id: String,
    manifest: String,
    config: Vec<u8>,
    layers: String,
    blobs: String,
    size: u64,
}

pub(super) fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok(Columns {
        id: row.get(0)?,
        manifest: row.get(1)?,
        config: row.get(2)?,
        layers: row.get(3)?,
        blobs: row.get(4)?,
        size: row.get::<_, i64>(5)?.cast_unsigned(),
    })
}

impl Columns {
    pub(super) fn image(self, name: Option<Reference>) -> Result<Image> {
        let id: Digest = self.id.parse()?;
        let config: ImageConfig = serde_json::from_slice(&self.config).map_err(|error| Error::Image {
            id: id.clone(),
            reason: format!("its config cannot be read: {error}"),
        })?;
        Ok(Image {
            id,
            manifest: self.manifest.parse()?,
            config,
            layers: digests(&self.layers)?,
            blobs: digests(&self.blobs)?,
            size: self.size,
            name,
        })
    }
}

fn digests(lines: &str) -> Result<Vec<Digest>> {
    lines.lines().map(|line| Ok(line.parse()?)).collect()
}
