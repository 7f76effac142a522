//! Tar archives: reading those that strangers made (V7, ustar, GNU and PAX, sparse files of all four forms), and writing
//! PAX ones.
//!
//! Our own reader, because every byte has to mean exactly one thing. Where two headers disagree about a size, the PAX
//! one counts, for the data and for finding the next header alike (CVE-2025-62518, "TARmageddon", was a reader that
//! took one here and the other there). It follows Go's `archive/tar`, which Docker unpacks with. File data is handed
//! out as slices of the input's own buffer, so it is copied once: into its file.

use std::io::{self, BufRead, Read};

mod header;
mod pax;
mod sparse;
mod write;

pub use sparse::Extent;
pub use write::{Writer, size};

const BLOCK: usize = 512;
/// Go's limit for a PAX header or a GNU long name.
const EXTENDED_MAX: u64 = 1 << 20;

/// Why an archive cannot be read further.
#[derive(Debug)]
pub enum Fault {
    /// The input failed.
    Input(io::Error),
    /// The archive is not one.
    Malformed(&'static str),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Input(error)
    }
}

/// What an entry makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    #[default]
    Regular,
    /// Another name of a file that an earlier entry made.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// Seconds since 1970 and nanoseconds after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// May be negative.
    pub seconds: i64,
    /// Below a billion.
    pub nanos: u32,
}

/// One entry, with everything that extended headers said about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// As in the archive, neither empty nor with a NUL.
    pub path: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// What it makes.
    pub kind: Kind,
    /// Twelve bits.
    pub mode: u32,
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// When it was last changed.
    pub mtime: Time,
    /// Bytes of the file, holes included.
    pub size: u64,
    /// Major and minor number.
    pub device: (u32, u32),
    /// Names and values.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of a sparse file: where its data lies, in order, apart, inside `size`.
    pub sparse: Option<Vec<Extent>>,
}

