//! `--chmod`: octal numbers, and the letters of chmod(1).

use crate::error::TransferProblem;

/// New permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// These bits, whatever was there.
    Bits(u32),
    /// Changes of what is there, in order.
    Changes(Vec<Change>),
}

/// One change, such as `u+x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose bits: a mask of `u`, `g` and `o`, each with its special bit.
    who: u32,
    operation: Operation,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Bits, and whether `X` is among them: execution where it makes sense.
    Bits(u32, bool),
    /// What another has; by how much its bits have to be moved to the right.
    CopyOf(u32),
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o1007;

/// Where nobody is named, everybody is meant, but for these.
const UMASK: u32 = 0o022;

impl Mode {
    /// Reads `0755`, `u=rwX,go=rX` and the like.
    ///
    /// # Errors
    /// [`TransferProblem::Mode`].
    pub fn parse(text: &str) -> Result<Self, TransferProblem> {
        let fail = || TransferProblem::Mode { mode: text.to_owned() };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777);
            return bits.map(Self::Bits).ok_or_else(fail);
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            read_clause(clause, &mut changes).ok_or_else(fail)?;
        }
        Ok(Self::Changes(changes))
    }

    /// The permissions of something that had `bits`.
    #[must_use]
    pub fn apply(&self, bits: u32, folder: bool) -> u32 {
        match self {
            Self::Bits(new) => *new,
            Self::Changes(changes) => changes
                .iter()
                .fold(bits & 0o7777, |bits, change| change.apply(bits, folder)),
        }
    }
}

impl Change {
    fn apply(self, bits: u32, folder: bool) -> u32 {
        let all = match self.what {
            What::Bits(what, conditional) => {
                let execute = conditional && (folder || bits & 0o111 != 0);
                what | if execute { 0o111 } else { 0 }
            }
            What::CopyOf(shift) => ((bits >> shift) & 7) * 0o111,
        };
        let changed = all & self.who;
        match self.operation {
            Operation::Add => bits | changed,
            Operation::Remove => bits & !changed,
            // What a folder hands on to what is made in it stays unless it is named.
            Operation::Set if folder => (bits & !(self.who & 0o1777)) | changed,
            Operation::Set => (bits & !self.who) | changed,
        }
    }
}

/// Reads `who` and one operation or more.
fn read_clause(clause: &str, changes: &mut Vec<Change>) -> Option<()> {
    let end = clause.find(|c| !matches!(c, 'u' | 'g' | 'o' | 'a'))?;
    let (names, mut rest) = clause.split_at(end);
    let mask = |who: u32, name: char| {
        who | match name {
            'u' => USER,
            'g' => GROUP,
            'o' => OTHER,
            _ => USER | GROUP | OTHER,
        }
    };
    let who = if names.is_empty() {
        (USER | GROUP | OTHER) & !UMASK
    } else {
        names.chars().fold(0, mask)
    };
    while let Some(sign) = rest.chars().next() {
        let operation = match sign {
            '+' => Operation::Add,
            '-' => Operation::Remove,
            '=' => Operation::Set,
            _ => return None,
        };
        rest = &rest[1..];
        let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
        let (letters, next) = rest.split_at(end);
        rest = next;
        let what = match letters {
            "u" => What::CopyOf(6),
            "g" => What::CopyOf(3),
            "o" => What::CopyOf(0),
            _ => letters.chars().try_fold(What::Bits(0, false), with_letter)?,
        };
        changes.push(Change { who, operation, what });
    }
    Some(())
}

fn with_letter(what: What, letter: char) -> Option<What> {
    let What::Bits(bits, conditional) = what else {
        return None;
    };
    Some(match letter {
        'r' => What::Bits(bits | 0o444, conditional),
        'w' => What::Bits(bits | 0o222, conditional),
        'x' => What::Bits(bits | 0o111, conditional),
        'X' => What::Bits(bits, true),
        's' => What::Bits(bits | 0o6000, conditional),
        't' => What::Bits(bits | 0o1000, conditional),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_change_as_with_chmod() {
        let check = |mode: &str, before: u32, file: u32, folder: u32| {
            let read = Mode::parse(mode).unwrap();
            assert_eq!(
                (read.apply(before, false), read.apply(before, true)),
                (file, folder),
                "{mode} {:o} {:o}",
                read.apply(before, false),
                read.apply(before, true)
            );
        };
        check("0755", 0o644, 0o755, 0o755);
        check("7777", 0, 0o7777, 0o7777);
        check("u+x", 0o644, 0o744, 0o744);
        check("+x", 0o644, 0o755, 0o755);
        check("+w", 0o444, 0o644, 0o644);
        check("a-w", 0o666, 0o444, 0o444);
        check("go=", 0o755, 0o700, 0o700);
        check("u=rwX,go=rX", 0o600, 0o644, 0o755);
        check("u=rwX,go=rX", 0o700, 0o755, 0o755);
        check("g=u", 0o640, 0o660, 0o660);
        check("o=g-w", 0o660, 0o664, 0o664);
        check("u+s,g+s,+t", 0o755, 0o7755, 0o7755);
        check("u=rx", 0o4755, 0o555, 0o4555);
        check("a=rw", 0o1777, 0o666, 0o666);
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "888", "10000", "08", "u", "u+q", "x", "u+ug", "+x,", "\u{e9}"] {
            assert!(Mode::parse(text).is_err(), "{text}");
        }
    }
}
