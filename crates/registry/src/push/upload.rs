//! One blob into a repository (distribution spec, "Pushing blobs").
//!
//! Whether it is there is asked first. If not, it is mounted from another repository of the registry that is known to
//! hold it, or sent: in one request, or in several where the registry wants no request to be that long. What breaks off
//! goes on from where the registry says that it is.

use hull_spec::Reference;
use hull_spec::manifest::Descriptor;

use crate::client::{Ask, At, Client};
use crate::copy::{Blob, Put, Reader};
use crate::retry::Cancel;
use crate::source::Source as Server;
use crate::transport::{Body, Response};
use crate::url::{Scheme, Url, escape};
use crate::{Error, failure};

/// Repositories that a mount is tried from.
const MOUNTS_MAX: usize = 3;
/// How much goes into one request, where one request must not hold all.
const CHUNK: u64 = 8 << 20;
/// So many bytes without a failure, and the failures before are forgotten.
const PROGRESS: u64 = 1 << 20;

/// One blob on its way to a registry.
pub(crate) struct Upload<'a> {
    client: &'a Client,
    server: &'a Server,
    reference: &'a Reference,
    cancel: &'a Cancel,
    blob: &'a Blob<'a>,
    scope: String,
    /// How much one request may hold, once that is known to be limited.
    chunk: Option<u64>,
    failures: u32,
    /// Where `failures` was last raised.
    failed_at: u64,
}

/// An upload that the registry knows of.
struct Session {
    /// Where the next request goes.
    location: Url,
    /// Bytes that the registry has.
    at: u64,
    /// Whether `at` is to be asked for: a request has broken off.
    doubtful: bool,
    /// The least that a chunk must hold, where the registry says.
    least: u64,
}

/// What became of a request.
enum Step {
    Done,
    More,
    /// The registry has forgotten the upload.
    Lost(Error),
    /// One request was too long.
    TooLong(Error),
}

impl<'a> Upload<'a> {
    pub(crate) fn new(
        client: &'a Client,
        server: &'a Server,
        reference: &'a Reference,
        cancel: &'a Cancel,
        blob: &'a Blob<'a>,
    ) -> Self {
        Self {
            client,
            server,
            reference,
            cancel,
            blob,
            scope: scope(server),
            chunk: None,
            failures: 0,
            failed_at: 0,
        }
    }

    /// Sees to it that the blob is there.
    pub(crate) fn run(mut self) -> Result<Put, Error> {
        if self.client.patiently(self.server, self.cancel, || self.exists())? {
            return Ok(Put::Present);
        }
        let mut session = None;
        let mount = self.blob.mount.iter().filter(|from| **from != self.server.repository);
        for from in mount.take(MOUNTS_MAX) {
            match self.client.patiently(self.server, self.cancel, || self.mount(from)) {
                Ok(None) => return Ok(Put::Mounted(from.clone())),
                Ok(begun) => {
                    if let Some(old) = session.replace(begun) {
                        self.forget(old.as_ref());
                    }
                }
                // Who may not read there can still send it.
                Err(err) if err.kind() == hull_spec::ErrorKind::Denied => {}
                Err(err) => return Err(err),
            }
        }
        self.send(session.flatten())?;
        self.blob.moved(self.descriptor().size);
        Ok(Put::Written)
    }

