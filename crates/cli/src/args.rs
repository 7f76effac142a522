//! Docker's flag grammar (that of Go's pflag), read from tables.
//!
//! A command's flags are a `&'static [Flag]`: the parser, `--help`, the shell completions and the man pages all read the
//! same table. clap is not used to parse: it differs from pflag in what scripts see (`-p80:80`, `--rm=false`, options
//! ending at the image, the words of each refusal), and building 100 arguments costs more than a container's mounts.
//!
//! A value is checked when it is read, so that the message names the flag; it is converted where it is used.

pub(crate) mod duration;
mod flag;
mod help;
mod matches;
mod parse;
pub(crate) mod value;

pub(crate) use flag::{Arity, Flag};
pub(crate) use help::{flag_usages, terminal_columns};
pub(crate) use matches::Matches;
pub(crate) use parse::{Parsed, parse};

/// How many arguments a command takes after its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// No arguments.
    None,
    /// Exactly so many.
    Exactly(usize),
    /// So many or more.
    AtLeast(usize),
    /// Between so many and so many.
    Between(usize, usize),
    /// So many or fewer.
    AtMost(usize),
}

impl Count {
    /// Docker's complaint about `given` arguments, if there is cause for one.
    pub(crate) fn complaint(self, command: &str, given: usize) -> Option<String> {
        let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
        match self {
            Self::None if given > 0 => Some(format!("'{command}' accepts no arguments")),
            Self::Exactly(n) if given != n => Some(format!("'{command}' requires {n} {}", plural(n))),
            Self::AtLeast(n) if given < n => Some(format!("'{command}' requires at least {n} {}", plural(n))),
            Self::Between(least, most) if given < least || given > most => Some(format!(
                "'{command}' requires at least {least} and at most {most} {}",
                plural(most)
            )),
            Self::AtMost(n) if given > n => Some(format!("'{command}' requires at most {n} {}", plural(n))),
            _ => None,
        }
    }
}
