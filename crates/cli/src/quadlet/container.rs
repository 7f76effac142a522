//! `.container` files.

use super::keys::{self, Key, boolean, flags, line};
use super::{All, Source, Surroundings, Unit, words};

const SECTION: &str = "Container";

const NO_MODULE: &str = "hull has no containers.conf";
const NO_MAPS: &str = "give UserNS=auto, with its options";
const NO_STARTUP: &str = "hull has no health checks for the start";
const NO_LABELS: &str = "hull has no SELinux labels";

const KEYS: &[(&str, Key)] = &[
    ("AddCapability", Key::Words("--cap-add")),
    ("AddDevice", Key::Words("--device")),
    ("AddHost", Key::Words("--add-host")),
    ("Annotation", Key::Words("--annotation")),
    ("AutoUpdate", Key::Refused("hull has no automatic updates")),
    (
        "CgroupsMode",
        Key::Refused("hull's containers have cgroups of their own"),
    ),
    ("ContainerName", Key::Elsewhere),
    ("ContainersConfModule", Key::Refused(NO_MODULE)),
    ("DNS", Key::Words("--dns")),
    ("DNSOption", Key::Words("--dns-option")),
    ("DNSSearch", Key::Words("--dns-search")),
    ("DropCapability", Key::Words("--cap-drop")),
    ("Entrypoint", Key::Last("--entrypoint")),
    ("Environment", Key::Words("--env")),
    ("EnvironmentFile", Key::Words("--env-file")),
    ("EnvironmentHost", Key::Refused("name the variables in Environment=")),
    ("Exec", Key::Elsewhere),
    ("ExposeHostPort", Key::Words("--expose")),
    ("GIDMap", Key::Refused(NO_MAPS)),
    ("GlobalArgs", Key::Elsewhere),
    ("Group", Key::Elsewhere),
    ("GroupAdd", Key::Words("--group-add")),
    ("HealthCmd", Key::Last("--health-cmd")),
    ("HealthInterval", Key::Last("--health-interval")),
    (
        "HealthLogDestination",
        Key::Refused("health is kept with the container"),
    ),
    ("HealthMaxLogCount", Key::Refused("health is kept with the container")),
    ("HealthMaxLogSize", Key::Refused("health is kept with the container")),
    ("HealthOnFailure", Key::Last("--health-on-failure")),
    ("HealthRetries", Key::Last("--health-retries")),
    ("HealthStartPeriod", Key::Last("--health-start-period")),
    ("HealthStartupCmd", Key::Refused(NO_STARTUP)),
    ("HealthStartupInterval", Key::Refused(NO_STARTUP)),
    ("HealthStartupRetries", Key::Refused(NO_STARTUP)),
    ("HealthStartupSuccess", Key::Refused(NO_STARTUP)),
    ("HealthStartupTimeout", Key::Refused(NO_STARTUP)),
    ("HealthTimeout", Key::Last("--health-timeout")),
    ("HostName", Key::Last("--hostname")),
    (
        "HttpProxy",
        Key::Refused("hull passes no proxies on: name them in Environment="),
    ),
    ("Image", Key::Elsewhere),
    ("IP", Key::Last("--ip")),
    ("IP6", Key::Last("--ip6")),
    ("Label", Key::Words("--label")),
    ("LogDriver", Key::Last("--log-driver")),
    ("LogOpt", Key::Each("--log-opt")),
    ("Mask", Key::Refused("hull masks what Docker masks")),
    ("Memory", Key::Last("--memory")),
    ("Mount", Key::Each("--mount")),
    ("Network", Key::Each("--network")),
    ("NetworkAlias", Key::Each("--network-alias")),
    ("NoNewPrivileges", Key::On(&["--security-opt", "no-new-privileges"])),
    ("Notify", Key::Elsewhere),
    ("PidsLimit", Key::Last("--pids-limit")),
    ("Pod", Key::Elsewhere),
    ("PodmanArgs", Key::Plain),
    ("PublishPort", Key::Each("--publish")),
    ("Pull", Key::Last("--pull")),
    ("ReadOnly", Key::On(&["--read-only"])),
    ("ReadOnlyTmpfs", Key::Elsewhere),
    ("RemapGid", Key::Refused(NO_MAPS)),
    ("RemapUid", Key::Refused(NO_MAPS)),
    ("RemapUidSize", Key::Refused(NO_MAPS)),
    ("RemapUsers", Key::Refused(NO_MAPS)),
    ("Retry", Key::Refused("hull tries again as its configuration says")),
    ("RetryDelay", Key::Refused("hull tries again as its configuration says")),
    ("Rootfs", Key::Refused("hull runs images")),
    ("RunInit", Key::On(&["--init"])),
    ("SeccompProfile", Key::Last("--security-opt")),
    ("Secret", Key::Refused("hull has no secrets")),
    ("SecurityLabelDisable", Key::On(&["--security-opt", "label=disable"])),
    ("SecurityLabelFileType", Key::Refused(NO_LABELS)),
    ("SecurityLabelLevel", Key::Refused(NO_LABELS)),
    ("SecurityLabelNested", Key::Refused(NO_LABELS)),
    ("SecurityLabelType", Key::Refused(NO_LABELS)),
    ("ServiceName", Key::Elsewhere),
    ("ShmSize", Key::Last("--shm-size")),
    ("StartWithPod", Key::Elsewhere),
    ("StopSignal", Key::Last("--stop-signal")),
    ("StopTimeout", Key::Last("--stop-timeout")),
    ("SubGIDMap", Key::Refused(NO_MAPS)),
    ("SubUIDMap", Key::Refused(NO_MAPS)),
    ("Sysctl", Key::Words("--sysctl")),
    ("Timezone", Key::Refused("set TZ in Environment=")),
    ("Tmpfs", Key::Each("--tmpfs")),
    ("UIDMap", Key::Refused(NO_MAPS)),
    ("Ulimit", Key::Each("--ulimit")),
    ("Unmask", Key::Each("--security-opt")),
    ("User", Key::Elsewhere),
    ("UserNS", Key::Last("--userns")),
    ("Volume", Key::Each("--volume")),
    ("WorkingDir", Key::Last("--workdir")),
];

