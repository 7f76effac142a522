//! What is done to all containers of a pod.

use std::fs;

use hull_spec::ErrorKind;
use hull_spec::container::{Record, Status};

use super::member::members;
use super::record::{self, Pod, find};
use crate::container::{self, StartRequest, status};
use crate::{Engine, Error, Result};

/// How a pod is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveRequest {
    /// Stop and remove its containers, too.
    pub force: bool,
    /// Seconds until a container is killed.
    pub timeout: Option<i64>,
}

/// Acts on each container and goes on where one fails. The first failure is told, with how many others there were.
fn each(records: &[Record], mut act: impl FnMut(&Record) -> Result<()>) -> Result<()> {
    let mut failures = records.iter().filter_map(|record| act(record).err());
    let Some(first) = failures.next() else { return Ok(()) };
    match failures.count() {
        0 => Err(first),
        more => Err(Error::Several {
            first: Box::new(first),
            more,
        }),
    }
}

/// What a container's own removal or end makes of a failure: nothing.
fn unless_gone(done: Result<()>) -> Result<()> {
    match done {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Starts all containers, the infra container first. Returns the pod's ID.
///
/// # Errors
/// [`Error::NoSuchPod`]; what keeps a container from running: the others run all the same.
pub fn start(engine: &Engine, name: &str) -> Result<String> {
    let pod = find(engine, name)?;
    each(&members(engine, &pod)?, |record| {
        container::start(engine, &record.id, &StartRequest::default()).map(drop)
    })?;
    Ok(pod.id)
}

/// Stops all containers, the infra container last. Returns the pod's ID.
///
/// # Errors
/// As [`start`].
pub fn stop(engine: &Engine, name: &str, timeout: Option<i64>) -> Result<String> {
    let pod = find(engine, name)?;
    stop_all(engine, &pod, timeout)?;
    Ok(pod.id)
}

fn stop_all(engine: &Engine, pod: &Pod, timeout: Option<i64>) -> Result<()> {
    let mut records = members(engine, pod)?;
    records.reverse();
    each(&records, |record| {
        unless_gone(container::stop(engine, &record.id, None, timeout))
    })
}

/// Stops and starts all containers. Returns the pod's ID.
///
/// # Errors
/// As [`start`].
pub fn restart(engine: &Engine, name: &str) -> Result<String> {
    let pod = find(engine, name)?;
    stop_all(engine, &pod, None)?;
    start(engine, &pod.id)
}

/// Sends a signal to all running containers. Returns the pod's ID.
///
/// # Errors
/// As [`start`]; an invalid signal.
pub fn kill(engine: &Engine, name: &str, signal: &str) -> Result<String> {
    container::parse_signal(signal)?;
    in_state(engine, name, &[Status::Running, Status::Paused], |record| {
        container::kill(engine, &record.id, signal)
    })
}

/// Freezes all running containers. Returns the pod's ID.
///
/// # Errors
/// As [`start`].
pub fn pause(engine: &Engine, name: &str) -> Result<String> {
    in_state(engine, name, &[Status::Running], |record| {
        container::pause(engine, &record.id)
    })
}

/// Lets all frozen containers go on. Returns the pod's ID.
///
/// # Errors
/// As [`start`].
pub fn unpause(engine: &Engine, name: &str) -> Result<String> {
    in_state(engine, name, &[Status::Paused], |record| {
        container::unpause(engine, &record.id)
    })
}

fn in_state(engine: &Engine, name: &str, states: &[Status], act: impl Fn(&Record) -> Result<()>) -> Result<String> {
    let pod = find(engine, name)?;
    let mut records = Vec::new();
    for record in members(engine, &pod)? {
        if states.contains(&status::derive(engine, &record)?.status) {
            records.push(record);
        }
    }
    each(&records, |record| match act(record) {
        // It has ended meanwhile.
        Err(Error::NotRunning { .. }) => Ok(()),
        done => unless_gone(done),
    })?;
    Ok(pod.id)
}

/// Removes a pod with its infra container. Returns its ID.
///
/// # Errors
/// [`Error::NoSuchPod`]; other containers, and a running infra container, without `force`.
pub fn remove(engine: &Engine, name: &str, request: &RemoveRequest) -> Result<String> {
    let pod = find(engine, name)?;
    let refuse = |what: String| {
        Error::State(format!(
            "pod {} {what}: use --force to remove its containers, too",
            pod.id
        ))
    };
    if request.force {
        stop_all(engine, &pod, request.timeout)?;
    }
    // From here on nobody joins.
    let held = record::hold(engine, &pod, true)?;
    let mut records = members(engine, &pod)?;
    if !request.force {
        let others = records.iter().filter(|r| pod.infra.as_deref() != Some(&r.id)).count();
        if others > 0 {
            return Err(refuse(format!("has {others} containers")));
        }
        for record in &records {
            if status::derive(engine, record)?.live.is_some() {
                return Err(refuse("is running".to_owned()));
            }
        }
    }
    records.reverse();
    let force = container::RemoveRequest {
        force: request.force,
        volumes: true,
    };
    each(&records, |record| {
        unless_gone(container::remove_of_pod(engine, &record.id, &force))
    })?;
    let place = record::place(engine, &pod.name);
    let gone = place.with_file_name(format!(".removed-{}", pod.id));
    let done = fs::rename(&place, &gone).and_then(|()| fs::remove_dir_all(&gone));
    done.map_err(|source| Error::Write { path: place, source })?;
    drop(held);
    Ok(pod.id)
}

/// Removes all pods of which no container runs. Returns their IDs.
///
/// # Errors
/// What cannot be removed.
pub fn prune(engine: &Engine) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for pod in record::pods(engine)? {
        let mut runs = false;
        let mut ended = false;
        for record in members(engine, &pod)? {
            let look = status::derive(engine, &record)?;
            runs |= look.live.is_some();
            ended |= look.status == Status::Exited;
        }
        // One that was never started is not stopped.
        if runs || !ended {
            continue;
        }
        let request = RemoveRequest {
            force: true,
            timeout: None,
        };
        match remove(engine, &pod.name, &request) {
            Err(Error::NoSuchPod { .. }) => {}
            done => out.push(done?),
        }
    }
    Ok(out)
}
