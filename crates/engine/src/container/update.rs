//! `update`: other limits and another restart policy for a container, whatever it is doing.

mod limits;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hull_runtime::cgroup;
use hull_spec::container::{HostConfig, LiveState, Record, RestartPolicy};

use super::{describe, find, policy, record, status};
use crate::{Engine, Error, Result, event};

/// How long another command may be about to start the container.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateRequest {
    /// The limits: those that are 0, empty or missing stay as they are. Nothing but the limits is looked at.
    pub limits: HostConfig,
    /// The restart policy.
    pub restart_policy: Option<RestartPolicy>,
    /// What happens when it becomes unhealthy.
    pub health_on_failure: Option<String>,
}

/// Changes a container. A running one gets its new limits at once; the record is written when the kernel has taken them.
///
/// # Errors
/// No such container; limits that contradict each other or what is there; what the kernel refuses.
pub fn update(engine: &Engine, name: &str, request: &UpdateRequest) -> Result<()> {
    limits::check(&request.limits)?;
    if let Some(policy) = &request.restart_policy {
        policy::check_restart(policy)?;
    }
    let id = find(engine, name)?.id;
    let failed = |e: Error| match e {
        e @ (Error::NoSuchContainer { .. } | Error::Busy { .. } | Error::Update { .. }) => e,
        e => Error::Update {
            id: id.clone(),
            source: Box::new(e),
        },
    };
    let _hold = record::hold(engine, &id)?;
    let mut record = find::load(engine, &id)?;
    merge(&mut record, request).map_err(failed)?;
    let resources = limits::changed(&record.host_config, &request.limits).map_err(failed)?;
    // Refused before anything is written, also for a container that does not run.
    cgroups(&record, &resources).map_err(failed)?;
    let live = status::derive(engine, &record)?.live;
    if let Some(live) = &live {
        apply(engine, &record, live, &resources).map_err(failed)?;
    }
    find::save(engine, &record)?;
    // Whoever starts the container at this moment may have read the record as it was.
    if let Some(later) = settled(engine, &record)?
        && live.is_none_or(|live| (live.pid, live.start_ticks) != (later.pid, later.start_ticks))
    {
        apply(engine, &record, &later, &resources).map_err(failed)?;
    }
    event::container(engine, &record, "update", &[]);
    Ok(())
}

/// The record as it will be.
fn merge(record: &mut Record, request: &UpdateRequest) -> Result<()> {
    let host = &mut record.host_config;
    limits::merge(host, &request.limits)?;
    if let Some(policy) = &request.restart_policy {
        let restarts = !matches!(policy.name.as_str(), "" | "no");
        if host.auto_remove && restarts {
            return Err(Error::State(
                "Restart policy cannot be updated because AutoRemove is enabled for the container".to_owned(),
            ));
        }
        host.restart_policy = policy.clone();
    }
    if let Some(on_failure) = &request.health_on_failure {
        host.health_on_failure.clone_from(on_failure);
    }
    policy::check_health(record.config.healthcheck.as_ref(), host)
}

fn cgroups(record: &Record, resources: &cgroup::Resources) -> Result<cgroup::Plan> {
    let parent = describe::parent(&record.host_config);
    Ok(cgroup::plan(&cgroup::detect(), parent, &record.id, resources)?)
}

/// Writes limits for a running container. One that has ended meanwhile needs none.
fn apply(engine: &Engine, record: &Record, live: &LiveState, resources: &cgroup::Resources) -> Result<()> {
    let plan = cgroups(record, resources)?;
    if plan.writes.is_empty() {
        return Ok(());
    }
    let current = status::cgroups(live);
    if current.is_empty() {
        return Err(Error::Unsupported(
            "it runs without cgroups, which this host did not let us make: new limits take a stop and a start"
                .to_owned(),
        ));
    }
    let run = engine.container_run(&record.id);
    let new = cgroup::additions(&plan, &current);
    let done = write(&run, live, &plan, &current, &new);
    if status::alive(live.pid, live.start_ticks) {
        return done;
    }
    // It has ended meanwhile, and whoever cleared up after it may not have seen what was just made.
    cgroup::remove(&new);
    Ok(())
}

fn write(run: &Path, live: &LiveState, plan: &cgroup::Plan, current: &[PathBuf], new: &[PathBuf]) -> Result<()> {
    if !new.is_empty() {
        // Before they are made: whoever clears up after the container finds them here.
        hull_monitor::note_cgroups(run, new)?;
    }
    let all = cgroup::update(plan, current).map_err(|e| explain(e, current))?;
    if !new.is_empty() {
        join(run, live, &all)?;
    }
    Ok(())
}

/// Writes down that the container is in more cgroups than it was started in.
fn join(run: &Path, live: &LiveState, cgroups: &[PathBuf]) -> Result<()> {
    let live = LiveState {
        cgroups: cgroups.iter().map(|folder| folder.display().to_string()).collect(),
        ..live.clone()
    };
    Ok(hull_monitor::write_state(run, &live)?)
}

/// Says what the kernel means by a bare number.
fn explain(error: hull_runtime::Error, cgroups: &[PathBuf]) -> Error {
    let hull_runtime::Error::Cgroup { path, value, errno } = &error else {
        return error.into();
    };
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let limits_memory = file.starts_with("memory.") && file.contains("limit_in_bytes");
    if limits_memory && *errno == rustix::io::Errno::BUSY {
        let used = cgroup::usage(cgroups).memory.unwrap_or_default();
        return Error::State(format!(
            "unable to set memory limit to {value} (current usage: {used}): its processes use more than that, and the \
             kernel could not take it back"
        ));
    }
    error.into()
}

/// The running container, once nobody is about to start it any more.
fn settled(engine: &Engine, record: &Record) -> Result<Option<LiveState>> {
    let started = Instant::now();
    loop {
        let look = status::derive(engine, record)?;
        if look.live.is_some() || !look.monitored || started.elapsed() > PATIENCE {
            return Ok(look.live);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
