//! `hull-runtime`: the runtime under the command line of runc, for containerd, dockerd, Podman and CRI-O.
//!
//! Owns the state folder, `ROOT/ID/` for each container, root's alone:
//! - `state.json`: what was made (process, cgroups, hooks), written to a temporary name and renamed;
//! - `config.json`: the config as it was when the container was created;
//! - `start.sock`: where init waits, until somebody says `start`.
//!
//! A container's status is derived each time: its process is alive or not, and waits at its socket or not.

mod arguments;
mod clock;
mod create;
mod delete;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod spec;
mod start;
mod state;
pub(crate) use state::start_ticks;
mod terminal;
mod update;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use arguments::{Arguments, Flag};
#[cfg(test)]
pub(crate) use spec::example as example_config;

/// Who calls: what a library does not read or write by itself.
pub struct Caller<'a> {
    /// Standard input of the containers' processes.
    pub stdin: BorrowedFd<'a>,
    /// Standard output of the containers' processes.
    pub stdout: BorrowedFd<'a>,
    /// Standard error of the containers' processes.
    pub stderr: BorrowedFd<'a>,
    /// Where results are printed.
    pub out: &'a mut dyn Write,
    /// Where errors are printed.
    pub err: &'a mut dyn Write,
    /// The state folder where `--root` names none: `/run/hull-runtime`, or below `$XDG_RUNTIME_DIR` for other users.
    pub root: PathBuf,
    /// `$LISTEN_FDS`: descriptors from 3 on that socket activation passed.
    pub listen_fds: u32,
}

/// Why a command failed, and its exit code.
#[derive(Debug)]
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 1,
        }
    }
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

type Outcome<T = u8> = std::result::Result<T, Failure>;

/// What comes before the command's name.
#[derive(Debug)]
struct Global {
    root: PathBuf,
    log: Log,
    /// Descriptors from 3 on without a gap that were open at the start: the ones a caller can have kept.
    inherited: u32,
}

impl Global {
    /// Tells what is not worth a failure: in the log, or on standard error where there is none.
    fn warn(&self, caller: &mut Caller<'_>, message: &str) {
        if self.log.file.is_some() {
            self.log.write("warning", message);
        } else {
            let _ = writeln!(caller.err, "warning: {message}");
        }
    }
}

const GLOBAL: &[Flag] = &[
    Flag::value(&["root"]),
    Flag::value(&["log"]),
    Flag::value(&["log-format"]),
    Flag::switch(&["debug"]),
    Flag::switch(&["systemd-cgroup"]),
    Flag::switch(&["version", "v"]),
    Flag::switch(&["help", "h"]),
];

type Run = fn(&mut Caller<'_>, &Global, &Arguments) -> Outcome;

struct Command {
    name: &'static str,
    usage: &'static str,
    flags: &'static [Flag],
    /// How few and how many arguments it takes.
    takes: (usize, usize),
    run: Run,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "create",
        usage: "create a container",
        flags: create::FLAGS,
        takes: (1, 1),
        run: create::command,
    },
    Command {
        name: "delete",
        usage: "delete a container's resources",
        flags: delete::FLAGS,
        takes: (1, 1),
        run: delete::command,
    },
    Command {
        name: "exec",
        usage: "run a process in a container",
        flags: exec::FLAGS,
        takes: (1, usize::MAX),
        run: exec::command,
    },
    Command {
        name: "features",
        usage: "show what this runtime can do",
        flags: &[],
        takes: (0, 0),
        run: features::command,
    },
    Command {
        name: "kill",
        usage: "send a signal to a container (SIGTERM)",
        flags: kill::FLAGS,
        takes: (1, 2),
        run: kill::command,
    },
    Command {
        name: "list",
        usage: "list containers",
        flags: list::LIST_FLAGS,
        takes: (0, 0),
        run: list::list,
    },
    Command {
        name: "pause",
        usage: "freeze a container's processes",
        flags: &[],
        takes: (1, 1),
        run: pause::pause,
    },
    Command {
        name: "ps",
        usage: "show a container's processes",
        flags: list::PS_FLAGS,
        takes: (1, usize::MAX),
        run: list::ps,
    },
    Command {
        name: "resume",
        usage: "thaw a container's processes",
        flags: &[],
        takes: (1, 1),
        run: pause::resume,
    },
    Command {
        name: "run",
        usage: "create and start a container",
        flags: create::RUN_FLAGS,
        takes: (1, 1),
        run: create::run,
    },
    Command {
        name: "spec",
        usage: "write an example config.json",
        flags: spec::FLAGS,
        takes: (0, 0),
        run: spec::command,
    },
    Command {
        name: "start",
        usage: "start the program of a created container",
        flags: &[],
        takes: (1, 1),
        run: start::command,
    },
    Command {
        name: "state",
        usage: "show a container's state",
        flags: &[],
        takes: (1, 1),
        run: list::state,
    },
    Command {
        name: "update",
        usage: "change a container's limits",
        flags: update::FLAGS,
        takes: (1, 1),
        run: update::command,
    },
];

