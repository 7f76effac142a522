//! The request as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hull_spec::container::{Config, CreateRequest, Empty, HostConfig, LogConfig, NetworkingConfig};

use super::environment::{read_environment, read_labels};
use super::volume::{self, Volume};
use super::{block, device, gpu, limit, mount, network, port, restart, security};
use crate::args::{Matches, value};

/// What the request takes from outside the command line.
pub(crate) struct Surroundings<'a> {
    /// Where relative paths start from.
    pub(crate) directory: PathBuf,
    /// The variables that `-e NAME` passes on.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// Rows and columns of the terminal, where there is one.
    pub(crate) console_size: [u16; 2],
}

/// Why a request cannot be made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The command line is wrong.
    Line(String),
    /// What it asks for is, and in Docker the daemon is who says so.
    Wish(String),
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self::Line(text)
    }
}

impl Refusal {
    /// The message.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Line(text) | Self::Wish(text) => text,
        }
    }
}

/// Reads the flags of `run` or `create`, the image and its command. `detached` is `run -d`.
///
/// # Errors
/// Docker's message about the first flag that asks for something that cannot be.
pub(crate) fn request(args: &Matches, detached: bool, around: &Surroundings<'_>) -> Result<CreateRequest, Refusal> {
    refuse_content_trust(args)?;
    let runtime = args.text("runtime");
    if !matches!(runtime.as_str(), "" | "hull") {
        return Err(Refusal::Wish(format!("unknown or invalid runtime name: {runtime}")));
    }
    let (binds, volumes) = volumes(args, around)?;
    let mut ports = port::Ports::default();
    for text in args.values("publish") {
        ports.publish(text)?;
    }
    for text in args.values("expose") {
        ports.expose(text)?;
    }
    let environment = read_environment(args.values("env-file"), args.values("env"), around.variable)?;
    let labels = read_labels(args.values("label-file"), args.values("label"))?;
    let mut host_config = host_config(args, around)?;
    host_config.binds = Some(binds).filter(|binds| !binds.is_empty());
    host_config.port_bindings = ports.bindings;
    let config = Config {
        healthcheck: restart::health(args)?,
        exposed_ports: ports.exposed,
        env: environment,
        volumes: Some(volumes),
        labels: labels.into_iter().collect(),
        ..config(args, detached)
    };
    let mode = host_config.network_mode.clone();
    // As Docker's client does where no network was named.
    let endpoints = if mode == "default" {
        vec![(mode, Some(hull_spec::container::EndpointSettings::default()))]
    } else {
        Vec::new()
    };
    Ok(CreateRequest {
        config,
        host_config,
        networking_config: NetworkingConfig {
            endpoints_config: endpoints.into_iter().collect(),
        },
        name: args.text("name"),
        pod: None,
        platform: None,
    })
}

/// What the process is.
fn config(args: &Matches, detached: bool) -> Config {
    let attach: Vec<String> = args.values("attach").map(str::to_ascii_lowercase).collect();
    let attached = |stream: &str| !detached && attach.iter().any(|a| a == stream);
    let open_stdin = args.on("interactive");
    let attach_stdin = attached("stdin") || (open_stdin && !detached);
    let by_default = attach.is_empty() && !detached;
    let words = args.args();
    let entrypoint = args.value("entrypoint").map(|text| vec![text.to_owned()]);
    Config {
        hostname: args.text("hostname"),
        domainname: args.text("domainname"),
        user: args.text("user"),
        attach_stdin,
        attach_stdout: by_default || attached("stdout"),
        attach_stderr: by_default || attached("stderr"),
        tty: args.on("tty"),
        open_stdin,
        stdin_once: open_stdin && attach_stdin,
        cmd: Some(words.get(1..).unwrap_or_default().to_vec()).filter(|cmd| !cmd.is_empty()),
        image: args.arg().to_owned(),
        working_dir: args.text("workdir"),
        entrypoint,
        stop_signal: args.value("stop-signal").map(str::to_owned),
        stop_timeout: args.int("stop-timeout"),
        ..Config::default()
    }
}

/// Binds, and mount points of anonymous volumes.
fn volumes(args: &Matches, around: &Surroundings<'_>) -> Result<(Vec<String>, BTreeMap<String, Empty>), String> {
    let (mut binds, mut volumes) = (Vec::new(), BTreeMap::new());
    for text in args.values("volume") {
        match volume::parse(text, &around.directory)? {
            Volume::Anonymous(target) => drop(volumes.insert(target, Empty {})),
            Volume::Bind(bind) if binds.contains(&bind) => {}
            Volume::Bind(bind) => binds.push(bind),
        }
    }
    Ok((binds, volumes))
}

