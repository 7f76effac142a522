//! Capabilities: their names and numbers, Docker's default set, and what `--cap-add` and `--cap-drop` make of it.

/// Names by number (`include/uapi/linux/capability.h`), without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A capability, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Capability(u8);

macro_rules! numbers {
    ($($name:ident = $number:literal),* $(,)?) => {
        impl Capability {
            $(
                #[allow(missing_docs)]
                pub const $name: Self = Self($number);
            )*
        }
    };
}

numbers! {
    CHOWN = 0,
    DAC_OVERRIDE = 1,
    DAC_READ_SEARCH = 2,
    FOWNER = 3,
    FSETID = 4,
    KILL = 5,
    SETGID = 6,
    SETUID = 7,
    SETPCAP = 8,
    NET_BIND_SERVICE = 10,
    NET_RAW = 13,
    SYS_MODULE = 16,
    SYS_RAWIO = 17,
    SYS_CHROOT = 18,
    SYS_PTRACE = 19,
    SYS_PACCT = 20,
    SYS_ADMIN = 21,
    SYS_BOOT = 22,
    SYS_NICE = 23,
    SYS_TIME = 25,
    SYS_TTY_CONFIG = 26,
    MKNOD = 27,
    AUDIT_WRITE = 29,
    SETFCAP = 31,
    SYSLOG = 34,
    PERFMON = 38,
    BPF = 39,
}

impl Capability {
    /// The kernel's number of it.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 as u32
    }

    /// The capability of a number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        let number = u8::try_from(number).ok()?;
        (usize::from(number) < NAMES.len()).then_some(Self(number))
    }

    /// By name, in any case, with or without `CAP_`, as Docker takes them.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = NAMES.iter().position(|known| *known == bare)?;
        Some(Self(number as u8))
    }

    /// The name with `CAP_`.
    #[must_use]
    pub fn name(self) -> String {
        format!("CAP_{}", NAMES[usize::from(self.0)])
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Set(u64);

impl Set {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// All that hull knows.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// What a container has unless it asks for others: Docker's fourteen.
    pub const DEFAULT: Self = Self::of(&[
        Capability::CHOWN,
        Capability::DAC_OVERRIDE,
        Capability::FSETID,
        Capability::FOWNER,
        Capability::MKNOD,
        Capability::NET_RAW,
        Capability::SETGID,
        Capability::SETUID,
        Capability::SETFCAP,
        Capability::SETPCAP,
        Capability::NET_BIND_SERVICE,
        Capability::SYS_CHROOT,
        Capability::KILL,
        Capability::AUDIT_WRITE,
    ]);

    /// The set of these.
    #[must_use]
    pub const fn of(capabilities: &[Capability]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < capabilities.len() {
            bits |= 1 << capabilities[i].0;
            i += 1;
        }
        Self(bits)
    }

    /// The set of the bits, as in `/proc/PID/status`; unknown ones are left out.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// One bit a capability.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether it has this one.
    #[must_use]
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// Whether it has all of these.
    #[must_use]
    pub const fn contains_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it has any of these.
    #[must_use]
    pub const fn contains_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both have.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// This without the other.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Adds one.
    pub const fn insert(&mut self, capability: Capability) {
        self.0 |= 1 << capability.0;
    }

    /// By number, ascending.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0..NAMES.len() as u8)
            .map(Capability)
            .filter(move |c| self.contains(*c))
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|c| NAMES[usize::from(c.0)]))
            .finish()
    }
}

impl FromIterator<Capability> for Set {
    fn from_iter<T: IntoIterator<Item = Capability>>(iter: T) -> Self {
        iter.into_iter().fold(Self::EMPTY, |mut set, capability| {
            set.insert(capability);
            set
        })
    }
}

/// Why a list of capabilities makes no set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// No such capability.
    #[error("unknown capability: {0:?}")]
    Unknown(String),
    /// The process that makes the container does not have it, or the kernel does not.
    #[error("capability not supported by your kernel or not available in the current environment: {0:?}")]
    Unavailable(String),
}

impl Error {
    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> hull_spec::ErrorKind {
        hull_spec::ErrorKind::Invalid
    }
}

/// What a container gets of `--cap-add` and `--cap-drop`, as Docker resolves them. `available` is what the process that
/// makes it has in its bounding set.
///
/// Adding `ALL` is everything available without the drops; dropping `ALL` leaves what is added; else the default set
/// loses the drops and then gets the additions, so that what is in both lists is there. Privileged is everything
/// available. From the default set, what is not available is left out silently: a container inside a container still
/// starts.
///
/// # Errors
/// If a name is unknown, or names what is not available.
pub fn resolve(add: &[String], drop: &[String], privileged: bool, available: Set) -> Result<Set, Error> {
    if privileged {
        return Ok(available);
    }
    let (drop_all, drop) = parse(drop, available)?;
    let (add_all, add) = parse(add, available)?;
    Ok(if add_all {
        available.difference(drop)
    } else if drop_all {
        add
    } else {
        Set::DEFAULT.difference(drop).union(add).intersection(available)
    })
}

