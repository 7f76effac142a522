//! Uploads that are not finished: their bytes are on disk, so that they go on after a kill, and their running hash is in
//! memory, so that nothing is read twice if they do not.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hull_spec::{Algorithm, Digest};
use hull_store::Hasher;

use super::super::route::Name;
use super::{At, Fault, Storage, missing, read_small};

/// Unfinished uploads at once. More would only use up inodes.
const SESSIONS_MAX: usize = 10_000;
/// How long a request waits for an earlier one of the same upload, whose client may have gone away unnoticed.
const BUSY: Duration = Duration::from_secs(5);

/// All unfinished uploads.
#[derive(Debug)]
pub(super) struct Uploads {
    dir: PathBuf,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
}

/// An unfinished upload.
#[derive(Debug)]
pub(in super::super) struct Session {
    pub(in super::super) id: String,
    pub(in super::super) name: Name,
    dir: PathBuf,
    /// The same as the state's, for those who only look.
    len: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    len: u64,
    /// Of the first `len` bytes; `None` after a restart.
    hasher: Option<Hasher>,
    over: bool,
}

/// The right to add to an upload.
pub(in super::super) struct Writer<'s> {
    storage: &'s Storage,
    session: &'s Session,
    state: MutexGuard<'s, State>,
    file: File,
}

impl Uploads {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            sessions: Mutex::default(),
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upload with this ID, also of an earlier server.
    pub(super) fn find(&self, id: &str) -> Result<Option<Arc<Session>>, Fault> {
        if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut sessions = self.sessions();
        if let Some(session) = sessions.get(id) {
            return Ok(Some(Arc::clone(session)));
        }
        let dir = self.dir.join(id);
        let Some(name) = read_small(&dir.join("repository"))?.and_then(|text| Name::parse(&text)) else {
            return Ok(None);
        };
        let data = dir.join("data");
        let Some(len) = missing(data.metadata().map(|m| m.len())).at("examine", &data)? else {
            return Ok(None);
        };
        let session = Session::new(id.to_owned(), name, dir, len, None);
        sessions.insert(id.to_owned(), Arc::clone(&session));
        Ok(Some(session))
    }
}

