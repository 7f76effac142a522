//! `exec`: another process in a running container. The calling process does the work itself and is then only good for
//! looking after it: see [`hull_runtime::exec`].

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use hull_runtime::Stdio;
use hull_runtime::exec::{Io, Target};
use hull_spec::container::Status;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::{describe, find, kill, status};
use crate::{Engine, Error, Result, event};

/// How long a process may take to end that has lost its namespaces already.
const ENDING: Duration = Duration::from_secs(1);

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// `NAME=value`; a name alone takes the container's variable away.
    pub env: Vec<String>,
    /// Another user than the container's.
    pub user: Option<String>,
    /// Another working directory than the container's.
    pub working_dir: Option<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether its standard input is passed on.
    pub stdin: bool,
    /// All capabilities, no filter.
    pub privileged: bool,
    /// Nobody looks after it.
    pub detach: bool,
    /// The terminal's size: rows, columns.
    pub console_size: [u16; 2],
}

/// The ends of the process's standard streams.
#[derive(Debug)]
pub enum ExecIo {
    /// None: it is detached.
    Detached,
    /// Pipes.
    Pipes {
        /// Its standard input, where it is passed on.
        stdin: Option<OwnedFd>,
        /// Its standard output.
        stdout: OwnedFd,
        /// Its standard error.
        stderr: OwnedFd,
    },
    /// The master of its terminal.
    Terminal(OwnedFd),
}

/// A process in a container.
#[derive(Debug)]
pub struct ExecProcess {
    /// Becomes readable when it has ended.
    pub pidfd: OwnedFd,
    /// Its streams.
    pub io: ExecIo,
    /// Tells its end.
    pub told: event::Exec,
}

impl ExecProcess {
    /// Waits for its end and gives its exit code, 128 + N for signal N.
    #[must_use]
    pub fn wait(&self) -> i32 {
        match rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => code,
                (None, Some(signal)) => 128 + signal,
                (None, None) => 255,
            },
            _ => 255,
        }
    }
}

/// Starts a process in a running container. Afterwards the calling process is in the container's namespaces.
///
/// # Errors
/// No such container; [`Error::NotRunning`]; [`Error::Exec`] with Docker's exit codes.
pub fn exec(engine: &Engine, name: &str, request: &ExecRequest) -> Result<ExecProcess> {
    let record = find(engine, name)?;
    let look = status::derive(engine, &record)?;
    let Some(live) = look.live else {
        return Err(Error::NotRunning { id: record.id });
    };
    if look.status == Status::Paused {
        return Err(Error::Invalid(format!(
            "Container {name} is paused, unpause the container before exec"
        )));
    }
    let Some(init) = kill::open(&live) else {
        return Err(Error::NotRunning { id: record.id });
    };
    let mut process = describe::exec_process(
        &record,
        &describe::Exec {
            cmd: &request.cmd,
            env: &request.env,
            user: request.user.as_deref(),
            cwd: request.working_dir.as_deref(),
            tty: request.tty,
            privileged: request.privileged,
        },
    )?;
    process.console_size = Some((request.console_size[0], request.console_size[1]));
    let cgroups: Vec<PathBuf> = live.cgroups.iter().map(PathBuf::from).collect();
    let pid = Pid::from_raw(live.pid).ok_or_else(|| Error::NotRunning { id: record.id.clone() })?;
    let target = Target {
        pid,
        pidfd: init.as_fd(),
        cgroups: &cgroups,
    };
    let (io, ours) = streams(request)?;
    let failed = |source: hull_runtime::Error| {
        // Whatever the kernel says of a container that has ended meanwhile. One that is ending has lost its namespaces
        // (ESRCH) a moment before.
        let ending = source.kind() == hull_spec::ErrorKind::NotFound;
        let patience = if ending { ENDING } else { Duration::ZERO };
        if source.exit_code().is_none() && kill::has_ended(&init, patience) {
            return Error::NotRunning { id: record.id.clone() };
        }
        Error::Exec {
            id: record.id.clone(),
            source: Box::new(source),
        }
    };
    let told = event::Exec::begun(engine, &record, &request.cmd);
    let joined = hull_runtime::exec::exec(&target, &process, io).map_err(failed)?;
    let io = match joined.console {
        Some(master) => ExecIo::Terminal(master),
        None => ours,
    };
    Ok(ExecProcess {
        pidfd: joined.child.pidfd,
        io,
        told,
    })
}

/// The process's streams and our ends of them.
fn streams(request: &ExecRequest) -> Result<(Io, ExecIo)> {
    if request.tty && !request.detach {
        return Ok((Io::Terminal, ExecIo::Detached));
    }
    let write = |source: std::io::Error| Error::Write {
        path: "a pipe".into(),
        source,
    };
    let null = || {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map(OwnedFd::from)
            .map_err(write)
    };
    if request.detach {
        let io = Io::Given(Stdio {
            stdin: null()?,
            stdout: null()?,
            stderr: null()?,
        });
        return Ok((io, ExecIo::Detached));
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| write(e.into()));
    let (stdin, ours) = if request.stdin {
        let (read, write) = pipe()?;
        (read, Some(write))
    } else {
        (null()?, None)
    };
    let (out_read, stdout) = pipe()?;
    let (err_read, stderr) = pipe()?;
    let ours = ExecIo::Pipes {
        stdin: ours,
        stdout: out_read,
        stderr: err_read,
    };
    Ok((Io::Given(Stdio { stdin, stdout, stderr }), ours))
}
