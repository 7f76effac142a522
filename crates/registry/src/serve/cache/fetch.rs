//! One blob on its way from upstream, and those who follow it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use hull_spec::Digest;
use hyper::body::Bytes;
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::watch;

use super::super::Registry;
use super::super::answer::Refusal;
use super::super::route::Name;
use super::super::storage::Session;
use super::bad_gateway;

/// Bytes that are read, written or passed on at once.
const PIECE: usize = 128 << 10;
/// Pieces that wait for a client.
const QUEUE: usize = 2;
/// How often a connection that breaks is opened again.
const ATTEMPTS: u32 = 4;

/// A blob on its way.
#[derive(Debug)]
pub(in super::super) struct Fetch {
    state: watch::Sender<State>,
}

#[derive(Clone, Debug, Default)]
pub(super) enum State {
    /// Upstream has not answered yet.
    #[default]
    Asked,
    /// So many bytes are in the file.
    Arriving(Arc<Part>, u64),
    /// All are, and they are right.
    Whole(Arc<Part>),
    /// It came to nothing: upstream has no such blob, or it failed.
    Unknown,
    Failed,
}

#[derive(Debug)]
pub(super) struct Part {
    file: File,
    size: u64,
}

impl Default for Fetch {
    fn default() -> Self {
        Self {
            state: watch::Sender::new(State::Asked),
        }
    }
}

impl Fetch {
    /// Waits until upstream has answered.
    pub(super) fn started(&self) -> Result<(), Refusal> {
        let mut receiver = self.state.subscribe();
        // The thread that fetches ends this wait: each of its own has a limit. This thread is one for waiting.
        let waited = tokio::runtime::Handle::current().block_on(receiver.wait_for(|s| !matches!(s, State::Asked)));
        match waited.map(|state| state.clone()) {
            Ok(State::Unknown) => Err(Refusal::blob_unknown()),
            Ok(State::Arriving(..) | State::Whole(_)) => Ok(()),
            Ok(State::Failed | State::Asked) | Err(_) => Err(bad_gateway()),
        }
    }

    /// Bytes of the whole blob.
    pub(in super::super) fn size(&self) -> u64 {
        match &*self.state.borrow() {
            State::Arriving(part, _) | State::Whole(part) => part.size,
            State::Asked | State::Unknown | State::Failed => 0,
        }
    }

    /// Its bytes as they arrive. Called where an async runtime is at hand.
    pub(in super::super) fn follow(&self) -> Receiver<io::Result<Bytes>> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut state = self.state.subscribe();
        tokio::spawn(async move {
            let mut at = 0;
            loop {
                let now = state.borrow_and_update().clone();
                let (part, visible, whole) = match now {
                    // The last byte is kept back until all are known to be right.
                    State::Arriving(part, len) => {
                        let visible = len.min(part.size.saturating_sub(1));
                        (part, visible, false)
                    }
                    State::Whole(part) => {
                        let size = part.size;
                        (part, size, true)
                    }
                    State::Asked | State::Unknown | State::Failed => {
                        // Whoever listens sees the body break off; who is gone needs no word.
                        let _ = sender.send(Err(io::Error::other("the upstream registry failed"))).await;
                        return;
                    }
                };
                while at < visible {
                    let piece = read(Arc::clone(&part), at, visible).await;
                    at += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                    let failed = piece.is_err();
                    if sender.send(piece).await.is_err() || failed {
                        return;
                    }
                }
                if whole || state.changed().await.is_err() {
                    return;
                }
            }
        });
        receiver
    }

    /// Fetches the blob. What comes of it is for [`Fetch::end`].
    pub(super) fn run(&self, registry: &Arc<Registry>, key: &(Name, Digest)) -> State {
        let (name, digest) = key;
        let session = match registry.storage.begin(name, digest.algorithm()) {
            Ok(Some(session)) => session,
            Ok(None) => return State::Failed,
            Err(fault) => {
                registry.fault(fault);
                return State::Failed;
            }
        };
        let end = match self.receive(registry, &session, digest) {
            Ok(end) => end,
            Err(reason) => {
                (registry.log)(&format!("cannot fetch {digest} of {}: {reason}", name.as_str()));
                State::Failed
            }
        };
        if !matches!(end, State::Whole(_))
            && let Err(fault) = registry.storage.cancel(&session)
        {
            registry.fault(fault);
        }
        end
    }

    /// Tells those who follow how it ended.
    pub(super) fn end(&self, state: State) {
        self.state.send_replace(state);
    }

    fn receive(&self, registry: &Arc<Registry>, session: &Session, digest: &Digest) -> Result<State, String> {
        let Some(cache) = &registry.cache else {
            return Ok(State::Failed);
        };
        let told = |fault| format!("{fault}");
        let mut writer = registry
            .storage
            .writer(session)
            .map_err(told)?
            .ok_or("its upload ended")?;
        let mut part: Option<Arc<Part>> = None;
        let mut buffer = vec![0; PIECE];
        for attempt in 1.. {
            let from = writer.len();
            let headers = [("range", format!("bytes={from}-"))];
            let headers = if from == 0 { &[][..] } else { &headers[..] };
            let asked = cache.ask(&session.name, "GET", format!("blobs/{digest}"), headers);
            let mut response = match asked {
                Ok(Some(response)) => response,
                Ok(None) => return Ok(State::Unknown),
                Err(error) if attempt >= ATTEMPTS || !error.is_transient() => return Err(error.to_string()),
                Err(_) => continue,
            };
            if from > 0 && response.status != 206 {
                return Err("upstream does not resume".to_owned());
            }
            let current = match &part {
                Some(part) => Arc::clone(part),
                None => {
                    let size = response.length().ok_or("upstream tells no size")?;
                    if registry.storage.ledger.check(&session.name, size).is_err() {
                        registry.storage.evict(&session.name, size).map_err(told)?;
                    }
                    let file = session.open().map_err(told)?;
                    Arc::clone(part.insert(Arc::new(Part { file, size })))
                }
            };
            self.state.send_replace(State::Arriving(Arc::clone(&current), from));
            while writer.len() < current.size {
                match response.body.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => {
                        writer.add(&buffer[..count]).map_err(told)?;
                        self.state
                            .send_replace(State::Arriving(Arc::clone(&current), writer.len()));
                    }
                    Err(error) if attempt >= ATTEMPTS => return Err(error.to_string()),
                    Err(_) => break,
                }
            }
            if writer.len() >= current.size {
                return match writer.finish(digest).map_err(told)? {
                    Ok(()) => Ok(State::Whole(current)),
                    Err(actual) => Err(format!("upstream sent something with the digest {actual}")),
                };
            }
            if attempt >= ATTEMPTS {
                break;
            }
        }
        Err("upstream breaks off".to_owned())
    }
}

async fn read(part: Arc<Part>, at: u64, end: u64) -> io::Result<Bytes> {
    let work = tokio::task::spawn_blocking(move || {
        let size = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let mut buffer = vec![0; size];
        part.file.read_exact_at(&mut buffer, at)?;
        Ok(Bytes::from(buffer))
    });
    work.await.unwrap_or_else(|_| Err(io::Error::other("the read failed")))
}
