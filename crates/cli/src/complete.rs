//! Shell completions and man pages, from the same tables that commands are read by.

use std::io::Write as _;
use std::path::Path;

use clap_complete::Shell;

use crate::args::{Arity, Flag};
use crate::command::{COMMANDS, Command, GROUPS};
use crate::context::GLOBAL_FLAGS;
use crate::error::{FAILED, Failure, Outcome};

/// `hull completion SHELL`.
pub(crate) fn completion(words: &[String]) -> Outcome {
    let shell = match words {
        [shell] if shell == "bash" => Shell::Bash,
        [shell] if shell == "zsh" => Shell::Zsh,
        [shell] if shell == "fish" => Shell::Fish,
        _ => return Err(Failure::new("'hull completion' requires one argument: bash, zsh or fish").code(FAILED)),
    };
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut tree(), "hull", &mut out);
    std::io::stdout().lock().write_all(&out)?;
    Ok(0)
}

/// `hull __man DIRECTORY`: writes a page a command.
pub(crate) fn man_pages(words: &[String]) -> Outcome {
    let [directory] = words else {
        return Err(Failure::new("'hull __man' requires one argument: the folder for the pages").code(FAILED));
    };
    clap_mangen::generate_to(tree(), Path::new(directory))?;
    Ok(0)
}

/// All commands as clap knows them.
fn tree() -> clap::Command {
    let mut root = described(
        clap::Command::new("hull"),
        "Run containers, without a daemon",
        GLOBAL_FLAGS,
    )
    .version(env!("CARGO_PKG_VERSION"))
    .subcommand(clap::Command::new("completion").about("Print completions for bash, zsh or fish"));
    let page = environment_page();
    root = root.after_long_help(page);
    for command in COMMANDS.iter().filter(|command| !command.name().contains(' ')) {
        root = root.subcommand(leaf(command, command.name()));
    }
    for group in GROUPS {
        let mut branch = clap::Command::new(group.name).about(group.about);
        for command in COMMANDS {
            let name = command
                .names
                .iter()
                .find_map(|name| name.strip_prefix(group.name)?.strip_prefix(' '));
            if let Some(name) = name {
                branch = branch.subcommand(leaf(command, name));
            }
        }
        root = root.subcommand(branch);
    }
    root
}

fn environment_page() -> String {
    let lines = crate::env::ALL
        .iter()
        .map(|variable| format!("{}: {}", variable.name, variable.help));
    format!("Environment:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

fn leaf(command: &Command, name: &'static str) -> clap::Command {
    described(clap::Command::new(name), command.about, command.flags).arg(
        clap::Arg::new("arguments")
            .num_args(0..)
            .value_name(command.synopsis.trim_start_matches("[OPTIONS] ")),
    )
}

fn described(command: clap::Command, about: &'static str, flags: &'static [Flag]) -> clap::Command {
    let args = flags
        .iter()
        .filter(|flag| !flag.hidden && flag.refused.is_none())
        .map(|flag| {
            let mut arg = clap::Arg::new(flag.long).long(flag.long).help(flag.help);
            if let Some(letter) = flag.short {
                arg = arg.short(letter);
            }
            match flag.arity {
                Arity::Switch => arg.action(clap::ArgAction::SetTrue),
                Arity::One => arg.value_name(flag.value_name),
                Arity::Many => arg.value_name(flag.value_name).action(clap::ArgAction::Append),
            }
        });
    command
        .about(about)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_well_formed_and_complete() {
        let tree = tree();
        tree.clone().debug_assert();
        for command in COMMANDS {
            for name in command.names {
                let mut at = &tree;
                for word in name.split(' ') {
                    let Some(next) = at.get_subcommands().find(|c| c.get_name() == word) else {
                        // Aliases are left out: nobody wants each command twice.
                        assert!(name != &command.name(), "{name}");
                        break;
                    };
                    at = next;
                }
            }
        }
    }
}
