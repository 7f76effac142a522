//! Taking names and images away, with Docker's rules.

use hull_spec::{Digest, Reference};
use rusqlite::{Connection, TransactionBehavior};

use super::resolve::{key, names_of, resolve};
use super::{Image, lookup};
use crate::error::{Error, Result};
use crate::gc::Named;
use crate::index::{self, Statement};
use crate::{Store, gc, lease, tree};

/// What is to be removed.
#[derive(Clone, Copy, Debug)]
pub struct RemoveRequest<'a> {
    /// A reference, an ID or the first digits of one.
    pub name: &'a str,
    /// Also where several repositories or stopped containers use the image.
    pub force: bool,
}

/// A container that needs an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The container's ID.
    pub container: String,
    /// Whether it runs (or is paused).
    pub running: bool,
    /// Its image's ID.
    pub image: Digest,
    /// The chain IDs that its root file system is mounted from.
    pub layers: Vec<Digest>,
}

/// One line of what `docker rmi` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// `Untagged: NAME`.
    Untagged(Reference),
    /// `Deleted: DIGEST`: the image's ID, or the chain ID of a layer that is gone with it.
    Deleted(Digest),
}

/// Removes a reference, or an image with all of its references, and frees at once what nothing else uses: layers and
/// blobs. `users` tells of all containers; it is called while nobody can make a new one,
/// so it must not wait for a [`crate::Hold`] itself.
///
/// # Errors
/// Docker's conflicts ([`crate::Error::InUse`]), no such image, or what `users` or the file system says.
pub fn remove<E>(
    store: &Store,
    request: &RemoveRequest<'_>,
    users: impl FnOnce() -> Result<Vec<User>, E>,
) -> Result<Vec<Removed>>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let lock = store.exclusive()?;
    let image = resolve(store, request.name)?;
    let users = gc::ask(users)?;
    let leased = lease::protected(store, &lock)?;
    let (removed, freed) = store.with_index(|db| {
        let transaction = db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .act("begin removing an image")?;
        let names = names_of(&transaction, &image.id)?;
        let plan = plan(request, &image.id, &names, &users)?;
        for name in &plan.untag {
            transaction
                .execute("DELETE FROM refs WHERE name = ?1", [name.to_string()])
                .act("remove a name")?;
        }
        let mut removed: Vec<Removed> = plan.untag.iter().cloned().map(Removed::Untagged).collect();
        let mut freed = Freed::default();
        if plan.delete {
            transaction
                .execute("DELETE FROM images WHERE id = ?1", [image.id.as_str()])
                .act("remove an image")?;
            removed.push(Removed::Deleted(image.id.clone()));
        }
        // Also where the image stays: an index that only a removed name needed goes with it.
        freed.find(
            &transaction,
            &image,
            &names,
            &Named::collect(&transaction, &users, &leased)?,
        )?;
        removed.extend(freed.layers.iter().cloned().map(Removed::Deleted));
        transaction.commit().act("commit a removal")?;
        index::empty_log(db)?;
        lookup::forget(store);
        Ok((removed, freed))
    })?;
    if !removed.iter().any(|one| matches!(one, Removed::Deleted(_))) {
        gc::touch(store, &image.id);
    }
    let binned = gc::bin_layers(store, &freed.layers, &lock)?;
    for blob in &freed.blobs {
        gc::remove_file(&store.blob_path(blob))?;
    }
    drop(lock);
    for path in binned {
        tree::remove(&path)?;
    }
    Ok(removed)
}

/// What only the removed image had.
#[derive(Default)]
struct Freed {
    /// Chain IDs, topmost first.
    layers: Vec<Digest>,
    blobs: Vec<Digest>,
}

impl Freed {
    fn find(&mut self, db: &Connection, image: &Image, names: &[Reference], named: &Named) -> Result<()> {
        for chain in image.layers.iter().rev().filter(|c| !named.layers.contains(c)) {
            // A layer that an image names twice is freed once.
            let rows = db
                .execute("DELETE FROM layers WHERE chain = ?1", [chain.as_str()])
                .act("forget a layer")?;
            if rows > 0 {
                self.layers.push(chain.clone());
            }
        }
        let own = [&image.id, &image.manifest];
        let blobs = own
            .into_iter()
            .chain(&image.blobs)
            .chain(names.iter().filter_map(Reference::digest));
        self.blobs.extend(blobs.filter(|b| !named.blobs.contains(b)).cloned());
        Ok(())
    }
}

/// What Docker's rules allow.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    untag: Vec<Reference>,
    delete: bool,
}

/// Decides, as Docker's `ImageDelete` does, what goes: only the reference that was given, while others are left; the
/// image with its last reference; by ID, the image with all of its references, if they are of one repository.
fn plan(request: &RemoveRequest<'_>, id: &Digest, names: &[Reference], users: &[User]) -> Result<Plan> {
    let using: Vec<&User> = users.iter().filter(|u| u.image == *id).collect();
    if is_id(request.name, id) {
        let single = is_single(names);
        refuse(request, id, !single && !names.is_empty(), &using)?;
        return Ok(Plan {
            untag: names.to_vec(),
            delete: true,
        });
    }
    if let Some(user) = using.first().filter(|_| !request.force && is_single(names)) {
        return Err(Error::InUse {
            what: format!(
                "unable to remove repository reference \"{}\" (must force) - container {} is using its referenced image {}",
                request.name,
                short(&user.container),
                id.short(),
            ),
        });
    }
    let given = key(&request.name.parse()?);
    let (mut untag, mut left): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|n| n.to_string() == given);
    // The last tag of a repository takes the repository's digests with it.
    if let Some(tag) = untag.first().filter(|n| n.digest().is_none()).cloned()
        && !left.iter().any(|n| n.digest().is_none() && n.name() == tag.name())
    {
        let (gone, kept) = left.into_iter().partition(|n| n.name() == tag.name());
        untag.extend::<Vec<_>>(gone);
        left = kept;
    }
    // A container that still uses the image keeps it, without a name.
    let keep = !left.is_empty() || using.iter().any(|u| u.running || !request.force);
    Ok(Plan { untag, delete: !keep })
}

