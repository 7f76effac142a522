//! Users and their passwords' hashes, from a file.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use ring::hmac;

use super::Who;
use super::bcrypt::Hash;
use crate::Error;

/// The most that is read of the file.
const FILE_MAX: u64 = 16 << 20;
/// Hashes that are computed at once: each keeps a core busy for a tenth of a second or more.
const AT_ONCE: usize = 2;
/// `htpasswd -B`'s own cost, where the file has no hash to tell.
const COST: u32 = 5;

/// The users of one file.
#[derive(Debug)]
pub(super) struct Htpasswd {
    path: PathBuf,
    realm: String,
    /// Proofs of passwords that were found right, so that not every request costs a hash. The key is this process' own.
    key: hmac::Key,
    known: Mutex<Known>,
    busy: Mutex<usize>,
    free: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    version: Option<Version>,
    hashes: HashMap<String, Hash>,
    proofs: HashMap<String, hmac::Tag>,
}

/// What tells that a file is another one than before.
type Version = (u64, i64, i64, u64);

impl Htpasswd {
    pub(super) fn open(path: &Path, realm: &str) -> Result<Self, Error> {
        let fail = |reason: &str| Error::Config {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let mut secret = [0; 32];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut secret))
            .map_err(|err| fail(&err.to_string()))?;
        let this = Self {
            path: path.to_owned(),
            realm: realm.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            known: Mutex::default(),
            busy: Mutex::new(0),
            free: Condvar::new(),
        };
        let (version, hashes) = this.read().map_err(|reason| fail(&reason))?;
        *this.known() = Known {
            version: Some(version),
            hashes,
            proofs: HashMap::new(),
        };
        Ok(this)
    }

    pub(super) fn realm(&self) -> &str {
        &self.realm
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<(Version, HashMap<String, Hash>), String> {
        let file = File::open(&self.path).map_err(|err| err.to_string())?;
        let m = file.metadata().map_err(|err| err.to_string())?;
        let version = (m.ino(), m.mtime(), m.mtime_nsec(), m.size());
        let mut text = String::new();
        file.take(FILE_MAX)
            .read_to_string(&mut text)
            .map_err(|err| err.to_string())?;
        let mut hashes = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The line itself is a secret and is not told.
            let at = number + 1;
            let (user, hash) = line
                .split_once(':')
                .ok_or_else(|| format!("line {at} holds no colon"))?;
            let hash = Hash::parse(hash.trim())
                .ok_or_else(|| format!("line {at} is not a bcrypt hash, as `htpasswd -B` makes it"))?;
            hashes.insert(user.to_owned(), hash);
        }
        Ok((version, hashes))
    }

    /// Reads the file again if it has changed. One that cannot be used is as if it had not changed: whoever edits it is
    /// not to lock everybody out.
    fn refresh(&self) {
        let now = std::fs::metadata(&self.path).map(|m| (m.ino(), m.mtime(), m.mtime_nsec(), m.size()));
        if now.is_ok_and(|now| self.known().version == Some(now)) {
            return;
        }
        if let Ok((version, hashes)) = self.read() {
            *self.known() = Known {
                version: Some(version),
                hashes,
                proofs: HashMap::new(),
            };
        }
    }

    /// Who has these credentials, `base64(user:password)`.
    pub(super) fn check(&self, encoded: &str) -> Option<Who> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        self.refresh();
        let proof = hmac::sign(&self.key, text.as_bytes());
        let (hash, known) = {
            let known = self.known();
            if let Some(tag) = known.proofs.get(user)
                && hmac::verify(&self.key, text.as_bytes(), tag.as_ref()).is_ok()
            {
                return Some(Who::User(user.to_owned()));
            }
            let found = known.hashes.get(user).cloned();
            let cost = known.hashes.values().map(Hash::cost).max().unwrap_or(COST);
            let exists = found.is_some();
            (found.unwrap_or_else(|| Hash::nobody(cost)), exists)
        };
        let right = self.in_turn(|| hash.is_of(password));
        if !(right && known) {
            return None;
        }
        let mut known = self.known();
        // It may have been changed meanwhile.
        if known.hashes.get(user) == Some(&hash) {
            known.proofs.insert(user.to_owned(), proof);
        }
        Some(Who::User(user.to_owned()))
    }

    fn in_turn<T>(&self, act: impl FnOnce() -> T) -> T {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        while *busy >= AT_ONCE {
            busy = self.free.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
        *busy += 1;
        drop(busy);
        let out = act();
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.free.notify_one();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_and_the_file_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        std::fs::write(&path, format!("# people\nann:{hash}\n\n")).unwrap();
        let users = Htpasswd::open(&path, "r").unwrap();
        let check = |text: &str, expected: bool| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(text);
            assert_eq!(users.check(&encoded).is_some(), expected, "{text}");
        };
        check("ann:U*U", true);
        check("ann:U*U", true);
        check("ann:u*u", false);
        check("bob:U*U", false);
        check("ann", false);
        assert!(users.check("!!").is_none());
        std::fs::write(&path, "broken").unwrap();
        check("ann:U*U", true);
        std::fs::write(&path, format!("bob:{hash}\n")).unwrap();
        check("ann:U*U", false);
        check("bob:U*U", true);
        std::fs::write(&path, "ann:secret").unwrap();
        let err = Htpasswd::open(&path, "r").unwrap_err().to_string();
        assert!(err.contains("line 1") && !err.contains("secret"), "{err}");
    }
}
