//! `state`, `list` and `ps`: what there is.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::arguments::{Arguments, Flag};
use super::state::{self, State, Status};
use super::{Caller, Failure, Global, Outcome};
use crate::cgroup;

pub(super) const LIST_FLAGS: &[Flag] = &[Flag::value(&["format", "f"]), Flag::switch(&["quiet", "q"])];
pub(super) const PS_FLAGS: &[Flag] = &[Flag::value(&["format", "f"])];

/// A container as `state` and `list` show it, in runc's fields.
fn describe(state: &State, status: Status, name: bool) -> Value {
    let pid = if status == Status::Stopped { 0 } else { state.pid };
    let owner = if name { owner(state.owner) } else { String::new() };
    let mut shown = json!({
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": pid,
        "status": status,
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
        "owner": owner,
    });
    if !state.annotations.is_empty() {
        shown["annotations"] = json!(state.annotations);
    }
    shown
}

/// A user's name, or `#` and the number.
fn owner(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

fn print_json(caller: &mut Caller<'_>, value: &Value) -> Outcome {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::new(e.to_string()))?;
    writeln!(caller.out, "{text}")?;
    Ok(0)
}

pub(super) fn state(caller: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    let state = State::load(global, &args.rest[0])?;
    let status = state.status(&state::folder(global, &args.rest[0])?);
    let shown = describe(&state, status, false);
    print_json(caller, &shown)
}

/// All containers, by name. One that goes away meanwhile is not there.
fn all(global: &Global) -> Outcome<Vec<(State, Status)>> {
    let entries = match std::fs::read_dir(&global.root) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Failure::new(format!("cannot read `{}`: {e}", global.root.display())))?,
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    let load = |name: &String| {
        let state = State::load(global, name).ok()?;
        let status = state.status(&global.root.join(name));
        Some((state, status))
    };
    Ok(names.iter().filter_map(load).collect())
}

pub(super) fn list(caller: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    let containers = all(global)?;
    if args.has("quiet") {
        for (state, _) in &containers {
            writeln!(caller.out, "{}", state.id)?;
        }
        return Ok(0);
    }
    match args.value("format").unwrap_or("table") {
        "json" => {
            let shown: Vec<Value> = containers
                .iter()
                .map(|(state, status)| describe(state, *status, true))
                .collect();
            // As runc prints an empty list.
            let shown = if shown.is_empty() {
                Value::Null
            } else {
                Value::Array(shown)
            };
            writeln!(caller.out, "{shown}")?;
        }
        "table" => {
            let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
            for (state, status) in &containers {
                let pid = if *status == Status::Stopped { 0 } else { state.pid };
                let bundle = state.bundle.display().to_string();
                let row = [
                    state.id.clone(),
                    pid.to_string(),
                    status.to_string(),
                    bundle,
                    state.created.clone(),
                    owner(state.owner),
                ];
                rows.push(row);
            }
            print_table(caller, &rows)?;
        }
        other => return Err(Failure::new(format!("invalid format option `{other}`"))),
    }
    Ok(0)
}

/// Columns at least twelve wide, three apart.
fn print_table<const N: usize>(caller: &mut Caller<'_>, rows: &[[String; N]]) -> Outcome<()> {
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count() + 3)
                .max()
                .unwrap_or(0)
                .max(12)
        })
        .collect();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < N {
                line.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count()));
            }
        }
        writeln!(caller.out, "{line}")?;
    }
    Ok(())
}

pub(super) fn ps(caller: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    let state = State::load(global, &args.rest[0])?;
    let pids = cgroup::processes(&state.cgroups);
    match args.value("format").unwrap_or("table") {
        "json" => {
            writeln!(caller.out, "{}", json!(pids))?;
            return Ok(0);
        }
        "table" => {}
        other => return Err(Failure::new(format!("invalid format option `{other}`"))),
    }
    let options = if args.rest.len() > 1 {
        &args.rest[1..]
    } else {
        &["-ef".to_owned()][..]
    };
    let output = Command::new("ps").args(options).stdin(Stdio::null()).output();
    let output = output.map_err(|e| Failure::new(format!("cannot run `ps`: {e}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::new(format!("`ps` failed: {said}")));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    let column = title.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Failure::new("`ps` shows no PID column with these options"))?;
    writeln!(caller.out, "{title}")?;
    for line in lines {
        let pid = line
            .split_whitespace()
            .nth(column)
            .and_then(|field| field.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            writeln!(caller.out, "{line}")?;
        }
    }
    Ok(0)
}
