//! The second stage: gunzip, unzstd, or nothing.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use super::LayerSpec;
use super::pipeline::own;
use super::queue::{Inlet, Outlet};
use crate::Store;
use crate::error::{Error, Result};

/// How often the free space is looked at: every this many bytes.
const CHECK: u64 = 64 << 20;

/// Uncompresses everything. As Docker does, this trusts the first bytes rather than the media type; the diff ID says
/// whether the result is the right one.
pub(super) fn run(store: &Store, spec: &LayerSpec, mut input: Inlet, output: Outlet) -> Result<Option<u64>> {
    let blob = &spec.descriptor.digest;
    let magic = match input.fill_buf() {
        Ok(bytes) => <[u8; 4]>::try_from(bytes.get(..4).unwrap_or_default()).unwrap_or_default(),
        Err(error) => return own(error, |source| closed(spec, "tar", source)),
    };
    let (format, mut reader): (&'static str, Box<dyn Read>) = match magic {
        [0x1f, 0x8b, ..] => ("gzip", Box::new(MultiGzDecoder::new(input))),
        // A frame, or one of the skippable frames that may come first.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => match zstd::Decoder::with_buffer(input) {
            Ok(decoder) => ("zstd", Box::new(decoder)),
            Err(error) => return Err(closed(spec, "zstd", error)),
        },
        _ => ("tar", Box::new(input)),
    };
    let limits = store.limits();
    let (mut total, mut checked) = (0u64, 0u64);
    let mut stop = None;
    let pumped = output.pump(&mut *reader, |bytes| {
        total += bytes.len() as u64;
        if total > limits.bytes {
            stop = Some(Error::TooLarge {
                blob: blob.clone(),
                limit: limits.bytes,
                unit: "bytes",
            });
        } else if total - checked >= CHECK {
            checked = total;
            stop = short_of_space(store, spec);
        }
        match stop {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::Other.into()),
        }
    });
    match (pumped, stop) {
        (_, Some(error)) => Err(error),
        (Err(error), None) => own(error, |source| closed(spec, format, source)),
        (Ok(()), None) => {
            // A receiver that is gone has an error of its own.
            Ok(output.end().ok().map(|()| total))
        }
    }
}

fn closed(spec: &LayerSpec, format: &'static str, source: io::Error) -> Error {
    Error::Compression {
        blob: spec.descriptor.digest.clone(),
        format,
        source,
    }
}

/// An error if the file system is nearly full: a bomb must not take the last byte from everybody else.
fn short_of_space(store: &Store, spec: &LayerSpec) -> Option<Error> {
    let reserve = store.limits().reserve;
    let space = rustix::fs::statvfs(store.root()).ok()?;
    (space.f_bavail.saturating_mul(space.f_frsize) < reserve).then(|| Error::NoSpace {
        blob: spec.descriptor.digest.clone(),
        reserve,
        root: store.root().to_owned(),
    })
}
