//! All commands: those that work, and those that Docker has and hull has not yet.

use super::{
    Command, artifact, attach, boot, commit, copy, cp, create, df, diff, events, exec, export, generator, history,
    images, import, info, inspect, kill, load, login, logs, manifest, network, pause, pod, port, prune, ps, pull, push,
    registry, rename, repository, restart, rm, rmi, run, save, search, start, stats, stop, sync, tag, top, update,
    version, volume, wait,
};

/// All commands that work, in the order of help.
pub(crate) const COMMANDS: &[&Command] = &[
    &run::COMMAND,
    &exec::COMMAND,
    &ps::COMMAND,
    &pull::COMMAND,
    &push::COMMAND,
    &copy::COMMAND,
    &copy::RECEIVE,
    &sync::COMMAND,
    &repository::TAGS,
    &repository::DIGEST,
    &repository::DELETE,
    &repository::REFERRERS,
    &artifact::PUSH,
    &artifact::PULL,
    &manifest::CREATE,
    &manifest::ANNOTATE,
    &manifest::PUSH,
    &manifest::INSPECT,
    &manifest::RM,
    &images::COMMAND,
    &version::COMMAND,
    &info::COMMAND,
    &events::COMMAND,
    &df::COMMAND,
    &prune::SYSTEM,
    &prune::CONTAINER,
    &prune::IMAGE,
    &network::LIST,
    &network::INSPECT,
    &attach::COMMAND,
    &create::COMMAND,
    &commit::COMMAND,
    &cp::COMMAND,
    &diff::COMMAND,
    &export::COMMAND,
    &start::COMMAND,
    &stop::COMMAND,
    &restart::COMMAND,
    &kill::COMMAND,
    &pause::COMMAND,
    &pause::UNPAUSE,
    &rename::COMMAND,
    &update::COMMAND,
    &port::COMMAND,
    &top::COMMAND,
    &stats::COMMAND,
    &wait::COMMAND,
    &rm::COMMAND,
    &logs::COMMAND,
    &inspect::COMMAND,
    &inspect::CONTAINER,
    &inspect::IMAGE,
    &rmi::COMMAND,
    &tag::COMMAND,
    &history::COMMAND,
    &save::COMMAND,
    &load::COMMAND,
    &import::COMMAND,
    &login::LOGIN,
    &login::LOGOUT,
    &search::COMMAND,
    &boot::BOOT,
    &boot::SHUTDOWN,
    &generator::COMMAND,
    &pod::CREATE,
    &pod::START,
    &pod::STOP,
    &pod::RESTART,
    &pod::KILL,
    &pod::PAUSE,
    &pod::UNPAUSE,
    &pod::RM,
    &pod::PS,
    &pod::INSPECT,
    &pod::LOGS,
    &pod::TOP,
    &pod::STATS,
    &pod::EXISTS,
    &pod::PRUNE,
    &registry::SERVE,
    &volume::CREATE,
    &volume::INSPECT,
    &volume::LS,
    &volume::PRUNE,
    &volume::RM,
    &volume::UPDATE,
];

/// A group of commands, such as `hull container`.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its name.
    pub(crate) name: &'static str,
    /// One line for lists.
    pub(crate) about: &'static str,
}

/// The groups that have commands.
pub(crate) const GROUPS: &[Group] = &[
    Group {
        name: "artifact",
        about: "Keep files in registries, as images are kept",
    },
    Group {
        name: "container",
        about: "Manage containers",
    },
    Group {
        name: "image",
        about: "Manage images",
    },
    Group {
        name: "manifest",
        about: "Manage manifest lists: several images under one name",
    },
    Group {
        name: "network",
        about: "Look at networks",
    },
    Group {
        name: "pod",
        about: "Manage pods: containers that share namespaces",
    },
    Group {
        name: "registry",
        about: "Serve a registry",
    },
    Group {
        name: "volume",
        about: "Manage volumes",
    },
    Group {
        name: "system",
        about: "Look at hull itself",
    },
];

/// The commands that help lists first.
pub(crate) const COMMON: &[&str] = &["run", "exec", "ps", "pull", "images", "version", "info"];

/// Commands of Docker that are not there yet. They are refused by name, so that nobody takes the refusal for a typing
/// error.
pub(crate) const MISSING: &[&str] = &[
    "build",
    "builder",
    "buildx",
    "checkpoint",
    "compose",
    "config",
    "context",
    "network connect",
    "network create",
    "network disconnect",
    "network prune",
    "network rm",
    "node",
    "plugin",
    "secret",
    "service",
    "stack",
    "swarm",
    "trust",
    "image build",
    "system dial-stdio",
];

/// The command called `name`, such as `ps` or `container ls`.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().copied().find(|command| command.names.contains(&name))
}

/// The command that `name` is most likely a misspelling of.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let names = COMMANDS.iter().flat_map(|command| command.names).copied();
    let (distance, nearest) = names
        .map(|known| (distance(name, known), known))
        .min_by_key(|(d, _)| *d)?;
    (distance <= 2 && distance < name.chars().count()).then_some(nearest)
}

/// How many letters must be added, dropped, changed or swapped with their neighbour to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(40).collect(), b.chars().take(40).collect());
    let mut before = vec![0; b.len() + 1];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            next[j] = change.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                next[j] = next[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_means_one_command() {
        let mut seen = BTreeSet::new();
        for name in COMMANDS.iter().flat_map(|c| c.names).chain(MISSING) {
            assert!(seen.insert(*name), "{name}");
        }
    }

    #[test]
    fn every_command_of_docker_is_known() {
        // Each command and group of Docker 28.2's help.
        let docker = "run exec ps build pull push images login logout search version info builder checkpoint container \
                      context image manifest network plugin system trust volume config node secret service stack swarm \
                      attach commit cp create diff events export history import inspect kill load logs pause port \
                      rename restart rm rmi save start stats stop tag top unpause update wait";
        for name in docker.split_whitespace() {
            let known = find(name).is_some() || MISSING.contains(&name) || GROUPS.iter().any(|g| g.name == name);
            assert!(known, "{name}");
        }
    }

    #[test]
    fn misspelt_commands_are_recognised() {
        let check = |name: &str, expected: Option<&str>| assert_eq!(nearest(name), expected, "{name}");
        check("rnu", Some("run"));
        check("pul", Some("pull"));
        check("imagse", Some("images"));
        check("frobnicate", None);
        check("x", None);
        check("contaner ls", Some("container ls"));
    }

    #[test]
    fn flags_of_a_command_are_distinct() {
        for command in COMMANDS {
            let (mut long, mut short) = (BTreeSet::new(), BTreeSet::new());
            for flag in command.flags {
                assert!(long.insert(flag.long), "{} --{}", command.name(), flag.long);
                assert!(
                    flag.short.is_none_or(|s| short.insert(s)),
                    "{} -{:?}",
                    command.name(),
                    flag.short
                );
                assert!(
                    !flag.help.is_empty() || flag.refused.is_some() || flag.hidden,
                    "--{}",
                    flag.long
                );
                assert!(flag.help.is_ascii(), "--{}: wrapping counts bytes", flag.long);
            }
        }
    }
}
