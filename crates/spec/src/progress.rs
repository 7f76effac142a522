//! How a long operation tells its caller how far it is. The caller decides what to show.

use crate::Digest;

/// What can be told about one blob or about the whole operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A line for a person, such as `latest: Pulling from library/busybox`.
    Message(String),
    /// The layer is known; nothing has been done for it yet.
    Pending(Digest),
    /// The layer was there already.
    Exists(Digest),
    /// Bytes of the blob that have arrived, of how many.
    Downloading {
        /// The blob.
        blob: Digest,
        /// Bytes so far.
        done: u64,
        /// Bytes in all; 0 where the sender did not say.
        total: u64,
    },
    /// The blob waits before it is asked for again.
    Retrying {
        /// The blob.
        blob: Digest,
        /// Seconds until the next try.
        seconds: u64,
    },
    /// The blob has arrived whole and its digest matches.
    Downloaded(Digest),
    /// The layer is unpacked and usable.
    Done(Digest),
    /// The layer is to be sent; nothing has been done for it yet.
    Preparing(Digest),
    /// Bytes of the layer that were sent, of how many.
    Uploading {
        /// The layer.
        blob: Digest,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The receiver has taken the layer.
    Uploaded(Digest),
    /// The receiver had the layer already.
    Stored(Digest),
    /// The receiver has taken the layer from another repository of its own.
    Mounted {
        /// The layer.
        blob: Digest,
        /// The repository.
        from: String,
    },
}

/// The one channel through which libraries report progress. Cheap to clone; without a listener nothing is built.
#[derive(Clone, Default)]
pub struct Progress(Option<std::sync::Arc<dyn Fn(Event) + Send + Sync>>);

impl Progress {
    /// A channel that calls `listener` for each event, from whichever thread sends it.
    pub fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Some(std::sync::Arc::new(listener)))
    }

    /// A channel that nobody listens to.
    #[must_use]
    pub fn silent() -> Self {
        Self(None)
    }

    /// Sends one event.
    pub fn send(&self, event: impl FnOnce() -> Event) {
        if let Some(listener) = &self.0 {
            listener(event());
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Progress({})", if self.0.is_some() { "heard" } else { "silent" })
    }
}
