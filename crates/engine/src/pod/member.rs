//! The containers of a pod.

use std::fs;

use hull_spec::container::{CreateRequest, Record};

use super::record::{self, Namespace, Pod};
use crate::container::{self, StartRequest};
use crate::{Engine, Error, Result};

/// The containers of a pod, in the order of their creation, the infra container first.
///
/// # Errors
/// If a record is there and cannot be read.
pub fn members(engine: &Engine, pod: &Pod) -> Result<Vec<Record>> {
    let mut out = Vec::new();
    for id in record::listed(engine, pod)? {
        match container::load(engine, &id) {
            Ok(found) if found.pod.as_deref() == Some(&pod.id) => out.push(found),
            Ok(_) | Err(Error::NoSuchContainer { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    out.sort_by(|a, b| {
        let rank = |record: &Record| (pod.infra.as_deref() != Some(&record.id), record.created.clone());
        rank(a).cmp(&rank(b))
    });
    Ok(out)
}

/// Makes `request` one for a member of pod `name`: it joins what the pod shares, where it asks for nothing else.
///
/// # Errors
/// [`Error::NoSuchPod`]; ports, which are the pod's.
pub fn adopt(engine: &Engine, request: &mut CreateRequest, name: &str) -> Result<()> {
    let pod = record::find(engine, name)?;
    request.pod = Some(pod.id.clone());
    let host = &mut request.host_config;
    if host.restart_policy.name.is_empty() || host.restart_policy.name == "no" {
        host.restart_policy = pod.restart_policy.clone();
    }
    if host.cgroup_parent.is_empty() {
        host.cgroup_parent.clone_from(&pod.cgroup_parent);
    }
    let Some(infra) = &pod.infra else { return Ok(()) };
    let join = format!("container:{infra}");
    let shares = |namespace| pod.shared.contains(&namespace);
    if shares(Namespace::Net) {
        if !matches!(host.network_mode.as_str(), "" | "default") {
            return Err(Error::Invalid(
                "invalid config provided: networks must be defined when the pod is created: network cannot be configured when it is shared with a pod"
                    .to_owned(),
            ));
        }
        if !host.port_bindings.is_empty() || host.publish_all_ports || !request.config.exposed_ports.is_empty() {
            return Err(Error::Invalid(
                "invalid config provided: published or exposed ports must be defined when the pod is created: network cannot be configured when it is shared with a pod"
                    .to_owned(),
            ));
        }
        if !host.dns.is_empty() || host.extra_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty()) {
            return Err(Error::Invalid(
                "invalid config provided: hosts and name servers must be defined when the pod is created".to_owned(),
            ));
        }
        host.network_mode.clone_from(&join);
        request.networking_config = hull_spec::container::NetworkingConfig::default();
    }
    if shares(Namespace::Uts) && host.uts_mode.is_empty() {
        if !request.config.hostname.is_empty() {
            return Err(Error::Invalid(
                "cannot set hostname when running in the pod: it is shared".to_owned(),
            ));
        }
        host.uts_mode.clone_from(&join);
    }
    if shares(Namespace::Ipc) && host.ipc_mode.is_empty() {
        host.ipc_mode.clone_from(&join);
    }
    if shares(Namespace::Pid) && host.pid_mode.is_empty() {
        host.pid_mode = join;
    }
    Ok(())
}

/// Puts a container that is about to appear on its pod's list. The pod stays for as long as the result lives.
pub(crate) fn enlist(engine: &Engine, pod: &str, id: &str) -> Result<fs::File> {
    let pod = record::find(engine, pod)?;
    let held = record::hold(engine, &pod, false)?;
    let list = record::place(engine, &pod.name).join("members");
    for other in record::listed(engine, &pod)? {
        // Of containers that were removed or never came to be.
        if !container::exists(engine, &other) && !container::is_being_made(engine, &other) {
            let _ = fs::remove_file(list.join(other));
        }
    }
    let path = list.join(id);
    fs::write(&path, "").map_err(|source| Error::Write { path, source })?;
    Ok(held)
}

/// Starts the infra container of a member's pod, whose namespaces the member is about to join.
pub(crate) fn before_start(engine: &Engine, member: &Record) -> Result<()> {
    let Some(pod) = &member.pod else { return Ok(()) };
    let infra = match record::find(engine, pod) {
        Ok(pod) => pod.infra,
        Err(Error::NoSuchPod { .. }) => None,
        Err(e) => return Err(e),
    };
    match infra.filter(|infra| *infra != member.id) {
        Some(infra) => container::start(engine, &infra, &StartRequest::default()).map(drop),
        None => Ok(()),
    }
}

/// Refuses to remove the infra container of a pod that is there.
pub(crate) fn refuse_infra(engine: &Engine, container: &Record) -> Result<()> {
    let Some(pod) = &container.pod else { return Ok(()) };
    match record::find(engine, pod) {
        Ok(pod) if pod.infra.as_deref() == Some(&container.id) => Err(Error::Infra {
            id: container.id.clone(),
            pod: pod.id,
        }),
        Ok(_) | Err(Error::NoSuchPod { .. }) => Ok(()),
        Err(e) => Err(e),
    }
}
