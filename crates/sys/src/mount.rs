//! What rustix lacks of the mount API.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Result;

use crate::clone::last_errno;

/// Mount attributes to set or clear, `MOUNT_ATTR_*` (`mount_setattr(2)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub u64);

impl Attributes {
    /// Read-only.
    pub const RDONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    /// Set-user-ID bits do nothing.
    pub const NOSUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    /// Device nodes do nothing.
    pub const NODEV: Self = Self(libc::MOUNT_ATTR_NODEV);
    /// Nothing can be executed.
    pub const NOEXEC: Self = Self(libc::MOUNT_ATTR_NOEXEC);
    /// No access times.
    pub const NOATIME: Self = Self(libc::MOUNT_ATTR_NOATIME);
    /// Access times as POSIX has them.
    pub const STRICTATIME: Self = Self(libc::MOUNT_ATTR_STRICTATIME);
    /// No access times of directories.
    pub const NODIRATIME: Self = Self(libc::MOUNT_ATTR_NODIRATIME);
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: Self = Self(libc::MOUNT_ATTR_NOSYMFOLLOW);
    /// The field of the access-time choice, to be cleared before one is set.
    pub const ATIME_MASK: Self = Self(libc::MOUNT_ATTR__ATIME);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// All of this but `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is here.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// How a mount passes mounts on (`mount_namespaces(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Neither way.
    Private,
    /// From the host only.
    Slave,
    /// Both ways.
    Shared,
    /// Neither way, and not to be bind-mounted.
    Unbindable,
}

/// A change of a mount's attributes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'fd> {
    /// Attributes that become set.
    pub set: Attributes,
    /// Attributes that become clear.
    pub clear: Attributes,
    /// The new propagation.
    pub propagation: Option<Propagation>,
    /// Owners are mapped as in this user namespace.
    pub idmap: Option<BorrowedFd<'fd>>,
    /// Also the mounts below.
    pub recursive: bool,
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the mount at `path` below `at`, or `at` itself where `path` is empty (`mount_setattr(2)`, Linux 5.12).
///
/// # Errors
/// The kernel's: `EPERM`, `EINVAL`, `ENOSYS`.
pub fn set_attributes(at: impl AsFd, path: &CStr, change: &Change<'_>) -> Result<()> {
    let mut flags = libc::AT_SYMLINK_NOFOLLOW;
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH;
    }
    if change.recursive {
        flags |= libc::AT_RECURSIVE;
    }
    let attr = MountAttr {
        attr_set: change.set.0
            | if change.idmap.is_some() {
                libc::MOUNT_ATTR_IDMAP
            } else {
                0
            },
        attr_clr: change.clear.0,
        propagation: match change.propagation {
            None => 0,
            Some(Propagation::Private) => libc::MS_PRIVATE,
            Some(Propagation::Slave) => libc::MS_SLAVE,
            Some(Propagation::Shared) => libc::MS_SHARED,
            Some(Propagation::Unbindable) => libc::MS_UNBINDABLE,
        },
        userns_fd: change.idmap.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: `attr` is a mount_attr of the size given, and `path` a C string; both are only read.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}
