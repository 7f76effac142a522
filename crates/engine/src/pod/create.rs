//! `pod create`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use hull_spec::container::{self as spec, RestartPolicy};
use rustix::fs::{FlockOperation, flock};

use super::record::{self, Namespace, Pod};
use crate::container::{self, is_name, name};
use crate::{Engine, Error, Result};

/// A pod to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CreateRequest {
    /// Its name; empty for a made-up one.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What its containers share.
    pub shared: Vec<Namespace>,
    /// What the infra container is like: network, ports, host name, name servers. `None` for no infra container.
    pub infra: Option<spec::CreateRequest>,
    /// The restart policy of members that have none of their own.
    pub restart_policy: RestartPolicy,
    /// The parent cgroup of its containers.
    pub cgroup_parent: String,
    /// The command line.
    pub create_command: Vec<String>,
}

/// Creates a pod with its infra container. Nothing runs yet.
///
/// # Errors
/// [`Error::PodNameInUse`]; whatever keeps the infra container from being made.
pub fn create(engine: &Engine, request: &CreateRequest) -> Result<Pod> {
    if !request.name.is_empty() && !is_name(&request.name) {
        return Err(Error::Invalid(
            "names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument".to_owned(),
        ));
    }
    record::sweep(engine);
    let mut pod = Pod {
        id: name::id(name::entropy()),
        name: free_name(engine, &request.name),
        created: format!("{:.9}", jiff::Timestamp::now()),
        labels: request.labels.clone(),
        shared: request.shared.clone(),
        infra: None,
        restart_policy: request.restart_policy.clone(),
        cgroup_parent: request.cgroup_parent.clone(),
        create_command: request.create_command.clone(),
    };
    let place = record::place(engine, &pod.name);
    if place.exists() {
        return Err(Error::PodNameInUse { name: pod.name });
    }
    let new = record::folder(engine).join(format!(".new-{}", pod.id));
    let failed = |source| Error::Write {
        path: new.clone(),
        source,
    };
    fs::create_dir_all(new.join("members")).map_err(failed)?;
    // Tells a sweeping command that this one is alive. Given up with the rename: who finds the pod may add to it.
    let held = File::open(&new).map_err(failed)?;
    flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(|e| failed(e.into()))?;
    let made = fill(engine, request, &mut pod, &new).and_then(|()| {
        // A folder with something in it is not replaced: the name is claimed, or it was taken meanwhile.
        fs::rename(&new, &place).map_err(|e| match e.kind() {
            std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::AlreadyExists => {
                Error::PodNameInUse { name: pod.name.clone() }
            }
            _ => Error::Write {
                path: place.clone(),
                source: e,
            },
        })
    });
    if made.is_err() {
        if let Some(infra) = &pod.infra {
            let _ = container::remove(engine, infra, &container::RemoveRequest::default());
        }
        let _ = fs::remove_dir_all(&new);
    }
    made.map(|()| pod)
}

fn free_name(engine: &Engine, wanted: &str) -> String {
    if !wanted.is_empty() {
        return wanted.to_owned();
    }
    let names = (0..100).map(|attempt| name::random(name::entropy(), attempt));
    let mut names = names.skip_while(|name| record::place(engine, name).exists());
    names.next().unwrap_or_default()
}

/// Makes the infra container and writes the record, all before the pod can be found.
fn fill(engine: &Engine, request: &CreateRequest, pod: &mut Pod, new: &Path) -> Result<()> {
    if let Some(infra) = &request.infra {
        let mut infra = infra.clone();
        if infra.name.is_empty() {
            infra.name = format!("{}-infra", &pod.id[..12]);
        }
        let own_uts = infra.host_config.uts_mode.is_empty() && infra.host_config.network_mode != "host";
        if infra.config.hostname.is_empty() && own_uts {
            infra.config.hostname = pod.name.chars().take(63).collect();
        }
        infra.pod = Some(pod.id.clone());
        infra.host_config.cgroup_parent.clone_from(&pod.cgroup_parent);
        pod.infra = Some(container::create_infra(engine, &infra, &new.join("members"))?);
    }
    record::write(&new.join("pod.json"), pod)
}
