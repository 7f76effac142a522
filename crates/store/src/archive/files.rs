//! What an archive holds, by name: the entries of a tar archive, or what lies in a folder.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Section;
use super::malformed;
use crate::error::{Error, Result};

/// How many links lead to a file at the most.
const LINKS_MAX: usize = 8;

/// Files by name. A name is cleaned: parts that are neither empty nor `.` nor `..`, between slashes.
#[derive(Debug)]
pub(super) struct Files {
    place: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tar {
        file: Arc<File>,
        entries: HashMap<Box<str>, Item>,
    },
    Folder(OwnedFd),
}

/// An entry of a tar archive.
#[derive(Debug)]
pub(super) enum Item {
    /// Where its data lie.
    File {
        /// From the file's beginning.
        at: u64,
        /// Bytes.
        size: u64,
        /// Whether the archive has several entries of this name.
        again: bool,
    },
    /// Another name in the archive, cleaned.
    Link(Box<str>),
    /// Something that can hold no blob.
    Other,
}

impl Files {
    pub(super) fn tar(place: &str, file: File, entries: HashMap<Box<str>, Item>) -> Self {
        let kind = Kind::Tar {
            file: Arc::new(file),
            entries,
        };
        Self {
            place: place.to_owned(),
            kind,
        }
    }

    pub(super) fn folder(place: &str, top: OwnedFd) -> Self {
        Self {
            place: place.to_owned(),
            kind: Kind::Folder(top),
        }
    }

    /// The file called `name`; none if there is nothing of that name.
    pub(super) fn find(&self, name: &str) -> Result<Option<Section>> {
        match &self.kind {
            Kind::Folder(top) => self.open(top, name),
            Kind::Tar { file, entries } => {
                let mut name = name;
                for _ in 0..LINKS_MAX {
                    match entries.get(name) {
                        Some(Item::File { at, size, .. }) => {
                            return Ok(Some(Section::new(Arc::clone(file), *at, *size)));
                        }
                        Some(Item::Link(to)) => name = to,
                        Some(Item::Other) => return Err(self.wrong(name, "is no file")),
                        None => return Ok(None),
                    }
                }
                Err(self.wrong(name, "is a link of links"))
            }
        }
    }

    /// The whole content of a file that says what the others are.
    pub(super) fn text(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        if let Kind::Tar { entries, .. } = &self.kind
            && matches!(entries.get(name), Some(Item::File { again: true, .. }))
        {
            // One reader takes the first, another the last.
            return Err(malformed(
                &*self.place,
                format!("it has several entries called `{name}`"),
            ));
        }
        let Some(found) = self.find(name)? else {
            return Ok(None);
        };
        if found.len() > limit {
            return Err(self.wrong(name, &format!("is larger than {limit} bytes")));
        }
        found.whole(&self.place).map(Some)
    }

    fn open(&self, top: &OwnedFd, name: &str) -> Result<Option<Section>> {
        let failed = |errno: Errno| Error::Io {
            act: "open",
            path: std::path::Path::new(&self.place).join(name),
            source: errno.into(),
        };
        // Not blocked by a named pipe; nothing outside the folder is opened, whatever links are in it.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::io::retry_on_intr(|| rustix::fs::openat2(top, name, flags, Mode::empty(), beneath));
        let file: File = match opened {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::XDEV) => return Err(self.wrong(name, "is a link that leads out of the folder")),
            opened => opened.map_err(failed)?.into(),
        };
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.wrong(name, "is no file"));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Some(Section::new(Arc::new(file), 0, size)))
    }

    fn wrong(&self, name: &str, what: &str) -> Error {
        malformed(&*self.place, format!("`{name}` {what}"))
    }
}

/// The parts of a name between slashes, one spelling for each; `None` for one that leads out or is none. `from` is the
/// folder that it starts from.
pub(super) fn clean(from: &str, name: &str) -> Option<Box<str>> {
    let mut parts: Vec<&str> = Vec::new();
    let from = if name.starts_with('/') { "" } else { from };
    for part in from.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        let check = |from: &str, name: &str, expected: Option<&str>| {
            assert_eq!(clean(from, name).as_deref(), expected, "{from} {name}");
        };
        check("", "./manifest.json", Some("manifest.json"));
        check("", "a//b/./c", Some("a/b/c"));
        check("", "/a/b", Some("a/b"));
        check("x", "../y/layer.tar", Some("y/layer.tar"));
        check("x", "/y", Some("y"));
        check("", "../y", None);
        check("x", "../../y", None);
        check("", "a/../../y", None);
        check("", ".", None);
        check("", "", None);
    }
}
