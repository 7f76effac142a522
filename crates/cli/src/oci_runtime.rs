//! The same binary as `hull-runtime`: runc's command line, for containerd, dockerd, Podman and CRI-O.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::env;

/// Runs one command line, without the program's own name. Returns the exit code.
pub(crate) fn run(args: &[OsString]) -> u8 {
    let own = env::XDG_RUNTIME_DIR
        .path()
        .filter(|_| !rustix::process::geteuid().is_root());
    let root = own.unwrap_or_else(|| PathBuf::from("/run")).join("hull-runtime");
    let listen_fds = env::LISTEN_FDS.text().and_then(|text| text.parse().ok()).unwrap_or(0);
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut caller = hull_runtime::command::Caller {
        stdin: rustix::stdio::stdin(),
        stdout: rustix::stdio::stdout(),
        stderr: rustix::stdio::stderr(),
        out: &mut out,
        err: &mut err,
        root,
        listen_fds,
    };
    hull_runtime::command::main(args, &mut caller)
}
