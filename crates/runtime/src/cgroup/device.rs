//! Which devices a container may use: a list of files on cgroup v1, a BPF program on v2.

use std::fmt;
use std::os::fd::AsFd;
use std::path::Path;

use hull_sys::bpf::Instruction;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Plan, controller_of, is_unified};
use crate::container::DeviceKind;
use crate::error::{During, Error, Result};

/// Devices that a container may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DevicePolicy {
    /// The default ones: [`default_rules`].
    #[default]
    Default,
    /// These only, in order: a later rule that matches counts.
    Rules(Vec<DeviceRule>),
    /// All.
    All,
}

/// One rule. `None` stands for any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Whether it allows or denies.
    pub allow: bool,
    /// Character or block device; `None` for both.
    pub kind: Option<DeviceKind>,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
    /// Reading.
    pub read: bool,
    /// Writing.
    pub write: bool,
    /// Making the node.
    pub mknod: bool,
}

impl DeviceRule {
    const fn node(major: u32, minor: Option<u32>) -> Self {
        Self {
            allow: true,
            kind: Some(DeviceKind::Char),
            major: Some(major),
            minor,
            read: true,
            write: true,
            mknod: true,
        }
    }

    const fn make(kind: DeviceKind) -> Self {
        Self {
            allow: true,
            kind: Some(kind),
            major: None,
            minor: None,
            read: false,
            write: false,
            mknod: true,
        }
    }
}

/// What every container may use: making any node (without reading or writing it), and the harmless character devices
/// (OCI runtime spec, config-linux.md, "Default Devices"; Docker's own list).
#[must_use]
pub fn default_rules() -> Vec<DeviceRule> {
    vec![
        DeviceRule::make(DeviceKind::Char),
        DeviceRule::make(DeviceKind::Block),
        DeviceRule::node(1, Some(3)),
        DeviceRule::node(1, Some(5)),
        DeviceRule::node(1, Some(7)),
        DeviceRule::node(1, Some(8)),
        DeviceRule::node(1, Some(9)),
        DeviceRule::node(5, Some(0)),
        DeviceRule::node(5, Some(1)),
        DeviceRule::node(5, Some(2)),
        DeviceRule::node(136, None),
        DeviceRule::node(10, Some(200)),
    ]
}

