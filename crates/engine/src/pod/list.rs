//! `pod ps` and `pod inspect`.

use std::collections::BTreeMap;

use hull_spec::container::{PortBinding, Record, Status};
use serde::Serialize;

use super::member::members;
use super::record::{self, Pod};
use crate::container::status;
use crate::filter::Filters;
use crate::{Engine, Error, Result};

/// Which pods to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// What they have to match.
    pub filters: Filters,
}

/// A container of a pod in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SummaryContainer {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub names: String,
    /// What it is doing.
    pub status: Status,
}

/// A pod in a list: Podman's JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    /// Parent cgroup of its containers.
    pub cgroup: String,
    /// Its containers.
    pub containers: Vec<SummaryContainer>,
    /// RFC 3339.
    pub created: String,
    /// Its ID.
    pub id: String,
    /// The infra container's ID.
    pub infra_id: String,
    /// Its name.
    pub name: String,
    /// What it shares.
    pub namespace: String,
    /// Networks.
    pub networks: Vec<String>,
    /// What its containers' states make it.
    pub status: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Lists pods, newest first.
///
/// # Errors
/// If a filter is unknown; if a record cannot be read.
pub fn list(engine: &Engine, request: &ListRequest) -> Result<Vec<Summary>> {
    let filters = &request.filters;
    filters.only(&["id", "name", "label", "status", "ctr-names", "ctr-ids", "ctr-number"])?;
    let mut out = Vec::new();
    for pod in record::pods(engine)? {
        let summary = summary(engine, &pod)?;
        if matches(&summary, filters) {
            out.push(summary);
        }
    }
    out.sort_by(|a, b| (&b.created, &b.id).cmp(&(&a.created, &a.id)));
    Ok(out)
}

fn matches(pod: &Summary, filters: &Filters) -> bool {
    let any = |name: &str, test: &dyn Fn(&str) -> bool| {
        let mut values = filters.values(name).iter().peekable();
        values.peek().is_none() || values.any(|value| test(value))
    };
    any("id", &|v| pod.id.starts_with(v))
        && any("name", &|v| pod.name.contains(v))
        && any("status", &|v| pod.status.eq_ignore_ascii_case(v))
        && any("ctr-names", &|v| pod.containers.iter().any(|c| c.names == v))
        && any("ctr-ids", &|v| pod.containers.iter().any(|c| c.id.starts_with(v)))
        && any("ctr-number", &|v| pod.containers.len().to_string() == v)
        && filters.values("label").iter().all(|label| match label.split_once('=') {
            Some((name, value)) => pod.labels.get(name).is_some_and(|v| v == value),
            None => pod.labels.contains_key(label.as_str()),
        })
}

fn summary(engine: &Engine, pod: &Pod) -> Result<Summary> {
    let (containers, records) = containers(engine, pod)?;
    let infra = records.iter().find(|r| pod.infra.as_deref() == Some(&r.id));
    Ok(Summary {
        cgroup: pod.cgroup_parent.clone(),
        status: state(containers.iter().map(|c| c.status)).to_owned(),
        containers,
        created: pod.created.clone(),
        id: pod.id.clone(),
        infra_id: pod.infra.clone().unwrap_or_default(),
        name: pod.name.clone(),
        namespace: shared(pod).join(","),
        networks: infra
            .map(|infra| infra.host_config.network_mode.replace("default", "bridge"))
            .into_iter()
            .collect(),
        labels: pod.labels.clone(),
    })
}

fn shared(pod: &Pod) -> Vec<&'static str> {
    pod.shared.iter().map(|namespace| namespace.name()).collect()
}

fn containers(engine: &Engine, pod: &Pod) -> Result<(Vec<SummaryContainer>, Vec<Record>)> {
    let mut out = Vec::new();
    let mut records = Vec::new();
    for record in members(engine, pod)? {
        match status::derive(engine, &record) {
            Ok(look) => out.push(SummaryContainer {
                id: record.id.clone(),
                names: record.name.clone(),
                status: look.status,
            }),
            Err(Error::NoSuchContainer { .. }) => continue,
            Err(e) => return Err(e),
        }
        records.push(record);
    }
    Ok((out, records))
}

/// Podman's word for what a pod is doing.
fn state(containers: impl Iterator<Item = Status>) -> &'static str {
    let (mut all, mut created, mut running, mut paused) = (0, 0, 0, 0);
    for status in containers {
        all += 1;
        match status {
            Status::Created => created += 1,
            Status::Running | Status::Restarting => running += 1,
            Status::Paused => paused += 1,
            Status::Exited | Status::Dead | Status::Removing => {}
        }
    }
    if created == all {
        "Created"
    } else if running == all {
        "Running"
    } else if paused == all {
        "Paused"
    } else if running + paused > 0 {
        "Degraded"
    } else {
        "Exited"
    }
}

