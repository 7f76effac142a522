//! The flags of `run` and `create`.

use super::{block, device, environment, gpu, limit, mount, network};
use crate::args::{Flag, duration, value};

const NO_USER_NETWORKS: &str =
    "networks of your own come in a later version; bridge, host, none and container:NAME work";
const WINDOWS: &str = "it is for Windows containers";

/// The flags that both take.
const SHARED: [Flag; 102] = [
    Flag::list("add-host")
        .checked(network::check_host)
        .help("Add `name:address` to /etc/hosts; the address host-gateway stands for the host"),
    Flag::list("annotation").named("map").help("Add an OCI annotation"),
    Flag::list("attach")
        .short('a')
        .checked(check_stream)
        .help("Attach to stdin, stdout or stderr only"),
    Flag::string("blkio-weight")
        .named("uint16")
        .checked(value::check_uint16)
        .default("0")
        .help("Relative share of I/O, 10 to 1000; 0 leaves it alone"),
    Flag::list("blkio-weight-device")
        .checked(block::check_weight)
        .help("Relative share of a device's I/O, PATH:WEIGHT"),
    Flag::list("cap-add").help("Add a capability, or ALL"),
    Flag::list("cap-drop").help("Drop a capability, or ALL"),
    Flag::string("cgroup-parent").help("Make the container's cgroup below this one"),
    Flag::string("cgroupns").help("Cgroup namespace: host, or private (default)"),
    Flag::string("cidfile").help("Write the container's ID to this file, which must not be there yet"),
    Flag::int("cpu-count").refused(WINDOWS),
    Flag::int("cpu-percent").refused(WINDOWS),
    Flag::int("cpu-period").help("Period of the CPU quota, in microseconds"),
    Flag::int("cpu-quota").help("CPU time in each period, in microseconds"),
    Flag::int("cpu-rt-period").help("Period of the real-time limit, in microseconds"),
    Flag::int("cpu-rt-runtime").help("Real-time CPU time in each period, in microseconds"),
    Flag::int("cpu-shares").short('c').help("Relative share of CPU time"),
    Flag::string("cpus")
        .named("decimal")
        .checked(value::check_cpus)
        .help("Number of CPUs"),
    Flag::string("cpuset-cpus").help("CPUs that it may run on (0-3, 0,1)"),
    Flag::string("cpuset-mems").help("NUMA nodes that it may take memory from (0-3, 0,1)"),
    Flag::list("device")
        .help("Add a device of the host, HOST[:CONTAINER][:rwm], or one by its CDI name, vendor.com/class=name"),
    Flag::list("device-cgroup-rule")
        .checked(device::check_rule)
        .help("Allow devices by a cgroup rule, such as `c 7:* rmw`"),
    Flag::list("device-read-bps")
        .checked(block::check_bytes)
        .help("Limit reading from a device, PATH:BYTES a second"),
    Flag::list("device-read-iops")
        .checked(block::check_operations)
        .help("Limit reading from a device, PATH:OPERATIONS a second"),
    Flag::list("device-write-bps")
        .checked(block::check_bytes)
        .help("Limit writing to a device, PATH:BYTES a second"),
    Flag::list("device-write-iops")
        .checked(block::check_operations)
        .help("Limit writing to a device, PATH:OPERATIONS a second"),
    Flag::switch("disable-content-trust").default("true").hidden(),
    Flag::list("dns").checked(network::check_address).help("Name server"),
    Flag::list("dns-opt").hidden(),
    Flag::list("dns-option").help("Option for resolv.conf"),
    Flag::list("dns-search")
        .checked(network::check_domain)
        .help("Search domain; a dot for none"),
    Flag::string("domainname").help("NIS domain name"),
    Flag::string("entrypoint").help("Program to run instead of the image's; empty to run the command itself"),
    Flag::list("env")
        .short('e')
        .checked(environment::check)
        .help("Set a variable, or pass one on by its name"),
    Flag::list("env-file").help("Set the variables in a file, one a line"),
    Flag::list("expose").help("Declare a port or a range of ports"),
    Flag::list("gpus")
        .named("gpu-request")
        .checked(gpu::check)
        .help("Add GPUs that CDI files describe as nvidia.com/gpu: all, a number, or device=ID"),
    Flag::list("group-add").help("Add a supplementary group"),
    Flag::string("health-cmd").help("Command that checks whether it is healthy"),
    Flag::string("health-interval")
        .named("duration")
        .checked(duration::check_duration)
        .default("0s")
        .help("Time between two checks (ms|s|m|h); 0s for the image's, or 30s"),
    Flag::string("health-on-failure")
        .default("\"none\"")
        .help("What happens when it becomes unhealthy: none, kill, stop or restart"),
    Flag::int("health-retries").help("Failed checks in a row until it is unhealthy"),
    Flag::string("health-start-interval")
        .named("duration")
        .checked(duration::check_duration)
        .default("0s")
        .help("Time between two checks during the start period (ms|s|m|h)"),
    Flag::string("health-start-period")
        .named("duration")
        .checked(duration::check_duration)
        .default("0s")
        .help("Time that it gets to start before failed checks count (ms|s|m|h)"),
    Flag::string("health-timeout")
        .named("duration")
        .checked(duration::check_duration)
        .default("0s")
        .help("Time that one check may take (ms|s|m|h)"),
    Flag::string("hostname").short('h').help("Host name"),
    Flag::switch("init").help("Run a small init that forwards signals and reaps processes"),
    Flag::switch("interactive").short('i').help("Keep stdin open"),
    Flag::string("io-maxbandwidth").named("bytes").refused(WINDOWS),
    Flag::string("io-maxiops").named("uint").refused(WINDOWS),
    Flag::string("ip").refused(NO_USER_NETWORKS),
    Flag::string("ip6").refused(NO_USER_NETWORKS),
    Flag::string("ipc").help("IPC namespace: private (default), shareable, none, host or container:NAME"),
    Flag::string("isolation").hidden(),
    Flag::bytes("kernel-memory")
        .refused("kernels have had no such limit since 5.4; --memory covers kernel memory, too"),
    Flag::list("label")
        .short('l')
        .checked(environment::check_label)
        .help("Set a label, NAME=VALUE"),
    Flag::list("label-file").help("Set the labels in a file, one a line"),
    Flag::list("link")
        .refused("links are a relic of Docker's first networks; use a network of your own when hull has them"),
    Flag::list("link-local-ip").refused(NO_USER_NETWORKS),
    Flag::string("log-driver").help("Logging driver for the container"),
    Flag::list("log-opt").help("Log driver options"),
    Flag::string("mac-address").refused("addresses of your own choice come in a later version"),
    Flag::bytes("memory").short('m').help("Limit of memory"),
    Flag::bytes("memory-reservation").help("Memory that it keeps when the host runs short"),
    Flag::bytes("memory-swap")
        .checked(value::check_swap)
        .help("Limit of memory and swap together; -1 for unlimited swap"),
    Flag::int("memory-swappiness")
        .default("-1")
        .help("How readily its memory is swapped, 0 to 100"),
    Flag::list("mount")
        .named("mount")
        .checked(mount::check)
        .help("Mount a folder, a volume, a tmpfs or an image, as type=bind,source=..,target=.."),
    Flag::string("name").help("Name of the container"),
    Flag::list("net").named("network").checked(network::check_mode).hidden(),
    Flag::list("net-alias").refused(NO_USER_NETWORKS),
    Flag::list("network")
        .named("network")
        .checked(network::check_mode)
        .help("Network: bridge (default), none, host or container:NAME"),
    Flag::list("network-alias").refused(NO_USER_NETWORKS),
    Flag::switch("no-healthcheck").help("Do not run the image's health check"),
    Flag::switch("oom-kill-disable").help("Stop processes that run out of memory instead of killing them (cgroup v1)"),
    Flag::int("oom-score-adj").help("Bias of the kernel's OOM killer, -1000 to 1000"),
    Flag::string("pid").help("PID namespace: private (default), host or container:NAME"),
    Flag::int("pids-limit").help("Limit of processes; -1 for none"),
    Flag::string("platform").help("Platform of the image, os[/arch[/variant]]"),
    Flag::string("pod").help("Put it into this pod, and share the pod's namespaces; new:NAME makes the pod"),
    Flag::string("pod-id-file").help("Put it into the pod whose ID is in this file"),
    Flag::switch("privileged").help("Give it all capabilities and devices and no confinement"),
    Flag::list("publish")
        .short('p')
        .help("Publish a port on the host, [ADDRESS:][HOST:]CONTAINER[/udp]"),
    Flag::switch("publish-all")
        .short('P')
        .help("Publish all exposed ports on free ones"),
    Flag::string("pull")
        .default("\"missing\"")
        .help("When to pull the image: always, missing or never"),
    Flag::switch("quiet").short('q').help("Do not show how the pull goes"),
    Flag::switch("read-only").help("Make the root filesystem read-only"),
    Flag::string("restart").default("\"no\"").help(
        "When it is started again: no, on-failure[:N], always, unless-stopped; and unhealthy, alone or behind a comma",
    ),
    Flag::switch("rm").help("Remove the container and its anonymous volumes when it exits"),
    Flag::string("runtime").hidden(),
    Flag::list("security-opt")
        .help("no-new-privileges, seccomp=FILE|unconfined, apparmor=PROFILE, label=.., systempaths=unconfined"),
    Flag::bytes("shm-size").help("Size of /dev/shm (64m unless given)"),
    Flag::string("stop-signal").help("Signal that stops it"),
    Flag::int("stop-timeout").help("Seconds until a stop becomes a kill"),
    Flag::list("storage-opt").refused("limits of the root filesystem's size come in a later version"),
    Flag::list("sysctl")
        .named("map")
        .checked(limit::check_sysctl)
        .help("Set a kernel setting of its own namespaces"),
    Flag::list("tmpfs").help("Mount a tmpfs, PATH[:OPTIONS]"),
    Flag::switch("tty").short('t').help("Give it a terminal"),
    Flag::list("ulimit")
        .named("ulimit")
        .checked(limit::check_ulimit)
        .help("Set a resource limit, NAME=SOFT[:HARD]"),
    Flag::switch("use-api-socket").refused("hull has no daemon whose socket could be passed on"),
    Flag::string("user")
        .short('u')
        .help("User, and group after a colon, by name or number"),
    Flag::string("userns").help("User namespace: host (default), auto, private, keep-id or nomap"),
    Flag::string("uts").help("UTS namespace: host"),
];

