//! What commands print: Docker's tables, Go's templates, JSON.
//!
//! Scripts read these texts, so they follow Docker's to the byte: Go's tabwriter lays the tables out, Go's `%g` rounds the
//! sizes, Go's text/template is what `--format` takes.

pub(crate) mod data;
pub(crate) mod filter;
pub(crate) mod json;
pub(crate) mod listing;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod text;

use std::io::{BufRead as _, Write as _};

use crate::error::Result;

/// Writes `text` to standard output, whole.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints a warning and asks whether to go on. Only `y` and `Y` say so; the end of the input does not.
///
/// # Errors
/// If standard output cannot be written or standard input cannot be read.
pub(crate) fn confirm(warning: &str) -> Result<bool> {
    print(&format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
