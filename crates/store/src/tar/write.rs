//! Writing archives: ustar headers, with PAX records before them where a value does not fit (POSIX pax, "pax Interchange
//! Format"). What Go's `archive/tar` writes for the same file, so that sizes come out as Docker's.

use std::io::{self, Write};
use std::os::fd::AsFd;

use super::{BLOCK, Entry, Extent, Kind, Time};

/// What a field of seven or eleven octal digits holds.
const SMALL_MAX: u64 = 0o777_7777;
const LARGE_MAX: u64 = 0o777_7777_7777;

const BUFFER: usize = 256 << 10;

const NAME: usize = 100;
const PREFIX: usize = 155;

/// A writer of one archive. Whoever writes an entry writes all of its data before the next one.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// Data of the present entry that was not written.
    remaining: u64,
    /// Zeros after it.
    padding: usize,
    written: u64,
    scratch: Vec<u8>,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// An archive that begins at `out`'s present place.
    pub fn new(out: W) -> Self {
        Self {
            out,
            remaining: 0,
            padding: 0,
            written: 0,
            scratch: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Begins an entry. A directory's path gets a slash. Of a regular file `size` bytes of data must follow, or, of a
    /// sparse one, the data of its extents.
    ///
    /// # Errors
    /// What the output says; data that the entry before this one lacks.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.end_entry()?;
        self.scratch.clear();
        self.remaining = encode(entry, &mut self.scratch);
        self.padding = padding(self.remaining);
        // The map of a sparse file is data already.
        if let (Kind::Regular, Some(extents)) = (entry.kind, &entry.sparse) {
            let map = map(extents);
            self.remaining -= map.len() as u64;
            self.scratch.extend_from_slice(&map);
        }
        self.out.write_all(&self.scratch)?;
        self.written += self.scratch.len() as u64;
        Ok(())
    }

    /// Writes a stretch of the present entry's data.
    ///
    /// # Errors
    /// What the output says; more data than the entry has.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.remaining = self
            .remaining
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "more data than the entry's size"))?;
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Lets `copy` write the next `count` bytes of the present entry's data to the output.
    ///
    /// # Errors
    /// What `copy` says; more data than the entry has.
    pub(crate) fn data_by(&mut self, count: u64, copy: impl FnOnce(&mut W) -> io::Result<()>) -> io::Result<()> {
        self.remaining = self
            .remaining
            .checked_sub(count)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "more data than the entry's size"))?;
        copy(&mut self.out)?;
        self.written += count;
        Ok(())
    }

    /// Writes an entry with what a file holds. One that was cut since it was described is filled up with zeros, as GNU tar
    /// does: the archive has told its size already.
    ///
    /// # Errors
    /// What the file or the output says.
    pub fn file(&mut self, entry: &Entry, file: impl AsFd) -> io::Result<()> {
        self.entry(entry)?;
        let whole = [Extent {
            offset: 0,
            length: entry.size,
        }];
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(BUFFER, 0);
        for extent in entry.sparse.as_deref().unwrap_or(&whole) {
            let (mut at, end) = (extent.offset, extent.offset + extent.length);
            while at < end {
                let want = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
                let mut count = rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut buffer[..want], at))?;
                if count == 0 {
                    buffer[..want].fill(0);
                    count = want;
                }
                self.data(&buffer[..count])?;
                at += count as u64;
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Ends the archive: two blocks of zeros.
    ///
    /// # Errors
    /// What the output says; data that the last entry lacks.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_entry()?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn end_entry(&mut self) -> io::Result<()> {
        if self.remaining > 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "less data than the entry's size",
            ));
        }
        let padding = std::mem::take(&mut self.padding);
        self.out.write_all(&[0; BLOCK][..padding])?;
        self.written += padding as u64;
        Ok(())
    }
}

