//! `exec`: a further process in a container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};

use super::arguments::{Arguments, Flag};
use super::create::{preserved, stdio};
use super::state::{self, CONFIG, State, Status};
use super::{Caller, Failure, Global, Outcome, terminal};
use crate::bundle;
use crate::container::{Process, User};
use crate::exec::{Io, Target};

pub(super) const FLAGS: &[Flag] = &[
    Flag::value(&["console-socket"]),
    Flag::value(&["pidfd-socket"]),
    Flag::value(&["cwd"]),
    Flag::value(&["env", "e"]),
    Flag::switch(&["tty", "t"]),
    Flag::value(&["user", "u"]),
    Flag::value(&["additional-gids", "g"]),
    Flag::value(&["process", "p"]),
    Flag::switch(&["detach", "d"]),
    Flag::value(&["pid-file"]),
    Flag::value(&["process-label"]),
    Flag::value(&["apparmor"]),
    Flag::switch(&["no-new-privs"]),
    Flag::value(&["cap", "c"]),
    Flag::value(&["preserve-fds"]),
    Flag::value(&["cgroup"]),
    Flag::switch(&["ignore-paused"]),
];

pub(super) fn command(caller: &mut Caller<'_>, global: &Global, args: &Arguments) -> Outcome {
    let id = &args.rest[0];
    for flag in ["pidfd-socket", "cgroup"] {
        if args.value(flag).is_some() {
            return Err(Failure::new(format!("--{flag} is not supported")));
        }
    }
    let state = State::load(global, id)?;
    let folder = state::folder(global, id)?;
    match state.status(&folder) {
        Status::Stopped | Status::Creating => return Err(Failure::new("cannot exec in a stopped container")),
        Status::Paused if !args.has("ignore-paused") => {
            return Err(Failure::new(
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        _ => {}
    }
    let mut process = process(caller, global, args, &folder)?;
    process.preserve_fds = preserved(caller, global, args)?;
    let detach = args.has("detach");
    let socket = terminal::socket(args.value("console-socket"), process.terminal, detach)?;
    let io = if process.terminal {
        Io::Terminal
    } else {
        Io::Given(stdio(caller)?)
    };
    // Paths of the host are out of sight once the container is entered.
    let pid_file = PidFile::open(args.value("pid-file"))?;
    let signals = if detach { None } else { Some(terminal::Signals::take()?) };
    let pidfd = state.pidfd()?;
    let pid = rustix::process::Pid::from_raw(state.pid).ok_or_else(|| Failure::new("container not running"))?;
    let target = Target {
        pid,
        pidfd: pidfd.as_fd(),
        cgroups: &state.cgroups,
    };
    let joined = crate::exec::exec(&target, &process, io).map_err(|e| Failure {
        code: e.exit_code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255),
        message: e.to_string(),
    })?;
    if let Some(file) = pid_file {
        file.write(joined.child.pid.as_raw_nonzero().get())?;
    }
    if let (Some(socket), Some(master)) = (&socket, &joined.console) {
        terminal::send(socket, master)?;
    }
    match signals {
        Some(signals) => terminal::attend(caller, &signals, &joined.child, joined.console.as_ref()),
        None => Ok(0),
    }
}

/// The process: of a file, or the container's own with other arguments.
fn process(caller: &mut Caller<'_>, global: &Global, args: &Arguments, folder: &Path) -> Outcome<Process> {
    let config =
        std::fs::read(folder.join(CONFIG)).map_err(|e| Failure::new(format!("cannot read the config: {e}")))?;
    let spec: Spec =
        serde_json::from_slice(&config).map_err(|e| Failure::new(format!("the config is damaged: {e}")))?;
    let own = spec
        .process()
        .as_ref()
        .ok_or_else(|| Failure::new("the config lacks `process`"))?;
    let namespaces = spec
        .linux()
        .iter()
        .filter_map(|linux| linux.namespaces().as_ref())
        .flatten();
    let user_namespace = namespaces
        .into_iter()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::User);
    let mut warnings = Vec::new();
    let mut process = match args.value("process").filter(|path| !path.is_empty()) {
        Some(path) => {
            let text = std::fs::read(path).map_err(|e| Failure::new(format!("cannot read `{path}`: {e}")))?;
            let given: oci_spec::runtime::Process =
                serde_json::from_slice(&text).map_err(|e| Failure::new(format!("`{path}` is no OCI process: {e}")))?;
            bundle::process(&given, user_namespace, &mut warnings)?
        }
        None => {
            let mut process = bundle::process(own, user_namespace, &mut warnings)?;
            if args.rest.len() < 2 {
                return Err(Failure::new("process args cannot be empty"));
            }
            process.args = args.rest[1..].to_vec();
            process.terminal = args.has("tty");
            change(&mut process, args)?;
            process
        }
    };
    process.create_cwd = false;
    // The filter of the container is that of all its processes.
    let host = bundle::Host::here();
    process.seccomp = bundle::seccomp(&spec, process.capabilities.bounding, &host)?;
    for warning in warnings {
        global.warn(caller, &warning);
    }
    Ok(process)
}

fn change(process: &mut Process, args: &Arguments) -> Outcome<()> {
    if let Some(cwd) = args.value("cwd").filter(|cwd| !cwd.is_empty()) {
        process.cwd = cwd.to_owned();
    }
    process.env.extend(args.values("env"));
    process.no_new_privileges |= args.has("no-new-privs");
    if let Some(profile) = args.value("apparmor") {
        process.apparmor = Some(profile.to_owned());
    }
    if let Some(label) = args.value("process-label") {
        process.selinux = Some(label.to_owned());
    }
    process.capabilities = bundle::resolve_capabilities(process.capabilities, &args.values("cap"))?;
    let number = |text: &str| {
        text.parse::<u32>()
            .map_err(|_| Failure::new(format!("`{text}` is not an ID")))
    };
    let more = args
        .values("additional-gids")
        .iter()
        .map(|gid| number(gid))
        .collect::<Outcome<Vec<_>>>()?;
    if let User::Ids { uid, gid, groups } = &mut process.user {
        if let Some(user) = args.value("user").filter(|user| !user.is_empty()) {
            let (user, group) = user
                .split_once(':')
                .map_or((user, None), |(user, group)| (user, Some(group)));
            *uid = number(user)?;
            if let Some(group) = group {
                *gid = number(group)?;
            }
        }
        groups.extend(more);
    }
    Ok(())
}

/// A file to be written from within another mount namespace.
struct PidFile {
    folder: OwnedFd,
    name: String,
}

impl PidFile {
    fn open(path: Option<&str>) -> Outcome<Option<Self>> {
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let failed = |e: String| Failure::new(format!("cannot write `{path}`: {e}"));
        let absolute = std::path::absolute(path).map_err(|e| failed(e.to_string()))?;
        let name = absolute.file_name().and_then(|name| name.to_str());
        let (Some(parent), Some(name)) = (absolute.parent(), name) else {
            return Err(failed("it names no file".to_owned()));
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(parent, flags, Mode::empty()).map_err(|e| failed(e.to_string()))?;
        Ok(Some(Self {
            folder,
            name: name.to_owned(),
        }))
    }

    fn write(&self, pid: i32) -> Outcome<()> {
        let failed = |e: rustix::io::Errno| Failure::new(format!("cannot write pid file `{}`: {e}", self.name));
        let temporary = format!(".{}.new", self.name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, &temporary, flags, Mode::from_raw_mode(0o644)).map_err(failed)?;
        rustix::io::write(&file, pid.to_string().as_bytes()).map_err(failed)?;
        rustix::fs::renameat(&self.folder, &temporary, &self.folder, &self.name).map_err(failed)
    }
}