/// Commands of runc that hull does not have.
const REFUSED: [&str; 3] = ["checkpoint", "restore", "events"];

/// Runs one command line, without the program's own name. Returns the exit code.
pub fn main(args: &[OsString], caller: &mut Caller<'_>) -> u8 {
    let mut log = Log::default();
    match dispatch(args, caller, &mut log) {
        Ok(code) => code,
        Err(failure) => {
            log.write("error", &failure.message);
            let _ = writeln!(caller.err, "error: {}", failure.message);
            failure.code
        }
    }
}

fn dispatch(args: &[OsString], caller: &mut Caller<'_>, log: &mut Log) -> Outcome {
    let text = |arg: &OsString| {
        arg.to_str()
            .map(str::to_owned)
            .ok_or_else(|| Failure::new(format!("argument {arg:?} is not UTF-8")))
    };
    let args = args.iter().map(text).collect::<Outcome<Vec<_>>>()?;
    let global = Arguments::parse(GLOBAL, &args)?;
    let inherited = inherited();
    // Opened first: `exec` ends up where the host's paths are out of sight.
    log.file = global
        .value("log")
        .filter(|path| !path.is_empty())
        .map(open_log)
        .transpose()?;
    log.json = match global.value("log-format") {
        None | Some("" | "text") => false,
        Some("json") => true,
        Some(other) => return Err(Failure::new(format!("invalid log-format: {other}"))),
    };
    if global.has("version") {
        writeln!(
            caller.out,
            "hull-runtime version {}\nspec: {}",
            env!("CARGO_PKG_VERSION"),
            features::SPEC_MAX
        )?;
        return Ok(0);
    }
    let Some((name, rest)) = global
        .rest
        .split_first()
        .filter(|(name, _)| *name != "help" && !global.has("help"))
    else {
        help(caller.out)?;
        return Ok(0);
    };
    if global.has("systemd-cgroup") {
        return Err(Failure::new(
            "--systemd-cgroup is not supported: use the cgroupfs driver",
        ));
    }
    if REFUSED.contains(&name.as_str()) {
        return Err(Failure::new(format!("`{name}` is not supported")));
    }
    let command = COMMANDS.iter().find(|command| command.name == name);
    let command = command.ok_or_else(|| Failure::new(format!("unknown command `{name}`")))?;
    let arguments = Arguments::parse(command.flags, rest)?;
    let (few, many) = command.takes;
    if !(few..=many).contains(&arguments.rest.len()) {
        return Err(Failure::new(format!("`{name}` takes {}", amount(few, many))));
    }
    let root = global
        .value("root")
        .filter(|root| !root.is_empty())
        .map_or_else(|| caller.root.clone(), PathBuf::from);
    let root = std::path::absolute(&root).map_err(|e| Failure::new(format!("cannot use `{}`: {e}", root.display())))?;
    (command.run)(
        caller,
        &Global {
            root,
            log: log.clone(),
            inherited,
        },
        &arguments,
    )
}

fn inherited() -> u32 {
    let open = |fd: &u32| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok();
    (3..).take_while(open).count() as u32
}

fn amount(few: usize, many: usize) -> String {
    match (few, many) {
        (0, 0) => "no arguments".to_owned(),
        (1, 1) => "exactly one argument, the container's ID".to_owned(),
        (few, usize::MAX) => format!("at least {few} argument, the container's ID"),
        (few, many) => format!("{few} to {many} arguments"),
    }
}

fn help(out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "Usage: hull-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] COMMAND\n\nCommands:"
    )?;
    for command in COMMANDS {
        writeln!(out, "  {:<10}{}", command.name, command.usage)?;
        for flag in command.flags {
            writeln!(out, "              {flag}")?;
        }
    }
    Ok(())
}

/// Where engines read why a command failed: `--log`, a line an event, as text or JSON.
#[derive(Clone, Debug, Default)]
struct Log {
    file: Option<Rc<File>>,
    json: bool,
}

impl Log {
    /// Adds one line. What stands in its way is not worth another error.
    fn write(&self, level: &str, message: &str) {
        let Some(file) = &self.file else { return };
        let time = clock::now();
        let line = if self.json {
            serde_json::json!({ "level": level, "msg": message, "time": time }).to_string()
        } else {
            format!("time={time:?} level={level} msg={message:?}")
        };
        let _ = writeln!(&mut &**file, "{line}");
    }
}

fn open_log(path: &str) -> Outcome<Rc<File>> {
    let file = File::options().append(true).create(true).open(path);
    file.map(Rc::new)
        .map_err(|e| Failure::new(format!("cannot open log `{path}`: {e}")))
}

/// Writes a file whole or not at all.
fn write_file(path: &Path, content: &[u8]) -> Outcome<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    std::fs::write(&temporary, content)
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|e| Failure::new(format!("cannot write `{}`: {e}", path.display())))
}
