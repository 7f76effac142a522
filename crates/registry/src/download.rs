//! A blob as a stream of bytes that does not break: what the network drops is asked for again from where it stopped.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use hull_spec::manifest::Descriptor;
use hull_spec::progress::Event;
use hull_spec::{Digest, Progress};

use crate::client::{Ask, Client};
use crate::retry::Cancel;
use crate::source::Source;
use crate::transport::Response;
use crate::{Error, failure};

/// So many bytes without a failure, and the failures before are forgotten. It bounds how long a server that sends a
/// byte at a time can keep a pull busy.
const PROGRESS: u64 = 1 << 20;

/// What all downloads of one pull share.
pub(crate) struct Downloads {
    pub(crate) client: Arc<Client>,
    pub(crate) cancel: Arc<Cancel>,
    pub(crate) progress: Progress,
}

/// The error that ended a download: `Read` can only hand on an [`io::Error`], so the real one waits here.
#[derive(Clone, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<Error>>>);

impl Failure {
    pub(crate) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, err: Error) -> io::Error {
        let told = io::Error::other(err.to_string());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(err);
        told
    }
}

/// The bytes of one blob, from an offset to the size that its descriptor promises, and not one more. It retries, resumes
/// and goes on to the next source by itself. Neither does it check the digest, nor tell how far it is: who reads it does.
pub(crate) struct Download {
    shared: Arc<Downloads>,
    /// The sources that are left; the first is in use.
    sources: VecDeque<Source>,
    digest: Digest,
    size: u64,
    /// Bytes of the blob before the next one that is read.
    at: u64,
    body: Option<Response>,
    failures: u32,
    /// Where `failures` was last raised.
    failed_at: u64,
    silent: bool,
    failure: Failure,
}

impl Download {
    /// A download that begins at `offset`. Nothing is asked before the first read.
    pub(crate) fn new(
        shared: Arc<Downloads>,
        sources: impl IntoIterator<Item = Source>,
        blob: &Descriptor,
        offset: u64,
        failure: Failure,
    ) -> Self {
        Self {
            shared,
            sources: sources.into_iter().collect(),
            digest: blob.digest.clone(),
            size: blob.size,
            at: offset,
            body: None,
            failures: 0,
            failed_at: offset,
            silent: false,
            failure,
        }
    }

    /// The same download, of something that is no layer and is not shown.
    pub(crate) fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    /// One attempt to get on: opens the blob if need be, and reads.
    fn advance(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.body.is_none() {
            self.body = Some(self.open()?);
        }
        let Some(response) = self.body.as_mut() else {
            return Ok(0);
        };
        let want = usize::try_from(self.size - self.at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let (read, source) = match response.body.read(&mut buffer[..want]) {
            Ok(n) if n as u64 == self.size - self.at => {
                self.finish()?;
                return Ok(n);
            }
            Ok(n) if n > 0 => return Ok(n),
            Ok(_) => (0, None),
            Err(err) => (0, Some(err)),
        };
        let broken = Error::Truncated {
            method: response.method,
            url: response.url.redacted(),
            received: self.at + read,
            source,
        };
        self.body = None;
        Err(broken)
    }

    /// Reads the end of the body, which gives the connection back to be used again.
    fn finish(&mut self) -> Result<(), Error> {
        let more = self.body.take().map(|mut response| response.body.read(&mut [0]));
        match more {
            Some(Ok(n)) if n > 0 => Err(Error::SizeMismatch {
                digest: self.digest.clone(),
                expected: self.size,
                actual: self.size + 1,
            }),
            // What was promised is there: how the rest ends does not matter.
            _ => Ok(()),
        }
    }

    /// Asks for what is missing.
    fn open(&self) -> Result<Response, Error> {
        let response = self.request(self.at)?;
        match response.status {
            206 if self.at > 0 && self.is_rest(&response) => Ok(response),
            200 => {
                self.check_length(&response, self.size)?;
                self.skip(response)
            }
            // A server that cannot continue, or that continues somewhere else: from the start, then.
            206 | 416 if self.at > 0 => {
                let response = self.request(0)?;
                if response.status != 200 {
                    return Err(failure::status(response));
                }
                self.check_length(&response, self.size)?;
                self.skip(response)
            }
            _ => Err(failure::status(response)),
        }
    }

    fn request(&self, from: u64) -> Result<Response, Error> {
        let range = [("range", format!("bytes={from}-"))];
        let source = self.sources.front().ok_or(Error::Cancelled)?;
        self.shared.client.ask(
            source,
            &Ask::read(
                "GET",
                format!("blobs/{}", self.digest),
                if from > 0 { &range } else { &[] },
            ),
        )
    }

    /// Whether a 206 holds exactly the bytes from here to the end (RFC 9110, 14.4).
    fn is_rest(&self, response: &Response) -> bool {
        let parsed = response.header("content-range").and_then(|text| {
            let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = range.split_once('-')?;
            let total = match total.trim() {
                "*" => self.size,
                total => total.parse::<u64>().ok()?,
            };
            Some((
                first.trim().parse::<u64>().ok()?,
                last.trim().parse::<u64>().ok()?,
                total,
            ))
        });
        parsed == Some((self.at, self.size - 1, self.size))
            && response.length().is_none_or(|length| length == self.size - self.at)
    }

    fn check_length(&self, response: &Response, expected: u64) -> Result<(), Error> {
        match response.length() {
            Some(actual) if actual != expected => Err(Error::SizeMismatch {
                digest: self.digest.clone(),
                expected,
                actual,
            }),
            _ => Ok(()),
        }
    }

    /// Reads past what is there already, from a server that sends everything.
    fn skip(&self, mut response: Response) -> Result<Response, Error> {
        let mut received = 0;
        let skipped = io::copy(&mut response.body.by_ref().take(self.at), &mut Count(&mut received));
        if received == self.at {
            return Ok(response);
        }
        Err(Error::Truncated {
            method: response.method,
            url: response.url.redacted(),
            received,
            source: skipped.err(),
        })
    }

    /// Decides what comes after a failure: a pause and another try, another source, or the end.
    fn recover(&mut self, err: Error) -> Result<(), Error> {
        self.body = None;
        if matches!(err, Error::Cancelled) {
            return Err(err);
        }
        if self.at - self.failed_at >= PROGRESS {
            self.failures = 0;
        }
        self.failed_at = self.at;
        self.failures += 1;
        let pause = match self.sources.front() {
            Some(source) if err.is_transient() => {
                let patience = self.shared.client.patience(source, &err);
                patience.pause(self.failures, err.retry_after())
            }
            _ => None,
        };
        let Some(pause) = pause else {
            if self.sources.len() < 2 {
                return Err(err);
            }
            self.sources.pop_front();
            self.failures = 0;
            return Ok(());
        };
        if !self.silent {
            self.shared.progress.send(|| Event::Retrying {
                blob: self.digest.clone(),
                seconds: pause.as_secs_f64().ceil() as u64,
            });
        }
        self.shared.cancel.sleep(pause)
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.at >= self.size {
            return Ok(0);
        }
        loop {
            if let Err(err) = self.shared.cancel.check() {
                return Err(self.failure.set(err));
            }
            match self.advance(buffer) {
                Ok(n) => {
                    self.at += n as u64;
                    return Ok(n);
                }
                Err(err) => {
                    if let Err(err) = self.recover(err) {
                        return Err(self.failure.set(err));
                    }
                }
            }
        }
    }
}

/// Counts what is written to it.
struct Count<'a>(&'a mut u64);

impl io::Write for Count<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
