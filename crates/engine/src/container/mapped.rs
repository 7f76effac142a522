//! An image's files with other owners, for a container with a user namespace of its own inside a normal user's.
//!
//! Only root may map the owners of a mount, so without root the files are copied once for each image and map, and kept:
//!
//! ```text
//! DATA/mapped/CHAIN-MAP/fs    the image's file tree, flat
//! DATA/mapped/.new-..         one that is being made; locked by whoever makes it
//! ```
//! A copy goes when its image's layers are gone: a container that needs it keeps those.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hull_spec::container::{IdMaps, IdRange, Record};
use hull_store::{Access, snapshot};
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Uid, flock};

use super::{create, name};
use crate::{Engine, Error, Result, volume};

/// The files of the record's image with the owners that its map wants, made where they are missing.
pub(crate) fn layer(engine: &Engine, record: &Record, maps: &IdMaps) -> Result<PathBuf> {
    let Some(top) = record.layers.last() else {
        return engine.base_layer();
    };
    let map = serde_json::to_vec(maps).unwrap_or_default();
    let map = hull_store::digest(hull_spec::Algorithm::Sha256, &map);
    let name = format!("{}-{}", top.hex(), &map.hex()[..12]);
    let folder = engine.data.join("mapped");
    let place = folder.join(&name);
    if place.join("fs").is_dir() {
        return Ok(place.join("fs"));
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    let new = folder.join(format!(".new-{}", name::id(name::entropy())));
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    let _held = create::locked(&new)?;
    let made = (|| {
        let files = new.join("fs");
        fs::create_dir(&files)?;
        let store = engine.store(Access::Read).map_err(std::io::Error::other)?;
        volume::copy_image(&snapshot::lower(store, &record.layers), &files, engine.rootless)?;
        give(&files, maps)?;
        match fs::rename(&new, &place) {
            // Another command was first.
            Err(_) if place.join("fs").is_dir() => fs::remove_dir_all(&new),
            done => done,
        }
    })();
    if made.is_err() {
        let _ = fs::remove_dir_all(&new);
    }
    made.map_err(failed(&place))?;
    Ok(place.join("fs"))
}

/// Gives each file below `top` to whom it belongs in the namespace. What belongs to an ID that is not there becomes root's.
fn give(top: &Path, maps: &IdMaps) -> std::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = [&maps.uids, &maps.gids].map(|ranges| IdRange::outside(ranges, 0).unwrap_or(0));
    let owner = |stat: &rustix::fs::Stat| {
        let uid = IdRange::outside(&maps.uids, stat.st_uid).unwrap_or(root[0]);
        let gid = IdRange::outside(&maps.gids, stat.st_gid).unwrap_or(root[1]);
        (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    };
    let open = rustix::fs::open(top, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&open)?;
    let (uid, gid) = owner(&stat);
    rustix::fs::fchown(&open, uid, gid)?;
    let mut todo = vec![open];
    // A file of several names is met several times.
    let mut given = std::collections::HashSet::new();
    while let Some(folder) = todo.pop() {
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind != FileType::Directory && stat.st_nlink > 1 && !given.insert(stat.st_ino) {
                continue;
            }
            let (uid, gid) = owner(&stat);
            rustix::fs::chownat(&folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            if kind != FileType::Symlink && stat.st_mode & 0o6000 != 0 {
                // The change of owner took these bits away.
                rustix::fs::chmodat(
                    &folder,
                    name,
                    Mode::from_raw_mode(stat.st_mode & 0o7777),
                    AtFlags::empty(),
                )?;
            }
            if kind == FileType::Directory {
                todo.push(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
            }
        }
    }
    Ok(())
}

/// Removes copies of images that are gone, and what killed commands left.
pub(crate) fn sweep(engine: &Engine) {
    for entry in fs::read_dir(engine.data.join("mapped")).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let dead = if name.starts_with(".new-") {
            File::open(entry.path()).is_ok_and(|f| flock(&f, FlockOperation::NonBlockingLockExclusive).is_ok())
        } else {
            let chain = name.split('-').next().unwrap_or_default();
            !engine.data.join("layers").join(chain).exists()
        };
        if dead {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
