//! From a profile to the meaning of each number on each machine, for one kernel and one set of capabilities.

use std::collections::BTreeMap;

use super::compile::{Calls, Verdict, compile};
use super::syscalls::{ARM_PRIVATE, IPC_CALLS, SOCKETCALLS, is_known, number};
use super::{Action, Comparison, Condition, ENOSYS, Error, Filter, Limits, Machine, Profile, Rule, X32_BIT};
use crate::capability;

/// What the rules of a profile depend on.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The machine.
    pub machine: Machine,
    /// The kernel's `major.minor`.
    pub kernel: (u32, u32),
    /// The container's bounding capabilities.
    pub capabilities: capability::Set,
}

impl Limits {
    fn name(&self, machine: Machine) -> bool {
        self.machines.iter().any(|name| name == machine.docker_name())
    }

    fn include(&self, host: &Host) -> bool {
        (self.machines.is_empty() || self.name(host.machine))
            && host.capabilities.contains_all(self.capabilities)
            && self.kernel.is_none_or(|least| host.kernel >= least)
    }

    fn exclude(&self, host: &Host) -> bool {
        self.name(host.machine)
            || host.capabilities.contains_any(self.capabilities)
            || self.kernel.is_some_and(|least| host.kernel >= least)
    }
}

impl Rule {
    /// Whether the rule is one on this host.
    #[must_use]
    pub fn applies(&self, host: &Host) -> bool {
        self.includes.include(host) && !self.excludes.exclude(host)
    }

    /// What has to hold for the action, as alternatives. Comparisons of different arguments must hold together; a rule
    /// that compares one argument twice means either of its comparisons, as runc reads it.
    pub(super) fn alternatives(&self) -> Vec<&[Condition]> {
        let mut seen = [false; 6];
        let twice = self
            .conditions
            .iter()
            .any(|c| std::mem::replace(&mut seen[usize::from(c.argument)], true));
        if twice {
            self.conditions.chunks(1).collect()
        } else {
            vec![&self.conditions]
        }
    }
}

/// What the rules say of one number.
#[derive(Default)]
struct Call<'a> {
    always: Option<u32>,
    arms: Vec<(&'a [Condition], u32)>,
}

/// The condition by which a multiplexed call of i386 is told: the value, and the mask that is applied first.
struct Multiplexer {
    name: &'static str,
    parts: Vec<(&'static str, Condition)>,
}

impl Profile {
    /// Compiles the profile for a host.
    ///
    /// # Errors
    /// If the program would be longer than the kernel takes.
    pub fn compile(&self, host: &Host) -> Result<Filter, Error> {
        let rules: Vec<&Rule> = self.rules.iter().filter(|rule| rule.applies(host)).collect();
        let multiplexers = multiplexers();
        let mut machines: Vec<Calls<'_>> = Vec::new();
        for &machine in host.machine.family() {
            let listed = machine == host.machine || self.machines.contains(&machine);
            if machine == Machine::X32 {
                // Its calls are numbers of x86-64's, far above.
                if let Some(native) = machines.first_mut() {
                    let calls = if listed {
                        self.calls(&rules, machine, &[])
                    } else {
                        no_calls(machine)
                    };
                    append(native, &calls, X32_BIT);
                }
            } else if listed {
                machines.push(self.calls(&rules, machine, &multiplexers));
            }
        }
        let unknown = self
            .rules
            .iter()
            .flat_map(|rule| &rule.names)
            .filter(|name| !is_known(name))
            .cloned()
            .collect();
        Ok(Filter {
            instructions: compile(&machines, Action::KillProcess.code())?,
            flags: self.flags,
            unknown,
        })
    }

