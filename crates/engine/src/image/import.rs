//! `import`: an image of one layer, out of an archive of files.

use std::io::Read;

use hull_spec::container::Config;
use hull_spec::image::{History, ImageConfig, RootFs};
use hull_spec::{Digest, Platform, Reference};
use hull_store::{Access, ingest};

use super::manifest::publish;
use crate::container::instruction;
use crate::{Engine, Result, event};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// Instructions of a Dockerfile, one or more in each text.
    pub changes: Vec<String>,
    /// A remark.
    pub message: String,
    /// What it is for; the host's platform where none is given.
    pub platform: Option<Platform>,
    /// What it is called.
    pub name: Option<Reference>,
}

/// Makes an image of the archive `source`, which may be compressed with gzip or zstd and is kept so. Returns its ID.
///
/// A kill in between leaves no image and no part of one for longer than until the next command that writes the store.
///
/// # Errors
/// What is no archive of files; instructions that are not understood; the disk.
pub fn import(engine: &Engine, source: &mut (dyn Read + Send), request: &ImportRequest) -> Result<Digest> {
    // Before anything is read: an instruction that is wrong costs no time.
    let config = instruction::apply(&Config::default(), &request.changes)?;
    let store = engine.store(Access::Write)?;
    let lease = store.lease()?;
    let layer = ingest::import(&lease, source)?;
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let now = format!("{:.9}", jiff::Timestamp::now());
    let image = ImageConfig {
        created: Some(now.clone()),
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        config: Some(config),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: vec![layer.diff_id.clone()],
        },
        history: vec![History {
            created: Some(now),
            comment: Some(request.message.clone()),
            ..History::default()
        }],
        ..ImageConfig::default()
    };
    let id = publish(&lease, &image, &[layer], request.name.as_ref())?;
    let name = request
        .name
        .as_ref()
        .map_or_else(|| id.to_string(), Reference::familiar);
    event::image(engine, "import", id.as_str(), &name, None);
    Ok(id)
}
