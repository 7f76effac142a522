//! Reads the files of containers: of one, or of many one after the other, into the same memory and with no system call
//! but those that open, read and close a file.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use hull_spec::container::{LastExit, LiveState, Record};
use rustix::fs::{Access, AtFlags, CWD, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::find;
use crate::{Engine, Error, Result};

/// Where a file of a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `DATA/containers/ID`.
    Data,
    /// `RUN/containers/ID`.
    Run,
}

/// Reads files of containers.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    engine: &'a Engine,
    /// The folders of containers, below the data root and below the run root, where they are held open: the way to a file
    /// is shorter from there.
    folders: [Option<OwnedFd>; 2],
    name: PathBuf,
    bytes: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// A reader for files of one container. Opens nothing yet.
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self {
            engine,
            folders: [None, None],
            name: PathBuf::new(),
            bytes: Vec::new(),
        }
    }

    /// A reader for files of many containers.
    pub(crate) fn of_many(engine: &'a Engine) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // What cannot be opened, or is not there yet, is looked for by its whole path each time.
        let open = |root: &PathBuf| rustix::fs::open(root.join("containers"), flags, Mode::empty()).ok();
        Self {
            folders: [open(&engine.data), open(&engine.run)],
            ..Self::new(engine)
        }
    }

    /// What lists show of the container with this whole ID: [`Record::parse_brief`].
    ///
    /// # Errors
    /// If there is no such container or its record cannot be read.
    pub(crate) fn brief(&mut self, id: &str) -> Result<Box<Record>> {
        self.parsed(Place::Data, id, "config.json", Record::parse_brief)?
            .ok_or_else(|| find::no_such(id))
    }

    /// `exit.json`: how it last ended, if it ever did.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub(crate) fn exit(&mut self, id: &str) -> Result<Option<LastExit>> {
        self.parsed(Place::Data, id, "exit.json", LastExit::parse)
    }

    /// `state.json`: what is known of a running container.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub(crate) fn live(&mut self, id: &str) -> Result<Option<LiveState>> {
        self.parsed(Place::Run, id, "state.json", LiveState::parse)
    }

    /// Whether somebody holds the container's lock: [`super::status::held`].
    ///
    /// # Errors
    /// If it is there and cannot be opened.
    pub(crate) fn is_locked(&mut self, id: &str) -> Result<bool> {
        let opened = self.open(Place::Run, id, "lock");
        let locked = match opened {
            Ok(file) => is_held(&file),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(errno),
        };
        locked.map_err(|errno| self.failed(Place::Run, id, "lock", errno))
    }

    /// Whether the container has the file `name`.
    pub(crate) fn has(&mut self, place: Place, id: &str, name: &str) -> bool {
        self.go(place, id, name);
        rustix::fs::accessat(self.below(place), &self.name, Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// The file `name` of a container as `parse` reads it; `None` where it is missing.
    fn parsed<T>(
        &mut self,
        place: Place,
        id: &str,
        name: &str,
        parse: impl Fn(&[u8]) -> serde_json::Result<T>,
    ) -> Result<Option<T>> {
        let opened = self.open(place, id, name);
        let contents = match opened {
            Ok(file) => contents(&file, &mut self.bytes),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => Err(errno),
        };
        match contents {
            Ok(length) => match parse(&self.bytes[..length]) {
                Ok(value) => Ok(Some(value)),
                Err(source) => Err(Error::Damaged {
                    path: self.path(place, id, name),
                    source,
                }),
            },
            Err(errno) => Err(self.failed(place, id, name, errno)),
        }
    }

    fn open(&mut self, place: Place, id: &str, name: &str) -> Result<OwnedFd, Errno> {
        self.go(place, id, name);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::io::retry_on_intr(|| rustix::fs::openat(self.below(place), &self.name, flags, Mode::empty()))
    }

    /// Makes `self.name` the way to a file from [`Reader::below`].
    fn go(&mut self, place: Place, id: &str, name: &str) {
        self.name.clear();
        if self.folders[place as usize].is_none() {
            self.name.push(self.root(place));
            self.name.push("containers");
        }
        self.name.push(id);
        self.name.push(name);
    }

    fn below(&self, place: Place) -> BorrowedFd<'_> {
        self.folders[place as usize].as_ref().map_or(CWD, AsFd::as_fd)
    }

    fn root(&self, place: Place) -> &'a PathBuf {
        match place {
            Place::Data => &self.engine.data,
            Place::Run => &self.engine.run,
        }
    }

    fn path(&self, place: Place, id: &str, name: &str) -> PathBuf {
        self.root(place).join("containers").join(id).join(name)
    }

    fn failed(&self, place: Place, id: &str, name: &str, errno: Errno) -> Error {
        Error::Read {
            path: self.path(place, id, name),
            source: errno.into(),
        }
    }
}