    fn descriptor(&self) -> &'a Descriptor {
        self.blob.descriptor
    }

    fn exists(&self) -> Result<bool, Error> {
        let response = self.ask(
            "HEAD",
            At::Tail(format!("blobs/{}", self.descriptor().digest)),
            &[],
            Body::Empty,
        )?;
        match response.status {
            200 => Ok(true),
            404 => Ok(false),
            // Some registries say no to whom they let push.
            401 | 403 => Err(self.refusal(response)),
            405 => Ok(false),
            _ => Err(failure::status(response)),
        }
    }

    /// Asks for the blob of another repository. `None` where it is here now; otherwise an upload was begun.
    fn mount(&self, from: &str) -> Result<Option<Session>, Error> {
        let tail = format!(
            "blobs/uploads/?mount={}&from={}",
            escape(self.descriptor().digest.as_str()),
            escape(from)
        );
        let response = self.client.ask(
            self.server,
            &Ask {
                method: "POST",
                at: At::Tail(tail),
                headers: &[],
                scope: &format!("{} repository:{from}:pull", self.scope),
                body: Body::Empty,
            },
        )?;
        match response.status {
            201 => Ok(None),
            202 => self.begun(response).map(Some),
            _ => Err(self.refusal(response)),
        }
    }

    fn begin(&self) -> Result<Session, Error> {
        let response = self.ask("POST", At::Tail("blobs/uploads/".to_owned()), &[], Body::Empty)?;
        match response.status {
            202 => self.begun(response),
            _ => Err(self.refusal(response)),
        }
    }

    fn begun(&self, response: Response) -> Result<Session, Error> {
        let least = response
            .header("oci-chunk-min-length")
            .and_then(|text| text.trim().parse().ok());
        let location = self.location(&response)?;
        response.drain();
        Ok(Session {
            location,
            at: 0,
            doubtful: false,
            least: least.unwrap_or(0),
        })
    }

    /// Where the registry wants the next request.
    fn location(&self, response: &Response) -> Result<Url, Error> {
        let fail = |location: &str, reason| Error::Redirect {
            url: response.url.redacted(),
            location: failure::printable(location.split(['?', '#']).next().unwrap_or_default()),
            reason,
        };
        let location = response.header("location").ok_or_else(|| fail("", "it is missing"))?;
        let url = response.url.join(location).map_err(|reason| fail(location, reason))?;
        if response.url.origin.scheme == Scheme::Https && url.origin.scheme == Scheme::Http {
            return Err(fail(location, "it leads from https to plain http"));
        }
        Ok(url)
    }

    /// Lets the registry forget an upload that is not needed. If it does not, it will by itself.
    fn forget(&self, session: Option<&Session>) {
        if let Some(session) = session {
            let _ = self.ask("DELETE", At::Url(&session.location), &[], Body::Empty);
        }
    }

    /// Sends the blob, however often that has to be begun.
    fn send(&mut self, mut session: Option<Session>) -> Result<(), Error> {
        loop {
            self.cancel.check()?;
            let step = match session.as_mut() {
                Some(session) => self.advance(session),
                None => self.begin().map(|begun| {
                    session = Some(begun);
                    Step::More
                }),
            };
            let err = match step {
                Ok(Step::Done) => return Ok(()),
                Ok(Step::More) => continue,
                Ok(Step::Lost(err)) => {
                    session = None;
                    err
                }
                Ok(Step::TooLong(err)) => {
                    let least = session.take().map_or(0, |session| session.least);
                    let smaller = self.chunk.map_or(CHUNK, |chunk| chunk / 4).max(least);
                    if self.chunk.is_some_and(|chunk| smaller >= chunk) || smaller < 64 << 10 {
                        return Err(err);
                    }
                    self.chunk = Some(smaller);
                    continue;
                }
                Err(err) if err.is_transient() => err,
                Err(err) => return Err(err),
            };
            if self.blob.source_failed() {
                return Err(err);
            }
            let at = session.as_mut().map_or(0, |session| {
                session.doubtful = true;
                session.at
            });
            self.pause(err, at)?;
        }
    }

    /// Waits before the next try; the error, where there is to be none.
    fn pause(&mut self, err: Error, at: u64) -> Result<(), Error> {
        if at >= self.failed_at + PROGRESS {
            self.failures = 0;
        }
        self.failed_at = at;
        self.failures += 1;
        let patience = self.client.patience(self.server, &err);
        let Some(pause) = patience.pause(self.failures, err.retry_after()) else {
            return Err(err);
        };
        self.blob.retrying(pause.as_secs_f64().ceil() as u64);
        self.cancel.sleep(pause)
    }

    /// Gets on by one request.
    fn advance(&self, session: &mut Session) -> Result<Step, Error> {
        if session.doubtful
            && let Err(lost) = self.catch_up(session)?
        {
            return Ok(Step::Lost(lost));
        }
        let left = self.descriptor().size - session.at;
        let whole = session.at == 0 && self.chunk.is_none();
        if whole || left == 0 {
            return self.complete(session, left);
        }
        let length = self.chunk.map_or(left, |chunk| chunk.min(left));
        let range = format!("{}-{}", session.at, session.at + length - 1);
        let headers = [
            ("content-type", "application/octet-stream".to_owned()),
            ("content-range", range),
        ];
        let open = || self.blob.open(session.at);
        let response = self.stream("PATCH", &session.location, &headers, length, &open)?;
        match response.status {
            202 => {
                session.location = self.location(&response)?;
                // What it has not taken is sent again.
                session.at = taken(&response).unwrap_or(session.at + length).min(session.at + length);
                response.drain();
                Ok(Step::More)
            }
            413 => Ok(Step::TooLong(failure::status(response))),
            404 | 416 => Ok(Step::Lost(failure::status(response))),
            _ => Err(self.refusal(response)),
        }
    }

    /// Sends what is left and ends the upload.
    fn complete(&self, session: &Session, left: u64) -> Result<Step, Error> {
        let digest = escape(self.descriptor().digest.as_str());
        let joint = if session.location.path.contains('?') { '&' } else { '?' };
        let url = session
            .location
            .at(format!("{}{joint}digest={digest}", session.location.path));
        let headers = [("content-type", "application/octet-stream".to_owned())];
        let open = || self.blob.open(session.at);
        let response = match left {
            0 => self.ask("PUT", At::Url(&url), &headers, Body::Empty)?,
            left => self.stream("PUT", &url, &headers, left, &open)?,
        };
        match response.status {
            201 | 204 => {
                response.drain();
                Ok(Step::Done)
            }
            413 => Ok(Step::TooLong(failure::status(response))),
            404 | 416 => Ok(Step::Lost(failure::status(response))),
            _ => Err(self.refusal(response)),
        }
    }

    /// Asks how much the registry has. `Err` within where it has forgotten the upload.
    fn catch_up(&self, session: &mut Session) -> Result<Result<(), Error>, Error> {
        let response = self.ask("GET", At::Url(&session.location), &[], Body::Empty)?;
        if !matches!(response.status, 200 | 202 | 204) {
            return Ok(Err(failure::status(response)));
        }
        session.location = match response.header("location") {
            Some(_) => self.location(&response)?,
            None => session.location.clone(),
        };
        session.at = taken(&response).unwrap_or(0);
        session.doubtful = false;
        response.drain();
        if session.at > self.descriptor().size {
            return Ok(Err(Error::SizeMismatch {
                digest: self.descriptor().digest.clone(),
                expected: self.descriptor().size,
                actual: session.at,
            }));
        }
        Ok(Ok(()))
    }

    fn stream(
        &self,
        method: &'static str,
        url: &Url,
        headers: &[(&'static str, String)],
        length: u64,
        open: &(dyn Fn() -> Result<Reader, Error> + Sync),
    ) -> Result<Response, Error> {
        let body = Body::Stream {
            length,
            open,
            ask_first: self.failures > 0,
        };
        self.ask(method, At::Url(url), headers, body)
    }

    fn ask(
        &self,
        method: &'static str,
        at: At<'_>,
        headers: &[(&'static str, String)],
        body: Body<'_>,
    ) -> Result<Response, Error> {
        self.client.ask(
            self.server,
            &Ask {
                method,
                at,
                headers,
                scope: &self.scope,
                body,
            },
        )
    }

    fn refusal(&self, response: Response) -> Error {
        failure::of_push(failure::status(response), self.reference)
    }
}

/// What a token must allow for a push.
pub(crate) fn scope(server: &Server) -> String {
    format!("repository:{}:pull,push", server.repository)
}

/// Bytes that a registry has of an upload: `Range: 0-99` is a hundred. Of nothing it says `0-0`, as of one byte: that
/// one is then sent again, and a registry that has it refuses it and is begun with anew.
fn taken(response: &Response) -> Option<u64> {
    let range = response.header("range")?.trim();
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let (first, last) = range.split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    if first.trim() != "0" || last == 0 {
        return Some(0);
    }
    last.checked_add(1)
}
