//! Help in Docker's layout: flags in a column, their texts wrapped beside it.

use std::fmt::Write as _;

use super::{Arity, Flag};

/// Characters that wrapping may go over the line for a word that nearly fits (pflag's slop).
const SLOP: usize = 5;
/// A column of texts narrower than this goes on lines of its own.
const NARROW: usize = 24;

/// The lines of the flags that help shows, by name, no wider than `columns`. Refused flags are not among them.
pub(crate) fn flag_usages(flags: &[Flag], columns: usize) -> String {
    let mut shown: Vec<(&str, String, String)> = flags
        .iter()
        .filter(|flag| !flag.hidden && flag.refused.is_none())
        .map(|flag| (flag.long, left(flag), right(flag)))
        .collect();
    shown.sort_by_key(|(long, ..)| *long);
    let width = shown.iter().map(|(_, left, _)| left.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (_, left, right) in shown {
        let text = wrap(width + 3, columns, &right);
        for line in format!("{left:width$}   {text}").lines() {
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
    out
}

fn left(flag: &Flag) -> String {
    let mut out = match flag.short {
        Some(letter) => format!("  -{letter}, --{}", flag.long),
        None => format!("      --{}", flag.long),
    };
    if flag.arity != Arity::Switch {
        let _ = write!(out, " {}", flag.value_name);
    }
    out
}

fn right(flag: &Flag) -> String {
    match flag.default {
        "" => flag.help.to_owned(),
        default => format!("{} (default {default})", flag.help),
    }
}

/// The width to wrap help at: the terminal's, or 80.
pub(crate) fn terminal_columns() -> usize {
    let columns = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { 80 } else { columns }.saturating_sub(1)
}

/// `text` broken into lines that end by `columns`; all but the first are indented.
fn wrap(indent: usize, columns: usize, text: &str) -> String {
    let (indent, mut out) = if columns < indent + NARROW {
        (16, format!("\n{}", " ".repeat(16)))
    } else {
        (indent, String::new())
    };
    // Where even that is narrow, lines are as long as they are.
    let width = if columns < indent + NARROW {
        usize::MAX - SLOP
    } else {
        columns - indent - SLOP
    };
    let gap = format!("\n{}", " ".repeat(indent));
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut rest = paragraph;
        while rest.len() > width + SLOP {
            // Help texts are ASCII, so that bytes are columns.
            let Some(at) = rest
                .get(..width)
                .and_then(|start| start.rfind(' '))
                .filter(|at| *at > 0)
            else {
                break;
            };
            lines.push(&rest[..at]);
            rest = &rest[at + 1..];
        }
        lines.push(rest);
    }
    out.push_str(&lines.join(&gap));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag::string("user")
            .short('u')
            .help("Name or number of the user, and of the group after a colon if it is to be another"),
        Flag::list("env").short('e').help("Set a variable"),
        Flag::switch("rm").help("Remove it when it exits"),
        Flag::string("pull").default("\"missing\"").help("When to pull"),
        Flag::string("gpus").refused("none"),
    ];

    #[test]
    fn flags_are_listed_as_docker_lists_them() {
        insta::assert_snapshot!(flag_usages(FLAGS, 79), @r#"
          -e, --env list      Set a variable
              --pull string   When to pull (default "missing")
              --rm            Remove it when it exits
          -u, --user string   Name or number of the user, and of the group after
                              a colon if it is to be another
        "#);
        insta::assert_snapshot!(flag_usages(FLAGS, 40), @r#"
          -e, --env list
                        Set a variable
              --pull string
                        When to pull
                        (default "missing")
              --rm
                        Remove it when it exits
          -u, --user string
                        Name or number of
                        the user, and of
                        the group after a
                        colon if it is to
                        be another
        "#);
    }
}
