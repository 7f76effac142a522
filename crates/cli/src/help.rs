//! `--help` and `hull help`, in Docker's layout.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::args::{flag_usages, terminal_columns};
use crate::command::{self, COMMANDS, COMMON, Command, GROUPS, Group};
use crate::context::GLOBAL_FLAGS;
use crate::error::{FAILED, Failure, Outcome};

/// `hull --help`.
pub(crate) fn top() -> Outcome {
    print(&top_text(terminal_columns()))
}

/// `hull help TOPIC`.
pub(crate) fn topic(words: &[String]) -> Outcome {
    if words.is_empty() {
        return top();
    }
    let name = words.join(" ");
    if let Some(found) = command::find(&name) {
        return command(found);
    }
    if let Some(found) = GROUPS.iter().find(|group| group.name == name) {
        return group(found);
    }
    Err(Failure::new(format!("unknown help topic: {name}")).code(FAILED))
}

/// `hull GROUP --help`.
pub(crate) fn group(group: &Group) -> Outcome {
    print(&group_text(group))
}

/// `hull COMMAND --help`.
pub(crate) fn command(command: &Command) -> Outcome {
    print(&command_text(command, terminal_columns()))
}

fn print(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(0)
}

fn top_text(columns: usize) -> String {
    let mut out = String::from("Usage:  hull [OPTIONS] COMMAND\n\nRun containers, without a daemon\n");
    let _ = writeln!(out, "\nCommon Commands:");
    for command in COMMON.iter().filter_map(|name| command::find(name)) {
        let _ = writeln!(out, "  {:<11} {}", command.name(), command.about);
    }
    let _ = writeln!(out, "\nManagement Commands:");
    for group in GROUPS {
        let _ = writeln!(out, "  {:<11} {}", group.name, group.about);
    }
    let _ = writeln!(out, "\nCommands:");
    let mut rest: Vec<&Command> = COMMANDS.to_vec();
    rest.retain(|command| !COMMON.contains(&command.name()) && !command.name().contains(' '));
    rest.sort_by_key(|command| command.name());
    for command in rest {
        let _ = writeln!(out, "  {:<11} {}", command.name(), command.about);
    }
    let _ = writeln!(out, "  {:<11} Print completions for bash, zsh or fish", "completion");
    let _ = writeln!(
        out,
        "\nGlobal Options:\n{}",
        flag_usages(GLOBAL_FLAGS, columns).trim_end()
    );
    out.push_str("\nRun 'hull COMMAND --help' for more information on a command.\n");
    out
}

fn group_text(group: &Group) -> String {
    let mut out = format!("Usage:  hull {} COMMAND\n\n{}\n\nCommands:\n", group.name, group.about);
    let mut lines: Vec<(&str, &str)> = COMMANDS
        .iter()
        .filter_map(|command| {
            let name = command
                .names
                .iter()
                .find_map(|name| name.strip_prefix(group.name)?.strip_prefix(' '))?;
            Some((name, command.about))
        })
        .collect();
    lines.sort_unstable();
    for (name, about) in lines {
        let _ = writeln!(out, "  {name:<11} {about}");
    }
    let _ = write!(
        out,
        "\nRun 'hull {} COMMAND --help' for more information on a command.\n",
        group.name
    );
    out
}

fn command_text(command: &Command, columns: usize) -> String {
    let mut out = format!("Usage:  {}\n\n{}\n", command.usage_line(), command.about);
    if command.names.len() > 1 {
        let mut names: Vec<String> = command.names.iter().map(|name| format!("hull {name}")).collect();
        names.sort();
        let _ = write!(out, "\nAliases:\n  {}\n", names.join(", "));
    }
    let options = flag_usages(command.flags, columns);
    if !options.is_empty() {
        let _ = write!(out, "\nOptions:\n{options}");
    }
    let refused = command
        .flags
        .iter()
        .filter(|flag| flag.refused.is_some() && !flag.hidden);
    let mut refused: Vec<String> = refused.map(|flag| format!("--{}", flag.long)).collect();
    if !refused.is_empty() {
        refused.sort();
        let mut line = String::new();
        out.push_str("\nNot there yet:\n");
        for name in refused {
            if line.len() + name.len() + 3 > columns && !line.is_empty() {
                let _ = writeln!(out, "  {}", line.trim_end());
                line.clear();
            }
            let _ = write!(line, "{name} ");
        }
        let _ = writeln!(out, "  {}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_laid_out_as_dockers() {
        insta::assert_snapshot!(command_text(command::find("stop").unwrap(), 79), @r"
        Usage:  hull stop [OPTIONS] CONTAINER [CONTAINER...]

        Stop running containers

        Aliases:
          hull container stop, hull stop

        Options:
          -s, --signal string   Signal that asks it to stop, instead of its own
          -t, --timeout int     Seconds until it is killed; -1 to wait for ever
        ");
        let run = command_text(command::find("run").unwrap(), 79);
        assert!(run.lines().all(|line| line.len() <= 79), "{run}");
        assert!(run.contains("\nNot there yet:\n"));
        assert!(!run.contains("--link list"));
    }

    #[test]
    fn every_working_command_is_in_the_top_help() {
        let text = top_text(79);
        for command in COMMANDS.iter().filter(|c| !c.name().contains(' ')) {
            assert!(text.contains(&format!("\n  {} ", command.name())), "{}", command.name());
        }
    }
}
