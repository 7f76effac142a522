//! `push`: an image of the store to a registry.

use std::path::PathBuf;
use std::sync::Arc;

use hull_spec::manifest::Compression;
use hull_spec::progress::Event;
use hull_spec::{Platform, Progress, Reference};
use hull_store::Store;
use hull_store::recompress::Form;

use crate::Error;
use crate::client::Client;
use crate::copy::{Copied, Options, RegistryTarget, StoreSource, copy};

mod document;
mod upload;

pub(crate) use upload::Upload;

/// What to push.
#[derive(Clone, Debug, Default)]
pub struct PushOptions {
    /// Every platform of the index that the image came in, with the index.
    pub all: bool,
    /// One platform of it.
    pub platform: Option<Platform>,
    /// How layers are compressed; as they are where none is given, and those that are not with gzip.
    pub form: Option<Form>,
    /// Where is remembered what a layer is when it is compressed.
    pub memory: Option<PathBuf>,
}

/// Pushes what `reference` names in `store`, which must be open for writing, to the registry that it names. What the
/// registry has is not sent; each blob costs one question then.
///
/// # Errors
/// If there is no such image, if a part of it is missing or damaged, or the registry does not take it.
pub fn push(
    store: &Store,
    client: &Arc<Client>,
    reference: &Reference,
    options: &PushOptions,
    progress: &Progress,
) -> Result<Copied, Error> {
    let reference = reference.clone().or_latest();
    let source = StoreSource::new(store, &reference, options.all, options.platform.as_ref())?;
    let target = RegistryTarget::new(client, &reference)?;
    let options = Options {
        all: options.all,
        platform: options.platform.clone(),
        form: options.form,
        plain: Some(Form {
            compression: Compression::Gzip,
            level: None,
        }),
        spool: store.root().join("ingest"),
        memory: options.memory.clone(),
        ..Options::default()
    };
    let pushed = copy(&source, &target, &options, progress)?;
    progress.send(|| {
        let tag = reference.tag().map_or_else(String::new, |tag| format!("{tag}: "));
        Event::Message(format!("{tag}digest: {} size: {}", pushed.digest, pushed.size))
    });
    Ok(pushed)
}
