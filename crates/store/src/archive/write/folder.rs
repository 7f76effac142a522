//! A folder in the making, or one that is added to. A file gets its name when it is whole; a kill before leaves nothing,
//! because until then it has none.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hull_spec::manifest::Descriptor;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::super::layout::REF_NAME;
use super::super::{Form, LIST_MAX, Section, malformed};
use super::{MARKER, checked, encode, transfer};
use crate::error::{At, Result};

/// See the module.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    top: OwnedFd,
}

impl Folder {
    pub(super) fn open(form: Form, path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).at("create", path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(path, flags, Mode::empty()).at("open", path)?;
        let out = Self {
            path: path.to_owned(),
            top,
        };
        if form == Form::Layout {
            if !path.join("oci-layout").exists() {
                let mut entries = path.read_dir().at("list", path)?;
                if entries.next().is_some() {
                    let place = path.display().to_string();
                    return Err(malformed(place, "the folder is neither empty nor an OCI image layout"));
                }
                out.replace("oci-layout", MARKER)?;
            }
            for folder in ["blobs", "blobs/sha256"] {
                out.make(folder)?;
            }
        }
        Ok(out)
    }

    fn make(&self, name: &str) -> Result<()> {
        match rustix::fs::mkdirat(&self.top, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error).at("create", self.path.join(name)),
        }
    }

    pub(super) fn has(&self, name: &str, size: u64) -> Result<bool> {
        match rustix::fs::statat(&self.top, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(u64::try_from(stat.st_size) == Ok(size)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error).at("examine", self.path.join(name)),
        }
    }

    pub(super) fn blob(&self, name: &str, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()> {
        let mut file = File::from(self.unnamed(name)?);
        let path = self.path.join(name);
        checked(descriptor, content, |bytes| file.write_all(bytes).at("write", &path))?;
        self.publish(&file.into(), name)
    }

    pub(super) fn known_blob(&self, name: &str, descriptor: &Descriptor, content: &Section) -> Result<()> {
        if self.has(name, descriptor.size)? {
            return Ok(());
        }
        let file = self.unnamed(name)?;
        transfer(content, &file).at("write", self.path.join(name))?;
        self.publish(&file, name)
    }

    /// A file beside where `name` is to be.
    fn unnamed(&self, name: &str) -> Result<OwnedFd> {
        if name.starts_with("blobs/sha512/") {
            self.make("blobs/sha512")?;
        }
        let parent = name.rsplit_once('/').map_or(".", |(parent, _)| parent);
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::openat(&self.top, parent, flags, mode).at("create a file in", self.path.join(parent))
    }

    /// Gives a whole file its name, in the place of what may have it: bytes of another length, cut off by a crash.
    fn publish(&self, file: &OwnedFd, name: &str) -> Result<()> {
        use std::os::fd::AsRawFd as _;
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let path = || self.path.join(name);
        for _ in 0..2 {
            match rustix::fs::linkat(CWD, &link, &self.top, name, AtFlags::SYMLINK_FOLLOW) {
                Err(Errno::EXIST) => match rustix::fs::unlinkat(&self.top, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error).at("replace", path()),
                },
                linked => return linked.at("name", path()),
            }
        }
        // Somebody else was first, with the same bytes.
        Ok(())
    }

    /// Writes a small file in the place of the one that may be there.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let new = format!(".{name}.{}", std::process::id());
        let path = self.path.join(&new);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o644);
        let mut file = File::from(rustix::fs::openat(&self.top, &new, flags, mode).at("create", &path)?);
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        let renamed = written.and_then(|()| Ok(rustix::fs::renameat(&self.top, &new, &self.top, name)?));
        if renamed.is_err() {
            let _ = rustix::fs::unlinkat(&self.top, &new, AtFlags::empty());
        }
        renamed.at("write", self.path.join(name))
    }

    /// Adds `entries` to the index, in the place of those with the same label.
    pub(super) fn finish_layout(&self, entries: Vec<Value>) -> Result<()> {
        // Two writers one after the other: the second one adds to what the first has written.
        rustix::io::retry_on_intr(|| rustix::fs::flock(&self.top, FlockOperation::LockExclusive))
            .at("lock", &self.path)?;
        self.sync()?;
        let path = self.path.join("index.json");
        let mut index = json!({ "schemaVersion": 2, "mediaType": super::media::OCI_INDEX, "manifests": [] });
        match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            opened => {
                let mut text = Vec::new();
                let file = opened.at("open", &path)?;
                file.take(LIST_MAX).read_to_end(&mut text).at("read", &path)?;
                index = serde_json::from_slice(&text)
                    .map_err(|error| malformed(path.display().to_string(), format!("it cannot be read: {error}")))?;
            }
        }
        let label = |entry: &Value| entry["annotations"][REF_NAME].as_str().map(str::to_owned);
        let Some(manifests) = index["manifests"].as_array_mut() else {
            return Err(malformed(path.display().to_string(), "it lists no manifests"));
        };
        manifests.retain(|old| {
            !entries.iter().any(|new| match (label(old), label(new)) {
                (Some(old), Some(new)) => old == new,
                (None, None) => old["digest"] == new["digest"],
                _ => false,
            })
        });
        manifests.extend(entries);
        self.replace("index.json", &encode(&index))
    }

    /// Brings everything to the disk.
    pub(super) fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.top).at("sync", &self.path)
    }
}
