//! An archive in the making: headers by hand, blobs by the kernel.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use hull_spec::Digest;
use hull_spec::manifest::Descriptor;

use super::super::Section;
use super::{checked, transfer, write_all};
use crate::error::{At, Error, Result};
use crate::tar::{Entry, Kind, Writer};

/// See the module. Owners, modes and times are always the same, so that the same images make the same archive.
#[derive(Debug)]
pub(super) struct Tarball {
    place: String,
    writer: Option<Writer<Raw>>,
    written: HashSet<Digest>,
    folders: HashSet<&'static str>,
}

/// A descriptor without a buffer: the kernel writes behind what was written here.
#[derive(Debug)]
struct Raw(OwnedFd);

impl Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_all(&self.0, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tarball {
    pub(super) fn new(place: &str, output: OwnedFd) -> Result<Self> {
        let mut out = Self {
            place: place.to_owned(),
            writer: Some(Writer::new(Raw(output))),
            written: HashSet::new(),
            folders: HashSet::new(),
        };
        out.folder("blobs")?;
        out.folder("blobs/sha256")?;
        Ok(out)
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.written.contains(digest)
    }

    pub(super) fn blob(&mut self, name: &str, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()> {
        if !self.begin(name, descriptor)? {
            // What is there already is read all the same, for whoever counts on it.
            return checked(descriptor, content, |_| Ok(()));
        }
        let place = self.place.clone();
        let writer = self.writer()?;
        checked(descriptor, content, |bytes| writer.data(bytes).at("write", &place))
    }

    pub(super) fn known_blob(&mut self, name: &str, descriptor: &Descriptor, content: &Section) -> Result<()> {
        if !self.begin(name, descriptor)? {
            return Ok(());
        }
        let place = self.place.clone();
        self.writer()?
            .data_by(descriptor.size, |out| transfer(content, &out.0))
            .at("write", place)
    }

    /// Begins a blob's entry; false where the archive has it.
    fn begin(&mut self, name: &str, descriptor: &Descriptor) -> Result<bool> {
        if !self.written.insert(descriptor.digest.clone()) {
            return Ok(false);
        }
        if descriptor.digest.algorithm() == hull_spec::Algorithm::Sha512 {
            self.folder("blobs/sha512")?;
        }
        self.entry(name, Kind::Regular, descriptor.size)?;
        Ok(true)
    }

    pub(super) fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.entry(name, Kind::Regular, bytes.len() as u64)?;
        let place = self.place.clone();
        self.writer()?.data(bytes).at("write", place)
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        writer.finish().at("write", &self.place)?;
        Ok(())
    }

    fn folder(&mut self, name: &'static str) -> Result<()> {
        if !self.folders.insert(name) {
            return Ok(());
        }
        self.entry(name, Kind::Directory, 0)
    }

    fn entry(&mut self, name: &str, kind: Kind, size: u64) -> Result<()> {
        let entry = Entry {
            path: name.as_bytes().to_vec(),
            kind,
            mode: if kind == Kind::Directory { 0o755 } else { 0o644 },
            size,
            ..Entry::default()
        };
        let place = self.place.clone();
        self.writer()?.entry(&entry).at("write", place)
    }

    fn writer(&mut self) -> Result<&mut Writer<Raw>> {
        let place = &self.place;
        self.writer.as_mut().ok_or_else(|| Error::Io {
            act: "write",
            path: place.into(),
            source: io::ErrorKind::BrokenPipe.into(),
        })
    }
}
