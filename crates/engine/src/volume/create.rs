//! `volume create`, and the making of volumes that containers ask for.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};

use super::about::{ANONYMOUS, About, check_name, folder, volumes};
use super::options;
use crate::container::{self, name};
use crate::{Engine, Error, Result, event};

/// A volume to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateRequest {
    /// Its name; empty for a made-up one.
    pub name: String,
    /// Its driver; empty for `local`.
    pub driver: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

/// Makes a volume, unless there is one of this name, and returns its name.
///
/// # Errors
/// Docker's, about names, drivers and options.
pub fn create(engine: &Engine, request: &CreateRequest) -> Result<String> {
    let mut request = request.clone();
    if request.name.is_empty() {
        request.name = name::id(name::entropy());
        request.labels.insert(ANONYMOUS.to_owned(), String::new());
    }
    ensure(engine, &request)?;
    sweep(engine);
    Ok(request.name)
}

/// The request for a volume that belongs to one container.
pub(super) fn nameless(mut request: CreateRequest) -> CreateRequest {
    request.name = name::id(name::entropy());
    request.labels.insert(ANONYMOUS.to_owned(), String::new());
    request
}

/// Makes the volume if it is missing. Returns the options of the one that is there.
pub(super) fn ensure(engine: &Engine, request: &CreateRequest) -> Result<BTreeMap<String, String>> {
    let name = &request.name;
    check_name(name)?;
    if !matches!(request.driver.as_str(), "" | "local") {
        let driver = &request.driver;
        return Err(Error::Volume {
            name: name.clone(),
            why: format!("error looking up volume plugin {driver}: plugin \"{driver}\" not found"),
        });
    }
    match super::about::load(engine, name) {
        // As in Docker, what else is asked for does not change one that is there.
        Ok(about) => return Ok(about.options.unwrap_or_default()),
        Err(Error::NoSuchVolume { .. }) => {}
        Err(e) => return Err(e),
    }
    options::check(name, &request.options)?;
    let some = |map: &BTreeMap<String, String>| Some(map.clone()).filter(|map| !map.is_empty());
    let about = About {
        created_at: format!("{:.9}", jiff::Timestamp::now()),
        labels: some(&request.labels),
        options: some(&request.options),
    };
    match make(engine, name, &about)? {
        Made::Ours => {
            event::volume(engine, "create", name);
            Ok(request.options.clone())
        }
        Made::Theirs => Ok(super::about::load(engine, name)?.options.unwrap_or_default()),
    }
}

enum Made {
    Ours,
    /// Somebody else was first.
    Theirs,
}

fn make(engine: &Engine, name: &str, about: &About) -> Result<Made> {
    let parent = volumes(engine);
    if !engine.data.is_dir() {
        // No other user gets in: volumes may hold set-user-ID programs (CVE-2021-41091) and secrets.
        folder_of(&engine.data, 0o700)?;
    }
    folder_of(&parent, 0o711)?;
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let new = parent.join(format!(".new-{}-{nanos}", std::process::id()));
    // Tells a sweeping command that somebody is at it.
    let _lock = container::locked(&new)?;
    let done = fill(&new, about).and_then(|()| match fs::rename(&new, folder(engine, name)) {
        Ok(()) => Ok(Made::Ours),
        // A folder is not renamed over one that holds something.
        Err(_) if folder(engine, name).join("volume.json").exists() => Ok(Made::Theirs),
        Err(source) => Err(Error::Write {
            path: folder(engine, name),
            source,
        }),
    });
    if !matches!(done, Ok(Made::Ours)) {
        // What cannot be removed now is swept by a later command.
        let _ = fs::remove_dir_all(&new);
    }
    done
}

/// Fills the folder of a volume to be.
fn fill(new: &Path, about: &About) -> Result<()> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    rustix::fs::chmod(new, rustix::fs::Mode::from_raw_mode(0o711)).map_err(|errno| at(new)(errno.into()))?;
    folder_of(&new.join("users"), 0o700)?;
    folder_of(&new.join("_data"), 0o755)?;
    let path = new.join("volume.json");
    let bytes = serde_json::to_vec(about).map_err(|e| at(&path)(e.into()))?;
    fs::write(&path, bytes).map_err(at(&path))
}

fn folder_of(path: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })?;
    // Whatever the caller's mask is, a container's user can get at the files.
    let mode = rustix::fs::Mode::from_raw_mode(mode);
    if path.file_name().is_some_and(|name| name == "_data") {
        rustix::fs::chmod(path, mode).map_err(|errno| Error::Write {
            path: path.to_owned(),
            source: errno.into(),
        })?;
    }
    Ok(())
}

/// Removes what commands that were killed have left half made or half removed.
pub(crate) fn sweep(engine: &Engine) {
    for entry in fs::read_dir(volumes(engine)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let free = || {
            let folder = File::open(entry.path());
            folder.is_ok_and(|f| flock(&f, FlockOperation::NonBlockingLockExclusive).is_ok())
        };
        // An empty one may be one that is just being made: whoever is at it finds that it is gone and makes another.
        let dead = name.starts_with(".removed-")
            || name.starts_with(".new-") && free() && fs::remove_dir(entry.path()).is_err();
        if dead {
            // One that resists is tried again by the next sweep.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
