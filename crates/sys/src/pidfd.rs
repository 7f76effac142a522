//! What the kernel tells of a process by its descriptor.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Result;

use crate::clone::last_errno;

/// `struct pidfd_info` of linux/pidfd.h, in its first form.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `_IOWR(0xFF, 11, struct pidfd_info)`
const PIDFD_GET_INFO: libc::Ioctl = 0xc040_ff0b_u32 as libc::Ioctl;
const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// `_IO(0xFF, 3)`
const PIDFD_GET_MNT_NAMESPACE: libc::Ioctl = 0xff03;

/// How a process ended that has been reaped, whoever's child it was: its wait status. `None` while it has not. The
/// descriptor must have been opened before its end.
///
/// # Errors
/// `ENOTTY` before Linux 6.15, `ESRCH` where the process was reaped before the descriptor was opened.
pub fn exit_status(pidfd: BorrowedFd<'_>) -> Result<Option<i32>> {
    let mut info = Info {
        mask: PIDFD_INFO_EXIT,
        ..Info::default()
    };
    // SAFETY: the request's size is that of `Info`, which outlives the call.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    if done < 0 {
        return Err(last_errno());
    }
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code))
}

/// The mount namespace of a process that has not ended.
///
/// # Errors
/// `ENOTTY` before Linux 6.11.
pub fn mount_namespace(pidfd: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: the request takes no memory of ours.
    let fd = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_MNT_NAMESPACE, 0) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just opened it for us, with the flag that closes it at the next program.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn an_end_is_told_once_it_is_reaped() {
        let mut child = std::process::Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        match exit_status(pidfd.as_fd()) {
            Ok(status) => assert_eq!(status, Some(7 << 8)),
            // A kernel that does not know it.
            Err(errno) => assert_eq!(errno, rustix::io::Errno::NOTTY),
        }
    }

    #[test]
    fn a_mount_namespace_is_the_one_of_the_process() {
        let own = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty()).unwrap();
        match mount_namespace(own.as_fd()) {
            Ok(fd) => {
                let (mine, expected) = (
                    rustix::fs::fstat(&fd).unwrap(),
                    rustix::fs::stat("/proc/self/ns/mnt").unwrap(),
                );
                assert_eq!((mine.st_dev, mine.st_ino), (expected.st_dev, expected.st_ino));
                assert!(
                    rustix::io::fcntl_getfd(&fd)
                        .unwrap()
                        .contains(rustix::io::FdFlags::CLOEXEC)
                );
            }
            // A kernel that does not know it.
            Err(errno) => assert_eq!(errno, rustix::io::Errno::NOTTY),
        }
    }
}