/// Whether somebody holds the exclusive lock of an open file.
pub(super) fn is_held(file: impl AsFd) -> Result<bool, Errno> {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// Reads a whole file to the beginning of `bytes`, which grows as need be, and tells its length.
fn contents(file: &OwnedFd, bytes: &mut Vec<u8>) -> Result<usize, Errno> {
    /// Most files of a container are smaller.
    const USUAL: usize = 16 << 10;
    bytes.resize(bytes.len().max(USUAL), 0);
    let mut used = 0;
    loop {
        let room = &mut bytes[used..];
        let asked = room.len();
        let got = rustix::io::retry_on_intr(|| rustix::io::read(file, &mut *room))?;
        used += got;
        // A file on disk or in memory gives less than was asked for only at its end.
        if got < asked {
            return Ok(used);
        }
        bytes.resize(used * 2, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::Settings;

    fn engine(folder: &std::path::Path) -> Engine {
        Engine::open(&Settings {
            root: folder.join("data"),
            run_root: folder.join("run"),
            ..Settings::rootful()
        })
    }

    #[test]
    fn files_are_read_whole_whatever_their_size() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(folder.path());
        let (one, two) = ("1".repeat(64), "2".repeat(64));
        for id in [&one, &two] {
            std::fs::create_dir_all(engine.container_dir(id)).unwrap();
        }
        std::fs::create_dir_all(engine.container_run(&one)).unwrap();
        for mut reader in [Reader::new(&engine), Reader::of_many(&engine)] {
            for length in [0, 1, 2, (16 << 10) - 2, 16 << 10, 40_000, 3, 200_000, 1] {
                let error = "e".repeat(length);
                let text = serde_json::to_vec(&LastExit {
                    error: error.clone(),
                    ..LastExit::default()
                });
                std::fs::write(engine.container_dir(&one).join("exit.json"), text.unwrap()).unwrap();
                assert_eq!(reader.exit(&one).unwrap().unwrap().error, error);
                assert_eq!(reader.exit(&two).unwrap(), None);
                assert_eq!(reader.exit(&"3".repeat(64)).unwrap(), None);
            }
            assert_eq!(reader.live(&one).unwrap(), None);
            assert!(reader.has(Place::Data, &one, "exit.json"));
            assert!(!reader.has(Place::Run, &one, "exit.json") && !reader.has(Place::Data, &two, "exit.json"));
            std::fs::write(engine.container_dir(&one).join("exit.json"), "{\"ExitCode\":").unwrap();
            let damaged = reader.exit(&one).unwrap_err();
            assert!(
                matches!(damaged, Error::Damaged { path, .. } if path.ends_with(format!("data/containers/{one}/exit.json")))
            );
            assert!(matches!(reader.brief(&two), Err(Error::NoSuchContainer { .. })));
            let path = engine.container_run(&one).join("state.json");
            std::fs::create_dir_all(&path).unwrap();
            assert!(matches!(reader.live(&one), Err(Error::Read { path: at, .. }) if at == path));
            std::fs::remove_dir(path).unwrap();
        }
    }

    #[test]
    fn a_lock_is_seen_from_near_and_far() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(folder.path());
        let id = "1".repeat(64);
        let run = engine.container_run(&id);
        std::fs::create_dir_all(&run).unwrap();
        for mut reader in [Reader::new(&engine), Reader::of_many(&engine)] {
            assert!(!reader.is_locked(&id).unwrap());
            let lock = File::create(run.join("lock")).unwrap();
            assert!(!reader.is_locked(&id).unwrap());
            flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
            assert!(reader.is_locked(&id).unwrap());
            drop(lock);
            assert!(!reader.is_locked(&id).unwrap());
            std::fs::remove_file(run.join("lock")).unwrap();
        }
    }
}
