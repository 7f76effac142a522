//! The compiler against a naive reading of the same profile, and filters against this machine's kernel.

mod kernel;
mod machine;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::resolve::Host;
use super::syscalls::{TABLE, number};
use super::*;
use crate::capability::{Capability, Set};
use machine::{Call, run};

const ALLOW: u32 = 0x7fff_0000;
const REFUSE: u32 = 0x0005_0001;
const UNKNOWN: u32 = 0x0005_0026;
const KILL: u32 = 0x8000_0000;
const HOST: Host = Host {
    machine: Machine::X86_64,
    kernel: (6, 18),
    capabilities: Set::DEFAULT,
};

fn call(machine: Machine, name: &str, args: [u64; 6]) -> Call {
    let bit = if machine == Machine::X32 { X32_BIT } else { 0 };
    Call {
        audit: machine.audit(),
        number: number(name, machine).unwrap_or_else(|| panic!("{name} on {machine:?}")) | bit,
        args,
    }
}

fn holds(condition: &Condition, wide: bool, args: &[u64; 6]) -> bool {
    let narrow = !wide || condition.int;
    let cut = |n: u64| if narrow { n & 0xffff_ffff } else { n };
    let (argument, value) = (cut(args[usize::from(condition.argument)]), cut(condition.value));
    match condition.comparison {
        Comparison::NotEqual => argument != value,
        Comparison::Less => argument < value,
        Comparison::LessOrEqual => argument <= value,
        Comparison::Equal => argument == value,
        Comparison::GreaterOrEqual => argument >= value,
        Comparison::Greater => argument > value,
        Comparison::Masked(mask) => argument & cut(mask) == value,
    }
}

/// What a profile says of the calls of one machine, by its documentation alone. Multiplexers are left to tests of their
/// own.
struct Naive<'a> {
    profile: &'a Profile,
    machine: Machine,
    listed: bool,
    newest: Option<u32>,
    rules: BTreeMap<u32, Vec<&'a Rule>>,
}

impl<'a> Naive<'a> {
    fn new(profile: &'a Profile, host: &Host, machine: Machine) -> Self {
        let mut newest = None;
        let mut rules: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
        for rule in profile.rules.iter().filter(|rule| rule.applies(host)) {
            for number in rule.names.iter().filter_map(|name| number(name, machine)) {
                newest = newest.max(Some(number).filter(|number| *number < 0xf_0000));
                rules.entry(number).or_default().push(rule);
            }
        }
        let listed = machine == host.machine || profile.machines.contains(&machine);
        Self {
            profile,
            machine,
            listed,
            newest,
            rules,
        }
    }

    fn verdict(&self, number: u32, args: &[u64; 6]) -> u32 {
        if !self.listed {
            return if self.machine == Machine::X32 { UNKNOWN } else { KILL };
        }
        let default = self.profile.default;
        let rules = self
            .rules
            .get(&number)
            .into_iter()
            .flatten()
            .filter(|rule| rule.action != default);
        if let Some(rule) = rules.clone().find(|rule| rule.conditions.is_empty()) {
            return rule.action.code();
        }
        for rule in rules {
            let met = |conditions: &[Condition]| conditions.iter().all(|c| holds(c, self.machine.is_wide(), args));
            if rule.alternatives().into_iter().any(met) {
                return rule.action.code();
            }
        }
        let private = number >= 0xf_0000 && self.machine == Machine::Arm;
        let later = !private && self.newest.is_some_and(|newest| number > newest);
        if later && !default.is_permissive() {
            UNKNOWN
        } else {
            default.code()
        }
    }
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Allow),
        Just(Action::Log),
        Just(Action::Errno(1)),
        Just(Action::Errno(4095)),
        Just(Action::Trace(7)),
        Just(Action::Trap),
        Just(Action::KillThread),
        Just(Action::KillProcess),
    ]
}

/// Values that lie together, so that comparisons come out both ways.
fn values() -> impl Strategy<Value = u64> {
    let half = prop_oneof![0..4u64, Just(0x7fff_ffff), Just(0x8000_0000), Just(0xffff_ffff)];
    (half.clone(), half).prop_map(|(high, low)| high << 32 | low)
}

