//! `volume rm`.

use hull_monitor::volume::{Removal, remove as take_away};

use super::about::{self, folder};
use crate::{Engine, Error, Result, event};

/// Removes a volume that no container uses. With `force` one that is not there is no failure.
///
/// # Errors
/// [`Error::NoSuchVolume`], [`Error::VolumeInUse`]; what cannot be removed.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<()> {
    let missing = || match force {
        true => Ok(()),
        false => Err(Error::NoSuchVolume {
            name: name.chars().take(300).collect(),
        }),
    };
    super::sweep(engine);
    if !about::is_volume(name) || !folder(engine, name).exists() {
        return missing();
    }
    match gone(engine, name)? {
        Removal::Done(_) => Ok(()),
        Removal::InUse(users) => Err(Error::VolumeInUse {
            name: name.to_owned(),
            users,
        }),
        Removal::Missing => missing(),
    }
}

/// Removes the volume, with its files.
pub(super) fn gone(engine: &Engine, name: &str) -> Result<Removal> {
    let removal = take_away(&folder(engine, name))?;
    if let Removal::Done(trash) = &removal {
        let _ = std::fs::remove_file(engine.run.join("volumes").join(name));
        event::volume(engine, "destroy", name);
        hull_monitor::purge(trash)?;
    }
    Ok(removal)
}