/// Where and how it runs.
fn host_config(args: &Matches, around: &Surroundings<'_>) -> Result<HostConfig, String> {
    let security = security::options(args.values("security-opt"))?;
    let (named, paths): (Vec<&str>, Vec<&str>) = args
        .values("device")
        .partition(|device| hull_engine::cdi::is_name(device));
    let devices = paths.into_iter().map(device::parse).collect::<Result<_, _>>()?;
    let mut device_requests = args.values("gpus").map(gpu::parse).collect::<Result<Vec<_>, _>>()?;
    device_requests.extend(gpu::named(named.into_iter().map(str::to_owned).collect()));
    let mounts = args
        .values("mount")
        .map(|text| mount::parse(text, &around.directory))
        .collect::<Result<_, _>>()?;
    let hosts = args
        .values("add-host")
        .map(network::parse_host)
        .collect::<Result<Vec<_>, _>>()?;
    let pair = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    let tmpfs = |text: &str| {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        (path.to_owned(), options.to_owned())
    };
    let some = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
    let (restart_policy, health_on_failure) = restart::read(args)?;
    let dns_options = args.values("dns-opt").chain(args.values("dns-option"));
    let out = HostConfig {
        container_id_file: args.text("cidfile"),
        log_config: log_config(args)?,
        network_mode: network_mode(args)?,
        restart_policy,
        health_on_failure,
        auto_remove: args.on("rm"),
        volume_driver: args.text("volume-driver"),
        volumes_from: args.maybe_list("volumes-from"),
        mounts,
        console_size: around.console_size,
        annotations: args.values("annotation").map(pair).collect(),
        cap_add: some(security::capabilities(args.values("cap-add"))),
        cap_drop: some(security::capabilities(args.values("cap-drop"))),
        cgroupns_mode: mode(args, "cgroupns", "CGROUP", |m| matches!(m, "host" | "private"))?,
        dns: args.list("dns"),
        dns_options: dns_options.map(str::to_owned).collect(),
        dns_search: args.list("dns-search"),
        extra_hosts: some(hosts),
        group_add: args.maybe_list("group-add"),
        ipc_mode: mode(args, "ipc", "IPC", |m| {
            matches!(m, "none" | "private" | "shareable" | "host") || is_container(m)
        })?,
        oom_score_adj: oom_score(args)?,
        pid_mode: mode(args, "pid", "PID", |m| m == "host" || is_container(m))?,
        privileged: args.on("privileged"),
        publish_all_ports: args.on("publish-all"),
        readonly_rootfs: args.on("read-only"),
        security_opt: some(security.options),
        tmpfs: args.values("tmpfs").map(tmpfs).collect(),
        uts_mode: mode(args, "uts", "UTS", |m| m == "host")?,
        userns_mode: user_mode(args)?,
        shm_size: args.bytes("shm-size").unwrap_or(0),
        sysctls: args.values("sysctl").map(pair).collect(),
        runtime: args.text("runtime"),
        isolation: args.text("isolation"),
        init: args.changed("init").then(|| args.on("init")),
        masked_paths: security.unconfined_paths.then(Vec::new),
        readonly_paths: security.unconfined_paths.then(Vec::new),
        devices,
        device_requests,
        device_cgroup_rules: args.maybe_list("device-cgroup-rule"),
        ..HostConfig::default()
    };
    resources(args, out)
}

