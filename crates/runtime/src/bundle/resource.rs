//! `linux.resources` and `linux.devices` of a config.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Linux, LinuxBlockIo, LinuxDeviceCgroup, LinuxDeviceType, LinuxResources, LinuxThrottleDevice, Spec,
};

use super::invalid;
use crate::cgroup::{DevicePolicy, DeviceRule, Layout, Resources, Throttle, ThrottleKind, default_rules};
use crate::container::{Device, DeviceKind};
use crate::error::{Error, Result};

/// Understands limits for a host's cgroups.
///
/// # Errors
/// If they are malformed, or cannot be set on such a host.
pub(crate) fn resources(spec: &LinuxResources, layout: &Layout) -> Result<Resources> {
    let mut all = Resources {
        devices: device_policy(spec.devices().as_deref())?,
        pids: spec
            .pids()
            .as_ref()
            .map(|pids| pids.limit())
            .filter(|limit| *limit != 0),
        unified: spec.unified().clone().unwrap_or_default().into_iter().collect(),
        ..Resources::default()
    };
    memory(spec, &mut all);
    cpu(spec, &mut all);
    if let Some(io) = spec.block_io() {
        block_io(io, &mut all)?;
    }
    for limit in spec.hugepage_limits().iter().flatten() {
        all.unified
            .insert(format!("hugetlb.{}.max", limit.page_size()), limit.limit().to_string());
    }
    for (device, limit) in spec.rdma().iter().flatten() {
        let value = |name: &str, n: Option<u32>| n.map_or_else(|| format!("{name}=max"), |n| format!("{name}={n}"));
        let line = format!(
            "{device} {} {}",
            value("hca_handle", limit.hca_handles()),
            value("hca_object", limit.hca_objects())
        );
        all.unified.insert("rdma.max".to_owned(), line);
    }
    if let Some(network) = spec.network() {
        let classes = network.class_id().is_some_and(|id| id != 0);
        if classes || network.priorities().as_ref().is_some_and(|list| !list.is_empty()) {
            return Err(Error::Unsupported(
                "`linux.resources.network` in the config is not supported".to_owned(),
            ));
        }
    }
    if let (Some(file), false) = (all.unified.keys().next(), *layout == Layout::Unified) {
        return Err(Error::Unsupported(format!(
            "limit `{file}` needs cgroup v2, which this host does not have"
        )));
    }
    Ok(all)
}

fn memory(spec: &LinuxResources, all: &mut Resources) {
    let Some(memory) = spec.memory() else { return };
    // Zero is how configs that were made by programs say that there is no limit.
    all.memory = memory.limit().filter(|n| *n != 0);
    all.memory_reservation = memory.reservation().filter(|n| *n != 0);
    all.memory_swap = memory.swap().filter(|n| *n != 0);
    all.swappiness = memory.swappiness();
    all.oom_kill_disable = memory.disable_oom_killer().unwrap_or(false);
}

fn cpu(spec: &LinuxResources, all: &mut Resources) {
    let Some(cpu) = spec.cpu() else { return };
    all.cpu_shares = cpu.shares().filter(|n| *n != 0);
    all.cpu_quota = cpu.quota().filter(|n| *n != 0);
    all.cpu_period = cpu.period().filter(|n| *n != 0);
    all.cpu_realtime_runtime = cpu.realtime_runtime().filter(|n| *n != 0);
    all.cpu_realtime_period = cpu.realtime_period().filter(|n| *n != 0);
    all.cpuset_cpus = cpu.cpus().clone().filter(|list| !list.is_empty());
    all.cpuset_mems = cpu.mems().clone().filter(|list| !list.is_empty());
    if let Some(idle) = cpu.idle() {
        all.unified.insert("cpu.idle".to_owned(), idle.to_string());
    }
    if let Some(burst) = cpu.burst() {
        all.unified.insert("cpu.max.burst".to_owned(), burst.to_string());
    }
}

fn block_io(io: &LinuxBlockIo, all: &mut Resources) -> Result<()> {
    if io.leaf_weight().is_some_and(|weight| weight != 0) {
        return Err(Error::Unsupported(
            "`blockIO.leafWeight` is gone from the kernel and not supported".to_owned(),
        ));
    }
    all.io_weight = io.weight().filter(|weight| *weight != 0);
    let number = |n: i64| u64::try_from(n).map_err(|_| invalid(format!("device number {n} is negative")));
    for device in io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            all.io_device_weight
                .push((number(device.major())?, number(device.minor())?, weight));
        }
    }
    let mut throttle = |kind: ThrottleKind, list: &Option<Vec<LinuxThrottleDevice>>| -> Result<()> {
        for device in list.iter().flatten() {
            let (major, minor) = (number(device.major())?, number(device.minor())?);
            all.io_throttle.push(Throttle {
                kind,
                major,
                minor,
                rate: device.rate(),
            });
        }
        Ok(())
    };
    throttle(ThrottleKind::ReadBytes, io.throttle_read_bps_device())?;
    throttle(ThrottleKind::WriteBytes, io.throttle_write_bps_device())?;
    throttle(ThrottleKind::ReadOperations, io.throttle_read_iops_device())?;
    throttle(ThrottleKind::WriteOperations, io.throttle_write_iops_device())
}