/// Bytes that an entry takes in an archive, its data and padding included.
#[must_use]
pub fn size(entry: &Entry) -> u64 {
    let mut head = Vec::new();
    let data = encode(entry, &mut head);
    head.len() as u64 + data + padding(data) as u64
}

fn padding(size: u64) -> usize {
    // Less than a block.
    (size.wrapping_neg() % BLOCK as u64) as usize
}

/// Writes the entry's headers to `out`. Returns the bytes of its data.
fn encode(entry: &Entry, out: &mut Vec<u8>) -> u64 {
    let mut path = entry.path.clone();
    if entry.kind == Kind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    let mut records = Vec::new();
    let mut header = [0u8; BLOCK];
    let mut size = if entry.kind == Kind::Regular { entry.size } else { 0 };
    if let (Kind::Regular, Some(extents)) = (entry.kind, &entry.sparse) {
        // Format 1.0: the map stands before the data.
        record(&mut records, b"GNU.sparse.major", b"1");
        record(&mut records, b"GNU.sparse.minor", b"0");
        record(&mut records, b"GNU.sparse.name", &path);
        record(&mut records, b"GNU.sparse.realsize", entry.size.to_string().as_bytes());
        size = map(extents).len() as u64 + extents.iter().map(|e| e.length).sum::<u64>();
        path.splice(..0, *b"GNUSparseFile.0/");
    }
    if !place_path(&path, &mut header) {
        record(&mut records, b"path", &path);
    }
    if entry.link.len() > NAME {
        record(&mut records, b"linkpath", &entry.link);
    }
    put(&mut header[157..257], &entry.link[..entry.link.len().min(NAME)]);
    octal(&mut header[100..108], u64::from(entry.mode & 0o7777));
    for (field, key, id) in [(108..116, &b"uid"[..], entry.uid), (116..124, b"gid", entry.gid)] {
        if !octal(&mut header[field], u64::from(id)) {
            record(&mut records, key, id.to_string().as_bytes());
        }
    }
    if !octal(&mut header[124..136], size) {
        record(&mut records, b"size", size.to_string().as_bytes());
    }
    let Time { seconds, nanos } = entry.mtime;
    let plain = u64::try_from(seconds).is_ok_and(|seconds| octal(&mut header[136..148], seconds));
    if !plain || nanos != 0 {
        record(&mut records, b"mtime", time(entry.mtime).as_bytes());
    }
    header[156] = match entry.kind {
        Kind::Regular => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::Char => b'3',
        Kind::Block => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    };
    if matches!(entry.kind, Kind::Char | Kind::Block) {
        octal(&mut header[329..337], u64::from(entry.device.0));
        octal(&mut header[337..345], u64::from(entry.device.1));
    }
    for (name, value) in &entry.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    if !records.is_empty() {
        extended(&path, &records, out);
    }
    seal(&mut header);
    out.extend_from_slice(&header);
    size
}

/// Puts a path into the header, in two parts if need be. What does not fit is put in shortened, and false returned.
fn place_path(path: &[u8], header: &mut [u8; BLOCK]) -> bool {
    if path.len() <= NAME {
        put(&mut header[..NAME], path);
        return true;
    }
    // A slash that leaves both parts short enough. One at the end belongs to the name.
    let from = path.len().saturating_sub(NAME + 1);
    let to = PREFIX.min(path.len().saturating_sub(2));
    let slash = (from..=to).rev().find(|&at| path.get(at) == Some(&b'/') && at > 0);
    if let Some(at) = slash.filter(|_| path.is_ascii()) {
        put(&mut header[345..345 + PREFIX], &path[..at]);
        put(&mut header[..NAME], &path[at + 1..]);
        return true;
    }
    put(&mut header[..NAME], &path[..NAME]);
    false
}

