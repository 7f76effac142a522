//! Devices by name: what their vendors' files say becomes part of the container.

use std::path::PathBuf;

use hull_runtime::cgroup::{DevicePolicy, DeviceRule, default_rules};
use hull_runtime::container::{Container, Device, DeviceKind, Mount, Source, User};
use hull_spec::container::{DeviceRequest, HostConfig};
use hull_sys::mount::{Attributes, Propagation};

use crate::cdi::{self, Devices, Edits};
use crate::{Engine, Error, Result};

/// The kind of device that `--gpus` means.
const GPU: &str = "nvidia.com/gpu";

/// Gives the container the devices that are asked for by name.
pub(super) fn apply(
    engine: &Engine,
    host: &HostConfig,
    container: &mut Container,
    policy: &mut DevicePolicy,
) -> Result<()> {
    if host.device_requests.is_empty() {
        return Ok(());
    }
    let devices = cdi::devices(engine)?;
    let mut names = Vec::new();
    for request in &host.device_requests {
        names.extend(wanted(request, &devices)?);
    }
    for edits in devices.resolve(&names)? {
        edit(&edits, container, policy)?;
    }
    Ok(())
}

/// The names of devices that a request means.
fn wanted(request: &DeviceRequest, devices: &Devices) -> Result<Vec<String>> {
    let ids = request.device_ids.clone().unwrap_or_default();
    if request.driver == "cdi" {
        return Ok(ids);
    }
    let capabilities = request.capabilities.clone().unwrap_or_default();
    let none = || {
        let sets: Vec<String> = capabilities.iter().map(|set| format!("[{}]", set.join(" "))).collect();
        Error::Invalid(format!(
            "could not select device driver \"{}\" with capabilities: [{}]",
            request.driver,
            sets.join(" ")
        ))
    };
    let gpu = capabilities.iter().any(|set| set.iter().any(|c| c == "gpu"));
    let prefix = format!("{GPU}=");
    let there: Vec<&str> = devices.names().filter(|name| name.starts_with(&prefix)).collect();
    if !gpu || !matches!(request.driver.as_str(), "" | "nvidia") || there.is_empty() {
        return Err(none());
    }
    let all = format!("{prefix}all");
    if !ids.is_empty() {
        return Ok(ids.iter().map(|id| format!("{prefix}{id}")).collect());
    }
    if request.count < 0 {
        return Ok(match there.contains(&all.as_str()) {
            true => vec![all],
            false => there.into_iter().map(str::to_owned).collect(),
        });
    }
    Ok((0..request.count).map(|number| format!("{prefix}{number}")).collect())
}

fn edit(edits: &Edits, container: &mut Container, policy: &mut DevicePolicy) -> Result<()> {
    let refuse = |what: &str| Err(Error::Unsupported(format!("CDI device injection failed: {what}")));
    if !edits.hooks.is_empty() {
        let names: Vec<&str> = edits
            .hooks
            .iter()
            .filter_map(|hook| hook["hookName"].as_str())
            .collect();
        return refuse(&format!(
            "the device wants hooks to be run ({}), which hull does for OCI bundles only",
            names.join(", ")
        ));
    }
    if edits.intel_rdt.is_some() {
        return refuse("`intelRdt` is not supported");
    }
    for entry in &edits.env {
        let name = entry.split('=').next().unwrap_or_default();
        container.process.env.retain(|e| e.split('=').next() != Some(name));
        container.process.env.push(entry.clone());
    }
    for node in &edits.device_nodes {
        let device = device(node)?;
        allow(policy, &device, &node.permissions);
        container.devices.retain(|d| d.path != device.path);
        container.devices.push(device);
    }
    for mount in &edits.mounts {
        let mount = bind(mount)?;
        container.mounts.push(mount);
    }
    if let User::Named { groups, .. } = &mut container.process.user {
        groups.extend(edits.additional_gids.iter().map(u32::to_string));
    }
    Ok(())
}