/// A container of a pod, as `pod inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectContainer {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: Status,
}

/// The infra container's part of `pod inspect`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectInfra {
    /// Published ports.
    pub port_bindings: BTreeMap<String, Option<Vec<PortBinding>>>,
    /// Whether it is in the host's network.
    pub host_network: bool,
    /// Name servers.
    #[serde(rename = "DNSServer")]
    pub dns_server: Vec<String>,
    /// Search domains.
    #[serde(rename = "DNSSearch")]
    pub dns_search: Vec<String>,
    /// resolv.conf options.
    #[serde(rename = "DNSOption")]
    pub dns_option: Vec<String>,
    /// Lines of the hosts file.
    pub host_add: Vec<String>,
    /// Networks.
    pub networks: Vec<String>,
    /// `private` or `host`.
    pub pid_ns: String,
    /// `host` or empty.
    pub userns: String,
    /// `private` or `host`.
    pub uts_ns: String,
}

/// All there is to say of a pod: Podman's JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspect {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// The command line that made it.
    pub create_command: Vec<String>,
    /// What happens when the last container ends.
    pub exit_policy: &'static str,
    /// What its containers' states make it.
    pub state: String,
    /// Its host name.
    pub hostname: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Parent cgroup of its containers.
    pub cgroup_parent: String,
    /// Whether there is an infra container.
    pub create_infra: bool,
    /// The infra container.
    #[serde(rename = "InfraContainerID")]
    pub infra_container_id: String,
    /// What it is like.
    pub infra_config: Option<InspectInfra>,
    /// What is shared.
    pub shared_namespaces: Vec<&'static str>,
    /// The restart policy of members that have none of their own.
    pub restart_policy: String,
    /// How many containers there are.
    pub num_containers: usize,
    /// They.
    pub containers: Vec<InspectContainer>,
}

/// Tells all about a pod.
///
/// # Errors
/// [`Error::NoSuchPod`]; if a record cannot be read.
pub fn inspect(engine: &Engine, name: &str) -> Result<Inspect> {
    let pod = record::find(engine, name)?;
    let (containers, records) = containers(engine, &pod)?;
    let infra = records.iter().find(|r| pod.infra.as_deref() == Some(&r.id));
    let own = |mode: &str| if mode.is_empty() { "private" } else { mode }.to_owned();
    Ok(Inspect {
        state: state(containers.iter().map(|c| c.status)).to_owned(),
        hostname: infra.map(|i| i.config.hostname.clone()).unwrap_or_default(),
        infra_config: infra.map(|infra| {
            let host = &infra.host_config;
            InspectInfra {
                port_bindings: host.port_bindings.clone(),
                host_network: host.network_mode == "host",
                dns_server: host.dns.clone(),
                dns_search: host.dns_search.clone(),
                dns_option: host.dns_options.clone(),
                host_add: host.extra_hosts.clone().unwrap_or_default(),
                networks: vec![host.network_mode.replace("default", "bridge")],
                pid_ns: own(&host.pid_mode),
                userns: host.userns_mode.clone(),
                uts_ns: own(&host.uts_mode),
            }
        }),
        shared_namespaces: shared(&pod),
        num_containers: containers.len(),
        containers: containers
            .into_iter()
            .map(|c| InspectContainer {
                id: c.id,
                name: c.names,
                state: c.status,
            })
            .collect(),
        id: pod.id,
        name: pod.name,
        created: pod.created,
        create_command: pod.create_command,
        exit_policy: "continue",
        labels: pod.labels,
        cgroup_parent: pod.cgroup_parent,
        create_infra: pod.infra.is_some(),
        infra_container_id: pod.infra.unwrap_or_default(),
        restart_policy: pod.restart_policy.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_state_is_that_of_its_containers() {
        use Status::{Created, Exited, Paused, Running};
        for (containers, expected) in [
            (&[][..], "Created"),
            (&[Created, Created], "Created"),
            (&[Running, Running], "Running"),
            (&[Running, Exited], "Degraded"),
            (&[Running, Paused], "Degraded"),
            (&[Paused], "Paused"),
            (&[Exited, Exited], "Exited"),
            (&[Exited, Created], "Exited"),
        ] {
            assert_eq!(state(containers.iter().copied()), expected, "{containers:?}");
        }
    }
}
