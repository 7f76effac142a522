//! Making a pulled image known.

use hull_spec::image::ImageConfig;
use hull_spec::{Digest, Reference};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::resolve::key;
use super::{Image, lookup};
use crate::error::{Error, Result};
use crate::index::{self, Statement};
use crate::ingest::LayerSpec;
use crate::{Lease, chain_id, gc};

/// A pulled image: every part of it is in the store, under the lease that it is recorded with.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The digest of `config`.
    pub id: &'a Digest,
    /// The bytes of the image config.
    pub config: &'a [u8],
    /// The digest of the image's own manifest, not of an index that it was found in.
    pub manifest: &'a Digest,
    /// Its layers as ingested, lowest first.
    pub layers: &'a [LayerSpec],
    /// What it is to be called: tags (which move here from any other image) and digests of the manifest or index.
    pub names: &'a [Reference],
}

/// Makes an image visible under its names, after all of it was synced to the disk.
///
/// # Errors
/// If the parts do not fit together or are missing, or the index cannot be written.
pub fn record(lease: &Lease<'_>, request: &Record<'_>) -> Result<Image> {
    let store = lease.store();
    let config = checked(request)?;
    lease.protect([request.id, request.manifest])?;
    store.sync()?;
    store.with_index(|db| {
        let transaction = db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .act("begin recording an image")?;
        let mut size: u64 = 0;
        for layer in request.layers {
            let bytes: Option<i64> = transaction
                .prepare_cached("UPDATE layers SET boot = NULL WHERE chain = ?1 RETURNING size")
                .and_then(|mut s| s.query_row([layer.chain_id.as_str()], |row| row.get(0)).optional())
                .act("mark a layer as synced")?;
            let bytes = bytes.filter(|_| store.layer_path(&layer.chain_id).exists());
            size = size.saturating_add(bytes.map(i64::cast_unsigned).ok_or_else(|| Error::NoLayer {
                chain: layer.chain_id.clone(),
            })?);
        }
        let image = Image {
            id: request.id.clone(),
            manifest: request.manifest.clone(),
            config,
            layers: request.layers.iter().map(|l| l.chain_id.clone()).collect(),
            blobs: request.layers.iter().map(|l| l.descriptor.digest.clone()).collect(),
            size,
            name: request.names.first().cloned(),
        };
        transaction
            .execute(
                "INSERT INTO images (id, manifest, config, layers, blobs, size) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (id) DO UPDATE SET manifest = excluded.manifest, layers = excluded.layers,
                     blobs = excluded.blobs, size = excluded.size",
                rusqlite::params![
                    image.id.as_str(),
                    image.manifest.as_str(),
                    request.config,
                    lines(&image.layers),
                    lines(&image.blobs),
                    size.cast_signed()
                ],
            )
            .act("record an image")?;
        let mut before = Vec::new();
        for name in request.names {
            before.extend(owner(&transaction, name)?.filter(|owner| owner != request.id));
            transaction
                .execute(
                    "INSERT INTO refs (name, image) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET image = excluded.image",
                    [key(name).as_str(), image.id.as_str()],
                )
                .act("name an image")?;
        }
        transaction.commit().act("commit an image")?;
        index::empty_log(db)?;
        lookup::forget(store);
        for id in before {
            gc::touch(store, &id);
        }
        Ok(image)
    })
}

/// Whose name this is.
pub(super) fn owner(db: &Connection, name: &Reference) -> Result<Option<Digest>> {
    let image: Option<String> = db
        .prepare_cached("SELECT image FROM refs WHERE name = ?1")
        .and_then(|mut s| s.query_row([key(name)], |row| row.get(0)).optional())
        .act("look for a name's image")?;
    Ok(image.map(|image| image.parse()).transpose()?)
}

fn lines(digests: &[Digest]) -> String {
    digests.iter().map(Digest::as_str).collect::<Vec<_>>().join("\n")
}

/// The config, if it names exactly the layers that were ingested.
fn checked(request: &Record<'_>) -> Result<ImageConfig> {
    let wrong = |reason: String| Error::Image {
        id: request.id.clone(),
        reason,
    };
    let actual = crate::digest(request.id.algorithm(), request.config);
    if actual != *request.id {
        return Err(Error::BlobDigest {
            expected: request.id.clone(),
            actual,
        });
    }
    let config: ImageConfig =
        serde_json::from_slice(request.config).map_err(|error| wrong(format!("its config cannot be read: {error}")))?;
    let (named, given) = (config.rootfs.diff_ids.len(), request.layers.len());
    if named != given {
        return Err(wrong(format!("its config names {named} layers, its manifest {given}")));
    }
    let mut parent: Option<Digest> = None;
    for (diff_id, layer) in config.rootfs.diff_ids.iter().zip(request.layers) {
        let chain = chain_id(parent.as_ref(), diff_id);
        if *diff_id != layer.diff_id || chain != layer.chain_id {
            return Err(wrong(format!(
                "layer {} is not the one that its config names",
                layer.chain_id
            )));
        }
        parent = Some(chain);
    }
    Ok(config)
}