/// A PAX header with `records`.
fn extended(path: &[u8], records: &[u8], out: &mut Vec<u8>) {
    let mut header = [0u8; BLOCK];
    let base = path.strip_suffix(b"/").unwrap_or(path);
    let base = base.rsplit(|&b| b == b'/').next().unwrap_or(base);
    let name = [b"PaxHeaders.0/", base].concat();
    put(&mut header[..NAME], &name[..name.len().min(NAME)]);
    octal(&mut header[100..108], 0o644);
    for field in [108..116, 116..124, 136..148] {
        octal(&mut header[field], 0);
    }
    octal(&mut header[124..136], records.len() as u64);
    header[156] = b'x';
    seal(&mut header);
    out.extend_from_slice(&header);
    out.extend_from_slice(records);
    out.resize(out.len() + padding(records.len() as u64), 0);
}

/// Adds the magic and the checksum.
fn seal(header: &mut [u8; BLOCK]) {
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|&b| u64::from(b)).sum();
    octal(&mut header[148..155], sum);
}

fn put(field: &mut [u8], text: &[u8]) {
    field[..text.len()].copy_from_slice(text);
}

/// Octal digits and a NUL. What does not fit is zero, and false returned.
fn octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    let max = match digits {
        7 => SMALL_MAX,
        11 => LARGE_MAX,
        _ => u64::MAX,
    };
    let fits = value <= max;
    let mut rest = if fits { value } else { 0 };
    for at in (0..digits).rev() {
        field[at] = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    field[digits] = 0;
    fits
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The map of a sparse file in PAX format 1.0, filled up to a block.
fn map(extents: &[Extent]) -> Vec<u8> {
    let mut out = format!("{}\n", extents.len()).into_bytes();
    for extent in extents {
        out.extend_from_slice(format!("{}\n{}\n", extent.offset, extent.length).as_bytes());
    }
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

/// `[-]SECONDS[.FRACTION]`.
fn time(time: Time) -> String {
    let Time { seconds, nanos } = time;
    let fraction = |nanos: u32| format!(".{nanos:09}").trim_end_matches('0').to_owned();
    match (seconds, nanos) {
        (_, 0) => seconds.to_string(),
        (0.., _) => format!("{seconds}{}", fraction(nanos)),
        // Nanoseconds count forward, the digits count away from zero.
        _ => format!("-{}{}", -(seconds + 1), fraction(1_000_000_000 - nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fault, Reader};
    use super::*;

    fn written(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        let mut total = 0;
        for (entry, data) in entries {
            writer.entry(entry).unwrap();
            writer.data(data).unwrap();
            total += size(entry);
        }
        let out = writer.finish().unwrap();
        assert_eq!(out.len() as u64, total + 1024);
        out
    }

    fn read(bytes: &[u8]) -> Vec<(Entry, Vec<u8>)> {
        let mut reader = Reader::new(bytes);
        let mut entry = Entry::default();
        let mut out = Vec::new();
        while reader.next(&mut entry).map_err(|f: Fault| format!("{f:?}")).unwrap() {
            let mut data = Vec::new();
            loop {
                let bytes = reader.data().unwrap().to_vec();
                if bytes.is_empty() {
                    break;
                }
                reader.consume(bytes.len());
                data.extend(bytes);
            }
            out.push((entry.clone(), data));
        }
        out
    }

    fn file(path: &[u8], data: &[u8]) -> (Entry, Vec<u8>) {
        let entry = Entry {
            path: path.to_vec(),
            mode: 0o644,
            size: data.len() as u64,
            ..Entry::default()
        };
        (entry, data.to_vec())
    }

    /// Everything that an entry can say comes back.
    #[test]
    fn what_is_written_is_read() {
        let long = vec![b'n'; 300];
        let split = [&[b'd'; 120][..], b"/", &[b'f'; 90]].concat();
        let edge = [&[b'd'; 155][..], b"/", &[b'f'; 100]].concat();
        let over = [&[b'd'; 156][..], b"/", &[b'f'; 100]].concat();
        let mut all = vec![file(b"a", b"hello"), file(b"empty", b""), file(b"block", &[7; 512])];
        all.extend([&long, &split, &edge, &over].map(|path| file(path, b"x")));
        all.push(file(&[b'e'; 100], b"y"));
        all.push(file("d\u{e9}j\u{e0}/\u{fffd}".as_bytes(), b"z"));
        all.push(file(b"raw \xff\xfe\n", b"z"));
        for (seconds, nanos) in [
            (0, 1),
            (-5, 0),
            (-5, 250_000_000),
            (-1, 1),
            (1 << 40, 0),
            (9, 999_999_999),
        ] {
            let (mut entry, data) = file(b"time", b"");
            entry.mtime = Time { seconds, nanos };
            all.push((entry, data));
        }
        let (mut entry, data) = file(b"owner", b"1");
        (entry.uid, entry.gid, entry.mode) = (4_000_000_000, 2_097_152, 0o7777);
        entry.xattrs = vec![
            (b"security.capability".to_vec(), vec![0, 1, 2, b'\n', 255]),
            (b"user.a=b".to_vec(), Vec::new()),
        ];
        entry.xattrs.pop();
        entry.xattrs.push((b"user.long".to_vec(), vec![b'='; 5000]));
        all.push((entry, data));
        for kind in [Kind::HardLink, Kind::Symlink] {
            for link in [&b"target"[..], &long] {
                let (mut entry, data) = file(b"link", b"");
                (entry.kind, entry.link) = (kind, link.to_vec());
                all.push((entry, data));
            }
        }
        for kind in [Kind::Char, Kind::Block, Kind::Fifo] {
            let (mut entry, data) = file(b"node", b"");
            entry.kind = kind;
            entry.device = if kind == Kind::Fifo { (0, 0) } else { (4095, 1_048_575) };
            all.push((entry, data));
        }
        assert_eq!(read(&written(&all)), all);
    }

    #[test]
    fn directories_end_with_a_slash() {
        for path in [&b"d"[..], &[b'd'; 99], &[b'd'; 100], &[b'd'; 200]] {
            let entry = Entry {
                path: path.to_vec(),
                kind: Kind::Directory,
                ..Entry::default()
            };
            let back = read(&written(&[(entry, Vec::new())]));
            assert_eq!(back[0].0.path, [path, b"/"].concat());
            assert_eq!(back[0].0.kind, Kind::Directory);
        }
    }

    #[test]
    fn holes_take_no_room() {
        for extents in [
            vec![],
            vec![(0, 3), (1 << 40, 600)],
            (0..100).map(|n| (n << 20, 512)).collect(),
        ] {
            let extents: Vec<Extent> = extents
                .into_iter()
                .map(|(offset, length)| Extent { offset, length })
                .collect();
            let data = vec![9; extents.iter().map(|e| e.length).sum::<u64>() as usize];
            let (mut entry, _) = file(b"dir/sparse", b"");
            (entry.size, entry.sparse) = (1 << 41, Some(extents));
            let all = [(entry, data), file(b"next", b"1")];
            assert_eq!(read(&written(&all)), all);
        }
    }

    /// The size that Docker tells of a small file: header, one block, the end.
    #[test]
    fn a_small_file_takes_two_kilobytes() {
        assert_eq!(written(&[file(b"f", b"hello\n")]).len(), 2048);
    }

    #[test]
    fn data_is_counted() {
        let (entry, _) = file(b"a", b"12345");
        let mut writer = Writer::new(Vec::new());
        writer.entry(&entry).unwrap();
        assert!(writer.data(b"123456").is_err());
        writer.data(b"1234").unwrap();
        assert!(writer.entry(&entry).is_err());
        assert!(writer.finish().is_err());
    }

    #[test]
    fn large_sizes_need_a_record() {
        let (mut entry, _) = file(b"large", b"");
        entry.size = 1 << 33;
        assert_eq!(size(&entry), 1536 + (1 << 33));
        entry.size = (1 << 33) - 1;
        assert_eq!(size(&entry), 512 + (1 << 33));
    }
}