/// In the words of cgroup v1's `devices.allow`.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let kind = match self.kind {
            None | Some(DeviceKind::Fifo) => 'a',
            Some(DeviceKind::Char) => 'c',
            Some(DeviceKind::Block) => 'b',
        };
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        for (on, letter) in [(self.read, "r"), (self.write, "w"), (self.mknod, "m")] {
            if on {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// Writes `rules` to a v1 devices cgroup, starting from nothing.
pub(super) fn write_rules(cgroup: &Path, rules: &[DeviceRule]) -> Result<()> {
    let put = |file: &str, value: &str| {
        let path = cgroup.join(file);
        super::put(&path, value).map_err(|errno| Error::Cgroup {
            path,
            value: value.to_owned(),
            errno,
        })
    };
    put("devices.deny", "a")?;
    rules.iter().try_for_each(|rule| {
        put(
            if rule.allow { "devices.allow" } else { "devices.deny" },
            &rule.to_string(),
        )
    })
}

/// Makes the v1 cgroup whose children inherit the default list. It gets its name only once the list is written: a child
/// made in between would inherit everything.
pub(super) fn make_default_parent(parent: &Path) -> Result<()> {
    let act = "make cgroup";
    let base = parent.parent().unwrap_or(parent);
    let new = base.join(format!("default.new-{}", std::process::id()));
    for folder in [base, &new] {
        match rustix::fs::mkdir(folder, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => {
                return Err(Error::Path {
                    act,
                    path: folder.to_owned(),
                    errno,
                });
            }
        }
    }
    let done = write_rules(&new, &default_rules()).and_then(|()| match rustix::fs::rename(&new, parent) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(Error::Path {
            act,
            path: parent.to_owned(),
            errno,
        }),
    });
    if !matches!(done, Ok(true)) {
        // Another command was first, or the list was refused; an empty cgroup is not in the way of anybody.
        let _ = rustix::fs::rmdir(&new);
    }
    done.map(drop)
}

/// Puts the device policy of `plan` in force.
pub(super) fn restrict(plan: &Plan) -> Result<()> {
    let Some(folder) = plan
        .folders
        .iter()
        .find(|f| is_unified(f) || controller_of(f) == Some("devices"))
    else {
        return Ok(());
    };
    let default = default_rules();
    let rules = match &plan.devices {
        DevicePolicy::All => return Ok(()),
        DevicePolicy::Default => &default,
        DevicePolicy::Rules(rules) => rules,
    };
    if !is_unified(folder) {
        // The parent has the default list already.
        return if plan.devices == DevicePolicy::Default {
            Ok(())
        } else {
            write_rules(folder, rules)
        };
    }
    let act = || format!("restrict the devices of cgroup `{}`", folder.display());
    let fd = rustix::fs::open(
        folder,
        OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let fd = fd.during(act)?;
    hull_sys::bpf::attach_device_filter(fd.as_fd(), &program(rules)).during(act)
}

const BLOCK: i32 = 1;
const CHAR: i32 = 2;
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

/// The rules as a BPF program. Its context holds three words: access in the upper and type in the lower half of the
/// first, then major and minor. The last rule that matches decides, so they are tried last first.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let insn = |code, registers, offset, immediate| Instruction {
        code,
        registers,
        offset,
        immediate,
    };
    const LOAD_WORD: u8 = 0x61;
    const MOVE_REGISTER: u8 = 0xbf;
    const MOVE_IMMEDIATE: u8 = 0xb7;
    const AND_IMMEDIATE: u8 = 0x54;
    const SHIFT_RIGHT: u8 = 0x74;
    const JUMP_IF_NOT: u8 = 0x55;
    const EXIT: u8 = 0x95;
    // r2 = type, r3 = access, r4 = major, r5 = minor.
    let mut out = vec![
        insn(LOAD_WORD, 0x12, 0, 0),
        insn(AND_IMMEDIATE, 0x02, 0, 0xffff),
        insn(LOAD_WORD, 0x13, 0, 0),
        insn(SHIFT_RIGHT, 0x03, 0, 16),
        insn(LOAD_WORD, 0x14, 4, 0),
        insn(LOAD_WORD, 0x15, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let mut block = Vec::new();
        match rule.kind {
            Some(DeviceKind::Char) => block.push(insn(JUMP_IF_NOT, 0x02, 0, CHAR)),
            Some(DeviceKind::Block) => block.push(insn(JUMP_IF_NOT, 0x02, 0, BLOCK)),
            None | Some(DeviceKind::Fifo) => {}
        }
        let bits = [(rule.read, READ), (rule.write, WRITE), (rule.mknod, MKNOD)];
        let access = bits.iter().filter(|(on, _)| *on).fold(0, |all, (_, bit)| all | bit);
        if access != READ | WRITE | MKNOD {
            block.push(insn(MOVE_REGISTER, 0x31, 0, 0));
            // An allowing rule must cover all that is asked for; a denying one strikes at any part of it.
            block.push(insn(
                AND_IMMEDIATE,
                0x01,
                0,
                if rule.allow { !access & 7 } else { access },
            ));
            block.push(insn(if rule.allow { JUMP_IF_NOT } else { 0x15 }, 0x01, 0, 0));
        }
        if let Some(major) = rule.major {
            block.push(insn(JUMP_IF_NOT, 0x04, 0, major.cast_signed()));
        }
        if let Some(minor) = rule.minor {
            block.push(insn(JUMP_IF_NOT, 0x05, 0, minor.cast_signed()));
        }
        block.push(insn(MOVE_IMMEDIATE, 0x00, 0, i32::from(rule.allow)));
        block.push(insn(EXIT, 0, 0, 0));
        let length = block.len();
        for (at, insn) in block.iter_mut().enumerate() {
            if matches!(insn.code, JUMP_IF_NOT | 0x15) {
                insn.offset = i16::try_from(length - at - 1).unwrap_or(i16::MAX);
            }
        }
        out.extend(block);
    }
    out.push(insn(MOVE_IMMEDIATE, 0x00, 0, 0));
    out.push(insn(EXIT, 0, 0, 0));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn run(program: &[Instruction], kind: i32, access: i32, major: u32, minor: u32) -> bool {
        let memory = [kind as u32 | (access as u32) << 16, major, minor];
        let mut r = [0u64; 11];
        let mut at = 0;
        loop {
            let i = program[at];
            let (dst, src) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let immediate = i64::from(i.immediate) as u64;
            at += 1;
            match i.code {
                0x61 => r[dst] = u64::from(memory[i.offset as usize / 4]),
                0xbf => r[dst] = r[src],
                0xb7 => r[dst] = immediate,
                0x54 => r[dst] = u64::from(r[dst] as u32 & i.immediate as u32),
                0x74 => r[dst] = u64::from(r[dst] as u32 >> i.immediate),
                0x55 if r[dst] != immediate => at += i.offset as usize,
                0x15 if r[dst] == immediate => at += i.offset as usize,
                0x55 | 0x15 => {}
                0x95 => return r[0] != 0,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_default_devices_are_usable_and_no_other() {
        let program = program(&default_rules());
        let check = |kind, access, major, minor, expected| {
            assert_eq!(
                run(&program, kind, access, major, minor),
                expected,
                "{kind} {access} {major}:{minor}"
            );
        };
        check(CHAR, READ | WRITE, 1, 3, true);
        check(CHAR, READ | WRITE, 136, 77, true);
        check(CHAR, MKNOD, 10, 232, true);
        check(BLOCK, MKNOD, 8, 0, true);
        check(BLOCK, READ, 8, 0, false);
        check(BLOCK, MKNOD | READ, 8, 0, false);
        check(CHAR, READ, 1, 1, false);
        check(CHAR, READ, 10, 232, false);
    }

    #[test]
    fn a_later_rule_counts() {
        let mut rules = default_rules();
        rules.push(DeviceRule {
            allow: false,
            mknod: false,
            read: false,
            ..DeviceRule::node(1, Some(3))
        });
        let program = program(&rules);
        assert!(run(&program, CHAR, READ, 1, 3));
        assert!(!run(&program, CHAR, WRITE, 1, 3));
        assert!(!run(&program, CHAR, READ | WRITE, 1, 3));
    }

    #[test]
    fn rules_print_as_the_kernel_reads_them() {
        let text: Vec<String> = default_rules().iter().take(3).map(ToString::to_string).collect();
        assert_eq!(text, ["c *:* m", "b *:* m", "c 1:3 rwm"]);
    }
}
