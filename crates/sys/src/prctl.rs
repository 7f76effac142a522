//! Attributes of the calling process that rustix does not set.

use std::ffi::CStr;

use rustix::io::Result;

use crate::clone::last_errno;

/// Drops one capability from the bounding set.
///
/// # Errors
/// `EPERM` without CAP_SETPCAP, `EINVAL` for a capability that this kernel does not have.
pub fn drop_bounding(capability: u32) -> Result<()> {
    call(libc::PR_CAPBSET_DROP, u64::from(capability), 0)
}

/// Adds one capability to the ambient set.
///
/// # Errors
/// `EPERM` where it is not both permitted and inheritable.
pub fn raise_ambient(capability: u32) -> Result<()> {
    call(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_RAISE as u64,
        u64::from(capability),
    )
}

/// Empties the ambient set.
///
/// # Errors
/// `EINVAL` on kernels without ambient capabilities.
pub fn clear_ambient() -> Result<()> {
    call(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)
}

/// Whether capabilities survive the next change of all user IDs away from 0.
///
/// # Errors
/// None that the kernel documents for these values.
pub fn keep_capabilities(keep: bool) -> Result<()> {
    call(libc::PR_SET_KEEPCAPS, u64::from(keep), 0)
}

/// Neither this process nor its children get privileges from an exec.
///
/// # Errors
/// None that the kernel documents for these values.
pub fn no_new_privileges() -> Result<()> {
    call(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// Sets the permitted, effective and inheritable capabilities, as bits.
///
/// # Errors
/// `EPERM` where `permitted` or `inheritable` would grow.
pub fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    // _LINUX_CAPABILITY_VERSION_3: two words of each set.
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let word = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [word(0), word(32)];
    // SAFETY: header and data have the layout of version 3 and are only read.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

/// The effective, permitted and inheritable capabilities, as bits.
///
/// # Errors
/// None that the kernel documents for the calling thread.
pub fn capabilities() -> Result<(u64, u64, u64)> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [0u32; 6];
    // SAFETY: the header has version 3's layout, and `data` has room for its two triples of words.
    let done = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) };
    if done < 0 {
        return Err(last_errno());
    }
    let join = |at: usize| u64::from(data[at]) | u64::from(data[at + 3]) << 32;
    Ok((join(0), join(1), join(2)))
}

/// Whether a capability is in the bounding set; `None` where this kernel does not know it.
#[must_use]
pub fn has_bounding(capability: u32) -> Option<bool> {
    // SAFETY: PR_CAPBSET_READ takes a plain number.
    match unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability), 0, 0, 0) } {
        -1 => None,
        found => Some(found == 1),
    }
}

/// Sets a resource limit by its number; `u64::MAX` is no limit.
///
/// # Errors
/// `EPERM` where the hard limit would grow without CAP_SYS_RESOURCE, `EINVAL` where soft is above hard.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` is only read; an unknown resource gives EINVAL.
    let done = unsafe { libc::setrlimit(resource as _, &raw const limit) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

/// The command name that `ps` shows for this process, 15 bytes at the most.
///
/// # Errors
/// None that the kernel documents for these values.
pub fn set_name(name: &CStr) -> Result<()> {
    // SAFETY: PR_SET_NAME reads at most 16 bytes of a C string.
    let done = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

fn call(option: libc::c_int, first: u64, second: u64) -> Result<()> {
    // SAFETY: every option used here takes plain numbers.
    let done = unsafe { libc::prctl(option, first, second, 0u64, 0u64) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

/// The bounding set, as bits: read once, since nothing that goes on afterwards changes it in the same process.
#[must_use]
pub fn bounding_set() -> u64 {
    static SET: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *SET.get_or_init(read_bounding_set)
}

fn read_bounding_set() -> u64 {
    (0..64)
        .map_while(|c| has_bounding(c).map(|set| u64::from(set) << c))
        .fold(0, |all, bit| all | bit)
}

/// Leaves the session keyring for a new, nameless one (`keyctl(KEYCTL_JOIN_SESSION_KEYRING)`).
///
/// # Errors
/// `EDQUOT` where the user has too many keys, `ENOSYS` on a kernel without keys.
pub fn new_session_keyring() -> Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for a nameless keyring; no memory is touched.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}
