//! Names of images that are there, and what else the index knows of them.

use hull_spec::{Digest, Reference};
use rusqlite::{OptionalExtension, TransactionBehavior};

use super::lookup;
use super::record::owner;
use super::resolve::key;
use crate::error::{Error, Result};
use crate::index::{self, Statement};
use crate::{Store, gc};

/// Gives an image one more name, which may be another image's until now.
///
/// # Errors
/// No such image; the index cannot be written.
pub fn tag(store: &Store, id: &Digest, name: &Reference) -> Result<()> {
    store.writable()?;
    store.with_index(|db| {
        let transaction = db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .act("begin naming an image")?;
        let before = owner(&transaction, name)?;
        let named = transaction
            .execute(
                "INSERT INTO refs (name, image) SELECT ?1, id FROM images WHERE id = ?2
                 ON CONFLICT (name) DO UPDATE SET image = excluded.image",
                [key(name).as_str(), id.as_str()],
            )
            .act("name an image")?;
        // It may have been removed since it was found.
        if named == 0 {
            return Err(Error::NoImage { name: id.to_string() });
        }
        transaction.commit().act("commit a name")?;
        index::empty_log(db)?;
        lookup::forget(store);
        if let Some(before) = before.filter(|before| before != id) {
            gc::touch(store, &before);
        }
        Ok(())
    })
}

/// All tags of a repository with the images that they name, sorted.
///
/// # Errors
/// If the index cannot be read.
pub fn tags(store: &Store, repository: &Reference) -> Result<Vec<(Reference, Digest)>> {
    if !store.has_index() {
        return Ok(Vec::new());
    }
    // What follows a colon sorts before a semicolon: this is a range of the primary key.
    let name = repository.name();
    let (low, high) = (format!("{name}:"), format!("{name};"));
    let found = store.with_index(|db| {
        db.prepare_cached("SELECT name, image FROM refs WHERE name >= ?1 AND name < ?2 ORDER BY name")
            .and_then(|mut s| {
                s.query_map([low, high], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
                })?
                .collect::<Result<Vec<_>, _>>()
            })
            .act("list the tags of a repository")
    })?;
    let mut out = Vec::with_capacity(found.len());
    for (name, image) in found {
        out.push((name.parse()?, image.parse()?));
    }
    Ok(out)
}

/// Bytes of the files of layers; 0 for one that is not there.
///
/// # Errors
/// If the index cannot be read.
pub fn layer_sizes(store: &Store, chains: &[Digest]) -> Result<Vec<u64>> {
    if !store.has_index() {
        return Ok(vec![0; chains.len()]);
    }
    store.with_index(|db| {
        let mut statement = db
            .prepare_cached("SELECT size FROM layers WHERE chain = ?1")
            .act("look for a layer")?;
        let size = |chain: &Digest| {
            let size: Option<i64> = statement
                .query_row([chain.as_str()], |row| row.get(0))
                .optional()
                .act("look for a layer")?;
            Ok(size.map_or(0, i64::cast_unsigned))
        };
        chains.iter().map(size).collect()
    })
}
