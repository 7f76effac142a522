//! `docs/commands.md`, made from the tables that commands are read by. A test keeps the file up to date.

use std::fmt::Write as _;

use crate::args::{Arity, Flag};
use crate::command::{COMMANDS, Command, GROUPS, MISSING};
use crate::context::GLOBAL_FLAGS;
use crate::env;

const INTRODUCTION: &str = "\
# Commands

hull takes Docker's commands and flags. What is not there yet is refused by name, with exit code 125 for a flag and 1 for
a command; nothing is accepted and then ignored.

This page is made from the program's own tables: `HULL_WRITE_DOCS=1 cargo test -p hull-cli manual` writes it.

## Exit codes

| code | meaning |
|---|---|
| 0 | done; of `run`, `exec` and `start -a`: the process ended with 0 |
| 1 | the command failed, or was given the wrong number of arguments |
| 125 | a flag is wrong; of `run`: the container could not be made or started |
| 126 | the container's command cannot be executed |
| 127 | the container's command was not found |
| other | the process's own; 128 + N for signal N |
";

/// The whole page.
pub(crate) fn page() -> String {
    let mut out = INTRODUCTION.to_owned();
    let _ = writeln!(out, "\n## Global flags\n\nThey come before the command.\n");
    flags(&mut out, GLOBAL_FLAGS);
    let _ = writeln!(out, "\n## Environment\n\n| variable | what it does |\n|---|---|");
    for variable in env::ALL {
        let _ = writeln!(out, "| `{}` | {} |", variable.name, cell(variable.help));
    }
    let mut commands: Vec<&Command> = COMMANDS.to_vec();
    commands.sort_by_key(|command| command.name());
    for command in commands {
        let _ = writeln!(
            out,
            "\n## {}\n\n`{}`\n\n{}.",
            command.name(),
            command.usage_line(),
            command.about
        );
        if let [_, others @ ..] = command.names
            && !others.is_empty()
        {
            let names: Vec<String> = others.iter().map(|name| format!("`hull {name}`")).collect();
            let _ = writeln!(out, "Also {}.", names.join(", "));
        }
        if !command.flags.is_empty() {
            out.push('\n');
            flags(&mut out, command.flags);
        }
    }
    let missing: Vec<String> = MISSING.iter().map(|name| format!("`{name}`")).collect();
    let groups: Vec<String> = GROUPS.iter().map(|group| format!("`{}`", group.name)).collect();
    let _ = writeln!(
        out,
        "\n## Groups\n\n{}: see the other names of each command above.",
        groups.join(", ")
    );
    let _ = writeln!(out, "\n## Not there yet\n\n{}.", missing.join(", "));
    out
}

/// A table of the working flags, then of the refused ones.
fn flags(out: &mut String, table: &[Flag]) {
    let mut table: Vec<&Flag> = table.iter().filter(|flag| !flag.hidden).collect();
    table.sort_by_key(|flag| flag.long);
    let working = table.iter().filter(|flag| flag.refused.is_none());
    let _ = writeln!(out, "| flag | what it does |\n|---|---|");
    for flag in working {
        let value = if flag.arity == Arity::Switch {
            String::new()
        } else {
            format!(" {}", flag.value_name)
        };
        let default = if flag.default.is_empty() {
            String::new()
        } else {
            format!(" (default {})", flag.default)
        };
        let _ = writeln!(out, "| `{}{value}` | {}{default} |", flag.display(), cell(flag.help));
    }
    let refused: Vec<&&Flag> = table.iter().filter(|flag| flag.refused.is_some()).collect();
    if !refused.is_empty() {
        let _ = writeln!(out, "\n| refused | why |\n|---|---|");
        for flag in refused {
            let _ = writeln!(
                out,
                "| `{}` | {} |",
                flag.display(),
                cell(flag.refused.unwrap_or_default())
            );
        }
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_up_to_date() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
        if std::env::var_os("HULL_WRITE_DOCS").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page(),
            "docs/commands.md is out of date: HULL_WRITE_DOCS=1 cargo test -p hull-cli manual"
        );
    }
}
