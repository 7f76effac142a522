//! Opens what is mounted into a container while the host's tree is still whole.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::plan::{HostSource, Showing};
use crate::error::{Error, Result};

/// What the creator has made or opened for a container.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// Mounts that are in no tree: [`crate::create::Setup::prepared`].
    pub(crate) prepared: Vec<OwnedFd>,
    /// Mounts of other containers, in order.
    pub(crate) foreign: Vec<OwnedFd>,
    /// User namespaces that map owners: of [`super::idmaps`].
    pub(crate) idmaps: Vec<OwnedFd>,
}

/// Opens the sources as detached mounts, before anything changes, and maps the owners of those that have a map of their
/// own.
pub(crate) fn open_sources(sources: &[HostSource], made: Made) -> Result<Vec<OwnedFd>> {
    let mut prepared: Vec<Option<OwnedFd>> = made.prepared.into_iter().map(Some).collect();
    let mut foreign = made.foreign.into_iter();
    let mut open = |source: &HostSource| match &source.what {
        Showing::Path {
            path,
            recursive,
            beneath,
        } => self::path(path, *recursive, beneath),
        Showing::Layers { lower, user_xattr } => super::layers(lower, *user_xattr),
        Showing::Prepared(number) => prepared
            .get_mut(*number)
            .and_then(Option::take)
            .ok_or_else(|| Error::Invalid(format!("mount {number} was not prepared, or is mounted twice"))),
        Showing::Foreign(path) => foreign
            .next()
            .ok_or_else(|| Error::Invalid(format!("`{}` of another process was not opened", path.display()))),
    };
    let mut out = Vec::with_capacity(sources.len());
    for source in sources {
        let mount = open(source)?;
        if let Some((number, recursive)) = source.map {
            let namespace = made.idmaps.get(number);
            let namespace = namespace.ok_or_else(|| Error::Invalid(format!("no map of owners has number {number}")))?;
            super::idmap::set(&mount, namespace, recursive, &source.what)?;
        }
        out.push(mount);
    }
    Ok(out)
}

fn path(path: &Path, recursive: bool, beneath: &str) -> Result<OwnedFd> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |errno| Error::Path {
            act: "mount the host's",
            path,
            errno,
        }
    };
    if beneath.is_empty() {
        return open_tree(rustix::fs::CWD, path, clone_flags(recursive)).map_err(failed(path));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(failed(path))?;
    let inner = self::beneath(&folder, beneath).map_err(|errno| outside(&path.join(beneath), errno))?;
    let flags = clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(&inner, c"", flags).map_err(failed(&path.join(beneath)))
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags | OpenTreeFlags::AT_RECURSIVE
    } else {
        flags
    }
}

/// Opens a path in a folder whose content strangers may change at any moment: whatever they swap for a link, what is
/// opened is in the folder (CVE-2021-25741, CVE-2023-5528 and their like). Links that stay within it are followed.
pub(crate) fn beneath(folder: &impl AsFd, path: &str) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    // The kernel says so where a folder on the way is moved meanwhile.
    for _ in 0..1000 {
        match rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

/// What is said of a path that cannot be opened beneath its folder, in Docker's words where it has some.
pub(crate) fn outside(path: &Path, errno: Errno) -> Error {
    let path = path.display();
    match errno {
        Errno::XDEV => Error::Invalid(format!("cannot access path {path}: it leads out of the mount")),
        errno => Error::System {
            act: format!("access path {path}: lstat {path}"),
            errno,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("volume");
        std::fs::create_dir_all(folder.join("a/b")).unwrap();
        std::fs::write(place.path().join("secret"), "").unwrap();
        symlink("/etc", folder.join("absolute")).unwrap();
        symlink("../secret", folder.join("up")).unwrap();
        symlink("a/b", folder.join("within")).unwrap();
        symlink("../../a", folder.join("a/b/back")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        let open = rustix::fs::open(&folder, OFlags::PATH, Mode::empty()).unwrap();
        for (path, expected) in [
            ("a", Ok(())),
            ("a/b", Ok(())),
            ("within", Ok(())),
            ("a/b/back", Ok(())),
            ("a/b/back/b/../..", Ok(())),
            ("absolute", Err(Errno::XDEV)),
            ("absolute/passwd", Err(Errno::XDEV)),
            ("up", Err(Errno::XDEV)),
            ("..", Err(Errno::XDEV)),
            ("a/../../secret", Err(Errno::XDEV)),
            ("/etc", Err(Errno::XDEV)),
            ("nope", Err(Errno::NOENT)),
            ("loop", Err(Errno::LOOP)),
        ] {
            assert_eq!(beneath(&open, path).map(drop), expected, "{path}");
        }
    }

    #[test]
    fn a_link_that_is_swapped_in_leads_nowhere() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("volume");
        std::fs::create_dir_all(folder.join("good/x")).unwrap();
        std::fs::create_dir_all(place.path().join("secret/x")).unwrap();
        symlink("../secret", folder.join("evil")).unwrap();
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        let open = rustix::fs::open(&folder, OFlags::PATH, Mode::empty()).unwrap();
        let good = inode(&beneath(&open, "good/x").unwrap());
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let swapper = scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    rustix::fs::renameat_with(
                        rustix::fs::CWD,
                        folder.join("good"),
                        rustix::fs::CWD,
                        folder.join("evil"),
                        rustix::fs::RenameFlags::EXCHANGE,
                    )
                    .unwrap();
                }
            });
            let (mut opened, mut refused) = (0, 0);
            while opened < 200 || refused < 200 {
                match beneath(&open, "good/x") {
                    Ok(fd) => {
                        assert_eq!(inode(&fd), good);
                        opened += 1;
                    }
                    Err(Errno::XDEV | Errno::AGAIN) => refused += 1,
                    Err(e) => panic!("{e}"),
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            swapper.join().unwrap();
        });
    }
}
