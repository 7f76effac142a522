//! Blobs: bytes under their digest.

use std::fs::File;
use std::io::{Read, Write};

use hull_spec::Digest;

use crate::archive::Section;
use crate::error::{At, Error, Result};
use crate::hash::digest as digest_of;
use crate::{Lease, Store};

pub(crate) mod partial;

/// Whether the blob is there, whole. Under a lease that protects it, it stays.
///
/// # Errors
/// If the file system cannot say.
pub fn exists(store: &Store, digest: &Digest) -> Result<bool> {
    let path = store.blob_path(digest);
    path.try_exists().at("look for", path)
}

/// Reads a blob of at most `limit` bytes and checks it against its digest.
///
/// # Errors
/// If it is missing, larger, damaged or unreadable.
pub fn read(store: &Store, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
    let path = store.blob_path(digest);
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoBlob { digest: digest.clone() });
        }
        opened => opened.at("open", &path)?,
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .at("read", &path)?;
    if bytes.len() as u64 > limit {
        return Err(Error::BlobTooLarge {
            digest: digest.clone(),
            limit,
        });
    }
    verify(&bytes, digest)?;
    Ok(bytes)
}

/// A blob's bytes, to be read in parts or copied by the kernel. They are not checked: what is in the store was.
///
/// # Errors
/// If it is missing or unreadable.
pub fn open(store: &Store, digest: &Digest) -> Result<Section> {
    let path = store.blob_path(digest);
    match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::NoBlob { digest: digest.clone() }),
        opened => Section::of(opened.at("open", &path)?).at("examine", &path),
    }
}

/// Adds a blob that is at hand whole: a manifest or a config. Does nothing if it is there already.
///
/// # Errors
/// If `bytes` does not have `digest`, or cannot be written.
pub fn write(lease: &Lease<'_>, bytes: &[u8], digest: &Digest) -> Result<()> {
    verify(bytes, digest)?;
    let store = lease.store();
    lease.protect([digest])?;
    // After a power cut a blob that was never synced may be there with other bytes: then it is written anew.
    if read(store, digest, bytes.len() as u64).is_ok() {
        return Ok(());
    }
    let mut partial = partial::Partial::claim(store, digest)?;
    partial.restart()?;
    partial.file().write_all(bytes).at("write", partial.path())?;
    partial.publish()
}

fn verify(bytes: &[u8], digest: &Digest) -> Result<()> {
    let actual = digest_of(digest.algorithm(), bytes);
    if actual != *digest {
        return Err(Error::BlobDigest {
            expected: digest.clone(),
            actual,
        });
    }
    Ok(())
}
