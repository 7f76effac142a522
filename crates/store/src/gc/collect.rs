//! Collection within a budget: what nothing refers to may stay as long as there is room for it, because a pull that is
//! tried again, or a tag that comes back, then finds it. Beyond the budget the oldest goes first.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hull_spec::{Algorithm, Digest};
use rusqlite::TransactionBehavior;

use super::{Named, ask, entries, is_abandoned, leftovers, remove_file};
use crate::error::{At, Result};
use crate::image::User;
use crate::index::{self, Statement};
use crate::{Store, image, lease, tree};

/// What may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of what nothing refers to.
    pub keep: u64,
    /// Bytes of the file system that are to be free.
    pub free: u64,
    /// Nothing is taken that was there, or had a name, so short a time ago.
    pub age: Duration,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images that had no name any more.
    pub images: Vec<Digest>,
    /// Layers.
    pub layers: u64,
    /// Blobs, partial ones too.
    pub blobs: u64,
    /// Bytes of the blobs and of the layers, unpacked.
    pub bytes: u64,
}

/// Takes away what no name, no lease and no container refers to, the oldest first, until `budget` is kept. `users` is
/// called as by [`super::sweep`].
///
/// # Errors
/// What `users`, the index or the file system says.
pub fn collect<E>(store: &Store, budget: &Budget, users: impl FnOnce() -> Result<Vec<User>, E>) -> Result<Collected>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let lock = store.exclusive()?;
    let users = ask(users)?;
    let leased = lease::protected(store, &lock)?;
    let mut search = Search::new(store, &users, &leased)?;
    let mut over = search.over(budget)?;
    let mut plan = Plan::default();
    let oldest = SystemTime::now()
        .checked_sub(budget.age)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    if over > 0 {
        search.orphans(oldest, &mut over, &mut plan);
        search.dangling(oldest, &mut over, &mut plan);
    }
    let binned = plan.apply(store)?;
    drop(lock);
    for path in binned {
        tree::remove(&path)?;
    }
    leftovers(store)?;
    Ok(plan.out)
}

/// Marks an image as one that had a name until now: its time counts from here.
pub(crate) fn touch(store: &Store, id: &Digest) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps {
        last_access: time(UTIME_OMIT),
        last_modification: time(UTIME_NOW),
    };
    // One that cannot be marked is collected a little earlier.
    let _ = rustix::fs::utimensat(CWD, store.blob_path(id), &times, AtFlags::empty());
}

/// Something that could go.
struct Piece {
    path: PathBuf,
    bytes: u64,
    time: SystemTime,
}

struct Search<'s> {
    store: &'s Store,
    /// What has to stay.
    named: Named,
    layers: HashMap<Digest, Piece>,
    blobs: HashMap<Digest, Piece>,
    partial: Vec<Piece>,
    /// Images without a name that no container uses, the oldest first.
    nameless: Vec<image::Image>,
}

impl<'s> Search<'s> {
    fn new(store: &'s Store, users: &[User], leased: &HashSet<Digest>) -> Result<Self> {
        let used: HashSet<&Digest> = users.iter().map(|user| &user.image).collect();
        let (mut nameless, mut kept) = (Vec::new(), Vec::new());
        for found in image::list(store)? {
            let named = !found.tags.is_empty() || !found.digests.is_empty();
            let id = &found.image.id;
            if named || used.contains(id) || leased.contains(id) || leased.contains(&found.image.manifest) {
                kept.push(found);
            } else {
                nameless.push(found.image);
            }
        }
        let mut named = Named {
            layers: leased.clone(),
            blobs: leased.clone(),
        };
        named
            .layers
            .extend(users.iter().flat_map(|user| user.layers.iter().cloned()));
        for found in kept {
            let digests = found.digests.iter().filter_map(|name| name.digest().cloned());
            named.blobs.extend(digests);
            named.blobs.extend([found.image.id, found.image.manifest]);
            named.blobs.extend(found.image.blobs);
            named.layers.extend(found.image.layers);
        }
        let mut out = Self {
            store,
            named,
            layers: HashMap::new(),
            blobs: HashMap::new(),
            partial: Vec::new(),
            nameless,
        };
        out.look_at_layers()?;
        out.look_at_blobs(leased)?;
        let time = |image: &image::Image| out.blobs.get(&image.id).map(|piece| piece.time);
        let mut nameless = std::mem::take(&mut out.nameless);
        nameless.sort_by_key(time);
        out.nameless = nameless;
        Ok(out)
    }

    fn look_at_layers(&mut self) -> Result<()> {
        for (name, path) in entries(&self.store.dir("layers"))? {
            // `empty` and the engine's `base` are no layers of images.
            let Ok(chain) = format!("sha256:{name}").parse::<Digest>() else {
                continue;
            };
            if !self.named.layers.contains(&chain) {
                let bytes = image::layer_sizes(self.store, std::slice::from_ref(&chain))?;
                let bytes = bytes.into_iter().sum();
                self.layers.insert(chain, piece(path, bytes)?);
            }
        }
        Ok(())
    }