/// A reader of one archive.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Data of the present entry that was not read.
    remaining: u64,
    /// Zeros between it and the next header.
    padding: u64,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// A reader at the archive's first byte.
    pub fn new(input: R) -> Self {
        Self {
            input,
            remaining: 0,
            padding: 0,
            ended: false,
        }
    }

    /// Reads the next entry into `entry`; false at the archive's end.
    ///
    /// # Errors
    /// What is no archive; what the input says.
    pub fn next(&mut self, entry: &mut Entry) -> Result<bool, Fault> {
        let mut extended = pax::Extended::default();
        let mut pending = false;
        loop {
            let Some(block) = self.header()? else {
                if pending {
                    return Err(Fault::Malformed("an extended header has no entry after it"));
                }
                return Ok(false);
            };
            let header = header::Header::parse(&block)?;
            match header.typeflag {
                b'x' => {
                    let records = self.extended(header.size)?;
                    extended.replace_records(&records)?;
                    pending = true;
                }
                // Git writes its commit here; Docker ignores these for what follows, and so does this reader.
                b'g' => drop(self.extended(header.size)?),
                b'L' => {
                    extended.long_name = Some(until_nul(self.extended(header.size)?));
                    pending = true;
                }
                b'K' => {
                    extended.long_link = Some(until_nul(self.extended(header.size)?));
                    pending = true;
                }
                _ => {
                    self.describe(entry, &header, &block, extended)?;
                    return Ok(true);
                }
            }
        }
    }

    /// The next stretch of the present entry's data; empty at its end. Of a sparse file: the data of its extents.
    ///
    /// # Errors
    /// If the input ends or fails.
    pub fn data(&mut self) -> Result<&[u8], Fault> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let bytes = self.input.fill_buf()?;
        if bytes.is_empty() {
            return Err(Fault::Malformed("the archive ends inside a file"));
        }
        let take = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(bytes.len());
        Ok(&bytes[..take])
    }

    /// Marks `count` bytes of what [`Self::data`] returned as used.
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.remaining -= count as u64;
    }

    /// The input: right behind the header, after [`Self::next`].
    pub(crate) fn input(&self) -> &R {
        &self.input
    }

    /// Gives up the present entry's data: the caller moves the input so many bytes forward.
    pub(crate) fn pass(&mut self) -> (&mut R, u64) {
        let rest = self.remaining.saturating_add(self.padding);
        (self.remaining, self.padding) = (0, 0);
        (&mut self.input, rest)
    }

    /// What lies behind the archive's end.
    pub fn into_rest(self) -> R {
        self.input
    }

    /// Fills in `entry` and sets out for its data.
    fn describe(
        &mut self,
        entry: &mut Entry,
        header: &header::Header,
        block: &[u8; BLOCK],
        extended: pax::Extended,
    ) -> Result<(), Fault> {
        header.fill(entry, block)?;
        let sparse_keys = extended.merge(entry)?;
        entry.kind = match header.typeflag {
            // A slash at the end made a directory before there was a type for it.
            0 if entry.path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::Regular,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Char,
            b'4' => Kind::Block,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            _ => return Err(Fault::Malformed("an entry has an unknown type")),
        };
        if entry.path.is_empty() || entry.path.contains(&0) || entry.link.contains(&0) {
            return Err(Fault::Malformed("a name is empty or holds a NUL"));
        }
        if matches!(entry.kind, Kind::HardLink | Kind::Symlink) && entry.link.is_empty() {
            return Err(Fault::Malformed("a link has no target"));
        }
        // Only files have data: a size in any other header is not followed by any.
        if entry.kind != Kind::Regular {
            entry.size = 0;
        }
        self.expect(entry.size);
        if header.typeflag == b'S' {
            let map = sparse::gnu(header, block, || self.block())?;
            self.sparse(entry, map)?;
        } else if let Some(keys) = sparse_keys {
            if entry.kind != Kind::Regular {
                return Err(Fault::Malformed("something else than a file is sparse"));
            }
            let map = sparse::pax(keys, || {
                if self.remaining < BLOCK as u64 {
                    return Err(Fault::Malformed("a sparse map is longer than its file"));
                }
                self.remaining -= BLOCK as u64;
                self.block()
            })?;
            self.sparse(entry, map)?;
        }
        Ok(())
    }

    fn sparse(&mut self, entry: &mut Entry, map: sparse::Map) -> Result<(), Fault> {
        entry.size = map.size;
        entry.sparse = Some(map.checked(self.remaining)?);
        Ok(())
    }

    fn expect(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// The next header; none at the end: two blocks of zeros, or no more input.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, Fault> {
        if self.ended {
            return Ok(None);
        }
        self.skip(self.remaining)?;
        self.skip(self.padding)?;
        (self.remaining, self.padding) = (0, 0);
        if self.input.fill_buf()?.is_empty() {
            self.ended = true;
            return Ok(None);
        }
        let block = self.block()?;
        if block != [0; BLOCK] {
            return Ok(Some(block));
        }
        self.ended = true;
        if !self.input.fill_buf()?.is_empty() && self.block()? != [0; BLOCK] {
            return Err(Fault::Malformed("data follows a single block of zeros"));
        }
        Ok(None)
    }

    fn block(&mut self) -> Result<[u8; BLOCK], Fault> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                return Err(Fault::Malformed("the archive ends inside a header"));
            }
            let take = bytes.len().min(BLOCK - filled);
            block[filled..filled + take].copy_from_slice(&bytes[..take]);
            self.input.consume(take);
            filled += take;
        }
        Ok(block)
    }

    fn skip(&mut self, mut count: u64) -> Result<(), Fault> {
        while count > 0 {
            let there = self.input.fill_buf()?.len();
            if there == 0 {
                return Err(Fault::Malformed("the archive ends inside a file"));
            }
            let take = usize::try_from(count).unwrap_or(usize::MAX).min(there);
            self.input.consume(take);
            count -= take as u64;
        }
        Ok(())
    }

    /// The data of an extended header.
    fn extended(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        if size > EXTENDED_MAX {
            return Err(Fault::Malformed("an extended header is larger than a mebibyte"));
        }
        self.expect(size);
        let mut out = Vec::new();
        loop {
            let bytes = self.data()?;
            let count = bytes.len();
            if count == 0 {
                return Ok(out);
            }
            out.extend_from_slice(bytes);
            self.consume(count);
        }
    }
}

/// The present entry's data.
impl<R: BufRead> BufRead for Reader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.data().map_err(|fault| match fault {
            Fault::Input(error) => error,
            Fault::Malformed(reason) => io::Error::new(io::ErrorKind::InvalidData, reason),
        })
    }

    fn consume(&mut self, count: usize) {
        Self::consume(self, count);
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(out.len());
        out[..count].copy_from_slice(&bytes[..count]);
        Self::consume(self, count);
        Ok(count)
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(at) = bytes.iter().position(|&b| b == 0) {
        bytes.truncate(at);
    }
    bytes
}

#[cfg(test)]
mod tests;
