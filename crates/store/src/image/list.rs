//! What there is.

use std::collections::HashMap;

use hull_spec::Reference;

use super::Image;
use super::resolve::columns;
use crate::Store;
use crate::error::Result;
use crate::index::Statement;

/// One image with all of its names.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The image; `image.size` is what Docker lists, `image.config` has its labels and when it was made.
    pub image: Image,
    /// References by tag, sorted. Empty where the image is dangling.
    pub tags: Vec<Reference>,
    /// References by digest, sorted.
    pub digests: Vec<Reference>,
}

/// All images, in no particular order.
///
/// # Errors
/// If the index cannot be read.
pub fn list(store: &Store) -> Result<Vec<Summary>> {
    if !store.has_index() {
        return Ok(Vec::new());
    }
    store.with_index(|db| {
        // One transaction, so that names and images are of one moment.
        let db = db.transaction().act("begin listing images")?;
        let mut names: HashMap<String, Vec<Reference>> = HashMap::new();
        let mut statement = db
            .prepare("SELECT image, name FROM refs ORDER BY name")
            .act("list references")?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
            .act("list references")?;
        for row in rows {
            let (image, name) = row.act("list references")?;
            names.entry(image).or_default().push(name.parse()?);
        }
        let mut statement = db
            .prepare("SELECT id, manifest, config, layers, blobs, size FROM images")
            .act("list images")?;
        let rows = statement.query_map([], columns).act("list images")?;
        let mut out = Vec::new();
        for row in rows {
            let image = row.act("list images")?.image(None)?;
            let (digests, tags) = names
                .remove(image.id.as_str())
                .unwrap_or_default()
                .into_iter()
                .partition(|name| name.digest().is_some());
            out.push(Summary { image, tags, digests });
        }
        Ok(out)
    })
}
