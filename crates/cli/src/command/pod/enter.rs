//! `--pod` of `run` and `create`.

use hull_engine::{Engine, pod};
use hull_spec::container::CreateRequest;

use crate::args::Matches;
use crate::error::{Failure, Result};

/// Puts the container of `request` into the pod that the flags name. `new:NAME` makes the pod, and the container's ports
/// and name servers become the pod's.
pub(in crate::command) fn enter(args: &Matches, engine: &Engine, mut request: CreateRequest) -> Result<CreateRequest> {
    let by_file = match args.value("pod-id-file") {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::new(format!("cannot read the pod's ID from `{path}`: {e}")))?;
            Some(text.trim().to_owned())
        }
        None => None,
    };
    let Some(name) = args.value("pod").map(str::to_owned).or(by_file) else {
        return Ok(request);
    };
    let name = match name.strip_prefix("new:") {
        None => name,
        Some(name) => {
            let made = pod::create(engine, &around(name, &mut request))?;
            made.id
        }
    };
    pod::adopt(engine, &mut request, &name)?;
    Ok(request)
}

/// A pod for a container, which gives up what becomes the pod's.
fn around(name: &str, request: &mut CreateRequest) -> pod::CreateRequest {
    let mut infra = CreateRequest::default();
    let (from, to) = (&mut request.host_config, &mut infra.host_config);
    to.network_mode = std::mem::replace(&mut from.network_mode, "default".to_owned());
    to.port_bindings = std::mem::take(&mut from.port_bindings);
    to.publish_all_ports = std::mem::take(&mut from.publish_all_ports);
    to.dns = std::mem::take(&mut from.dns);
    to.dns_search = std::mem::take(&mut from.dns_search);
    to.dns_options = std::mem::take(&mut from.dns_options);
    to.extra_hosts = from.extra_hosts.take();
    to.shm_size = from.shm_size;
    to.ipc_mode = "shareable".to_owned();
    infra.networking_config = std::mem::take(&mut request.networking_config);
    infra.config.exposed_ports = std::mem::take(&mut request.config.exposed_ports);
    infra.config.hostname = std::mem::take(&mut request.config.hostname);
    infra.config.domainname = std::mem::take(&mut request.config.domainname);
    pod::CreateRequest {
        name: name.to_owned(),
        shared: vec![pod::Namespace::Ipc, pod::Namespace::Net, pod::Namespace::Uts],
        infra: Some(infra),
        ..pod::CreateRequest::default()
    }
}
