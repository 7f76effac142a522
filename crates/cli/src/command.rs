//! The commands: what they are called, what they take, and what runs them.
//!
//! A command's file under `command/` exports a `COMMAND` (its table of flags and its place in help) and a
//! `run(args, ctx)`. `main` looks its name up here and reads that one table.

mod artifact;
mod attach;
mod boot;
mod catalog;
mod commit;
mod copy;
mod cp;
mod create;
mod df;
mod diff;
mod events;
mod exec;
mod export;
pub(crate) mod generator;
mod history;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod load;
mod login;
mod logs;
mod manifest;
mod network;
mod pause;
mod pod;
mod port;
mod prune;
mod ps;
mod pull;
mod push;
mod registry;
mod rename;
mod repository;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod search;
mod start;
mod stats;
mod stop;
mod sync;
mod tag;
mod top;
mod update;
mod version;
mod volume;
mod wait;

pub(crate) use catalog::{COMMANDS, COMMON, GROUPS, Group, MISSING, find, nearest};

use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::Outcome;

/// A command.
pub(crate) struct Command {
    /// What it is called after `hull`: `ps`, then `container ls`, .. The first is how messages name it.
    pub(crate) names: &'static [&'static str],
    /// What follows its name in the usage line.
    pub(crate) synopsis: &'static str,
    /// One line for lists of commands.
    pub(crate) about: &'static str,
    /// Its flags.
    pub(crate) flags: &'static [Flag],
    /// How many arguments it takes.
    pub(crate) count: Count,
    /// Whether flags may follow arguments: not where the arguments are a container's command.
    pub(crate) interspersed: bool,
    /// Runs it.
    pub(crate) run: fn(&Matches, &Context) -> Outcome,
}

impl Command {
    /// The name that messages use.
    pub(crate) fn name(&self) -> &'static str {
        self.names[0]
    }

    /// `hull run [OPTIONS] IMAGE ..`
    pub(crate) fn usage_line(&self) -> String {
        format!("hull {} {}", self.name(), self.synopsis).trim_end().to_owned()
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Command({})", self.name())
    }
}