impl Session {
    fn new(id: String, name: Name, dir: PathBuf, len: u64, hasher: Option<Hasher>) -> Arc<Self> {
        let state = State {
            len,
            hasher,
            over: false,
        };
        Arc::new(Self {
            id,
            name,
            dir,
            len: AtomicU64::new(len),
            state: Mutex::new(state),
        })
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Its file, for those who read what arrives.
    pub(in super::super) fn open(&self) -> Result<File, Fault> {
        let path = self.data();
        File::open(&path).at("open", &path)
    }

    /// Bytes that have arrived.
    pub(in super::super) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// The state, unless another request keeps it.
    fn state(&self) -> Option<MutexGuard<'_, State>> {
        let end = Instant::now() + BUSY;
        loop {
            match self.state.try_lock() {
                Ok(state) => return Some(state),
                Err(std::sync::TryLockError::Poisoned(state)) => return Some(state.into_inner()),
                Err(std::sync::TryLockError::WouldBlock) if Instant::now() > end => return None,
                Err(std::sync::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

impl Storage {
    /// Begins an upload. `None` if there are too many.
    pub(in super::super) fn begin(&self, name: &Name, algorithm: Algorithm) -> Result<Option<Arc<Session>>, Fault> {
        self.ledger.check(name, 0)?;
        if self.uploads.sessions().len() >= SESSIONS_MAX {
            return Ok(None);
        }
        let id = random_id().at("read", "/dev/urandom")?;
        let dir = self.uploads.dir.join(&id);
        std::fs::create_dir(&dir).at("create", &dir)?;
        let session = Session::new(id.clone(), name.clone(), dir, 0, Some(Hasher::new(algorithm)));
        let begun = File::create(session.data())
            .and_then(|_| std::fs::write(session.dir.join("repository"), name.as_str()))
            .at("create", &session.dir);
        if begun.is_err() {
            // What failed is told; what is left of it is swept.
            let _ = std::fs::remove_dir_all(&session.dir);
        }
        begun?;
        self.uploads.sessions().insert(id, Arc::clone(&session));
        Ok(Some(session))
    }

    /// The upload with this ID in this repository.
    pub(in super::super) fn upload(&self, name: &Name, id: &str) -> Result<Option<Arc<Session>>, Fault> {
        Ok(self.uploads.find(id)?.filter(|session| session.name == *name))
    }

    /// The right to add to the upload; `None` while another request has it, or if it ended meanwhile.
    pub(in super::super) fn writer<'s>(&'s self, session: &'s Session) -> Result<Option<Writer<'s>>, Fault> {
        let Some(mut state) = session.state().filter(|state| !state.over) else {
            return Ok(None);
        };
        let path = session.data();
        let mut file = File::options().read(true).write(true).open(&path).at("open", &path)?;
        if state.hasher.is_none() {
            state.hasher = Some(hash(&file, Algorithm::Sha256, state.len).at("read", &path)?);
        }
        file.seek(io::SeekFrom::Start(state.len)).at("seek in", &path)?;
        Ok(Some(Writer {
            storage: self,
            session,
            state,
            file,
        }))
    }

    /// Ends an upload without a blob. `false` while a request adds to it.
    pub(in super::super) fn cancel(&self, session: &Session) -> Result<bool, Fault> {
        let Some(mut state) = session.state() else {
            return Ok(false);
        };
        if !state.over {
            self.end(session, &mut state)?;
        }
        Ok(true)
    }

    fn end(&self, session: &Session, state: &mut State) -> Result<(), Fault> {
        state.over = true;
        self.uploads.sessions().remove(&session.id);
        self.ledger.release(&session.name, state.len);
        missing(std::fs::remove_dir_all(&session.dir)).at("remove", &session.dir)?;
        Ok(())
    }

    /// Removes uploads that nobody has added to for longer than `age`.
    pub(super) fn sweep_uploads(&self, age: Duration) -> Result<(u64, u64), Fault> {
        let (mut count, mut bytes) = (0, 0);
        for (id, dir) in super::entries(&self.uploads.dir)? {
            let touched = dir.join("data").metadata().and_then(|m| m.modified());
            let touched =
                missing(touched.or_else(|_| dir.metadata().and_then(|m| m.modified()))).at("examine", &dir)?;
            let old = |time: SystemTime| SystemTime::now().duration_since(time).unwrap_or_default() > age;
            if !touched.is_some_and(old) {
                continue;
            }
            match self.uploads.find(&id)? {
                Some(session) => {
                    let Ok(mut state) = session.state.try_lock() else {
                        continue;
                    };
                    if !state.over {
                        bytes += state.len;
                        self.end(&session, &mut state)?;
                    }
                }
                None => {
                    missing(std::fs::remove_dir_all(&dir)).at("remove", &dir)?;
                }
            }
            count += 1;
        }
        Ok((count, bytes))
    }

    /// Unfinished uploads.
    pub(in super::super) fn uploads(&self) -> usize {
        self.uploads.sessions().len()
    }
}

impl Writer<'_> {
    /// Bytes that have arrived.
    pub(in super::super) fn len(&self) -> u64 {
        self.state.len
    }

    /// Adds bytes. If that fails, none of them is there.
    pub(in super::super) fn add(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let size = bytes.len() as u64;
        self.storage.ledger.reserve(&self.session.name, size)?;
        if let Err(error) = self.file.write_all(bytes) {
            self.storage.ledger.release(&self.session.name, size);
            // Bytes behind the end that is noted: the next writer would go on there, but a restart measures the file.
            let _ = self.file.set_len(self.state.len);
            return Err(error).at("write", self.session.data());
        }
        if let Some(hasher) = &mut self.state.hasher {
            hasher.update(bytes);
        }
        self.state.len += size;
        self.session.len.store(self.state.len, Ordering::Release);
        Ok(())
    }

    /// Makes it a blob, if its bytes have `digest`: otherwise returns what they have, and the upload goes on.
    pub(in super::super) fn finish(mut self, digest: &Digest) -> Result<Result<(), Digest>, Fault> {
        let path = self.session.data();
        let hasher = match self.state.hasher.clone() {
            Some(hasher) if hasher.algorithm() == digest.algorithm() => hasher,
            _ => hash(&self.file, digest.algorithm(), self.state.len).at("read", &path)?,
        };
        let actual = hasher.finish();
        if actual != *digest {
            return Ok(Err(actual));
        }
        self.file.sync_all().at("sync", &path)?;
        self.storage.adopt(&self.session.name, digest, self.file, &path)?;
        self.storage.end(self.session, &mut self.state)?;
        Ok(Ok(()))
    }
}

fn hash(file: &File, algorithm: Algorithm, len: u64) -> io::Result<Hasher> {
    let mut hasher = Hasher::new(algorithm);
    let mut file = file;
    file.rewind()?;
    let mut file = file.take(len);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// 128 bits that nobody can guess: they are what an upload is known by.
fn random_id() -> io::Result<String> {
    use std::fmt::Write as _;
    let mut bytes = [0; 16];
    File::open(Path::new("/dev/urandom"))?.read_exact(&mut bytes)?;
    let mut id = String::with_capacity(32);
    for byte in bytes {
        let _ = write!(id, "{byte:02x}");
    }
    Ok(id)
}
