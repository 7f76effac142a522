//! Device nodes, and which devices may be used.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use hull_runtime::cgroup::{DevicePolicy, DeviceRule, default_rules};
use hull_runtime::container::{Device, DeviceKind};
use hull_spec::container::{DeviceMapping, HostConfig};

use crate::{Error, Result};

/// The nodes of a container and its device policy.
pub(super) struct Devices {
    pub(super) nodes: Vec<Device>,
    pub(super) policy: DevicePolicy,
}

/// The devices that every container has (OCI runtime spec, config-linux.md, "Default Devices").
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Plans the devices.
pub(super) fn plan(host: &HostConfig, rootless: bool) -> Result<Devices> {
    let mut nodes: Vec<Device> = DEFAULT
        .iter()
        .map(|&(path, major, minor)| Device {
            path: path.to_owned(),
            host_path: path.into(),
            kind: DeviceKind::Char,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    if host.privileged {
        if !rootless {
            let mut all = Vec::new();
            below(Path::new("/dev"), &mut all);
            all.retain(|d| nodes.iter().all(|n| n.path != d.path));
            nodes.append(&mut all);
        }
        return Ok(Devices {
            nodes,
            policy: DevicePolicy::All,
        });
    }
    let mut rules = Vec::new();
    for mapping in &host.devices {
        for device in mapped(mapping)? {
            rules.push(rule(&device, &mapping.cgroup_permissions)?);
            nodes.retain(|n| n.path != device.path);
            nodes.push(device);
        }
    }
    for text in host.device_cgroup_rules.iter().flatten() {
        rules.push(parse_rule(text)?);
    }
    let policy = if rules.is_empty() {
        DevicePolicy::Default
    } else {
        let mut all = default_rules();
        all.append(&mut rules);
        DevicePolicy::Rules(all)
    };
    Ok(Devices { nodes, policy })
}

/// One `--device`: a node, or all nodes of a folder.
fn mapped(mapping: &DeviceMapping) -> Result<Vec<Device>> {
    let host = Path::new(&mapping.path_on_host);
    let inside = if mapping.path_in_container.is_empty() {
        &mapping.path_on_host
    } else {
        &mapping.path_in_container
    };
    let gathered = |why: &dyn std::fmt::Display| {
        Error::Invalid(format!(
            "error gathering device information while adding custom device \"{}\": {why}",
            host.display()
        ))
    };
    let resolved = std::fs::canonicalize(host).map_err(|_| gathered(&"no such file or directory"))?;
    if resolved.is_dir() {
        let mut all = Vec::new();
        below(&resolved, &mut all);
        for device in &mut all {
            let tail = Path::new(&device.path)
                .strip_prefix(&resolved)
                .unwrap_or(Path::new(""))
                .to_owned();
            device.path = Path::new(inside).join(tail).display().to_string();
        }
        return if all.is_empty() {
            Err(gathered(&"not a device node"))
        } else {
            Ok(all)
        };
    }
    let mut device = node(&resolved).ok_or_else(|| gathered(&"not a device node"))?;
    device.path.clone_from(inside);
    Ok(vec![device])
}

/// The device at `path`, as a node of the same name.
pub(super) fn node(path: &Path) -> Option<Device> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    let kind = meta.file_type();
    let kind = if kind.is_char_device() {
        DeviceKind::Char
    } else if kind.is_block_device() {
        DeviceKind::Block
    } else {
        return None;
    };
    Some(Device {
        path: path.display().to_string(),
        host_path: path.to_owned(),
        kind,
        major: rustix::fs::major(meta.rdev()),
        minor: rustix::fs::minor(meta.rdev()),
        mode: meta.mode() & 0o777,
        uid: meta.uid(),
        gid: meta.gid(),
    })
}

/// All devices below a folder, but for terminals and what has a file system of its own in every container.
fn below(folder: &Path, out: &mut Vec<Device>) {
    let mut todo: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let skipped = matches!(
                name.to_str(),
                Some("pts" | "ptmx" | "shm" | "fd" | "mqueue" | ".lxc" | "console")
            );
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !skipped => todo.push(path),
                Ok(_) if !skipped => out.extend(node(&path)),
                _ => {}
            }
        }
    }
}

fn rule(device: &Device, permissions: &str) -> Result<DeviceRule> {
    let permissions = if permissions.is_empty() { "rwm" } else { permissions };
    if permissions.chars().any(|c| !"rwm".contains(c)) {
        return Err(Error::Invalid(format!("invalid device mode: {permissions}")));
    }
    let has = |c: char| permissions.contains(c);
    Ok(DeviceRule {
        allow: true,
        kind: Some(device.kind),
        major: Some(device.major),
        minor: Some(device.minor),
        read: has('r'),
        write: has('w'),
        mknod: has('m'),
    })
}

/// `c 7:* rmw`.
fn parse_rule(text: &str) -> Result<DeviceRule> {
    let bad = || Error::Invalid(format!("invalid device cgroup rule format: '{text}'"));
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [kind, numbers, access] = parts[..] else {
        return Err(bad());
    };
    let kind = match kind {
        "a" => None,
        "c" => Some(DeviceKind::Char),
        "b" => Some(DeviceKind::Block),
        _ => return Err(bad()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let number = |n: &str| {
        if n == "*" {
            Ok(None)
        } else {
            n.parse().map(Some).map_err(|_| bad())
        }
    };
    if access.is_empty() || access.chars().any(|c| !"rwm".contains(c)) {
        return Err(bad());
    }
    let has = |c: char| access.contains(c);
    Ok(DeviceRule {
        allow: true,
        kind,
        major: number(major)?,
        minor: number(minor)?,
        read: has('r'),
        write: has('w'),
        mknod: has('m'),
    })
}