/// Adds the service of a container.
pub(super) fn make(unit: &mut Unit, source: &Source, all: &All<'_>, around: &Surroundings<'_>) -> Result<(), String> {
    let name = match unit.last(SECTION, "ContainerName").filter(|name| !name.is_empty()) {
        Some(name) => name.to_owned(),
        None => "systemd-%N".to_owned(),
    };
    let mut needs = Vec::new();
    let mut args = flags(unit, SECTION, KEYS, &mut |key, value| {
        change(key, value, source, all, around, &mut needs)
    })?;
    args.extend(special(unit)?);
    let image = unit.last(SECTION, "Image").unwrap_or_default().to_owned();
    let image = match image.as_str() {
        "" => return Err("no Image= key specified".to_owned()),
        file if file.ends_with(".image") => {
            let (found, service) = all.find(file)?;
            needs.push(service);
            let image = found.unit.last("Image", "Image").unwrap_or_default();
            if image.is_empty() {
                return Err(format!("{file} names no image"));
            }
            image.to_owned()
        }
        file if file.ends_with(".build") => return Err("hull has no command for .build files yet".to_owned()),
        image => image.to_owned(),
    };
    let mut command = Vec::new();
    if let Some(value) = unit.last(SECTION, "Exec") {
        command = words::split(value)?;
    }
    if let Some(pod) = unit
        .last(SECTION, "Pod")
        .map(str::to_owned)
        .filter(|pod| !pod.is_empty())
    {
        if !pod.ends_with(".pod") {
            return Err(format!("pod {pod} is not Quadlet based"));
        }
        let (found, service) = all.find(&pod)?;
        args.extend(["--pod".to_owned(), All::resource(found, "PodName")]);
        unit.add("Unit", "BindsTo", &service);
        unit.add("Unit", "After", &service);
    }
    for service in needs {
        unit.add("Unit", "Requires", &service);
        unit.add("Unit", "After", &service);
    }
    service(unit, &name, &args, &image, &command, around)
}

fn service(
    unit: &mut Unit,
    name: &str,
    args: &[String],
    image: &str,
    command: &[String],
    around: &Surroundings<'_>,
) -> Result<(), String> {
    let program = keys::program(unit, SECTION, around.program)?;
    let mut run = vec!["run", "--rm", "--name", name];
    match unit.last("Service", "Type").unwrap_or("notify") {
        // The command itself tells that the container runs, and stays as the main process.
        "notify" => {
            run.extend(["--sdnotify", "conmon"]);
            unit.set("Service", "Type", "notify");
            unit.preset("Service", "NotifyAccess", "main");
        }
        "oneshot" => {}
        other => return Err(format!("invalid service Type '{other}'")),
    }
    match unit.last("Service", "KillMode") {
        None => unit.add("Service", "KillMode", "mixed"),
        Some("mixed" | "control-group") => {}
        Some(other) => return Err(format!("invalid KillMode '{other}'")),
    }
    // What a service that was killed has left.
    unit.add(
        "Service",
        "ExecStartPre",
        &format!("-{}", line(&program, &["rm", "-f", "-v", name], &[])),
    );
    let rest: Vec<String> = args
        .iter()
        .cloned()
        .chain(std::iter::once(image.to_owned()))
        .chain(command.iter().cloned())
        .collect();
    unit.set("Service", "ExecStart", &line(&program, &run, &rest));
    // Also run when the container has ended by itself, and is gone.
    unit.add(
        "Service",
        "ExecStop",
        &format!("-{}", line(&program, &["stop", name], &[])),
    );
    unit.add(
        "Service",
        "ExecStopPost",
        &format!("-{}", line(&program, &["rm", "-f", "-v", name], &[])),
    );
    // A container that ends by the signal that stops it has not failed.
    unit.preset("Service", "SuccessExitStatus", "143");
    unit.preset("Service", "SyslogIdentifier", "%N");
    Ok(())
}

