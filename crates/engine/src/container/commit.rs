//! `commit`: an image out of a container, its files as a new layer on those of its image.

pub(crate) mod instruction;
mod words;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use hull_runtime::cgroup::{self, Freeze};
use hull_spec::container::Record;
use hull_spec::image::{History, ImageConfig};
use hull_spec::manifest::{Descriptor, MANIFEST_MAX, Manifest};
use hull_spec::{Digest, Reference};
use hull_store::image::{self, Image};
use hull_store::ingest::{self, LayerSpec};
use hull_store::{Access, Lease, Store, blob};
use hull_sys::clone::{Fork, exit_now, fork};
use rustix::process::{WaitId, WaitIdOptions};

use super::tree::{Held, holding};
use super::{find, pause, status};
use crate::image::manifest::{oci_type, publish};
use crate::{Engine, Error, Result, event};

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommitRequest {
    /// Who made it.
    pub author: String,
    /// A remark.
    pub comment: String,
    /// Instructions of a Dockerfile, one or more in each text.
    pub changes: Vec<String>,
    /// Freeze a running container meanwhile.
    pub pause: bool,
    /// What the image is called.
    pub name: Option<Reference>,
}

/// Makes an image of a container and returns its ID. `skipped` is told of sockets, which no layer can hold.
///
/// A kill in between leaves no image and no part of one for longer than until the next command that writes the store.
///
/// # Errors
/// No such container; instructions that are not understood; an image that is gone; a host that cannot freeze a running
/// container; the disk.
pub fn commit(engine: &Engine, name: &str, request: &CommitRequest, skipped: &mut dyn FnMut(&[u8])) -> Result<Digest> {
    let record = find(engine, name)?;
    let config = instruction::apply(&record.config, &request.changes)?;
    let store = engine.store(Access::Write)?;
    let lease = store.lease()?;
    let (parent, mut layers) = parent(store, &lease, &record)?;
    let upper = engine.container_dir(&record.id).join("upper");
    let layer = {
        // For no longer than its files are read.
        let _still = Still::hold(engine, &record, request.pause)?;
        ingest::create(&lease, parent.layers.last(), &upper, skipped)?
    };
    let now = format!("{:.9}", jiff::Timestamp::now());
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut image = ImageConfig {
        created: Some(now.clone()),
        author: text(&request.author),
        config: Some(config),
        ..parent.config.clone()
    };
    image.history.push(History {
        created: Some(now),
        created_by: text(&record.config.cmd.clone().unwrap_or_default().join(" ")),
        author: text(&request.author),
        comment: text(&request.comment),
        empty_layer: layer.is_none(),
    });
    if let Some(layer) = layer {
        image.rootfs.diff_ids.push(layer.diff_id.clone());
        layers.push(layer);
    }
    let id = publish(&lease, &image, &layers, request.name.as_ref())?;
    tell(engine, &record, request, &id);
    Ok(id)
}

fn tell(engine: &Engine, record: &Record, request: &CommitRequest, id: &Digest) {
    let name = request.name.as_ref().map(|name| name.familiar()).unwrap_or_default();
    let more = [
        ("comment", request.comment.as_str()),
        ("imageID", id.as_str()),
        ("imageRef", &name),
    ];
    event::container(engine, record, "commit", &more);
    if !name.is_empty() {
        event::image(engine, "tag", id.as_str(), &name, None);
    }
}

/// The image that the container was made of, with its layers as its manifest names them. They stay while the lease does.
fn parent(store: &Store, lease: &Lease<'_>, record: &Record) -> Result<(Image, Vec<LayerSpec>)> {
    let gone = || {
        Error::Invalid(format!(
            "cannot commit container {}: its image {} was removed",
            record.name, record.image_id
        ))
    };
    let find = || match image::resolve(store, record.image_id.as_str()) {
        Err(hull_store::Error::NoImage { .. }) => Err(gone()),
        found => Ok(found?),
    };
    let image = find()?;
    lease.protect(
        image
            .layers
            .iter()
            .chain(&image.blobs)
            .chain([&image.id, &image.manifest]),
    )?;
    // It may have been removed before the lease held.
    let image = Image { name: None, ..find()? };
    let bytes = blob::read(store, &image.manifest, MANIFEST_MAX)?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|source| Error::Damaged {
        path: store.blob_path(&image.manifest),
        source,
    })?;
    let parts = manifest
        .layers
        .into_iter()
        .zip(&image.layers)
        .zip(&image.config.rootfs.diff_ids);
    let layers = parts.map(|((descriptor, chain), diff)| LayerSpec {
        descriptor: Descriptor {
            media_type: oci_type(&descriptor.media_type).to_owned(),
            ..descriptor
        },
        chain_id: chain.clone(),
        diff_id: diff.clone(),
    });
    let layers = layers.collect();
    Ok((image, layers))
}

/// While this lives the container's files stay as they are: it does not run and cannot be started, or is frozen.
struct Still<'e> {
    thaw: Option<(&'e Engine, String, Watchdog)>,
    _held: Held,
}

impl<'e> Still<'e> {
    fn hold(engine: &'e Engine, record: &Record, freeze: bool) -> Result<Self> {
        loop {
            let held = holding(engine, record)?;
            let running = matches!(held, Held::Running(_)) && freeze;
            let live = status::derive(engine, record)?.live.filter(|_| running);
            let Some(live) = live else {
                return Ok(Self {
                    thaw: None,
                    _held: held,
                });
            };
            let cgroups = status::cgroups(&live);
            if cgroup::frozen(&cgroups) == Freeze::Frozen {
                return Ok(Self {
                    thaw: None,
                    _held: held,
                });
            }
            // Before the freeze: whatever ends this process, the container goes on.
            let watchdog = Watchdog::start(cgroups)?;
            match pause::pause(engine, &record.id) {
                Ok(()) => {
                    return Ok(Self {
                        thaw: Some((engine, record.id.clone(), watchdog)),
                        _held: held,
                    });
                }
                // It has ended meanwhile.
                Err(Error::NotRunning { .. }) => watchdog.dismiss(),
                Err(error) => {
                    watchdog.dismiss();
                    return Err(error);
                }
            }
        }
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        if let Some((engine, id, watchdog)) = self.thaw.take() {
            // One that somebody else has let go on, or that was killed, is not paused any more.
            let _ = pause::unpause(engine, &id);
            watchdog.dismiss();
        }
    }
}

/// A child of ours that lets the container go on if we are killed before we can: it waits on a pipe whose other end only
/// we hold.
struct Watchdog {
    pidfd: OwnedFd,
    pipe: OwnedFd,
}

impl Watchdog {
    fn start(cgroups: Vec<PathBuf>) -> Result<Self> {
        let failed = |errno: rustix::io::Errno| Error::Write {
            path: "a pipe".into(),
            source: errno.into(),
        };
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed)?;
        match fork().map_err(failed)? {
            Fork::Parent(child) => Ok(Self {
                pidfd: child.pidfd,
                pipe: write,
            }),
            Fork::Child => {
                drop(write);
                let _ = rustix::process::setsid();
                let _ = rustix::thread::set_name(c"hull-thaw");
                let mut byte = [0u8];
                let told = rustix::io::retry_on_intr(|| rustix::io::read(&read, &mut byte));
                if told != Ok(1) {
                    let _ = cgroup::thaw(&cgroups);
                }
                exit_now(0)
            }
        }
    }

    /// The container goes on by itself.
    fn dismiss(self) {
        let _ = rustix::io::write(&self.pipe, b"x");
        use std::os::fd::AsFd;
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
        });
    }
}