/// Whether `ALL` is among the names, and the set of the others.
fn parse(names: &[String], available: Set) -> Result<(bool, Set), Error> {
    let mut all = false;
    let mut set = Set::EMPTY;
    for name in names {
        if name.eq_ignore_ascii_case("all") {
            all = true;
            continue;
        }
        let capability = Capability::parse(name).ok_or_else(|| Error::Unknown(normalized(name)))?;
        if !available.contains(capability) {
            return Err(Error::Unavailable(capability.name()));
        }
        set.insert(capability);
    }
    Ok((all, set))
}

/// As Docker spells a name back.
fn normalized(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    if upper.starts_with("CAP_") {
        upper
    } else {
        format!("CAP_{upper}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (name, expected) in [
            ("NET_RAW", Some(13)),
            ("CAP_NET_RAW", Some(13)),
            ("cap_net_raw", Some(13)),
            ("Net_Raw", Some(13)),
            ("CHECKPOINT_RESTORE", Some(40)),
            ("CAP_CAP_NET_RAW", None),
            ("", None),
            ("CAP_", None),
            ("ALL", None),
        ] {
            assert_eq!(Capability::parse(name).map(Capability::number), expected, "{name}");
        }
    }

    #[test]
    fn constants_are_the_kernels_numbers() {
        for (constant, name) in [
            (Capability::SYS_ADMIN, "CAP_SYS_ADMIN"),
            (Capability::SYS_CHROOT, "CAP_SYS_CHROOT"),
            (Capability::SYS_TTY_CONFIG, "CAP_SYS_TTY_CONFIG"),
            (Capability::SYSLOG, "CAP_SYSLOG"),
            (Capability::PERFMON, "CAP_PERFMON"),
            (Capability::BPF, "CAP_BPF"),
            (Capability::SETFCAP, "CAP_SETFCAP"),
            (Capability::AUDIT_WRITE, "CAP_AUDIT_WRITE"),
        ] {
            assert_eq!(constant.name(), name);
        }
        // What `docker run busybox grep Cap /proc/1/status` shows.
        assert_eq!(Set::DEFAULT.bits(), 0xa804_25fb);
        assert_eq!(Set::ALL.bits(), 0x1ff_ffff_ffff);
    }

    #[test]
    fn add_and_drop() {
        let check = |add: &[&str], drop: &[&str], privileged: bool, available: Set, expected: Result<Set, Error>| {
            let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(
                resolve(&list(add), &list(drop), privileged, available),
                expected,
                "add {add:?}, drop {drop:?}"
            );
        };
        let net_raw = Set::of(&[Capability::NET_RAW]);
        let admin = Set::of(&[Capability::SYS_ADMIN]);
        let host = Set::ALL;
        check(&[], &[], false, host, Ok(Set::DEFAULT));
        check(&[], &[], true, host, Ok(host));
        check(&["ALL"], &[], false, host, Ok(host));
        check(&["all"], &["net_raw"], false, host, Ok(host.difference(net_raw)));
        check(&["ALL"], &["ALL"], false, host, Ok(host));
        check(&[], &["ALL"], false, host, Ok(Set::EMPTY));
        check(&["sys_admin"], &["ALL"], false, host, Ok(admin));
        check(&["CAP_SYS_ADMIN"], &[], false, host, Ok(Set::DEFAULT.union(admin)));
        check(&["NET_RAW"], &["NET_RAW"], false, host, Ok(Set::DEFAULT));
        check(&[], &["NET_RAW"], false, host, Ok(Set::DEFAULT.difference(net_raw)));
        let fewer = Set::DEFAULT.difference(Set::of(&[Capability::MKNOD]));
        check(&[], &[], false, fewer, Ok(fewer));
        check(&["ALL"], &[], false, fewer, Ok(fewer));
        check(
            &["SYS_ADMIN"],
            &[],
            false,
            fewer,
            Err(Error::Unavailable("CAP_SYS_ADMIN".into())),
        );
        check(
            &["nonsense"],
            &[],
            false,
            host,
            Err(Error::Unknown("CAP_NONSENSE".into())),
        );
        check(
            &[],
            &["CAP_NONSENSE"],
            false,
            host,
            Err(Error::Unknown("CAP_NONSENSE".into())),
        );
    }
}