/// Flags that follow from several keys, or from the value of one.
fn special(unit: &Unit) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let last = |key: &str| unit.last(SECTION, key).filter(|value| !value.is_empty());
    match (last("User"), last("Group")) {
        (Some(user), Some(group)) => out.extend(["--user".to_owned(), format!("{user}:{group}")]),
        (Some(user), None) => out.extend(["--user".to_owned(), user.to_owned()]),
        (None, Some(_)) => return Err("invalid Group set without User".to_owned()),
        (None, None) => {}
    }
    // Podman's default below a read-only root.
    let read_only = unit.last(SECTION, "ReadOnly").map_or(Ok(false), boolean)?;
    if read_only && unit.last(SECTION, "ReadOnlyTmpfs").map_or(Ok(true), boolean)? {
        for path in ["/run", "/tmp", "/var/tmp"] {
            out.extend(["--tmpfs".to_owned(), path.to_owned()]);
        }
    }
    match last("Notify") {
        None => {}
        Some(value) if boolean(value) == Ok(false) => {}
        Some(_) => {
            return Err("Notify=: the service is ready when its container runs; hull passes no socket on".to_owned());
        }
    }
    Ok(out)
}

/// Values that name other files, or that are not quite the flag's.
fn change(
    key: &str,
    value: String,
    source: &Source,
    all: &All<'_>,
    around: &Surroundings<'_>,
    needs: &mut Vec<String>,
) -> Result<Option<String>, String> {
    match key {
        // A device that need not be there.
        "AddDevice" => Ok(match value.strip_prefix('-') {
            Some(device) => {
                let path = device.split(':').next().unwrap_or_default();
                (around.exists)(path).then(|| device.to_owned())
            }
            None => Some(value),
        }),
        "SeccompProfile" => Ok(Some(format!("seccomp={value}"))),
        "Unmask" if value == "ALL" => Ok(Some("systempaths=unconfined".to_owned())),
        "Unmask" => Err("only ALL is there".to_owned()),
        "EnvironmentFile" => Ok(Some(beside(&value, source))),
        "Network" => match value.split_once(':').unwrap_or((&value, "")) {
            (file, _) if file.ends_with(".network") => Err("hull has no command for .network files yet".to_owned()),
            (file, "") if file.ends_with(".container") => {
                let (found, service) = all.find(file)?;
                let own = found
                    .unit
                    .last(SECTION, "ContainerName")
                    .filter(|name| !name.is_empty());
                let name = own.map(str::to_owned);
                let default = || format!("systemd-{}", service.trim_end_matches(".service"));
                needs.push(service.clone());
                Ok(Some(format!("container:{}", name.unwrap_or_else(default))))
            }
            _ => Ok(Some(value)),
        },
        "Volume" => volume(&value, source, all, needs).map(Some),
        "Mount" => {
            let mut fields = Vec::new();
            for field in value.split(',') {
                fields.push(match field.split_once('=') {
                    Some((key @ ("source" | "src"), file)) if file.ends_with(".volume") => {
                        let (found, service) = all.find(file)?;
                        needs.push(service);
                        format!("{key}={}", All::resource(found, "VolumeName"))
                    }
                    Some(("source" | "src", file)) if file.ends_with(".image") || file.ends_with(".build") => {
                        return Err(format!("{file}: mounts of images by file are not there"));
                    }
                    Some((key @ ("source" | "src"), path)) if path.starts_with('.') => {
                        format!("{key}={}", beside(path, source))
                    }
                    _ => field.to_owned(),
                });
            }
            Ok(Some(fields.join(",")))
        }
        _ => Ok(Some(value)),
    }
}

/// `SOURCE:TARGET[:OPTIONS]`, where the source may be a `.volume` file or a path beside the file.
fn volume(value: &str, source: &Source, all: &All<'_>, needs: &mut Vec<String>) -> Result<String, String> {
    let Some((from, rest)) = value.split_once(':') else {
        return Ok(value.to_owned());
    };
    if from.ends_with(".volume") {
        let (found, service) = all.find(from)?;
        needs.push(service);
        return Ok(format!("{}:{rest}", All::resource(found, "VolumeName")));
    }
    if from.starts_with('.') {
        return Ok(format!("{}:{rest}", beside(from, source)));
    }
    Ok(value.to_owned())
}

/// A path that is relative to the folder of the file. One that begins with a specifier is systemd's to complete.
fn beside(path: &str, source: &Source) -> String {
    if path.starts_with(['/', '%']) {
        return path.to_owned();
    }
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut out: Vec<&str> = folder.split('/').collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(out.pop()),
            part => out.push(part),
        }
    }
    out.join("/")
}
