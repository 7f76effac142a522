//! `rmi`: names and images are taken away, unless a container needs them.

use hull_spec::Digest;
use hull_store::image::{RemoveRequest, Removed, User};
use hull_store::{Access, image};

use crate::container::{self, status};
use crate::{Engine, Error, Result, event};

/// Removes a reference, or an image with all of its references; frees at once what nothing else uses.
///
/// # Errors
/// Docker's conflicts; no such image; or what the store says.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<Vec<Removed>> {
    let request = RemoveRequest { name, force };
    let image = super::find(engine, name)?;
    let removed = image::remove(engine.store(Access::Write)?, &request, || users(engine))?;
    for one in &removed {
        let action = match one {
            Removed::Untagged(_) => "untag",
            Removed::Deleted(digest) if *digest == image.id => "delete",
            // A layer.
            Removed::Deleted(_) => continue,
        };
        // Docker gives the ID for the name, too.
        event::image(engine, action, image.id.as_str(), image.id.as_str(), Some(&image));
    }
    container::sweep_mapped(engine);
    Ok(removed)
}

/// All containers with the images and layers that they need. A record that cannot be read is an error: what it needs
/// would be deleted.
pub(crate) fn users(engine: &Engine) -> Result<Vec<User>> {
    let mut out = Vec::new();
    for id in container::ids(engine)? {
        let record = match container::load(engine, &id) {
            Ok(record) => record,
            // Its creation has not come to its end, and holds the store until then; or it has just been removed.
            Err(Error::NoSuchContainer { .. }) => continue,
            Err(e) => return Err(e),
        };
        let running = status::sight(engine, &id)?.live.is_some();
        let user = |image: Digest, layers: Vec<Digest>| User {
            running,
            container: id.clone(),
            image,
            layers,
        };
        let mounted = record.mounts.into_iter().filter_map(|m| m.plan?.image);
        out.extend(mounted.map(|image| user(image.id, image.layers)));
        out.push(user(record.image_id, record.layers));
    }
    Ok(out)
}
