//! `rename`.

use std::fs;

use super::{create, find, record};
use crate::{Engine, Error, Result, event};

/// Gives a container another name. Whatever it is doing goes on.
///
/// The new name is claimed first, then written into the record, then the old one is given back. Until the record is
/// written the container is known by its old name alone, afterwards by its new name alone; what a kill leaves between
/// the steps is a link that leads to a container of another name, which nobody follows and the next claimant takes.
///
/// # Errors
/// No such container; a name that is malformed, its own, or another's.
pub fn rename(engine: &Engine, old: &str, new: &str) -> Result<()> {
    if old.is_empty() || new.is_empty() {
        return Err(Error::Invalid("Neither old nor new names may be empty".to_owned()));
    }
    let id = find::find(engine, old)?.id;
    let _hold = record::hold(engine, &id)?;
    // Another rename may have had it first: it must still be the one that was asked for.
    let mut record = find::find(engine, old)?;
    if record.id != id {
        return Err(Error::NoSuchContainer { name: old.to_owned() });
    }
    let new = new.strip_prefix('/').unwrap_or(new);
    if record.name == new {
        return Err(Error::Invalid(
            "Renaming a container with the same name as its current name".to_owned(),
        ));
    }
    let allocating = |e: Error| match e {
        Error::Invalid(text) => Error::Invalid(format!("Error when allocating new name: {text}")),
        Error::NameInUse { name, id } => Error::Renaming { name, id },
        other => other,
    };
    find::check_name(new, &format!("/{new}")).map_err(allocating)?;
    create::claim(engine, new, &id).map_err(allocating)?;
    let before = std::mem::replace(&mut record.name, new.to_owned());
    let unclaim = |name: &str| {
        let link = engine.names().join(name);
        if fs::read_link(&link).is_ok_and(|target| target.as_os_str() == id.as_str()) {
            let _ = fs::remove_file(link);
        }
    };
    if let Err(e) = find::save(engine, &record) {
        unclaim(new);
        return Err(if find::exists(engine, &id) {
            e
        } else {
            Error::NoSuchContainer { name: old.to_owned() }
        });
    }
    unclaim(&before);
    if !find::exists(engine, &id) {
        // Removed meanwhile, by one who knew its old name.
        unclaim(new);
        return Err(Error::NoSuchContainer { name: old.to_owned() });
    }
    event::container(engine, &record, "rename", &[("oldName", &format!("/{before}"))]);
    Ok(())
}