    fn calls<'a>(&self, rules: &[&'a Rule], machine: Machine, multiplexers: &'a [Multiplexer]) -> Calls<'a> {
        let mut numbers: BTreeMap<u32, Call<'a>> = BTreeMap::new();
        let mut newest = None;
        for rule in rules {
            let known = rule.names.iter().filter_map(|name| number(name, machine));
            newest = newest.max(known.filter(|number| *number < ARM_PRIVATE).max());
            if rule.action == self.default {
                continue;
            }
            let code = rule.action.code();
            for number in rule.names.iter().filter_map(|name| number(name, machine)) {
                let call = numbers.entry(number).or_default();
                if rule.conditions.is_empty() {
                    call.always.get_or_insert(code);
                } else {
                    call.arms
                        .extend(rule.alternatives().into_iter().map(|conditions| (conditions, code)));
                }
            }
        }
        if machine == Machine::I386 {
            for multiplexer in multiplexers {
                self.multiplex(rules, multiplexer, &mut numbers);
            }
        }
        let mut calls = no_calls(machine);
        calls.runs.clear();
        let default = calls.verdict(Verdict::Return(self.default.code()));
        // Numbers beyond those that the profile knows are of a later kernel: programs that get ENOSYS fall back, those
        // that get EPERM give up.
        let later = match newest {
            Some(_) if !self.default.is_permissive() => calls.verdict(Verdict::Return(Action::Errno(ENOSYS).code())),
            _ => default,
        };
        let beyond = newest.map_or(0, |newest| newest + 1);
        let mut next = 0;
        // ARM's own numbers are far above all others, and not later.
        for (from, to, otherwise) in [
            (0, beyond, default),
            (beyond, ARM_PRIVATE, later),
            (ARM_PRIVATE, X32_BIT, default),
        ] {
            for (number, call) in numbers.range(from..to) {
                if *number > next {
                    calls.push(next, otherwise);
                }
                let verdict = match call.always {
                    Some(code) => Verdict::Return(code),
                    None => Verdict::Check(call.arms.clone(), self.default.code()),
                };
                let verdict = calls.verdict(verdict);
                calls.push(*number, verdict);
                next = number + 1;
            }
            if next < to {
                calls.push(next, otherwise);
                next = to;
            }
        }
        if machine != Machine::Arm {
            // Other machines have nothing there.
            calls.runs.retain(|(first, _)| *first < ARM_PRIVATE);
        }
        calls
    }

    /// Applies rules for the parts of `socketcall` and `ipc` to them, unless the profile speaks of them itself. Which
    /// arguments a part gets is behind a pointer, so its rules with conditions count only where they forbid.
    fn multiplex<'a>(&self, rules: &[&'a Rule], multiplexer: &'a Multiplexer, numbers: &mut BTreeMap<u32, Call<'a>>) {
        let Some(number) = number(multiplexer.name, Machine::I386) else {
            return;
        };
        if numbers.contains_key(&number) {
            return;
        }
        let mut call = Call::default();
        for (part, condition) in &multiplexer.parts {
            let of_part = || rules.iter().filter(|rule| rule.names.iter().any(|name| name == part));
            let always = of_part().find(|rule| rule.conditions.is_empty() && rule.action != self.default);
            let forbids = || of_part().find(|rule| !rule.action.is_permissive() && rule.action != self.default);
            if let Some(rule) = always.or_else(forbids) {
                call.arms.push((std::slice::from_ref(condition), rule.action.code()));
            }
        }
        if !call.arms.is_empty() {
            numbers.insert(number, call);
        }
    }
}

/// A machine none of whose calls exist.
pub(super) fn no_calls<'a>(machine: Machine) -> Calls<'a> {
    Calls {
        audit: machine.audit(),
        wide: machine.is_wide(),
        runs: vec![(0, 0)],
        verdicts: vec![Verdict::Return(Action::Errno(ENOSYS).code())],
    }
}

/// Adds the calls of another machine, from a number up.
fn append<'a>(calls: &mut Calls<'a>, more: &Calls<'a>, from: u32) {
    for (first, verdict) in &more.runs {
        let verdict = calls.verdict(more.verdicts[*verdict].clone());
        calls.push(from + first, verdict);
    }
}

fn multiplexers() -> [Multiplexer; 2] {
    let condition = |mask: u64, value: u32| Condition {
        argument: 0,
        comparison: Comparison::Masked(mask),
        value: u64::from(value),
        int: true,
    };
    [
        Multiplexer {
            name: "socketcall",
            parts: SOCKETCALLS
                .iter()
                .map(|&(part, value)| (part, condition(0xffff_ffff, value)))
                .collect(),
        },
        Multiplexer {
            name: "ipc",
            parts: IPC_CALLS
                .iter()
                .map(|&(part, value)| (part, condition(0xffff, value)))
                .collect(),
        },
    ]
}