/// The rules of a config, and after them those of the devices that every container has, as runc does.
fn device_policy(rules: Option<&[LinuxDeviceCgroup]>) -> Result<DevicePolicy> {
    let rules = rules.unwrap_or_default();
    let parsed = rules.iter().map(device_rule).collect::<Result<Vec<_>>>()?;
    // What comes before a rule about everything does not count.
    let last = parsed.iter().rposition(|rule| {
        rule.major.is_none() && rule.minor.is_none() && rule.kind.is_none() && rule.read && rule.write && rule.mknod
    });
    let parsed = last.map_or(parsed.as_slice(), |at| &parsed[at..]);
    match parsed {
        [] => Ok(DevicePolicy::Default),
        [only] if last.is_some() && only.allow => Ok(DevicePolicy::All),
        [only] if last.is_some() && !only.allow => Ok(DevicePolicy::Default),
        rules => {
            let rules = if last.is_some() && !rules[0].allow {
                &rules[1..]
            } else {
                rules
            };
            let defaults = default_rules();
            // Docker's own list is the default one in other words.
            if rules.iter().all(|rule| defaults.contains(rule)) {
                return Ok(DevicePolicy::Default);
            }
            Ok(DevicePolicy::Rules(rules.iter().copied().chain(defaults).collect()))
        }
    }
}

fn device_rule(rule: &LinuxDeviceCgroup) -> Result<DeviceRule> {
    let kind = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => None,
        LinuxDeviceType::B => Some(DeviceKind::Block),
        LinuxDeviceType::C | LinuxDeviceType::U => Some(DeviceKind::Char),
        LinuxDeviceType::P => return Err(invalid("a device rule cannot be about pipes")),
    };
    // -1 stands for any number, as in the kernel's `*`.
    let number = |n: Option<i64>| match n {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n)
            .map(Some)
            .map_err(|_| invalid(format!("device number {n} is out of range"))),
    };
    let access = rule.access().as_deref().filter(|a| !a.is_empty()).unwrap_or("rwm");
    if let Some(letter) = access.chars().find(|c| !"rwm".contains(*c)) {
        return Err(invalid(format!(
            "device access `{access}` has an unknown letter `{letter}`"
        )));
    }
    Ok(DeviceRule {
        allow: rule.allow(),
        kind,
        major: number(rule.major())?,
        minor: number(rule.minor())?,
        read: access.contains('r'),
        write: access.contains('w'),
        mknod: access.contains('m'),
    })
}

/// The devices that every container has (OCI runtime spec, config-linux.md, "Default Devices").
const DEFAULT_NODES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The nodes to make: the config's and the default ones. None where /dev is a bind: it has what it has.
pub(super) fn device_nodes(linux: &Linux, spec: &Spec) -> Result<Vec<Device>> {
    let bound = spec.mounts().iter().flatten().any(|mount| {
        let bind = |option: &String| option == "bind" || option == "rbind";
        mount.destination() == Path::new("/dev")
            && (mount.typ().as_deref() == Some("bind") || mount.options().iter().flatten().any(bind))
    });
    let mut nodes = Vec::new();
    if bound {
        return Ok(nodes);
    }
    for device in linux.devices().iter().flatten() {
        let path = device
            .path()
            .to_str()
            .ok_or_else(|| invalid("a device's path is not UTF-8"))?;
        if !path.starts_with('/') {
            return Err(invalid(format!("device path `{path}` is not absolute")));
        }
        if path == "/dev/ptmx" {
            // Always the link into the container's own devpts: the host's would open the host's terminals.
            continue;
        }
        let kind = match device.typ() {
            LinuxDeviceType::B => DeviceKind::Block,
            LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
            LinuxDeviceType::P => DeviceKind::Fifo,
            LinuxDeviceType::A => return Err(invalid(format!("device `{path}` has no type of its own"))),
        };
        let number = |n: i64| u32::try_from(n).map_err(|_| invalid(format!("device number {n} is out of range")));
        nodes.push(Device {
            path: path.to_owned(),
            host_path: PathBuf::from(path),
            kind,
            major: number(device.major())?,
            minor: number(device.minor())?,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        });
    }
    for (path, major, minor) in DEFAULT_NODES {
        if !nodes.iter().any(|node| node.path == path) {
            nodes.push(Device {
                path: path.to_owned(),
                host_path: PathBuf::from(path),
                kind: DeviceKind::Char,
                major,
                minor,
                mode: 0o666,
                uid: 0,
                gid: 0,
            });
        }
    }
    Ok(nodes)
}