fn conditions() -> impl Strategy<Value = Condition> {
    let comparison = prop_oneof![
        Just(Comparison::NotEqual),
        Just(Comparison::Less),
        Just(Comparison::LessOrEqual),
        Just(Comparison::Equal),
        Just(Comparison::GreaterOrEqual),
        Just(Comparison::Greater),
        values().prop_map(Comparison::Masked),
    ];
    (0..6u8, comparison, values(), any::<bool>()).prop_map(|(argument, comparison, value, int)| Condition {
        argument,
        comparison,
        value,
        int,
    })
}

fn names() -> impl Strategy<Value = String> {
    (0..TABLE.len()).prop_map(|row| TABLE[row].0.to_owned()).prop_filter(
        "multiplexers have rules of their own",
        |name| {
            !["socketcall", "ipc"].contains(&name.as_str())
                && !super::syscalls::SOCKETCALLS
                    .iter()
                    .chain(&super::syscalls::IPC_CALLS)
                    .any(|(part, _)| part == name)
        },
    )
}

fn profiles() -> impl Strategy<Value = Profile> {
    let rule = (
        prop::collection::vec(names(), 1..40),
        actions(),
        prop::collection::vec(conditions(), 0..4),
    )
        .prop_map(|(names, action, conditions)| Rule {
            names,
            action,
            conditions,
            includes: Limits::default(),
            excludes: Limits::default(),
        });
    let machines = prop::collection::vec(
        prop_oneof![Just(Machine::I386), Just(Machine::X32), Just(Machine::Arm)],
        0..3,
    );
    (actions(), machines, prop::collection::vec(rule, 0..30)).prop_map(|(default, machines, rules)| Profile {
        default,
        machines,
        rules,
        flags: hull_sys::seccomp::Flags::default(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn programs_say_what_their_profiles_say(
        profile in profiles(),
        native in prop_oneof![Just(Machine::X86_64), Just(Machine::Aarch64)],
        args in prop::collection::vec(prop::array::uniform6(values()), 2),
    ) {
        let host = Host { machine: native, ..HOST };
        let filter = match profile.compile(&host) {
            // More than the kernel takes: thirty rules for each of three machines can be.
            Err(Error::TooLong(_)) => return Err(TestCaseError::reject("too long")),
            compiled => compiled.unwrap(),
        };
        for &machine in native.family() {
            let naive = Naive::new(&profile, &host, machine);
            let bit = if machine == Machine::X32 { X32_BIT } else { 0 };
            let private = if machine == Machine::Arm { 0xf_0000..0xf_0008 } else { 0..0 };
            for number in (0..500).chain(private).chain([0x3fff_ffff]) {
                for args in &args {
                    let call = Call { audit: machine.audit(), number: number | bit, args: *args };
                    let expected = naive.verdict(number, args);
                    prop_assert_eq!(run(&filter.instructions, &call), expected, "{:?} {} {:x?}", machine, number, args);
                }
            }
        }
        let foreign = Call { audit: 0x8000_0016, number: 0, args: [0; 6] };
        prop_assert_eq!(run(&filter.instructions, &foreign), KILL);
    }
}

fn default_verdict(capabilities: Set, socketcall: Socketcall, call: &Call) -> u32 {
    run(&default_filter(Machine::X86_64, capabilities, socketcall), call)
}

#[test]
fn default_profile_verdicts() {
    let admin = Set::DEFAULT.union(Set::of(&[Capability::SYS_ADMIN]));
    let check = |capabilities: Set, machine: Machine, name: &str, args: &[u64], expected: u32| {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let verdict = default_verdict(capabilities, Socketcall::WithoutSocket, &call(machine, name, all));
        assert_eq!(verdict, expected, "{machine:?} {name} {args:x?}: {verdict:#x}");
    };
    let (x64, i386, x32) = (Machine::X86_64, Machine::I386, Machine::X32);
    let default = Set::DEFAULT;
    for name in [
        "read",
        "execve",
        "openat2",
        "futex_waitv",
        "mseal",
        "ptrace",
        "process_vm_readv",
        "chroot",
        "landlock_restrict_self",
    ] {
        check(default, x64, name, &[], ALLOW);
    }
    for name in [
        "keyctl",
        "add_key",
        "request_key",
        "io_uring_setup",
        "userfaultfd",
        "kexec_load",
        "mount",
        "umount2",
        "setns",
        "unshare",
        "bpf",
        "perf_event_open",
        "open_by_handle_at",
        "init_module",
        "reboot",
        "swapon",
        "pivot_root",
        "syslog",
        "acct",
        "clock_settime",
        "iopl",
        "kcmp",
    ] {
        check(default, x64, name, &[], REFUSE);
    }
    for name in [
        "mount",
        "setns",
        "unshare",
        "bpf",
        "perf_event_open",
        "syslog",
        "clone3",
    ] {
        check(admin, x64, name, &[], ALLOW);
    }
    for (capability, name) in [
        (Capability::BPF, "bpf"),
        (Capability::PERFMON, "perf_event_open"),
        (Capability::SYSLOG, "syslog"),
        (Capability::DAC_READ_SEARCH, "open_by_handle_at"),
        (Capability::SYS_TIME, "clock_settime"),
        (Capability::SYS_PTRACE, "kcmp"),
        (Capability::SYS_NICE, "mbind"),
    ] {
        check(Set::of(&[capability]), x64, name, &[], ALLOW);
        check(Set::EMPTY, x64, name, &[], REFUSE);
    }
    check(Set::EMPTY, x64, "chroot", &[], REFUSE);
    // Address families, also with bits that the kernel drops.
    for (machine, name) in [(x64, "socket"), (i386, "socket")] {
        for (family, expected) in [
            (1, ALLOW),
            (2, ALLOW),
            (16, ALLOW),
            (37, ALLOW),
            (38, REFUSE),
            (39, ALLOW),
            (40, REFUSE),
            (44, ALLOW),
        ] {
            check(default, machine, name, &[family], expected);
        }
    }
    check(default, x64, "socket", &[0x1_0000_0026], REFUSE);
    check(default, x64, "socket", &[0xffff_ffff_0000_0028], REFUSE);
    // 32-bit x86 reaches sockets by another way too.
    check(default, i386, "socketcall", &[1], UNKNOWN);
    check(default, i386, "socketcall", &[3], ALLOW);
    let socket = call(i386, "socketcall", [1, 0, 0, 0, 0, 0]);
    assert_eq!(default_verdict(default, Socketcall::Whole, &socket), ALLOW);
    // Namespaces.
    for machine in [x64, i386] {
        check(default, machine, "clone", &[0x0001_0f00], ALLOW);
        for flag in [
            0x0002_0000,
            0x0200_0000,
            0x0400_0000,
            0x0800_0000,
            0x1000_0000,
            0x2000_0000,
            0x4000_0000,
        ] {
            check(default, machine, "clone", &[flag | 17], REFUSE);
            check(admin, machine, "clone", &[flag | 17], ALLOW);
        }
        check(default, machine, "clone3", &[], UNKNOWN);
    }
    for (persona, expected) in [
        (0, ALLOW),
        (8, ALLOW),
        (0x20000, ALLOW),
        (0x20008, ALLOW),
        (0xffff_ffff, ALLOW),
        (0x004_0000, REFUSE),
        (1, REFUSE),
    ] {
        check(default, x64, "personality", &[persona], expected);
    }
    // x32, and what is newer than the profile.
    check(default, x32, "read", &[], UNKNOWN);
    check(admin, x32, "execve", &[], UNKNOWN);
    check(default, x64, "file_setattr", &[], UNKNOWN);
    check(default, i386, "file_setattr", &[], UNKNOWN);
    for number in [600, 0x3fff_ffff, 0x7fff_ffff, 0xffff_ffff] {
        let call = Call {
            audit: x64.audit(),
            number,
            args: [0; 6],
        };
        assert_eq!(default_verdict(admin, Socketcall::Whole, &call), UNKNOWN, "{number}");
    }
    let foreign = Call {
        audit: Machine::Aarch64.audit(),
        number: 63,
        args: [0; 6],
    };
    assert_eq!(default_verdict(admin, Socketcall::Whole, &foreign), KILL);
}

#[test]
fn default_profile_on_arm() {
    let filter = default_filter(Machine::Aarch64, Set::DEFAULT, Socketcall::default());
    let verdict = |call: Call| run(&filter, &call);
    let (a64, arm) = (Machine::Aarch64, Machine::Arm);
    for (machine, name, expected) in [
        (a64, "openat", ALLOW),
        (a64, "clone3", UNKNOWN),
        (a64, "keyctl", REFUSE),
        (a64, "file_setattr", UNKNOWN),
        (arm, "open", ALLOW),
        (arm, "set_tls", ALLOW),
        (arm, "breakpoint", ALLOW),
        (arm, "cacheflush", ALLOW),
        (arm, "arm_fadvise64_64", ALLOW),
        (arm, "keyctl", REFUSE),
    ] {
        assert_eq!(verdict(call(machine, name, [0; 6])), expected, "{machine:?} {name}");
    }
    let private = |number| {
        verdict(Call {
            audit: arm.audit(),
            number,
            args: [0; 6],
        })
    };
    assert_eq!(private(0xf_0000), REFUSE);
    assert_eq!(private(0xf_0003), REFUSE);
    assert_eq!(private(0xf_0006), REFUSE);
    assert_eq!(private(0xe_ffff), UNKNOWN);
}

#[test]
fn default_filters_are_short() {
    for capabilities in [Set::EMPTY, Set::DEFAULT, Set::ALL] {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let length = default_filter(machine, capabilities, Socketcall::default()).len();
            assert!(
                (20..300).contains(&length),
                "{machine:?} {capabilities:?}: {length} instructions"
            );
        }
    }
}

fn parse(json: &str) -> Result<Option<Profile>, Error> {
    Profile::parse(json.as_bytes(), Machine::X86_64)
}

#[test]
fn docker_profiles() {
    let profile = parse(
        r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13, "comment": "ours",
        "archMap": [
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
            {"architecture": "SCMP_ARCH_S390X", "subArchitectures": null}
        ],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": {}, "excludes": {}},
            {"name": "bpf", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390x"]},
             "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["userfaultfd"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "7.0"}},
            {"names": ["of_the_future"], "action": "SCMP_ACT_ALLOW"}
        ]}"#,
    )
    .unwrap()
    .unwrap();
    let filter = profile.compile(&HOST).unwrap();
    assert_eq!(filter.unknown, ["of_the_future"]);
    let denied = 0x0005_000d;
    for (machine, name, args, expected) in [
        (Machine::X86_64, "read", 0, ALLOW),
        (Machine::I386, "read", 0, ALLOW),
        (Machine::X32, "read", 0, ALLOW),
        (Machine::X86_64, "open", 0, denied),
        (Machine::X86_64, "bpf", 0, UNKNOWN),
        (Machine::X86_64, "clone", 17, ALLOW),
        (Machine::X86_64, "clone", 0x1000_0000, denied),
        (Machine::X86_64, "ptrace", 0, ALLOW),
        (Machine::X86_64, "userfaultfd", 0, UNKNOWN),
    ] {
        let verdict = run(&filter.instructions, &call(machine, name, [args, 0, 0, 0, 0, 0]));
        assert_eq!(verdict, expected, "{machine:?} {name} {args:#x}: {verdict:#x}");
    }
    let bpf = Host {
        capabilities: Set::of(&[Capability::BPF]),
        ..HOST
    };
    let filter = profile.compile(&bpf).unwrap();
    assert_eq!(run(&filter.instructions, &call(Machine::X86_64, "bpf", [0; 6])), ALLOW);
    assert_eq!(parse("{}").unwrap(), None);
}

#[test]
fn a_comparison_given_twice_means_either() {
    let profile = parse(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["ioctl"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 1, "value": 21522, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 21523, "op": "SCMP_CMP_EQ"}]}]}"#,
    );
    let filter = profile.unwrap().unwrap().compile(&HOST).unwrap();
    for (request, expected) in [(21522, REFUSE), (21523, REFUSE), (21524, ALLOW)] {
        let call = call(Machine::X86_64, "ioctl", [0, request, 0, 0, 0, 0]);
        assert_eq!(run(&filter.instructions, &call), expected, "{request}");
    }
}

