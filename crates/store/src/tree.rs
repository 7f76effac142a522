//! Removing directory trees that strangers made.

use std::path::Path;

use crate::error::Result;

/// Removes the tree at `path`, however deep it is and whatever its directories' modes are, without following a link.
/// A tree that is not there is fine, and so is another process that removes it too.
///
/// # Errors
/// If something in it cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    let _ = path;
    todo!()
}
