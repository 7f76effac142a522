//! From the meaning of each system call number to a program of classic BPF.
//!
//! The program is written from its end to its start: a jump only goes forward, so its targets are there when it is
//! written. Conditional jumps reach 255 instructions; a farther target gets a copy of its verdict, or a long jump,
//! within reach.

use hull_sys::seccomp::{Instruction, MAX_INSTRUCTIONS};

use super::{Comparison, Condition, Error};

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const MACHINE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// How far a target may be when a jump to it is planned: some instructions may yet come between.
const REACH: usize = 250;

/// What a system call's number means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// This `SECCOMP_RET_*`.
    Return(u32),
    /// That of the first of these whose conditions all hold, else the last.
    Check(Vec<(&'a [Condition], u32)>, u32),
}

/// The calls of one machine.
#[derive(Clone, Debug)]
pub(super) struct Calls<'a> {
    /// The kernel's `AUDIT_ARCH_*`.
    pub(super) audit: u32,
    /// Whether arguments have 64 bits.
    pub(super) wide: bool,
    /// Runs of numbers, each up to the next one's first; ascending, and the first starts at 0. The second value is an
    /// index of `verdicts`.
    pub(super) runs: Vec<(u32, usize)>,
    /// What the runs mean.
    pub(super) verdicts: Vec<Verdict<'a>>,
}

impl<'a> Calls<'a> {
    /// Adds a run; one that means what the last one means becomes part of it.
    pub(super) fn push(&mut self, first: u32, verdict: usize) {
        if self.runs.last().is_none_or(|&(_, last)| last != verdict) {
            self.runs.push((first, verdict));
        }
    }

    /// The index of a verdict, which is added if it is new.
    pub(super) fn verdict(&mut self, verdict: Verdict<'a>) -> usize {
        if let Some(known) = self.verdicts.iter().position(|known| *known == verdict) {
            return known;
        }
        self.verdicts.push(verdict);
        self.verdicts.len() - 1
    }
}

/// Where a jump goes: to a verdict, or to an instruction, counted from the program's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Return(u32),
    At(usize),
}

/// Compiles the calls of some machines; those of any other get the verdict `foreign`.
pub(super) fn compile(machines: &[Calls<'_>], foreign: u32) -> Result<Vec<Instruction>, Error> {
    let mut program = Program {
        reversed: Vec::with_capacity(512),
        returns: Vec::with_capacity(16),
    };
    let mut otherwise = Target::Return(foreign);
    // The first machine, the native one, comes first in the program.
    for calls in machines.iter().rev() {
        let mut checks = vec![None; calls.verdicts.len()];
        let search = program.search(calls, &calls.runs, &mut checks);
        let entry = program.load(NUMBER, search);
        otherwise = program.jump(EQUAL, calls.audit, entry, otherwise);
    }
    program.load(MACHINE, otherwise);
    let mut instructions = program.reversed;
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(Error::TooLong(instructions.len()));
    }
    instructions.reverse();
    Ok(instructions)
}

struct Program {
    reversed: Vec<Instruction>,
    /// The last copy of each verdict.
    returns: Vec<(u32, usize)>,
}

impl Program {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Target {
        self.reversed.push(Instruction { code, jt, jf, k });
        Target::At(self.reversed.len() - 1)
    }

    /// An instruction within reach of a jump that is written soon, and that leads to the target.
    fn within_reach(&mut self, target: Target) -> usize {
        let here = self.reversed.len();
        match target {
            Target::Return(verdict) => {
                let known = self.returns.iter_mut().find(|(known, _)| *known == verdict);
                match known {
                    Some((_, at)) if here - *at <= REACH => return *at,
                    Some((_, at)) => *at = here,
                    None => self.returns.push((verdict, here)),
                }
                self.push(RETURN, 0, 0, verdict);
            }
            Target::At(at) if here - at <= REACH => return at,
            Target::At(at) => {
                self.push(JUMP, 0, 0, (here - at - 1) as u32);
            }
        }
        here
    }

    fn jump(&mut self, code: u16, k: u32, holds: Target, otherwise: Target) -> Target {
        let holds = self.within_reach(holds);
        let otherwise = self.within_reach(otherwise);
        let here = self.reversed.len();
        // Both fit: they were within REACH, and only one instruction can have come between.
        self.push(code, (here - holds - 1) as u8, (here - otherwise - 1) as u8, k)
    }

    /// Loads a word, then goes on at `next`.
    fn load(&mut self, offset: u32, next: Target) -> Target {
        self.follow(next);
        self.push(LOAD, 0, 0, offset)
    }

