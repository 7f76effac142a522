//! The `hull` program: arguments in, output and an exit code out.
//!
//! `main` looks at the name it was called by and at the first argument, and reads one command's table of flags: nothing
//! is built for the other commands, no thread is started, and no file is opened before the command asks for it.
//!
//! Invariants: only this crate prints, exits or reads the environment (`env.rs`); failures become text and exit codes
//! in `error.rs` alone; what Docker has and hull has not is refused by name, never ignored.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::too_many_lines))]

mod args;
mod attach;
mod command;
mod complete;
mod container;
mod context;
mod detach_keys;
mod dispatch;
mod env;
mod error;
mod hello;
mod help;
#[cfg(test)]
mod manual;
mod oci_runtime;
mod output;
mod progress;
mod quadlet;
mod resident;
mod rootless;
mod terminal;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// SIGPIPE: a reader of our output that goes away ends us, as it ends other programs.
const SIGPIPE: i32 = 13;

fn main() -> ExitCode {
    hull_sys::signal::default(SIGPIPE);
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    if Path::new(&program)
        .file_name()
        .is_some_and(|name| name == "hull-runtime")
    {
        let args: Vec<OsString> = args.collect();
        return ExitCode::from(oci_runtime::run(&args));
    }
    if program == hull_runtime::reaper::NAME && std::process::id() == 1 {
        return ExitCode::from(hull_runtime::reaper::main(args.collect(), env::all()));
    }
    if program == hull_monitor::resident::NAME {
        let args: Vec<OsString> = args.collect();
        return ExitCode::from(resident::run(&args));
    }
    if let Some(user) = command::generator::called(Path::new(&program)) {
        return ExitCode::from(command::generator::main(args, user).unwrap_or_else(|failure| failure.report()));
    }
    if hello::is_called(Path::new(&program)) {
        return ExitCode::from(hello::main(args).unwrap_or_else(|failure| failure.report()));
    }
    // As `docker` or by any other name it is hull.
    let outcome = dispatch::words(args).and_then(dispatch::dispatch);
    ExitCode::from(outcome.unwrap_or_else(|failure| failure.report()))
}