    fn look_at_blobs(&mut self, leased: &HashSet<Digest>) -> Result<()> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for (name, path) in entries(&self.store.dir("blobs").join(algorithm.name()))? {
                let Ok(digest) = format!("{}:{name}", algorithm.name()).parse::<Digest>() else {
                    continue;
                };
                if !self.named.blobs.contains(&digest) {
                    self.blobs.insert(digest, file(path)?);
                }
            }
        }
        for (name, path) in entries(&self.store.dir("blobs/partial"))? {
            let digest = name.replacen('-', ":", 1).parse::<Digest>();
            if !digest.is_ok_and(|digest| leased.contains(&digest)) && is_abandoned(&path)?.is_some() {
                self.partial.push(file(path)?);
            }
        }
        Ok(())
    }

    /// How many bytes are to go.
    fn over(&self, budget: &Budget) -> Result<u64> {
        let pieces = self.layers.values().chain(self.blobs.values()).chain(&self.partial);
        let total: u64 = pieces.map(|piece| piece.bytes).sum();
        let root = self.store.root();
        let space = rustix::fs::statvfs(root).at("examine", root)?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        Ok(total.saturating_sub(budget.keep).max(budget.free.saturating_sub(free)))
    }

    /// What no image has.
    fn orphans(&mut self, oldest: SystemTime, over: &mut u64, plan: &mut Plan) {
        let mut of_images: HashSet<&Digest> = HashSet::new();
        for image in &self.nameless {
            of_images.extend(
                image
                    .layers
                    .iter()
                    .chain(&image.blobs)
                    .chain([&image.id, &image.manifest]),
            );
        }
        let layers = self.layers.iter().filter(|(digest, _)| !of_images.contains(digest));
        let blobs = self.blobs.iter().filter(|(digest, _)| !of_images.contains(digest));
        let mut all: Vec<(Option<&Digest>, &Piece)> = layers.map(|(digest, piece)| (Some(digest), piece)).collect();
        all.extend(blobs.map(|(_, piece)| (None, piece)));
        all.extend(self.partial.iter().map(|piece| (None, piece)));
        all.sort_by_key(|(_, piece)| piece.time);
        for (layer, piece) in all {
            if *over == 0 || piece.time > oldest {
                return;
            }
            *over = over.saturating_sub(piece.bytes);
            plan.take(layer, piece);
        }
    }

    /// Images without a name, with what only they have.
    fn dangling(&mut self, oldest: SystemTime, over: &mut u64, plan: &mut Plan) {
        let mut left = self.nameless.as_slice();
        while let [image, rest @ ..] = left {
            left = rest;
            let time = self.blobs.get(&image.id).map(|piece| piece.time);
            if *over == 0 || time.is_none_or(|time| time > oldest) {
                continue;
            }
            plan.out.images.push(image.id.clone());
            let others = |digest: &Digest| {
                self.nameless.iter().any(|other| {
                    !plan.out.images.contains(&other.id)
                        && (other.layers.contains(digest) || other.blobs.contains(digest) || other.manifest == *digest)
                })
            };
            let layers = image
                .layers
                .iter()
                .filter_map(|digest| Some((Some(digest), self.layers.get(digest)?, digest)));
            let blobs = image.blobs.iter().chain([&image.manifest, &image.id]);
            let blobs = blobs.filter_map(|digest| Some((None, self.blobs.get(digest)?, digest)));
            let going: Vec<_> = layers.chain(blobs).filter(|(_, _, digest)| !others(digest)).collect();
            for (layer, piece, _) in going {
                *over = over.saturating_sub(piece.bytes);
                plan.take(layer, piece);
            }
        }
    }
}

fn piece(path: PathBuf, bytes: u64) -> Result<Piece> {
    let time = path
        .symlink_metadata()
        .and_then(|meta| meta.modified())
        .at("examine", &path)?;
    Ok(Piece { path, bytes, time })
}

fn file(path: PathBuf) -> Result<Piece> {
    let bytes = path.symlink_metadata().map_or(0, |meta| meta.len());
    piece(path, bytes)
}

/// What is to go.
#[derive(Default)]
struct Plan {
    out: Collected,
    rows: Vec<Digest>,
    layers: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Plan {
    fn take(&mut self, layer: Option<&Digest>, piece: &Piece) {
        let list = match layer {
            Some(chain) => {
                if self.rows.contains(chain) {
                    return;
                }
                self.rows.push(chain.clone());
                self.out.layers += 1;
                &mut self.layers
            }
            None => {
                if self.files.contains(&piece.path) {
                    return;
                }
                self.out.blobs += 1;
                &mut self.files
            }
        };
        list.push(piece.path.clone());
        self.out.bytes += piece.bytes;
    }

    /// The index first, then the files: what a kill in between leaves is found again.
    fn apply(&self, store: &Store) -> Result<Vec<PathBuf>> {
        if !self.out.images.is_empty() || !self.rows.is_empty() {
            store.with_index(|db| {
                let transaction = db
                    .transaction_with_behavior(TransactionBehavior::Immediate)
                    .act("begin a collection")?;
                for id in &self.out.images {
                    transaction
                        .execute("DELETE FROM images WHERE id = ?1", [id.as_str()])
                        .act("remove an image")?;
                }
                for chain in &self.rows {
                    transaction
                        .execute("DELETE FROM layers WHERE chain = ?1", [chain.as_str()])
                        .act("forget a layer")?;
                }
                transaction.commit().act("commit a collection")?;
                index::empty_log(db)?;
                image::forget(store);
                Ok(())
            })?;
        }
        let mut binned = Vec::new();
        for path in &self.layers {
            binned.extend(tree::bin(store, Path::new(path))?);
        }
        for path in &self.files {
            remove_file(path)?;
        }
        Ok(binned)
    }
}