const VOLUMES: [Flag; 4] = [
    Flag::list("volume")
        .short('v')
        .help("Mount a folder or a volume, [SOURCE:]TARGET[:OPTIONS]"),
    Flag::string("volume-driver").help("Driver of its volumes; local is the only one"),
    Flag::list("volumes-from").help("Mount the volumes of another container, NAME[:ro]"),
    Flag::string("workdir").short('w').help("Working directory"),
];

const FOREGROUND: [Flag; 4] = [
    Flag::switch("detach")
        .short('d')
        .help("Leave it running and print its ID"),
    Flag::string("detach-keys").help("Keys that detach, instead of ctrl-p,ctrl-q"),
    Flag::string("sdnotify")
        .checked(check_notify)
        .default("\"ignore\"")
        .help("Tell systemd when the container runs (conmon), or do not (ignore)"),
    Flag::switch("sig-proxy")
        .default("true")
        .help("Forward signals to the container"),
];

/// All flags of `create`.
pub(crate) const CREATE: &[Flag] = &joined::<102, 4, 106>(SHARED, VOLUMES);
/// All flags of `run`.
pub(crate) const RUN: &[Flag] = &joined::<106, 4, 110>(joined::<102, 4, 106>(SHARED, VOLUMES), FOREGROUND);

/// Two tables as one, at compile time.
const fn joined<const A: usize, const B: usize, const N: usize>(a: [Flag; A], b: [Flag; B]) -> [Flag; N] {
    assert!(A + B == N, "the joined table holds both");
    let mut out = [a[0]; N];
    let mut i = 0;
    while i < N {
        out[i] = if i < A { a[i] } else { b[i - A] };
        i += 1;
    }
    out
}

fn check_stream(text: &str) -> Result<(), String> {
    match text.to_ascii_lowercase().as_str() {
        "stdin" | "stdout" | "stderr" => Ok(()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

fn check_notify(text: &str) -> Result<(), String> {
    match text {
        "conmon" | "ignore" => Ok(()),
        "container" | "healthy" => Err(format!("`{text}` is not there: conmon and ignore are")),
        _ => Err(format!(
            "invalid sdnotify value {}: must be conmon or ignore",
            crate::args::value::quote(text)
        )),
    }
}