/// Adds the limits.
fn resources(args: &Matches, out: HostConfig) -> Result<HostConfig, String> {
    let swappiness = args.int("memory-swappiness").filter(|n| *n != -1);
    if let Some(n) = swappiness.filter(|n| !(0..=100).contains(n)) {
        return Err(format!("invalid value: {n}. Valid memory swappiness range is 0-100"));
    }
    let cpus = args.value("cpus").map_or(Ok(0), value::parse_cpus)?;
    let weight = args
        .value("blkio-weight")
        .map_or(Ok(0), |text| value::parse_uint(text, 16))?;
    let throttle = |flag, parse: fn(&str) -> _| args.values(flag).map(parse).collect::<Result<Vec<_>, String>>();
    Ok(HostConfig {
        cpu_shares: args.int("cpu-shares").unwrap_or(0),
        memory: args.bytes("memory").unwrap_or(0),
        nano_cpus: cpus,
        cgroup_parent: args.text("cgroup-parent"),
        blkio_weight: u16::try_from(weight).unwrap_or(0),
        blkio_weight_device: args
            .values("blkio-weight-device")
            .map(block::parse_weight)
            .collect::<Result<_, _>>()?,
        blkio_device_read_bps: throttle("device-read-bps", block::parse_bytes_rate)?,
        blkio_device_write_bps: throttle("device-write-bps", block::parse_bytes_rate)?,
        blkio_device_read_iops: throttle("device-read-iops", block::parse_operations)?,
        blkio_device_write_iops: throttle("device-write-iops", block::parse_operations)?,
        cpu_period: args.int("cpu-period").unwrap_or(0),
        cpu_quota: args.int("cpu-quota").unwrap_or(0),
        cpu_realtime_period: args.int("cpu-rt-period").unwrap_or(0),
        cpu_realtime_runtime: args.int("cpu-rt-runtime").unwrap_or(0),
        cpuset_cpus: args.text("cpuset-cpus"),
        cpuset_mems: args.text("cpuset-mems"),
        memory_reservation: args.bytes("memory-reservation").unwrap_or(0),
        memory_swap: args.value("memory-swap").map_or(Ok(0), value::parse_swap)?,
        memory_swappiness: swappiness,
        oom_kill_disable: args.on("oom-kill-disable").then_some(true),
        pids_limit: args.int("pids-limit"),
        ulimits: ulimits(args)?,
        ..out
    })
}

/// The last limit of each name wins.
fn ulimits(args: &Matches) -> Result<Vec<hull_spec::container::Ulimit>, String> {
    let mut out = BTreeMap::new();
    for text in args.values("ulimit") {
        let ulimit = limit::parse_ulimit(text)?;
        out.insert(ulimit.name.clone(), ulimit);
    }
    Ok(out.into_values().collect())
}

fn oom_score(args: &Matches) -> Result<i32, String> {
    let score = args.int("oom-score-adj").unwrap_or(0);
    // The engine knows the range.
    i32::try_from(score).map_err(|_| format!("Invalid value {score}, range for oom score adj is [-1000, 1000]"))
}

fn is_container(mode: &str) -> bool {
    mode.strip_prefix("container:").is_some_and(|name| !name.is_empty())
}

fn mode(args: &Matches, flag: &str, word: &str, valid: impl Fn(&str) -> bool) -> Result<String, String> {
    let text = args.text(flag);
    if text.is_empty() || valid(&text) || (flag == "pid" && text == "private") {
        return Ok(if text == "private" && flag == "pid" {
            String::new()
        } else {
            text
        });
    }
    Err(format!("--{flag}: invalid {word} mode"))
}

/// Docker's word, or one of Podman's.
fn user_mode(args: &Matches) -> Result<String, String> {
    let text = args.text("userns");
    hull_engine::container::userns::parse(&text).map_err(|e| e.to_string())?;
    Ok(text)
}

/// The one network. Docker attaches to several only where all are the user's own.
fn network_mode(args: &Matches) -> Result<String, String> {
    let given: Vec<&str> = args.values("network").chain(args.values("net")).collect();
    match given[..] {
        [] => Ok("default".to_owned()),
        [one] => network::parse_mode(one),
        _ => Err("conflicting options: cannot attach both user-defined and non-user-defined network-modes".to_owned()),
    }
}

fn log_config(args: &Matches) -> Result<LogConfig, String> {
    let driver = args.text("log-driver");
    let options: BTreeMap<String, String> = args
        .values("log-opt")
        .map(|text| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            (key.to_owned(), value.to_owned())
        })
        .collect();
    // The rest is the engine's to judge.
    if driver == "none" && !options.is_empty() {
        return Err("invalid logging opts for driver none".to_owned());
    }
    Ok(LogConfig {
        driver,
        config: options,
    })
}

/// Docker Content Trust is off unless it is asked for, and asking for it is refused.
pub(crate) fn refuse_content_trust(args: &Matches) -> Result<(), String> {
    if args.on_by_default("disable-content-trust") {
        return Ok(());
    }
    Err("--disable-content-trust=false: checking Docker's old signatures (Notary v1) is not there".to_owned())
}

#[cfg(test)]
mod tests;
