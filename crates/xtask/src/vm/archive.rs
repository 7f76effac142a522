//! An initramfs: a cpio archive in the form `newc` (Linux, Documentation/driver-api/early-userspace/buffer-format.rst),
//! not compressed, as an emulated processor would need longer to unpack it than to read it.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const KIND: u32 = 0o170_000;
const LINK: u32 = 0o120_000;
const SOCKET: u32 = 0o140_000;

/// An archive that is being written.
pub(super) struct Archive {
    out: BufWriter<File>,
    entries: u32,
    /// The number of each file with several names, which has its contents with the first.
    linked: HashMap<(u64, u64), u32>,
}

/// What the archive keeps of an entry besides its name and contents.
#[derive(Default)]
struct Entry {
    number: u32,
    mode: u32,
    owner: (u32, u32),
    links: u32,
    time: u32,
    device: (u32, u32),
}

impl Archive {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self {
            out: BufWriter::new(file),
            entries: 0,
            linked: HashMap::new(),
        })
    }

    pub(super) fn folder(&mut self, name: &str) -> Result<()> {
        self.own(name, FOLDER | 0o755, b"")
    }

    pub(super) fn file(&mut self, name: &str, mode: u32, contents: &[u8]) -> Result<()> {
        self.own(name, FILE | mode, contents)
    }

    fn own(&mut self, name: &str, mode: u32, contents: &[u8]) -> Result<()> {
        self.entries += 1;
        let entry = Entry {
            number: self.entries,
            mode,
            links: 1,
            ..Entry::default()
        };
        self.write(&entry, name.as_bytes(), contents)
    }

    /// Copies the folder `from` with all that is in it, except for extended attributes, which the format has no place for.
    pub(super) fn tree(&mut self, from: &Path, name: &str) -> Result<()> {
        let of = || format!("archive {}", from.display());
        let metadata = from.symlink_metadata().with_context(of)?;
        let (entry, first) = self.describe(&metadata)?;
        let contents = match metadata.mode() & KIND {
            SOCKET => return Ok(()),
            FILE if first => std::fs::read(from).with_context(of)?,
            LINK => std::fs::read_link(from)
                .with_context(of)?
                .as_os_str()
                .as_bytes()
                .to_vec(),
            _ => Vec::new(),
        };
        self.write(&entry, name.as_bytes(), &contents)?;
        if metadata.is_dir() {
            for child in std::fs::read_dir(from).with_context(of)? {
                let child = child.with_context(of)?;
                let below = child.file_name();
                let below = below
                    .to_str()
                    .with_context(|| format!("the name of {}", child.path().display()))?;
                self.tree(&child.path(), &format!("{name}/{below}"))?;
            }
        }
        Ok(())
    }

    /// The entry of a file, and whether this is its first name.
    fn describe(&mut self, metadata: &Metadata) -> Result<(Entry, bool)> {
        self.entries += 1;
        let several = metadata.is_file() && metadata.nlink() > 1;
        let mut number = self.entries;
        let mut first = true;
        if several {
            number = *self.linked.entry((metadata.dev(), metadata.ino())).or_insert(number);
            first = number == self.entries;
        }
        let entry = Entry {
            number,
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            links: u32::try_from(metadata.nlink())?,
            time: u32::try_from(metadata.mtime())?,
            device: (device_major(metadata.rdev()), device_minor(metadata.rdev())),
        };
        Ok((entry, first))
    }

    fn write(&mut self, entry: &Entry, name: &[u8], contents: &[u8]) -> Result<()> {
        let fields = [
            entry.number,
            entry.mode,
            entry.owner.0,
            entry.owner.1,
            entry.links,
            entry.time,
            u32::try_from(contents.len())?,
            0,
            0,
            entry.device.0,
            entry.device.1,
            u32::try_from(name.len() + 1)?,
            0,
        ];
        write!(self.out, "070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(name)?;
        // The header's 110 bytes, the name and its end; then the contents; both filled up to a multiple of four.
        self.out.write_all(&[0; 4][..1 + padding(110 + name.len() + 1)])?;
        self.out.write_all(contents)?;
        self.out.write_all(&[0; 4][..padding(contents.len())])?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.write(&Entry::default(), b"TRAILER!!!", b"")?;
        self.out.flush().context("write the initramfs")
    }
}

fn padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}

/// As glibc's `major` and `minor` take a device number apart.
fn device_major(device: u64) -> u32 {
    ((device >> 8 & 0xfff) | (device >> 32 & 0xffff_f000)) as u32
}

fn device_minor(device: u64) -> u32 {
    ((device & 0xff) | (device >> 12 & 0xffff_ff00)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_has_its_contents_once() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, out) = (folder.path().join("tree"), folder.path().join("out"));
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("a"), "CONTENTS").unwrap();
        std::fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
        let mut archive = Archive::create(&out).unwrap();
        archive.file("x", 0o644, b"12345").unwrap();
        archive.tree(&tree, "t").unwrap();
        archive.finish().unwrap();
        let bytes = std::fs::read(&out).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(text.matches("070701").count(), 5, "x, t, t/a, t/b and the end");
        assert_eq!(text.matches("CONTENTS").count(), 1);
        assert!(text.contains("TRAILER!!!\0"));
    }
}