/// Docker's conflicts: running containers always, the others unless forced.
fn refuse(request: &RemoveRequest<'_>, id: &Digest, several: bool, using: &[&User]) -> Result<()> {
    let conflict = |force: &str, why: String| {
        Err(Error::InUse {
            what: format!("unable to delete {} ({force}) - {why}", id.short()),
        })
    };
    if let Some(user) = using.iter().find(|u| u.running) {
        let why = format!("image is being used by running container {}", short(&user.container));
        return conflict("cannot be forced", why);
    }
    if request.force {
        return Ok(());
    }
    if several {
        return conflict(
            "must be forced",
            "image is referenced in multiple repositories".to_owned(),
        );
    }
    if let Some(user) = using.first() {
        let why = format!("image is being used by stopped container {}", short(&user.container));
        return conflict("must be forced", why);
    }
    Ok(())
}

fn is_id(given: &str, id: &Digest) -> bool {
    id.as_str().starts_with(given) || id.hex().starts_with(given)
}

/// At most one tag, and digests of no other repository.
fn is_single(names: &[Reference]) -> bool {
    if names.len() <= 1 {
        return true;
    }
    let tags = names.iter().filter(|n| n.digest().is_none()).count();
    tags <= 1 && names.iter().all(|n| n.name() == names[0].name())
}

fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const OTHER: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    /// Whether `rmi given` may go, what it untags and whether it deletes.
    fn check(given: &str, force: bool, names: &[&str], users: &[bool], expected: Result<(&[&str], bool), &str>) {
        let id: Digest = IMAGE.parse().unwrap();
        let names: Vec<Reference> = names.iter().map(|n| n.parse().unwrap()).collect();
        let users: Vec<User> = users
            .iter()
            .map(|&running| User {
                container: "c".repeat(64),
                running,
                image: id.clone(),
                layers: Vec::new(),
            })
            .collect();
        let request = RemoveRequest { name: given, force };
        let got = plan(&request, &id, &names, &users);
        match (got, expected) {
            (Ok(plan), Ok((untag, delete))) => {
                let got: Vec<String> = plan.untag.iter().map(Reference::familiar).collect();
                assert_eq!(
                    (got, plan.delete),
                    (untag.iter().map(|&n| n.to_owned()).collect(), delete),
                    "{given}"
                );
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{given}: {error}"),
            (got, expected) => panic!("{given}: {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn removal_follows_dockers_rules() {
        let digest = format!("a@{OTHER}");
        let digest = digest.as_str();
        let short = "aaaaaaaaaaaa";
        check("a", false, &["a:latest"], &[], Ok((&["a:latest"], true)));
        check(
            "a",
            false,
            &["a:latest", digest],
            &[],
            Ok((&["a:latest", digest], true)),
        );
        check("a:1", false, &["a:1", "a:2", digest], &[], Ok((&["a:1"], false)));
        check(
            "a:1",
            false,
            &["a:1", "b:1", digest],
            &[],
            Ok((&["a:1", digest], false)),
        );
        check(digest, false, &["a:1", digest], &[], Ok((&[digest], false)));
        check(digest, false, &[digest], &[], Ok((&[digest], true)));
        check(short, false, &["a:1"], &[], Ok((&["a:1"], true)));
        check(short, false, &[], &[], Ok((&[], true)));
        check(IMAGE, false, &["a:1", digest], &[], Ok((&["a:1", digest], true)));
        check(
            short,
            false,
            &["a:1", "b:1"],
            &[],
            Err("(must be forced) - image is referenced in multiple"),
        );
        check(
            short,
            false,
            &["a:1", "a:2"],
            &[],
            Err("(must be forced) - image is referenced in multiple"),
        );
        check(short, true, &["a:1", "b:1"], &[], Ok((&["a:1", "b:1"], true)));
        check(
            "a:1",
            false,
            &["a:1"],
            &[false],
            Err("(must force) - container cccccccccccc is using"),
        );
        check("a:1", false, &["a:1", "a:2"], &[false], Ok((&["a:1"], false)));
        check("a:1", true, &["a:1"], &[false], Ok((&["a:1"], true)));
        check("a:1", true, &["a:1"], &[true], Ok((&["a:1"], false)));
        check(
            short,
            false,
            &["a:1"],
            &[false],
            Err("(must be forced) - image is being used by stopped"),
        );
        check(short, true, &["a:1"], &[false], Ok((&["a:1"], true)));
        check(
            short,
            true,
            &["a:1"],
            &[true],
            Err("(cannot be forced) - image is being used by running"),
        );
    }
}
