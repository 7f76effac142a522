//! Files, links and devices.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Act, Extract, Made, Ownership, Refusal};
use crate::ingest::queue::Inlet;
use crate::tar::{Entry, Extent, Kind, Reader};

impl Extract<'_> {
    pub(super) fn regular(&mut self, name: &[u8], entry: &Entry, reader: &mut Reader<Inlet>) -> Made {
        let owner = self.owner(entry)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let file = self.replacing(name, "create", |this| rustix::fs::openat(this.dir(), name, flags, mode))?;
        match &entry.sparse {
            None => whole(&file, reader)?,
            Some(extents) => holes(&file, extents, entry.size, reader)?,
        }
        self.bytes = self.bytes.saturating_add(entry.size);
        self.finish_file(&file, entry, owner)
    }

    pub(super) fn symlink(&mut self, name: &[u8], entry: &Entry) -> Made {
        let target = &entry.link[..];
        self.replacing(name, "create", |this| rustix::fs::symlinkat(target, this.dir(), name))?;
        self.finish_name(name, entry)
    }

    pub(super) fn node(&mut self, name: &[u8], entry: &Entry) -> Made {
        let (kind, device) = match entry.kind {
            Kind::Char => (FileType::CharacterDevice, entry.device),
            Kind::Block => (FileType::BlockDevice, entry.device),
            _ => (FileType::Fifo, (0, 0)),
        };
        let device = rustix::fs::makedev(device.0, device.1);
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let made = self.replacing(name, "create", |this| {
            rustix::fs::mknodat(this.dir(), name, kind, mode, device)
        });
        match made {
            // A user namespace makes no devices, and would not let a container open them: Docker's rootless mode
            // leaves them out as well.
            Err(Refusal::Act(_, Errno::PERM))
                if kind != FileType::Fifo && self.ownership == Ownership::UserNamespace =>
            {
                Ok(())
            }
            made => {
                made?;
                self.finish_name(name, entry)
            }
        }
    }
}

/// Writes the data from the input's buffers straight to the file.
fn whole(file: &OwnedFd, reader: &mut Reader<Inlet>) -> Made {
    loop {
        let bytes = reader.data().map_err(Refusal::Fault)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let count = rustix::io::retry_on_intr(|| rustix::io::write(file, bytes)).act("write")?;
        reader.consume(count);
    }
}

/// Writes only what is not a hole.
fn holes(file: &OwnedFd, extents: &[Extent], size: u64, reader: &mut Reader<Inlet>) -> Made {
    rustix::fs::ftruncate(file, size).act("set the size of")?;
    for extent in extents {
        let (mut at, end) = (extent.offset, extent.offset + extent.length);
        while at < end {
            let bytes = reader.data().map_err(Refusal::Fault)?;
            let take = usize::try_from(end - at).unwrap_or(usize::MAX).min(bytes.len());
            let count = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, &bytes[..take], at)).act("write")?;
            if count == 0 {
                // The map was checked against the data's length when it was read.
                return Err(Refusal::Archive("its sparse map is malformed".to_owned()));
            }
            reader.consume(count);
            at += count as u64;
        }
    }
    Ok(())
}
