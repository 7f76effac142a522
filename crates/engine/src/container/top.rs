//! `top`: the processes of a container, as the host's `ps` shows them.
//!
//! The forms that people use (`-ef`, which is what no options mean, `aux`, and `-o` with the usual columns) are made here
//! from /proc, so that a host without procps has them; for any other options the host's `ps` is run and its lines are
//! sieved by process number.

mod column;
mod format;
mod process;

use std::path::Path;

use hull_spec::container::LiveState;

use super::{find, status};
use crate::{Engine, Error, Result, event};
use format::Format;
use process::{Host, Process};

/// A table of processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// The columns' headers.
    pub titles: Vec<String>,
    /// A line a process.
    pub rows: Vec<Vec<String>>,
}

/// The processes of a running container. `options` are those of `ps`; none stand for `-ef`.
///
/// # Errors
/// No such container; one that does not run; options that give no process numbers, or that nobody here understands.
pub fn top(engine: &Engine, name: &str, options: &[String]) -> Result<Processes> {
    let record = find(engine, name)?;
    let Some(live) = status::derive(engine, &record)?.live else {
        return Err(Error::NotRunning { id: record.id });
    };
    let pids = pids(&live);
    let processes = match format::read(options) {
        Some(format) => native(&format, &pids)?,
        None => host_ps(options, &pids)?,
    };
    event::container(engine, &record, "top", &[]);
    Ok(processes)
}

/// The processes of a running container, in order.
pub(crate) fn pids(live: &LiveState) -> Vec<i32> {
    let cgroups = status::cgroups(live);
    if cgroups.is_empty() {
        return process::of_container(live.pid);
    }
    hull_runtime::cgroup::members(&cgroups)
}

fn native(format: &Format, pids: &[i32]) -> Result<Processes> {
    if !format.columns.iter().any(|column| column.title == "PID") {
        return Err(no_pid());
    }
    let host = Host::read();
    // One that ends meanwhile is left out, as `ps` does.
    let processes = pids.iter().filter_map(|pid| Process::read(Path::new("/proc"), *pid));
    Ok(Processes {
        titles: format.columns.iter().map(|column| column.title.to_owned()).collect(),
        rows: processes
            .map(|process| {
                format
                    .columns
                    .iter()
                    .map(|column| (column.value)(&process, &host))
                    .collect()
            })
            .collect(),
    })
}

fn no_pid() -> Error {
    Error::Invalid("Couldn't find PID field in ps output".to_owned())
}

fn host_ps(options: &[String], pids: &[i32]) -> Result<Processes> {
    refuse_renamed(options)?;
    let output = std::process::Command::new("ps")
        .args(options)
        .output()
        .map_err(|source| {
            Error::Unsupported(format!(
                "cannot run the host's `ps` for the options `{}`: {source}; without it -ef, aux and -o LIST work",
                options.join(" ")
            ))
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed");
        return Err(Error::Invalid(format!("ps: {said}")));
    }
    sieve(&String::from_utf8_lossy(&output.stdout), pids)
}

/// A column of another name that is called PID would be taken for the process number.
fn refuse_renamed(options: &[String]) -> Result<()> {
    let words = options.iter().flat_map(|option| option.split([',', ' ']));
    for word in words {
        if let Some((column, title)) = word.split_once('=')
            && title.trim().starts_with("PID")
            && column.trim_start_matches("-o") != "pid"
        {
            return Err(Error::Invalid(format!("specifying \"{word}\" is not allowed")));
        }
    }
    Ok(())
}

/// The lines of `ps` that are about these processes.
fn sieve(text: &str, pids: &[i32]) -> Result<Processes> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect();
    let at = titles.iter().position(|title| title == "PID").ok_or_else(no_pid)?;
    let mut rows = Vec::new();
    // With threads, those of a process follow it under `-`.
    let mut ours = false;
    for line in lines {
        let cells = cells(line, titles.len());
        let Some(pid) = cells.get(at) else { continue };
        if *pid != "-" {
            ours = pid.parse().is_ok_and(|pid: i32| pids.contains(&pid));
        }
        if ours {
            rows.push(cells.into_iter().map(str::to_owned).collect());
        }
    }
    Ok(Processes { titles, rows })
}

/// The words of a line, the last of `count` cells taking all that is left.
fn cells(line: &str, count: usize) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
        if out.len() + 1 == count || end == rest.len() {
            out.push(rest.trim_ascii_end());
            break;
        }
        out.push(&rest[..end]);
        rest = rest[end..].trim_ascii_start();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sieved_by_process() {
        let text = "  PID TTY      STAT   TIME COMMAND\n    1 ?        Ss     0:03 /sbin/init  splash \n\
                    42 ?        R      0:00 a\n   - -        Sl     0:00 -\n    7 ?        S      0:00 b c\n";
        let processes = sieve(text, &[42, 7]).unwrap();
        assert_eq!(processes.titles, ["PID", "TTY", "STAT", "TIME", "COMMAND"]);
        let rows: Vec<String> = processes.rows.iter().map(|row| row.join("|")).collect();
        assert_eq!(rows, ["42|?|R|0:00|a", "-|-|Sl|0:00|-", "7|?|S|0:00|b c"]);
        let error = sieve("COMMAND\nx\n", &[1]).unwrap_err();
        assert_eq!(error.to_string(), "Couldn't find PID field in ps output");
        assert_eq!(sieve("", &[1]).unwrap_err().to_string(), error.to_string());
        assert_eq!(cells("a  b   c d ", 3), ["a", "b", "c d"]);
    }

    #[test]
    fn no_other_column_may_be_called_pid() {
        let check = |words: &[&str], good: bool| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(refuse_renamed(&words).is_ok(), good, "{words:?}");
        };
        check(&["-o", "ppid=PID,comm"], false);
        check(&["-oppid=PID"], false);
        check(&["-o", "pid=PID"], true);
        check(&["-opid=PID,comm=NAME"], true);
    }
}
