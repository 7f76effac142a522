//! `history`: how an image was made, step by step.

use hull_store::{Access, image};

use crate::elapsed;
use crate::{Engine, Result};

/// One step, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The image's ID at the newest step; the steps before have none on this host.
    pub id: Option<String>,
    /// Seconds since 1970; 0 where nobody knows.
    pub created: i64,
    /// The instruction.
    pub created_by: String,
    /// Bytes of the files of its layer.
    pub size: u64,
    /// A remark.
    pub comment: String,
}

/// The steps by which an image was made.
///
/// # Errors
/// No such image; a config that tells of more layers than it has.
pub fn history(engine: &Engine, name: &str) -> Result<Vec<Step>> {
    let found = super::find(engine, name)?;
    let sizes = image::layer_sizes(engine.store(Access::Read)?, &found.layers)?;
    let mut sizes = sizes.into_iter();
    let mut out = Vec::with_capacity(found.config.history.len());
    for step in &found.config.history {
        let size = match step.empty_layer {
            true => 0,
            false => sizes.next().ok_or_else(|| hull_store::Error::Image {
                id: found.id.clone(),
                reason: "too many non-empty layers in History section".to_owned(),
            })?,
        };
        let created = step.created.as_deref().and_then(elapsed::moment);
        out.push(Step {
            id: None,
            created: created.map_or(0, jiff::Timestamp::as_second),
            created_by: step.created_by.clone().unwrap_or_default(),
            size,
            comment: step.comment.clone().unwrap_or_default(),
        });
    }
    out.reverse();
    if let Some(first) = out.first_mut() {
        first.id = Some(found.id.to_string());
    }
    Ok(out)
}