#[test]
fn rules_for_parts_reach_their_multiplexers() {
    let profile = parse(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": [
            {"names": ["bind", "semget"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}"#,
    );
    let filter = profile.unwrap().unwrap().compile(&HOST).unwrap();
    for (name, part, expected) in [
        ("socketcall", 1, REFUSE),
        ("socketcall", 2, ALLOW),
        ("socketcall", 3, REFUSE),
        ("ipc", 2, ALLOW),
        ("ipc", 0x1_0002, ALLOW),
        ("ipc", 1, REFUSE),
    ] {
        let call = call(Machine::I386, name, [part, 0, 0, 0, 0, 0]);
        assert_eq!(run(&filter.instructions, &call), expected, "{name} {part}");
    }
    // A part that is forbidden for some arguments is forbidden whole: they cannot be seen.
    let profile = parse(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_EQ"}]}]}"#,
    );
    let filter = profile.unwrap().unwrap().compile(&HOST).unwrap();
    for (part, expected) in [(1, REFUSE), (2, ALLOW)] {
        let call = call(Machine::I386, "socketcall", [part, 0, 0, 0, 0, 0]);
        assert_eq!(run(&filter.instructions, &call), expected, "{part}");
    }
}

#[test]
fn profiles_that_are_refused() {
    for (json, expected) in [
        ("[]", "decoding seccomp profile failed"),
        (
            r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#,
            "unknown seccomp action `SCMP_ACT_MAYBE`",
        ),
        (
            r#"{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#,
            "seccomp profile lacks `defaultAction`",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#,
            "seccomp action `SCMP_ACT_NOTIFY` is not supported: hull runs no seccomp agent",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}"#,
            "seccomp errno 4096 is out of range",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_Z80"]}"#,
            "unknown seccomp architecture `SCMP_ARCH_Z80`",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "SCMP_ARCH_X86"}]}"#,
            "both `architectures` and `archMap` are specified in the seccomp profile, use either `architectures` or `archMap`",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#,
            "seccomp flag `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` is not supported",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
            "seccomp rule for `read` compares argument 6, but there are only 0 to 5",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_ISH"}]}]}"#,
            "unknown seccomp comparison `SCMP_CMP_ISH`",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"name": "read", "names": ["write"], "action": "SCMP_ACT_ALLOW"}]}"#,
            "both `name` and `names` are specified in the seccomp profile, use either `name` or `names`",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}]}"#,
            "seccomp `minKernel` `new` is not of the form `major.minor`",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_FLY"]}}]}"#,
            "seccomp rule names the unknown capability `CAP_FLY`",
        ),
    ] {
        assert_eq!(parse(json).unwrap_err().to_string(), expected, "{json}");
    }
}

