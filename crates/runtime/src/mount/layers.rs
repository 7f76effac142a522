//! Layers of an image as one read-only file tree, and parts of mounts that are in no tree yet.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, open_tree,
};

use super::apply::{self, Tree, attach, escape};
use super::handed::helped;
use super::sources::{beneath, outside};
use crate::container::namespace_flag;
use crate::error::{During, Result};

/// The file tree of `lower` layers, topmost first, read-only and mounted nowhere.
///
/// # Errors
/// What the kernel says to the mount.
pub fn layers(lower: &[PathBuf], user_xattr: bool) -> Result<OwnedFd> {
    let act = || format!("mount {} layers of an image", lower.len());
    if let [one] = lower {
        // A single layer is its own view: overlayfs wants two.
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        return open_tree(rustix::fs::CWD, one, flags).during(act);
    }
    match detached(lower, user_xattr) {
        // `lowerdir+` is of Linux 6.7. Before, a mount must be somewhere: in the namespace of a helper.
        Err(Errno::INVAL) => helped(namespace_flag::NEWNS, || {
            apply::detach()?;
            by_options(lower, user_xattr).during(act)
        }),
        made => made.during(act),
    }
}

fn detached(lower: &[PathBuf], user_xattr: bool) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in lower {
        fsconfig_set_string(fs.as_fd(), c"lowerdir+", layer)?;
    }
    if user_xattr {
        fsconfig_set_flag(fs.as_fd(), c"userxattr")?;
    }
    fsconfig_create(fs.as_fd())?;
    fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
}

/// Mounts with `mount(2)` over the topmost layer and takes a copy of that mount. The layers are named from the folder that
/// they are all below, because the options must fit in a page.
fn by_options(lower: &[PathBuf], user_xattr: bool) -> rustix::io::Result<OwnedFd> {
    // DATA/layers/CHAIN/fs
    let top = lower.first().ok_or(Errno::INVAL)?;
    let folder = top.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let names: Vec<String> = lower
        .iter()
        .map(|layer| escape(layer.strip_prefix(folder).unwrap_or(layer)))
        .collect();
    let mut options = format!("lowerdir={}", names.join(":"));
    if user_xattr {
        options.push_str(",userxattr");
    }
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    rustix::process::chdir(folder)?;
    rustix::mount::mount(c"overlay", top, c"overlay", MountFlags::RDONLY, options.as_c_str())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(rustix::fs::CWD, top, flags)
}

impl Tree {
    /// The part at `inner` of a mount that is in no tree. Before Linux 6.15 only what is in a tree can be copied, so the
    /// whole is mounted on the root for a moment.
    pub(super) fn part(&self, mount: OwnedFd, inner: &str, target: &str) -> Result<OwnedFd> {
        let act = || format!("mount a part of the source of `{target}`");
        attach(&mount, self.root.as_fd()).during(act)?;
        // As a path is opened, so that it is no more than a place.
        let copy = beneath(&mount, inner)
            .map_err(|errno| outside(Path::new(inner), errno))
            .and_then(|part| {
                let flags =
                    OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
                open_tree(&part, c"", flags).during(act)
            });
        let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
        let undone = rustix::mount::unmount(path.as_str(), UnmountFlags::DETACH).during(act);
        copy.and_then(|copy| undone.map(|()| copy))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::fs::{Mode, OFlags};

    use super::*;

    fn text(root: &OwnedFd, path: &str) -> String {
        let file = rustix::fs::openat(root, path, OFlags::RDONLY, Mode::empty()).unwrap();
        let mut text = String::new();
        std::fs::File::from(file).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn privileged_layers_are_one_tree() {
        if !hull_testkit::require_root() {
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let lower: Vec<PathBuf> = ["top", "bottom"]
            .map(|name| {
                let folder = place.path().join(name).join("fs");
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(name), name).unwrap();
                std::fs::write(folder.join("both"), name).unwrap();
                folder
            })
            .to_vec();
        let check = |root: &OwnedFd| {
            for (path, expected) in [("top", "top"), ("bottom", "bottom"), ("both", "top")] {
                assert_eq!(text(root, path), expected);
            }
            let write = rustix::fs::openat(root, "both", OFlags::WRONLY, Mode::empty());
            assert_eq!(write.unwrap_err(), Errno::ROFS);
        };
        check(&layers(&lower, false).unwrap());
        // What older kernels need, in a mount namespace of this thread's own.
        std::thread::spawn(move || {
            hull_sys::clone::unshare(namespace_flag::NEWNS).unwrap();
            apply::detach().unwrap();
            check(&by_options(&lower, false).unwrap());
        })
        .join()
        .unwrap();
    }
}
