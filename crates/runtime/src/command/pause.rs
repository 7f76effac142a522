//! `pause` and `resume`: the freezer.

use super::arguments::Arguments;
use super::state::{self, State, Status};
use super::{Caller, Failure, Global, Outcome};
use crate::cgroup;

pub(super) fn pause(_: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    change(global, &args.rest[0], true)
}

pub(super) fn resume(_: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    change(global, &args.rest[0], false)
}

fn change(global: &Global, id: &str, freeze: bool) -> Outcome {
    let state = State::load(global, id)?;
    match (state.status(&state::folder(global, id)?), freeze) {
        (Status::Running | Status::Created, true) => cgroup::freeze(&state.cgroups)?,
        (Status::Paused, false) => cgroup::thaw(&state.cgroups)?,
        (_, true) => return Err(Failure::new("container not running or created")),
        (_, false) => return Err(Failure::new("container not paused")),
    }
    Ok(0)
}
