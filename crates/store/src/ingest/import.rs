//! A new layer out of an archive that somebody has made, by `import`: the archive is kept as it came.
//!
//! ```text
//! source -> [sha256, blob file] -> [gunzip or unzstd] -+-> [sha256: the diff ID]
//!  caller's thread                  thread             +-> [tar, files] thread
//! ```

use std::fs::File;
use std::io::{self, Read, Write};

use hull_spec::Algorithm;
use hull_spec::manifest::media;

use super::create::{Made, descriptor, nameless, publish, unnamed};
use super::queue::fill;
use super::{LayerSpec, Workspace, pipeline};
use crate::error::{At, Error, Result};
use crate::hash::Hasher;
use crate::{Lease, Store};

/// Makes a layer without a parent out of the archive `source`, which may be compressed with gzip or Zstandard.
///
/// Nothing becomes visible before it is whole; a kill in between leaves what the next writer sweeps.
///
/// # Errors
/// What is no archive that can be unpacked safely; limits; the disk; what `source` says.
pub fn import(lease: &Lease<'_>, source: &mut (dyn Read + Send)) -> Result<LayerSpec> {
    let store = lease.store();
    let workspace = nameless(store)?;
    let made = unpack(store, &workspace, source).and_then(|made| publish(lease, None, &workspace, &made));
    // Published or not, nothing of it is needed under this name. What resists is swept by the next writer.
    let discarded = workspace.discard();
    let made = made?;
    discarded?;
    Ok(made)
}

fn unpack(store: &Store, workspace: &Workspace, source: &mut (dyn Read + Send)) -> Result<Made> {
    let path = workspace.path.join("blob");
    let mut file = File::create_new(&path).at("create", &path)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let (mut size, mut media_type) = (0, "");
    let unnamed = unnamed(None);
    let unpacked = pipeline::unpack(store, &unnamed, workspace, |mut feed| {
        loop {
            let mut buffer = feed.buffer();
            fill(source, &mut buffer).at("read", "the archive")?;
            if media_type.is_empty() {
                media_type = kind(&buffer)?;
            }
            if buffer.is_empty() || feed.stopped() {
                break;
            }
            size += buffer.len() as u64;
            hasher.update(&buffer);
            file.write_all(&buffer).at("write", &path)?;
            feed.send(buffer);
        }
        if !feed.stopped() {
            feed.end();
        }
        Ok(())
    });
    // The layer that an error is about has no name.
    let (unpacked, diff_id) = unpacked.map_err(nameless_error)?;
    Ok(Made {
        blob: descriptor(media_type, &hasher.finish(), size),
        diff_id,
        unpacked,
    })
}

/// What the archive is by its first bytes.
fn kind(first: &[u8]) -> Result<&'static str> {
    let wrong = |reason: String| Error::Unpack {
        entry: String::new(),
        reason,
    };
    let compressed = |format: &str| {
        wrong(format!(
            "it is compressed with {format}: decompress it first, or use gzip or zstd"
        ))
    };
    Ok(match first {
        [] => return Err(wrong("it is empty".to_owned())),
        [0x1f, 0x8b, ..] => media::OCI_LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => media::OCI_LAYER_ZSTD,
        [b'B', b'Z', b'h', ..] => return Err(compressed("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Err(compressed("xz")),
        _ => media::OCI_LAYER,
    })
}

fn nameless_error(error: Error) -> Error {
    let unpack = |entry: String, reason: String| Error::Unpack { entry, reason };
    match error {
        Error::Archive { entry, reason, .. } => unpack(entry, reason),
        Error::Compression { format, source, .. } => {
            unpack(String::new(), format!("it is no valid {format}: {source}"))
        }
        Error::Entry { entry, act, source, .. } => Error::Io {
            act,
            path: entry.into(),
            source,
        },
        Error::TooLarge { limit, unit, .. } => Error::Io {
            act: "unpack",
            path: "the archive".into(),
            source: io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("it holds more than {limit} {unit}"),
            ),
        },
        Error::NoSpace { root, .. } => Error::Io {
            act: "write to",
            path: root,
            source: rustix::io::Errno::NOSPC.into(),
        },
        other => other,
    }
}