/// A node as the file says, and where it says nothing, as the host's is.
fn device(node: &cdi::Node) -> Result<Device> {
    let path = if node.host_path.is_empty() {
        &node.path
    } else {
        &node.host_path
    };
    let failed = |why: String| Error::Invalid(format!("CDI device injection failed: device `{path}`: {why}"));
    let there = super::devices::node(path.as_ref());
    let kind = match node.kind.as_str() {
        "b" => Some(DeviceKind::Block),
        "c" | "u" => Some(DeviceKind::Char),
        "p" => Some(DeviceKind::Fifo),
        _ => there.as_ref().map(|d| d.kind),
    };
    let kind = kind.ok_or_else(|| failed("not a device node".to_owned()))?;
    let number = |given: Option<i64>, real: Option<u32>| match given {
        Some(number) => u32::try_from(number).map_err(|_| failed(format!("invalid number {number}"))),
        None => Ok(real.unwrap_or_default()),
    };
    if there.is_none() && kind != DeviceKind::Fifo && (node.major.is_none() || node.minor.is_none()) {
        return Err(failed("no such device node".to_owned()));
    }
    Ok(Device {
        path: node.path.clone(),
        host_path: PathBuf::from(path),
        kind,
        major: number(node.major, there.as_ref().map(|d| d.major))?,
        minor: number(node.minor, there.as_ref().map(|d| d.minor))?,
        mode: node
            .file_mode
            .map(|mode| mode & 0o7777)
            .or(there.as_ref().map(|d| d.mode))
            .unwrap_or(0o666),
        uid: node.uid.or(there.as_ref().map(|d| d.uid)).unwrap_or(0),
        gid: node.gid.or(there.as_ref().map(|d| d.gid)).unwrap_or(0),
    })
}

fn allow(policy: &mut DevicePolicy, device: &Device, permissions: &str) {
    let permissions = if permissions.is_empty() { "rwm" } else { permissions };
    let rule = DeviceRule {
        allow: true,
        kind: Some(device.kind),
        major: Some(device.major),
        minor: Some(device.minor),
        read: permissions.contains('r'),
        write: permissions.contains('w'),
        mknod: permissions.contains('m'),
    };
    match policy {
        DevicePolicy::Rules(rules) => rules.push(rule),
        DevicePolicy::Default => {
            let mut rules = default_rules();
            rules.push(rule);
            *policy = DevicePolicy::Rules(rules);
        }
        // All devices are allowed.
        _ => {}
    }
}

fn bind(mount: &cdi::Mount) -> Result<Mount> {
    let refuse = |what: String| {
        Err(Error::Unsupported(format!(
            "CDI device injection failed: mount on `{}`: {what}",
            mount.container_path
        )))
    };
    if !matches!(mount.kind.as_str(), "" | "bind" | "none") {
        return refuse(format!("file systems of type `{}` are not supported", mount.kind));
    }
    let mut out = Mount {
        source: Source::Bind {
            path: PathBuf::from(&mount.host_path),
            recursive: false,
            idmap: false,
            beneath: String::new(),
        },
        target: mount.container_path.clone(),
        set: Attributes::default(),
        clear: Attributes::default(),
        recursive_attributes: false,
        propagation: None,
        idmap: None,
    };
    for option in &mount.options {
        let set = match option.as_str() {
            "ro" => Attributes::RDONLY,
            "nosuid" => Attributes::NOSUID,
            "nodev" => Attributes::NODEV,
            "noexec" => Attributes::NOEXEC,
            "noatime" => Attributes::NOATIME,
            "rbind" => {
                if let Source::Bind { recursive, .. } = &mut out.source {
                    *recursive = true;
                }
                continue;
            }
            "shared" | "rshared" => {
                out.propagation = Some(Propagation::Shared);
                continue;
            }
            "slave" | "rslave" => {
                out.propagation = Some(Propagation::Slave);
                continue;
            }
            "bind" | "rw" | "suid" | "dev" | "exec" | "private" | "rprivate" => continue,
            other => return refuse(format!("option `{other}` is not supported")),
        };
        out.set = out.set.with(set);
    }
    Ok(out)
}
