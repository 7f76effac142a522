//! Uploads: `POST`, `PATCH`, `PUT`, `GET`, `DELETE`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hull_spec::{Algorithm, Digest};
use hyper::StatusCode;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE, RETRY_AFTER};
use tokio::sync::mpsc::{self, Receiver};

use super::super::Registry;
use super::super::answer::{Answer, Outcome, Refusal, empty, header, set};
use super::super::route::Name;
use super::super::settings::Action;
use super::super::storage::{Session, Writer};
use super::range::chunk;
use super::{Ask, blocking, next};

/// Pieces of a body that wait for the disk.
const QUEUE: usize = 2;
/// Slower than this, a client only holds a connection. It is looked at after a minute.
const BYTES_A_SECOND: u64 = 1024;
const SLOW_AFTER: Duration = Duration::from_secs(60);

/// What a body is passed on as. Its end is told, so that a connection that broke is none.
enum Piece {
    Bytes(Bytes),
    End,
}

/// What a body is for.
struct Job {
    session: Arc<Session>,
    /// Where it has to begin, if that was said, and where it ends.
    range: Option<(u64, u64)>,
    /// The digest of the whole, if this is its end.
    digest: Option<Digest>,
}

impl Ask {
    pub(super) async fn begin_upload(self, name: Name, body: &mut Incoming) -> Outcome {
        let registry = Arc::clone(&self.registry);
        registry.gatekeeper.admit(&self.who, Some(&name), &[Action::Push])?;
        self.writable()?;
        if let Some(mount) = self.query("mount") {
            let digest = parse_digest(&mount)?;
            if self.mount(&name, &digest).await? {
                return Ok(created(&name, &digest));
            }
        }
        let digest = self.query("digest").map(|text| parse_digest(&text)).transpose()?;
        let algorithm = match (&digest, self.query("digest-algorithm").as_deref()) {
            (Some(digest), _) => digest.algorithm(),
            (None, None | Some("sha256")) => Algorithm::Sha256,
            (None, Some("sha512")) => Algorithm::Sha512,
            (None, Some(_)) => {
                return Err(Refusal::invalid(
                    "DIGEST_INVALID",
                    "the digest's algorithm is not known",
                ));
            }
        };
        let at = name.clone();
        let begun = blocking(move || {
            let begun = registry.storage.begin(&at, algorithm);
            begun.map_err(|fault| registry.fault(fault))
        });
        let session = begun.await?.ok_or_else(|| {
            Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TOOMANYREQUESTS",
                "there are too many unfinished uploads",
            )
            .with(RETRY_AFTER, "60")
        })?;
        let Some(digest) = digest else {
            return Ok(state(&session, StatusCode::ACCEPTED));
        };
        let job = Job {
            session: Arc::clone(&session),
            range: None,
            digest: Some(digest.clone()),
        };
        let done = self.receive(job, body).await;
        if done.is_err() {
            // Nobody knows its name. What fails here is swept later.
            let registry = Arc::clone(&self.registry);
            let _ = blocking(move || registry.storage.cancel(&session).map_err(Refusal::from)).await;
        }
        done.map(|()| created(&name, &digest))
    }

    /// Takes the blob over from another repository, if the client may read that one. Otherwise nothing is looked up
    /// there: whether the blob exists is not told, not even by the time that the answer takes.
    async fn mount(&self, name: &Name, digest: &Digest) -> Result<bool, Refusal> {
        let Some(from) = self.query("from").and_then(|from| Name::parse(&from)) else {
            return Ok(false);
        };
        let registry = Arc::clone(&self.registry);
        if !registry.gatekeeper.may(&self.who, Some(&from), Action::Pull) {
            return Ok(false);
        }
        let (name, digest) = (name.clone(), digest.clone());
        blocking(move || {
            let mounted = registry.storage.mount(&from, &name, &digest);
            mounted.map_err(|fault| registry.fault(fault))
        })
        .await
    }

    pub(super) async fn add_to_upload(self, name: Name, id: String, body: &mut Incoming) -> Outcome {
        let session = self.session(&name, id).await?;
        let job = Job {
            session: Arc::clone(&session),
            range: self.range()?,
            digest: None,
        };
        self.receive(job, body).await?;
        Ok(state(&session, StatusCode::ACCEPTED))
    }

    pub(super) async fn end_upload(self, name: Name, id: String, body: &mut Incoming) -> Outcome {
        let session = self.session(&name, id).await?;
        let digest = self
            .query("digest")
            .ok_or_else(|| Refusal::invalid("DIGEST_INVALID", "the digest is missing"))?;
        let digest = parse_digest(&digest)?;
        let job = Job {
            session,
            range: self.range()?,
            digest: Some(digest.clone()),
        };
        self.receive(job, body).await?;
        Ok(created(&name, &digest))
    }

    pub(super) async fn get_upload(self, name: Name, id: String) -> Outcome {
        let session = self.session(&name, id).await?;
        Ok(state(&session, StatusCode::NO_CONTENT))
    }

    pub(super) async fn cancel_upload(self, name: Name, id: String) -> Outcome {
        let session = self.session(&name, id).await?;
        let registry = Arc::clone(&self.registry);
        let cancelled = blocking(move || {
            let cancelled = registry.storage.cancel(&session);
            cancelled.map_err(|fault| registry.fault(fault))
        });
        if cancelled.await? {
            Ok(empty(StatusCode::NO_CONTENT))
        } else {
            Err(busy())
        }
    }

    /// The upload, for who may push here.
    async fn session(&self, name: &Name, id: String) -> Result<Arc<Session>, Refusal> {
        let registry = Arc::clone(&self.registry);
        registry.gatekeeper.admit(&self.who, Some(name), &[Action::Push])?;
        self.writable()?;
        let name = name.clone();
        let found = blocking(move || {
            let found = registry.storage.upload(&name, &id);
            found.map_err(|fault| registry.fault(fault))
        });
        found.await?.ok_or_else(Refusal::upload_unknown)
    }

    fn range(&self) -> Result<Option<(u64, u64)>, Refusal> {
        let Some(text) = self.header(CONTENT_RANGE) else {
            return Ok(None);
        };
        let invalid = || Refusal::invalid("BLOB_UPLOAD_INVALID", "the Content-Range is malformed");
        let (first, last) = chunk(text).ok_or_else(invalid)?;
        let length: Option<u64> = self.header(CONTENT_LENGTH).and_then(|text| text.parse().ok());
        if length.is_some_and(|length| length != last - first + 1) {
            return Err(Refusal::invalid(
                "SIZE_INVALID",
                "Content-Range and Content-Length do not agree",
            ));
        }
        Ok(Some((first, last)))
    }

    /// Reads a body into an upload. What has arrived of it stays if it breaks off.
    async fn receive(&self, job: Job, body: &mut Incoming) -> Result<(), Refusal> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let registry = Arc::clone(&self.registry);
        // It works on its own: if the client goes away, this future is dropped, and the thread keeps what it has.
        let work = tokio::task::spawn_blocking(move || registry.absorb(&job, receiver));
        let passed = self.pass(body, sender).await;
        let done = work.await.unwrap_or_else(|_| {
            Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "UNKNOWN",
                "the registry failed",
            ))
        });
        // What the client did wrong explains more than what followed from it.
        passed.and(done)
    }

    async fn pass(&self, body: &mut Incoming, sender: mpsc::Sender<Piece>) -> Result<(), Refusal> {
        let begun = Instant::now();
        let mut total = 0;
        while let Some(bytes) = next(body, self.registry.settings.limits.stall).await? {
            total += bytes.len() as u64;
            if begun.elapsed() > SLOW_AFTER && total / begun.elapsed().as_secs().max(1) < BYTES_A_SECOND {
                return Err(Refusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "BLOB_UPLOAD_INVALID",
                    "the body comes too slowly",
                ));
            }
            if sender.send(Piece::Bytes(bytes)).await.is_err() {
                // The thread has failed and says why.
                return Ok(());
            }
        }
        // Likewise.
        let _ = sender.send(Piece::End).await;
        Ok(())
    }
}

