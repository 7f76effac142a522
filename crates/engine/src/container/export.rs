//! `export`: a container's root file system as an archive, without what is in its volumes.

use std::io::Write;

use hull_store::tar::Writer;
use hull_store::walk::{Found, Options, Start, walk};

use super::find;
use super::tree::{Part, Tree};
use crate::{Engine, Error, Result, event};

/// Writes the archive to `out`. `skipped` is told of sockets, which no archive can hold.
///
/// # Errors
/// No such container; files that cannot be read; what `out` says.
pub fn export(engine: &Engine, name: &str, out: impl Write, skipped: &mut dyn FnMut(&[u8])) -> Result<()> {
    let record = find(engine, name)?;
    let tree = Tree::open(engine, &record, Part::Rootfs)?;
    let start = Start {
        dir: tree.root(),
        name: c".",
        path: b"",
    };
    let mut writer = Writer::new(out);
    pack(&tree, &start, &mut writer, skipped)?;
    writer.finish().map_err(Error::Archive)?;
    event::container(engine, &record, "export", &[]);
    Ok(())
}

/// Writes everything from `start` on into an archive.
pub(super) fn pack(
    tree: &Tree,
    start: &Start<'_>,
    writer: &mut Writer<impl Write>,
    skipped: &mut dyn FnMut(&[u8]),
) -> Result<()> {
    let options = Options {
        seconds: true,
        ..Options::default()
    };
    walk(start, options, |found| match found {
        Found::Entry(entry, file) => {
            let inside = tree.inside(entry);
            let entry = inside.as_ref().unwrap_or(entry);
            match file {
                Some(file) => writer.file(entry, file),
                None => writer.entry(entry),
            }
            .map_err(Error::Archive)
        }
        Found::Socket(path) => {
            skipped(path);
            Ok(())
        }
    })
}
