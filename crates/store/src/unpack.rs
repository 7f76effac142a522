//! Archives that come compressed, as users pass them to `cp` and `import`.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

/// The archive behind `input`, which may be gzip or Zstandard, or not compressed: the first bytes tell.
///
/// # Errors
/// Compressed with what hull does not read; an input that fails.
pub fn decompressed<'i, R: BufRead + Send + 'i>(mut input: R) -> Result<Box<dyn Read + Send + 'i>> {
    let failed = |source: io::Error| Error::Io {
        act: "read",
        path: "the archive".into(),
        source,
    };
    let unknown = |format: &str| Error::Unpack {
        entry: String::new(),
        reason: format!("it is compressed with {format}: decompress it first, or use gzip or zstd"),
    };
    // Shorter than an archive can be: its reader says so.
    let bytes = input.fill_buf().map_err(failed)?;
    Ok(match bytes {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(input)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(zstd::Decoder::with_buffer(input).map_err(failed)?)
        }
        [b'B', b'Z', b'h', ..] => return Err(unknown("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Err(unknown("xz")),
        _ => Box::new(input),
    })
}
