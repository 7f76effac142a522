//! Programs that a config has run at a container's transitions.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use oci_spec::runtime::Spec;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use super::invalid;
use crate::error::{Error, Result};

/// One program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its path, absolute.
    pub path: PathBuf,
    /// Its arguments, with the name it is called by first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its whole environment, `NAME=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Seconds until it is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// The programs of each transition, in order (OCI runtime spec, config.md, "POSIX-platform Hooks").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// Before the root is entered, in the runtime's namespaces; the old name of the next.
    pub prestart: Vec<Hook>,
    /// Before the root is entered, in the runtime's namespaces.
    pub create_runtime: Vec<Hook>,
    /// Before the root is entered, in the container's namespaces.
    pub create_container: Vec<Hook>,
    /// Before the program starts, in the container.
    pub start_container: Vec<Hook>,
    /// After the program started.
    pub poststart: Vec<Hook>,
    /// After the container was deleted.
    pub poststop: Vec<Hook>,
}

impl Hooks {
    pub(super) fn read(spec: &Spec) -> Result<Self> {
        let Some(hooks) = spec.hooks() else {
            return Ok(Self::default());
        };
        let read = |name: &str, list: &Option<Vec<oci_spec::runtime::Hook>>| {
            let one = |hook: &oci_spec::runtime::Hook| {
                if !hook.path().is_absolute() {
                    return Err(invalid(format!(
                        "{name} hook `{}` is not an absolute path",
                        hook.path().display()
                    )));
                }
                if hook.timeout().is_some_and(|seconds| seconds <= 0) {
                    return Err(invalid(format!(
                        "{name} hook `{}` has no time to run in",
                        hook.path().display()
                    )));
                }
                Ok(Hook {
                    path: hook.path().clone(),
                    args: hook.args().clone().unwrap_or_default(),
                    env: hook.env().clone().unwrap_or_default(),
                    timeout: hook.timeout(),
                })
            };
            list.iter().flatten().map(one).collect::<Result<Vec<_>>>()
        };
        let prestart = read("prestart", hooks.prestart())?;
        Ok(Self {
            prestart,
            create_runtime: read("createRuntime", hooks.create_runtime())?,
            create_container: read("createContainer", hooks.create_container())?,
            start_container: read("startContainer", hooks.start_container())?,
            poststart: read("poststart", hooks.poststart())?,
            poststop: read("poststop", hooks.poststop())?,
        })
    }
}

/// Runs hooks one after the other, each with the container's state on its standard input.
///
/// # Errors
/// The first that cannot be started, fails or takes too long; the later ones then do not run.
pub(crate) fn run(kind: &'static str, hooks: &[Hook], state: &str) -> Result<()> {
    hooks.iter().enumerate().try_for_each(|(number, hook)| {
        one(hook, state).map_err(|reason| {
            Error::Invalid(format!(
                "error running {kind} hook #{number} `{}`: {reason}",
                hook.path.display()
            ))
        })
    })
}

fn one(hook: &Hook, state: &str) -> std::result::Result<(), String> {
    let environment: BTreeMap<&str, &str> = hook.env.iter().filter_map(|entry| entry.split_once('=')).collect();
    let mut command = Command::new(&hook.path);
    command
        .env_clear()
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook that does not read its state is a hook all the same.
        let _ = stdin.write_all(state.as_bytes());
    }
    let in_time = wait(&child, hook.timeout).map_err(|e| e.to_string())?;
    if !in_time {
        let _ = child.kill();
    }
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    if !in_time {
        return Err(format!("timed out after {} s", hook.timeout.unwrap_or_default()));
    }
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr[..output.stderr.len().min(4096)])
        .trim()
        .to_owned();
    let colon = if said.is_empty() { "" } else { ": " };
    Err(format!("{}{colon}{said}", output.status))
}

/// Whether the process ends within its time.
fn wait(child: &Child, seconds: Option<i64>) -> rustix::io::Result<bool> {
    let Some(seconds) = seconds else { return Ok(true) };
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return Ok(true);
    };
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let timeout = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    Ok(rustix::event::poll(&mut fds, Some(&timeout))? > 0)
}
