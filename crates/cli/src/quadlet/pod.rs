//! `.pod` files.

use super::keys::{self, Key, flags, line};
use super::{All, Surroundings, Unit};

const SECTION: &str = "Pod";

const NO_INHERITANCE: &str = "give it to the pod's containers";

const KEYS: &[(&str, Key)] = &[
    ("AddHost", Key::Words("--add-host")),
    ("ContainersConfModule", Key::Refused("hull has no containers.conf")),
    ("DNS", Key::Words("--dns")),
    ("DNSOption", Key::Words("--dns-option")),
    ("DNSSearch", Key::Words("--dns-search")),
    ("ExitPolicy", Key::Last("--exit-policy")),
    ("GIDMap", Key::Refused(NO_INHERITANCE)),
    ("GlobalArgs", Key::Elsewhere),
    ("HostName", Key::Last("--hostname")),
    (
        "IP",
        Key::Refused("addresses of your own choice are for networks of your own"),
    ),
    (
        "IP6",
        Key::Refused("addresses of your own choice are for networks of your own"),
    ),
    ("Label", Key::Words("--label")),
    ("Network", Key::Each("--network")),
    (
        "NetworkAlias",
        Key::Refused("names of your own are for networks of your own"),
    ),
    ("PodmanArgs", Key::Plain),
    ("PodName", Key::Elsewhere),
    ("PublishPort", Key::Each("--publish")),
    ("ServiceName", Key::Elsewhere),
    ("ShmSize", Key::Last("--shm-size")),
    ("StopTimeout", Key::Elsewhere),
    ("SubGIDMap", Key::Refused(NO_INHERITANCE)),
    ("SubUIDMap", Key::Refused(NO_INHERITANCE)),
    ("UIDMap", Key::Refused(NO_INHERITANCE)),
    ("UserNS", Key::Last("--userns")),
    ("Volume", Key::Refused(NO_INHERITANCE)),
];

/// Adds the service of a pod. Its main process waits for the infra container's end, and the service ends with it.
pub(super) fn make(unit: &mut Unit, stem: &str, all: &All<'_>, around: &Surroundings<'_>) -> Result<(), String> {
    let args = flags(unit, SECTION, KEYS, &mut |key, value| match key {
        "Network" if value.split(':').next().is_some_and(|file| file.ends_with(".network")) => {
            Err("hull has no command for .network files yet".to_owned())
        }
        _ => Ok(Some(value)),
    })?;
    let program = keys::program(unit, SECTION, around.program)?;
    let name = match unit.last(SECTION, "PodName").filter(|name| !name.is_empty()) {
        Some(name) => name.to_owned(),
        None => format!("systemd-{stem}"),
    };
    let infra = format!("{name}-infra");
    for (member, service) in all.members(&format!("{stem}.pod")) {
        let with_pod = member.unit.last("Container", "StartWithPod");
        if with_pod.map_or(Ok(true), keys::boolean)? {
            unit.add("Unit", "Wants", &service);
        }
        unit.add("Unit", "Before", &service);
    }
    let timeout = unit.last(SECTION, "StopTimeout").unwrap_or("10").to_owned();
    let create = ["pod", "create", "--replace", "--infra-name", &infra, "--name", &name];
    unit.add("Service", "ExecStartPre", &line(&program, &create, &args));
    unit.add(
        "Service",
        "ExecStartPre",
        &line(&program, &["pod", "start", &name], &[]),
    );
    unit.set("Service", "ExecStart", &line(&program, &["wait", &infra], &[]));
    let stop = ["pod", "stop", "--ignore", "--time", &timeout, &name];
    unit.add("Service", "ExecStop", &line(&program, &stop, &[]));
    unit.add(
        "Service",
        "ExecStopPost",
        &line(&program, &["pod", "rm", "--ignore", "--force", &name], &[]),
    );
    unit.set("Service", "Type", "exec");
    unit.preset("Service", "Restart", "on-failure");
    unit.preset("Service", "SyslogIdentifier", "%N");
    Ok(())
}
