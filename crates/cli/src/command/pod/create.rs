//! `pod create`.

use std::fs::File;
use std::io::Write as _;

use hull_engine::pod::{self, CreateRequest, Namespace};
use hull_spec::container::RestartPolicy;

use crate::args::{Count, Flag, Matches, Parsed, parse, value};
use crate::command::{Command, create as container_create};
use crate::container::{flags, restart};
use crate::context::Context;
use crate::error::{ENGINE, Failure, Outcome, Result, print_line};

const NO_LIMITS: &str = "a pod has no limits of its own: give them to its containers";
const NO_INHERITANCE: &str = "a pod's containers take over namespaces alone: give it to each of them";
const NO_STATIC: &str = "addresses of your own choice are for networks of your own";
const OWN_INFRA: &str = "what holds a pod's namespaces is a few instructions of hull's own, of no image";

pub(crate) const COMMAND: Command = Command {
    names: &["pod create"],
    synopsis: "[OPTIONS] [NAME]",
    about: "Create a pod without starting it",
    flags: &[
        Flag::list("add-host").help("Add `name:address` to /etc/hosts"),
        Flag::string("blkio-weight").refused(NO_LIMITS),
        Flag::list("blkio-weight-device").refused(NO_LIMITS),
        Flag::string("cgroup-parent").help("Make its containers' cgroups below this one"),
        Flag::string("cpu-shares").short('c').refused(NO_LIMITS),
        Flag::string("cpus").refused(NO_LIMITS),
        Flag::string("cpuset-cpus").refused(NO_LIMITS),
        Flag::string("cpuset-mems").refused(NO_LIMITS),
        Flag::list("device").refused(NO_INHERITANCE),
        Flag::list("device-read-bps").refused(NO_LIMITS),
        Flag::list("device-write-bps").refused(NO_LIMITS),
        Flag::list("dns").help("Name server"),
        Flag::list("dns-option").help("Option for resolv.conf"),
        Flag::list("dns-search").help("Search domain; a dot for none"),
        Flag::string("exit-policy")
            .checked(check_exit_policy)
            .default("\"continue\"")
            .help("What happens when its last container ends: continue"),
        Flag::list("gidmap").refused(NO_INHERITANCE),
        Flag::list("gpus").refused(NO_INHERITANCE),
        Flag::string("hostname")
            .short('h')
            .help("Host name (its own name unless given)"),
        Flag::string("hosts-file").refused("each container's hosts file is hull's own"),
        Flag::switch("infra")
            .default("true")
            .help("Have a container that holds what is shared"),
        Flag::string("infra-command").refused(OWN_INFRA),
        Flag::string("infra-conmon-pidfile").refused(OWN_INFRA),
        Flag::string("infra-image").refused(OWN_INFRA),
        Flag::string("infra-name").help("Name of the infra container"),
        Flag::string("ip").refused(NO_STATIC),
        Flag::string("ip6").refused(NO_STATIC),
        Flag::list("label").short('l').help("Set a label, NAME=VALUE"),
        Flag::list("label-file").help("Set the labels in a file, one a line"),
        Flag::string("mac-address").refused(NO_STATIC),
        Flag::string("memory").short('m').refused(NO_LIMITS),
        Flag::string("memory-swap").refused(NO_LIMITS),
        Flag::string("name").short('n').help("Name of the pod"),
        Flag::list("network")
            .named("network")
            .help("Network: bridge (default), none or host"),
        Flag::list("network-alias").refused(NO_STATIC),
        Flag::switch("no-hostname").refused("each container's hostname file is hull's own"),
        Flag::switch("no-hosts").refused("each container's hosts file is hull's own"),
        Flag::string("pid").help("PID namespace: host"),
        Flag::string("pod-id-file").help("Write the pod's ID to this file, which must not be there yet"),
        Flag::list("publish").short('p').help("Publish a port on the host"),
        Flag::switch("replace").help("Remove a pod of the same name first"),
        Flag::string("restart").help("Restart policy of containers that have none of their own"),
        Flag::list("security-opt").refused(NO_INHERITANCE),
        Flag::string("share")
            .default("\"ipc,net,uts\"")
            .help("What its containers share: ipc, net, pid, uts, or none"),
        Flag::switch("share-parent")
            .refused("a pod has no cgroup of its own: --cgroup-parent names one for its containers"),
        Flag::bytes("shm-size").help("Size of /dev/shm (64m unless given)"),
        Flag::string("shm-size-systemd").refused("hull has no mode for systemd in containers"),
        Flag::string("subgidname").refused(NO_INHERITANCE),
        Flag::string("subuidname").refused(NO_INHERITANCE),
        Flag::list("sysctl")
            .named("map")
            .help("Set a kernel setting of its namespaces"),
        Flag::list("uidmap").refused(NO_INHERITANCE),
        Flag::string("userns").help("User namespace: host"),
        Flag::string("uts").help("UTS namespace: host"),
        Flag::list("volume").short('v').refused(NO_INHERITANCE),
        Flag::list("volumes-from").refused(NO_INHERITANCE),
    ],
    count: Count::AtMost(1),
    interspersed: true,
    run,
};

