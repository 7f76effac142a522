//! Going over a tar archive once, noting where everything lies.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, SeekFrom};

use super::files::{Files, Item, clean};
use super::malformed;
use crate::error::{At, Error, Result};
use crate::store::Limits;
use crate::tar::{Entry, Fault, Kind, Reader};
use crate::unpack::decompressed;

/// Entries of an archive of images: thousands of images with hundreds of layers each, three entries a layer.
const ENTRIES_MAX: usize = 200_000;
/// The longest name of an entry, in bytes; Docker's are below 150.
const NAME_MAX: usize = 1024;
/// Bytes of all names.
const NAMES_MAX: usize = 16 << 20;

const BUFFER: usize = 64 << 10;
/// How often the free space is looked at: every this many bytes.
const CHECK: u64 = 64 << 20;

/// Looks through the archive that begins at the file's present place.
pub(super) fn scan(place: &str, file: File, spool: &Path) -> Result<Files> {
    let stat = rustix::fs::fstat(&file).at("examine", place)?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let start = if is_file {
        rustix::fs::seek(&file, SeekFrom::Current(0)).at("read", place)?
    } else {
        0
    };
    let mut head = [0; 6];
    let plain = is_file && {
        let count = rustix::io::pread(&file, &mut head, start).at("read", place)?;
        !is_compressed(&head[..count])
    };
    if plain {
        return entries(place, file, start);
    }
    let file = copy(place, file, spool)?;
    entries(place, file, 0)
}

fn is_compressed(head: &[u8]) -> bool {
    matches!(
        head,
        [0x1f, 0x8b, ..]
            | [0x28, 0xb5, 0x2f, 0xfd, ..]
            | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]
            | [b'B', b'Z', b'h', ..]
            | [0xfd, b'7', b'z', b'X', b'Z', 0, ..]
    )
}

/// Copies a stream, decompressed, to a file that has no name and is gone with this process.
fn copy(place: &str, input: File, spool: &Path) -> Result<File> {
    let mut input = decompressed(BufReader::with_capacity(BUFFER, input)).map_err(|error| match error {
        Error::Unpack { reason, .. } => Error::Foreign {
            place: place.to_owned(),
            reason,
        },
        error => error,
    })?;
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let out: File = rustix::fs::open(spool, flags, Mode::RUSR | Mode::WUSR)
        .at("create a file in", spool)?
        .into();
    let limits = Limits::default();
    let mut buffer = vec![0; 4 * BUFFER];
    let (mut total, mut checked) = (0, 0);
    loop {
        let count = match input.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.at("read", place)?,
        };
        if count == 0 {
            return Ok(out);
        }
        total += count as u64;
        if total > limits.bytes {
            return Err(malformed(place, format!("it holds more than {} bytes", limits.bytes)));
        }
        (&out).write_all(&buffer[..count]).at("write a file in", spool)?;
        if total - checked >= CHECK {
            checked = total;
            let space = rustix::fs::fstatvfs(&out).at("examine", spool)?;
            if space.f_bavail.saturating_mul(space.f_frsize) < limits.reserve {
                return Err(rustix::io::Errno::NOSPC).at("write a file in", spool);
            }
        }
    }
}

fn entries(place: &str, file: File, start: u64) -> Result<Files> {
    let fault = |fault: Fault| match fault {
        Fault::Input(source) => Error::Io {
            act: "read",
            path: place.into(),
            source,
        },
        Fault::Malformed(reason) => malformed(place, format!("it is no tar archive: {reason}")),
    };
    let length = file.metadata().at("examine", place)?.len();
    let mut reader = Reader::new(Cursor::new(file.try_clone().at("read", place)?, start));
    let mut entry = Entry::default();
    let mut found: HashMap<Box<str>, Item> = HashMap::new();
    let mut bytes = 0;
    while reader.next(&mut entry).map_err(fault)? {
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        let wrong = |what: &str| malformed(place, format!("its entry `{}` {what}", clip(&shown)));
        if entry.path.len() > NAME_MAX || entry.link.len() > NAME_MAX {
            return Err(wrong("has too long a name"));
        }
        let at = reader.input().position();
        if entry.kind == Kind::Regular && at.checked_add(entry.size).is_none_or(|end| end > length) {
            return Err(wrong("ends behind the end of the archive"));
        }
        let (input, rest) = reader.pass();
        input.forward(rest);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| wrong("has a name that is no text"));
        let path = text(&entry.path)?;
        let Some(name) = clean("", &path) else {
            // The top itself is no news.
            if entry.kind == Kind::Directory && !path.split('/').any(|part| part == "..") {
                continue;
            }
            return Err(wrong("leads out of the archive"));
        };
        let item = match entry.kind {
            Kind::Directory => continue,
            Kind::Regular if entry.sparse.is_some() => return Err(wrong("is a sparse file")),
            Kind::Regular => Item::File {
                at,
                size: entry.size,
                again: false,
            },
            Kind::Symlink | Kind::HardLink => {
                let target = text(&entry.link)?;
                let from = match entry.kind {
                    Kind::Symlink => name.rsplit_once('/').map_or("", |(parent, _)| parent),
                    _ => "",
                };
                Item::Link(clean(from, &target).ok_or_else(|| wrong("is a link that leads out of the archive"))?)
            }
            Kind::Char | Kind::Block | Kind::Fifo => Item::Other,
        };
        bytes += name.len() + entry.link.len();
        if found.len() >= ENTRIES_MAX || bytes > NAMES_MAX {
            return Err(malformed(place, "it has too many entries"));
        }
        match found.entry(name) {
            Slot::Vacant(slot) => drop(slot.insert(item)),
            // Docker unpacks what it loads, so the last one counts. What matters is named by digest in any case, and what
            // does not is refused where it is read.
            Slot::Occupied(mut slot) => drop(slot.insert(match item {
                Item::File { at, size, .. } => Item::File { at, size, again: true },
                item => item,
            })),
        }
    }
    Ok(Files::tar(place, file, found))
}

fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A file read from some place on, over which one can jump.
#[derive(Debug)]
struct Cursor {
    file: File,
    /// Where the buffer's first byte is in the file.
    base: u64,
    buffer: Vec<u8>,
    filled: usize,
    at: usize,
}

impl Cursor {
    fn new(file: File, start: u64) -> Self {
        Self {
            file,
            base: start,
            buffer: vec![0; BUFFER],
            filled: 0,
            at: 0,
        }
    }

    /// Where the next byte is in the file.
    fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    fn forward(&mut self, count: u64) {
        let here = (self.filled - self.at) as u64;
        if count <= here {
            self.at += usize::try_from(count).unwrap_or(0);
            return;
        }
        self.base = self.position().saturating_add(count);
        (self.filled, self.at) = (0, 0);
    }
}

impl BufRead for Cursor {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.filled {
            self.base = self.position();
            (self.filled, self.at) = (0, 0);
            self.filled = rustix::io::retry_on_intr(|| rustix::io::pread(&self.file, &mut self.buffer[..], self.base))?;
        }
        Ok(&self.buffer[self.at..self.filled])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Cursor {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(out.len());
        out[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}
