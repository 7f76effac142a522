//! The runtime's command line as a program of its own, for tests.

use std::os::fd::AsFd;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let mut caller = hull_runtime::command::Caller {
        stdin: stdin.as_fd(),
        stdout: stdout.as_fd(),
        stderr: stderr.as_fd(),
        out: &mut std::io::stdout(),
        err: &mut std::io::stderr(),
        root: "/run/hull-runtime".into(),
        listen_fds: 0,
    };
    ExitCode::from(hull_runtime::command::main(&args, &mut caller))
}
