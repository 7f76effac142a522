//! System calls by name and machine.

mod table;

use super::Machine;
pub(super) use table::TABLE;

/// Numbers from here on are ARM's own calls, far from all others.
pub(super) const ARM_PRIVATE: u32 = 0x000f_0000;

/// What i386's `socketcall` multiplexes, by the value of its first argument (`include/uapi/linux/net.h`).
pub(super) const SOCKETCALLS: [(&str, u32); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// What i386's `ipc` multiplexes, by the low 16 bits of its first argument (`include/uapi/linux/ipc.h`).
pub(super) const IPC_CALLS: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// The number of a call on a machine (on x32 without its bit); `None` where the machine does not have it.
pub(super) fn number(name: &str, machine: Machine) -> Option<u32> {
    let row = TABLE.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    u32::try_from(TABLE[row].1[machine as usize]).ok()
}

/// Whether any machine has a call of this name.
pub(super) fn is_known(name: &str) -> bool {
    TABLE.binary_search_by(|(known, _)| (*known).cmp(name)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order() {
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn numbers() {
        for (name, machine, expected) in [
            ("read", Machine::X86_64, Some(0)),
            ("read", Machine::I386, Some(3)),
            ("read", Machine::Aarch64, Some(63)),
            ("execve", Machine::X32, Some(520)),
            ("set_tls", Machine::Arm, Some(983_045)),
            ("socketcall", Machine::I386, Some(102)),
            ("socketcall", Machine::X86_64, None),
            ("file_setattr", Machine::Aarch64, Some(469)),
            ("no_such_call", Machine::X86_64, None),
        ] {
            assert_eq!(number(name, machine), expected, "{name} on {machine:?}");
        }
    }
}
