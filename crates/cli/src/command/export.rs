//! `export`: a container's files as an archive.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hull_engine::container;

use super::{Command, cp};
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result};
use crate::terminal;

pub(crate) const COMMAND: Command = Command {
    names: &["export", "container export"],
    synopsis: "[OPTIONS] CONTAINER",
    about: "Export a container's files as a tar archive, without those of its volumes",
    flags: &[Flag::string("output")
        .short('o')
        .help("Write to this file instead of standard output")],
    count: Count::Exactly(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let mut skipped = |path: &[u8]| cp::socket(ctx, path);
    let engine = ctx.engine();
    match args.value("output").filter(|path| !path.is_empty()) {
        None => {
            if terminal::stdout_is_terminal() {
                return Err(Failure::new(
                    "cowardly refusing to save to a terminal. Use the -o flag or redirect",
                ));
            }
            container::export(&engine, args.arg(), cp::output()?, &mut skipped)?;
        }
        Some(path) => {
            container::check_output(path).map_err(|e| Failure::new(format!("failed to export container: {e}")))?;
            // Looked for before a file is made.
            container::find(&engine, args.arg())?;
            let output = Output::create(Path::new(path))?;
            let file = BufWriter::with_capacity(256 << 10, output.file.try_clone()?);
            container::export(&engine, args.arg(), file, &mut skipped)?;
            output.publish()?;
        }
    }
    Ok(0)
}

/// A file that gets its name only when it is whole.
pub(super) struct Output {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    published: bool,
}

impl Output {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        for attempt in 0u32.. {
            let temporary = folder.join(format!(".hull-export-{}-{attempt}", std::process::id()));
            match File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)
            {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                opened => {
                    let context = format!("cannot create a file in `{}`", folder.display());
                    return Ok(Self {
                        file: opened.map_err(|e| anyhow::Error::from(e).context(context))?,
                        temporary,
                        path: path.to_owned(),
                        published: false,
                    });
                }
            }
        }
        Err(Failure::new("no name is free for the archive"))
    }

    /// What is written goes here.
    pub(super) fn descriptor(&self) -> Result<std::os::fd::OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    pub(super) fn publish(mut self) -> Result<()> {
        self.file.flush()?;
        std::fs::rename(&self.temporary, &self.path)
            .map_err(|e| anyhow::Error::from(e).context(format!("cannot write `{}`", self.path.display())))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.published {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}
