//! `tag`: another name for an image.

use hull_spec::Reference;
use hull_store::{Access, image};

use crate::{Engine, Result, event};

/// Gives the image that `source` means the name `target`, which may be another image's until now.
///
/// # Errors
/// No such image; the index cannot be written.
pub fn tag(engine: &Engine, source: &str, target: &Reference) -> Result<()> {
    let image = super::find(engine, source)?;
    image::tag(engine.store(Access::Write)?, &image.id, target)?;
    let name = target.clone().or_latest().familiar();
    event::image(engine, "tag", image.id.as_str(), &name, Some(&image));
    Ok(())
}