#[test]
fn a_profile_too_long_for_the_kernel_is_refused() {
    let conditions: Vec<Condition> = (0..6)
        .map(|argument| Condition {
            argument,
            comparison: Comparison::Greater,
            value: u64::MAX / 3,
            int: false,
        })
        .collect();
    let rules = TABLE
        .iter()
        .enumerate()
        .map(|(errno, (name, _))| Rule {
            names: vec![(*name).to_owned()],
            action: Action::Errno(errno as u16 + 2),
            conditions: conditions.clone(),
            includes: Limits::default(),
            excludes: Limits::default(),
        })
        .collect();
    let profile = Profile {
        default: Action::Allow,
        machines: Vec::new(),
        rules,
        flags: hull_sys::seccomp::Flags::default(),
    };
    assert!(matches!(profile.compile(&HOST), Err(Error::TooLong(_))));
}

/// Thirty microseconds are the aim, and an optimised build takes a fraction of it; this catches an algorithm that got
/// out of hand, on a busy machine and unoptimised.
#[test]
fn the_default_filter_costs_little() {
    let rounds = 200;
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        let filter = default_filter(
            Machine::NATIVE,
            std::hint::black_box(Set::DEFAULT),
            Socketcall::default(),
        );
        std::hint::black_box(filter);
    }
    let each = start.elapsed() / rounds;
    assert!(each < std::time::Duration::from_millis(2), "{each:?}");
}
