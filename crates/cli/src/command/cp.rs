//! `cp`: files between a container and this host.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hull_engine::container::{self, CopyOptions, CopyProgress};

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result, note};
use crate::output::size;
use crate::terminal;

pub(crate) const COMMAND: Command = Command {
    names: &["cp", "container cp"],
    synopsis: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH",
    about: "Copy files between a container and this host",
    flags: &[
        Flag::switch("archive")
            .short('a')
            .help("Give what is copied in to the container's user, where it has one"),
        Flag::switch("follow-link")
            .short('L')
            .help("Copy what a symbolic link at SRC_PATH leads to"),
        Flag::switch("quiet")
            .short('q')
            .help("Show no progress and no summary; the default where there is no terminal"),
    ],
    count: Count::Exactly(2),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let (source, to) = (args.args()[0].as_str(), args.args()[1].as_str());
    if source.is_empty() {
        return Err(Failure::new("source can not be empty"));
    }
    if to.is_empty() {
        return Err(Failure::new("destination can not be empty"));
    }
    let options = CopyOptions {
        archive: args.on("archive"),
        follow: args.on("follow-link"),
    };
    let quiet = if args.changed("quiet") {
        args.on("quiet")
    } else {
        !terminal::stdout_is_terminal()
    };
    let engine = ctx.engine();
    match (split(source), split(to)) {
        (Some(_), Some(_)) => Err(Failure::new("copying between containers is not supported")),
        (None, None) => Err(Failure::new("must specify at least one container source")),
        (Some((name, path)), None) if to == "-" => {
            if terminal::stdout_is_terminal() {
                return Err(Failure::new("refusing to write an archive to a terminal: redirect it"));
            }
            container::stream_from(&engine, name, path, options, output()?, &mut |path| socket(ctx, path))?;
            Ok(0)
        }
        (Some((name, path)), None) => told(quiet, "Copying from container - ", |progress| {
            Ok(container::copy_from(
                &engine,
                name,
                (path, to),
                options,
                progress,
                &mut |path| socket(ctx, path),
            )?)
        }),
        (None, Some((name, path))) => told(quiet, "Copying to container - ", |progress| {
            let reached = if source == "-" {
                let input = std::fs::File::from(rustix::io::dup(rustix::stdio::stdin())?);
                container::stream_into(&engine, name, path, options, input, progress)?
            } else {
                let mut skipped = |path: &[u8]| socket(ctx, path);
                container::copy_into(&engine, name, (source, path), options, progress, &mut skipped)?
            };
            Ok(format!("{name}:{reached}"))
        }),
    }
}

/// Container and path of `CONTAINER:PATH`; `None` for a path of this host, which may hold a colon where it begins with
/// `/` or `.`.
fn split(arg: &str) -> Option<(&str, &str)> {
    if arg.starts_with('/') {
        return None;
    }
    arg.split_once(':')
        .filter(|(name, _)| !name.is_empty() && !name.starts_with('.'))
}

/// Standard output for an archive: a pipe that holds more than a page or two spares both sides many wake-ups.
pub(super) fn output() -> Result<std::io::BufWriter<std::fs::File>> {
    let out = rustix::io::dup(rustix::stdio::stdout())?;
    // Not a pipe, or not allowed: as it was.
    let _ = rustix::pipe::fcntl_setpipe_size(&out, 1 << 20);
    Ok(std::io::BufWriter::with_capacity(256 << 10, out.into()))
}

/// Docker says so, too, and copies the rest.
pub(super) fn socket(ctx: &Context, path: &[u8]) {
    let path = String::from_utf8_lossy(path);
    ctx.warn(&format!(
        "cannot add `{path}` to the archive: sockets are not supported"
    ));
}

/// Copies with `copy`, which returns the destination, and tells of it unless `quiet`.
fn told(quiet: bool, header: &str, copy: impl FnOnce(&CopyProgress) -> Result<String>) -> Outcome {
    let progress = CopyProgress::default();
    if quiet {
        copy(&progress)?;
        return Ok(0);
    }
    let copied = if terminal::stderr_is_terminal() {
        shown(header, &progress, copy)?
    } else {
        copy(&progress)?
    };
    let bytes = size::short(progress.bytes.load(Ordering::Relaxed));
    note(&format!("Successfully copied {bytes} to {copied}"));
    Ok(0)
}

const SAVE: &str = "\x1b7";
const RESTORE: &str = "\x1b8";
const ERASE: &str = "\x1b[2K";
const ERASE_TAIL: &str = "\x1b[0K";
const HIDE: &str = "\x1b[?25l";
const SHOW: &str = "\x1b[?25h";

/// Shows how far it is, where the cursor is, and takes that away at the end.
fn shown(header: &str, progress: &CopyProgress, copy: impl FnOnce(&CopyProgress) -> Result<String>) -> Result<String> {
    let print = |text: &str| {
        // A terminal that is gone shows nothing.
        let _ = std::io::stderr().write_all(text.as_bytes());
    };
    print(&format!("{SAVE}{HIDE}{header}0B"));
    let done = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let shower = scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Acquire) {
                std::thread::park_timeout(Duration::from_millis(75));
                let bytes = progress.bytes.load(Ordering::Relaxed);
                if bytes != last {
                    last = bytes;
                    let column = header.len() + 1;
                    print(&format!("\x1b[{column}G{ERASE_TAIL}{}", size::short(bytes)));
                }
            }
        });
        let result = copy(progress);
        done.store(true, Ordering::Release);
        shower.thread().unpark();
        result
    });
    print(&format!("{RESTORE}{ERASE}{SHOW}"));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_tells_a_container() {
        for (arg, expected) in [
            ("web:/etc", Some(("web", "/etc"))),
            ("web:", Some(("web", ""))),
            ("web:a:b", Some(("web", "a:b"))),
            ("/a:b", None),
            ("./a:b", None),
            ("file", None),
            (":x", None),
            ("-", None),
        ] {
            assert_eq!(split(arg), expected, "{arg}");
        }
    }
}