impl Registry {
    /// Writes what arrives into an upload, on a thread of its own.
    fn absorb(&self, job: &Job, mut pieces: Receiver<Piece>) -> Result<(), Refusal> {
        let session = &job.session;
        let opened = self.storage.writer(session).map_err(|fault| self.fault(fault))?;
        let mut writer = opened.ok_or_else(busy)?;
        if job.range.is_some_and(|(first, _)| first != writer.len()) {
            return Err(Refusal::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "BLOB_UPLOAD_INVALID",
                "the chunk does not follow the last one",
            )
            .with(LOCATION, location(session))
            .with(RANGE, received(writer.len())));
        }
        let end = job.range.map(|(_, last)| last + 1);
        loop {
            match pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.add(&mut writer, &bytes, end)?,
                Some(Piece::End) => break,
                None => return Err(Refusal::invalid("BLOB_UPLOAD_INVALID", "the body broke off")),
            }
        }
        let Some(digest) = &job.digest else {
            return Ok(());
        };
        let finished = writer.finish(digest).map_err(|fault| self.fault(fault))?;
        finished.map_err(|actual| {
            Refusal::invalid(
                "DIGEST_INVALID",
                format!("the blob has the digest {actual}, not {digest}"),
            )
        })
    }

    fn add(&self, writer: &mut Writer<'_>, bytes: &[u8], end: Option<u64>) -> Result<(), Refusal> {
        let size = writer.len() + bytes.len() as u64;
        let limit = self.settings.limits.blob;
        if limit.is_some_and(|limit| size > limit) {
            return Err(Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "SIZE_INVALID",
                format!("a blob may have {} bytes", limit.unwrap_or(0)),
            ));
        }
        if end.is_some_and(|end| size > end) {
            return Err(Refusal::invalid(
                "SIZE_INVALID",
                "the chunk is longer than its Content-Range",
            ));
        }
        writer.add(bytes).map_err(|fault| self.fault(fault))?;
        self.metrics.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

fn busy() -> Refusal {
    Refusal::new(
        StatusCode::CONFLICT,
        "BLOB_UPLOAD_INVALID",
        "another request adds to this upload, or has ended it",
    )
}

fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse()
        .map_err(|_| Refusal::invalid("DIGEST_INVALID", "invalid digest"))
}

fn location(session: &Session) -> String {
    format!("/v2/{}/blobs/uploads/{}", session.name.as_str(), session.id)
}

/// The range of what has arrived; there is no way to say that nothing has.
fn received(len: u64) -> String {
    format!("0-{}", len.saturating_sub(1))
}

fn state(session: &Session, status: StatusCode) -> Answer {
    let mut answer = empty(status);
    set(&mut answer, LOCATION, &location(session));
    set(&mut answer, RANGE, &received(session.len()));
    set(&mut answer, header::UPLOAD, &session.id);
    answer
}

fn created(name: &Name, digest: &Digest) -> Answer {
    let mut answer = empty(StatusCode::CREATED);
    set(&mut answer, LOCATION, &format!("/v2/{}/blobs/{digest}", name.as_str()));
    set(&mut answer, header::DIGEST, digest.as_str());
    answer
}