    /// Makes `next` the instruction that comes after the one to be written.
    fn follow(&mut self, next: Target) {
        let here = self.reversed.len();
        match next {
            Target::At(at) if at + 1 == here => {}
            Target::At(at) => {
                self.push(JUMP, 0, 0, (here - at - 1) as u32);
            }
            Target::Return(verdict) => {
                self.push(RETURN, 0, 0, verdict);
            }
        }
    }

    /// Finds the run of the number in the accumulator.
    fn search(&mut self, calls: &Calls<'_>, runs: &[(u32, usize)], checks: &mut [Option<usize>]) -> Target {
        match *runs {
            [] => Target::Return(super::Action::KillProcess.code()),
            [(_, verdict)] => self.verdict(calls, verdict, checks),
            // One number that is unlike its neighbours on both sides.
            [(_, around), (number, verdict), (next, after)] if around == after && next == number + 1 => {
                let around = self.verdict(calls, around, checks);
                let verdict = self.verdict(calls, verdict, checks);
                self.jump(EQUAL, number, verdict, around)
            }
            _ => {
                let (below, from) = runs.split_at(runs.len() / 2);
                let middle = from[0].0;
                let from = self.search(calls, from, checks);
                let below = self.search(calls, below, checks);
                self.jump(GREATER_OR_EQUAL, middle, from, below)
            }
        }
    }

    fn verdict(&mut self, calls: &Calls<'_>, verdict: usize, checks: &mut [Option<usize>]) -> Target {
        let (arms, default) = match &calls.verdicts[verdict] {
            Verdict::Return(code) => return Target::Return(*code),
            Verdict::Check(arms, default) => (arms, *default),
        };
        if let Some(at) = checks[verdict] {
            return Target::At(at);
        }
        let mut otherwise = Target::Return(default);
        for (conditions, code) in arms.iter().rev() {
            let mut holds = Target::Return(*code);
            for condition in conditions.iter().rev() {
                holds = self.condition(condition, calls.wide, holds, otherwise);
            }
            otherwise = holds;
        }
        if let Target::At(at) = otherwise {
            checks[verdict] = Some(at);
        }
        otherwise
    }

    fn condition(&mut self, condition: &Condition, wide: bool, holds: Target, otherwise: Target) -> Target {
        let low = ARGUMENTS + 8 * u32::from(condition.argument);
        let word = Word {
            low,
            // Both machines that hull runs on are little-endian.
            high: (wide && !condition.int).then_some(low + 4),
            value: condition.value,
        };
        match condition.comparison {
            Comparison::Equal => self.equal(&word, u64::MAX, holds, otherwise),
            Comparison::NotEqual => self.equal(&word, u64::MAX, otherwise, holds),
            Comparison::Masked(mask) => self.equal(&word, mask, holds, otherwise),
            Comparison::Greater => self.greater(&word, GREATER, holds, otherwise),
            Comparison::GreaterOrEqual => self.greater(&word, GREATER_OR_EQUAL, holds, otherwise),
            Comparison::LessOrEqual => self.greater(&word, GREATER, otherwise, holds),
            Comparison::Less => self.greater(&word, GREATER_OR_EQUAL, otherwise, holds),
        }
    }

    fn equal(&mut self, word: &Word, mask: u64, holds: Target, otherwise: Target) -> Target {
        let mut next = self.jump(EQUAL, word.value as u32, holds, otherwise);
        next = self.masked(word.low, mask as u32, next);
        if let Some(high) = word.high {
            next = self.jump(EQUAL, (word.value >> 32) as u32, next, otherwise);
            next = self.masked(high, (mask >> 32) as u32, next);
        }
        next
    }

    fn masked(&mut self, offset: u32, mask: u32, next: Target) -> Target {
        if mask == u32::MAX {
            return self.load(offset, next);
        }
        self.follow(next);
        let and = self.push(AND, 0, 0, mask);
        self.load(offset, and)
    }

    fn greater(&mut self, word: &Word, code: u16, holds: Target, otherwise: Target) -> Target {
        let compare = self.jump(code, word.value as u32, holds, otherwise);
        let low = self.load(word.low, compare);
        let Some(high) = word.high else { return low };
        let equal = self.jump(EQUAL, (word.value >> 32) as u32, low, otherwise);
        let compare = self.jump(GREATER, (word.value >> 32) as u32, holds, equal);
        self.load(high, compare)
    }
}

/// An argument's halves, and what they are compared with.
struct Word {
    low: u32,
    high: Option<u32>,
    value: u64,
}
