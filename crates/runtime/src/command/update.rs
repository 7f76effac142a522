//! `update`: other limits for a running container.

use std::io::Read;
use std::os::fd::AsFd;

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::arguments::{Arguments, Flag};
use super::state::{self, State, Status};
use super::{Caller, Failure, Global, Outcome};
use crate::{bundle, cgroup};

pub(super) const FLAGS: &[Flag] = &[
    Flag::value(&["resources", "r"]),
    Flag::value(&["blkio-weight"]),
    Flag::value(&["cpu-period"]),
    Flag::value(&["cpu-quota"]),
    Flag::value(&["cpu-burst"]),
    Flag::value(&["cpu-share"]),
    Flag::value(&["cpu-rt-period"]),
    Flag::value(&["cpu-rt-runtime"]),
    Flag::value(&["cpu-idle"]),
    Flag::value(&["cpuset-cpus"]),
    Flag::value(&["cpuset-mems"]),
    Flag::value(&["memory"]),
    Flag::value(&["memory-reservation"]),
    Flag::value(&["memory-swap"]),
    Flag::value(&["pids-limit"]),
];

/// Flags and the fields of the config that they stand for.
const NUMBERS: [(&str, &str, &str); 12] = [
    ("blkio-weight", "blockIO", "weight"),
    ("cpu-period", "cpu", "period"),
    ("cpu-quota", "cpu", "quota"),
    ("cpu-burst", "cpu", "burst"),
    ("cpu-share", "cpu", "shares"),
    ("cpu-rt-period", "cpu", "realtimePeriod"),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime"),
    ("cpu-idle", "cpu", "idle"),
    ("memory", "memory", "limit"),
    ("memory-reservation", "memory", "reservation"),
    ("memory-swap", "memory", "swap"),
    ("pids-limit", "pids", "limit"),
];

pub(super) fn command(caller: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    let id = &args.rest[0];
    let mut state = State::load(global, id)?;
    let folder = state::folder(global, id)?;
    if state.status(&folder) == Status::Stopped {
        return Err(Failure::new("container not running"));
    }
    let spec = match args.value("resources").filter(|path| !path.is_empty()) {
        Some(path) => from_file(caller, path)?,
        None => from_flags(args)?,
    };
    let layout = cgroup::detect();
    let mut resources = bundle::resources(&spec, &layout)?;
    // The devices stay as they were made.
    resources.devices = cgroup::DevicePolicy::All;
    let plan = cgroup::plan(&layout, &state.cgroup.0, &state.cgroup.1, &resources)?;
    state.cgroups = cgroup::update(&plan, &state.cgroups)?;
    state.save(&folder)?;
    Ok(0)
}

fn from_file(caller: &Caller<'_>, path: &str) -> Outcome<LinuxResources> {
    let mut text = Vec::new();
    let read = if path == "-" {
        let stdin = caller.stdin.as_fd().try_clone_to_owned()?;
        std::fs::File::from(stdin).read_to_end(&mut text).map(drop)
    } else {
        std::fs::read(path).map(|read| text = read)
    };
    read.map_err(|e| Failure::new(format!("cannot read resources `{path}`: {e}")))?;
    serde_json::from_slice(&text).map_err(|e| Failure::new(format!("`{path}` holds no OCI resources: {e}")))
}

fn from_flags(args: &Arguments) -> Outcome<LinuxResources> {
    let mut spec = Map::new();
    let mut set = |group: &str, field: &str, value: Value| {
        spec.entry(group).or_insert_with(|| json!({}))[field] = value;
    };
    for (flag, group, field) in NUMBERS {
        if let Some(number) = args.number::<i64>(flag)? {
            set(group, field, number.into());
        }
    }
    for (flag, field) in [("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")] {
        if let Some(list) = args.value(flag) {
            set("cpu", field, list.into());
        }
    }
    serde_json::from_value(Value::Object(spec)).map_err(|e| Failure::new(format!("a limit is out of range: {e}")))
}