fn check_exit_policy(text: &str) -> std::result::Result<(), String> {
    match text {
        "continue" => Ok(()),
        "stop" => Err("`stop` is not there: a pod goes on when its last container ends".to_owned()),
        _ => Err(format!("invalid pod exit policy: {}", value::quote(text))),
    }
}

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    let request = request(args, ctx)?;
    let id_file = args.value("pod-id-file").map(claim).transpose()?;
    if args.on("replace") && !request.name.is_empty() {
        let force = pod::RemoveRequest {
            force: true,
            timeout: None,
        };
        match pod::remove(&engine, &request.name, &force) {
            Ok(_) | Err(hull_engine::Error::NoSuchPod { .. }) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let made = pod::create(&engine, &request).map_err(|e| Failure::from(e).code(ENGINE));
    if let Some((path, mut file)) = id_file {
        match &made {
            Ok(pod) => file.write_all(pod.id.as_bytes())?,
            Err(_) => drop(std::fs::remove_file(path)),
        }
    }
    print_line(&made?.id)?;
    Ok(0)
}

fn claim(path: &str) -> Result<(String, File)> {
    File::create_new(path)
        .map(|file| (path.to_owned(), file))
        .map_err(|e| Failure::new(format!("cannot make the file `{path}` for the pod's ID: {e}")).code(ENGINE))
}

fn request(args: &Matches, ctx: &Context) -> Result<CreateRequest> {
    let usage = |text: String| Failure::new(text).code(ENGINE);
    let name = match (args.value("name"), args.arg()) {
        (Some(name), "") => name,
        (Some(name), other) if name == other => name,
        (Some(_), _) => return Err(usage("cannot specify --name and a name as argument".to_owned())),
        (None, name) => name,
    };
    let infra = args.on_by_default("infra");
    let mut shared = shares(args.value("share").unwrap_or("ipc,net,uts")).map_err(usage)?;
    if !infra {
        let given = [
            "publish",
            "network",
            "dns",
            "dns-option",
            "dns-search",
            "add-host",
            "hostname",
            "sysctl",
        ];
        if let Some(flag) = given.iter().find(|flag| args.changed(flag)) {
            return Err(usage(format!("cannot set --{flag} without an infra container")));
        }
        shared.clear();
    }
    if args.value("userns").is_some_and(|mode| !matches!(mode, "" | "host")) {
        return Err(usage(
            "--userns: a user namespace cannot be shared by the containers of a pod yet: only host".to_owned(),
        ));
    }
    let restart_policy = match args.value("restart") {
        Some(text) => {
            let read = restart::parse(text).map_err(usage)?;
            if read.unhealthy {
                return Err(usage("--restart unhealthy is of single containers".to_owned()));
            }
            read.policy
        }
        None => RestartPolicy::default(),
    };
    let template = container(args, ctx, &shared)?;
    Ok(CreateRequest {
        name: name.to_owned(),
        labels: template.config.labels.clone(),
        restart_policy,
        cgroup_parent: args.text("cgroup-parent"),
        create_command: std::env::args().collect(),
        infra: infra.then_some(template),
        shared,
    })
}

fn shares(text: &str) -> std::result::Result<Vec<Namespace>, String> {
    let mut out = Vec::new();
    for word in text.split(',').map(str::trim) {
        out.push(match word {
            "ipc" => Namespace::Ipc,
            "net" => Namespace::Net,
            "pid" => Namespace::Pid,
            "uts" => Namespace::Uts,
            "" | "none" => continue,
            "cgroup" | "user" => {
                return Err(format!(
                    "--share {word}: the {word} namespace of a pod cannot be shared"
                ));
            }
            other => {
                return Err(format!(
                    "invalid kernel namespace to share: {other}: options are: ipc, net, pid, uts or none"
                ));
            }
        });
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

/// The infra container, as `hull create` would be asked for it: so each flag means what it means there.
fn container(args: &Matches, ctx: &Context, shared: &[Namespace]) -> Result<hull_spec::container::CreateRequest> {
    let mut words: Vec<String> = Vec::new();
    let mut add = |flag: &str, value: &str| words.push(format!("--{flag}={value}"));
    for flag in [
        "add-host",
        "dns",
        "dns-option",
        "dns-search",
        "label",
        "label-file",
        "network",
        "publish",
        "sysctl",
    ] {
        args.values(flag).for_each(|value| add(flag, value));
    }
    for flag in ["hostname", "pid", "shm-size", "uts"] {
        if let Some(value) = args.value(flag) {
            add(flag, value);
        }
    }
    if let Some(name) = args.value("infra-name") {
        add("name", name);
    }
    if shared.contains(&Namespace::Ipc) {
        add("ipc", "shareable");
    }
    words.push("pause".to_owned());
    let usage = |text: String| Failure::new(text).code(ENGINE);
    match parse(flags::CREATE, false, words).map_err(usage)? {
        Parsed::Matches(matches) => container_create::read_request(&matches, ctx, true),
        Parsed::Help => Err(usage("a flag asks for help".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_read() {
        assert_eq!(shares("net,ipc,net").unwrap(), [Namespace::Ipc, Namespace::Net]);
        assert_eq!(shares("none").unwrap(), []);
        assert_eq!(shares("").unwrap(), []);
        for bad in ["foo", "cgroup", "user", "net,foo"] {
            assert!(shares(bad).is_err(), "{bad}");
        }
    }
}
