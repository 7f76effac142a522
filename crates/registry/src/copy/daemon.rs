//! Docker's engine as a place: its API on a unix socket, `GET /images/NAME/get` and `POST /images/load`.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hull_spec::Reference;
use hull_spec::manifest::Manifest;
use hull_store::archive::Archive;
use hull_store::recompress::spool;
use serde::Deserialize;

use super::archive::{ArchiveSource, ArchiveTarget};
use super::{Blob, Document, Put, Takes, Target};
use crate::Error;
use crate::failure::printable;

/// The most that is taken of an image that an engine gives, in bytes.
const IMAGE_MAX: u64 = 1 << 40;
/// How long a silent engine is waited for: it packs an image before it sends the first byte.
const PATIENCE: Duration = Duration::from_secs(600);
/// The most that is read of what it says.
const SAID_MAX: u64 = 1 << 20;

/// Where an engine listens.
#[derive(Clone, Debug)]
pub struct Daemon<'a> {
    /// Its socket.
    pub socket: &'a Path,
}

impl Daemon<'_> {
    fn fail(&self, reason: impl std::fmt::Display) -> Error {
        Error::Place {
            place: format!("the engine at `{}`", self.socket.display()),
            reason: reason.to_string(),
        }
    }

    fn connect(&self) -> Result<UnixStream, Error> {
        let stream = UnixStream::connect(self.socket).map_err(|err| self.fail(err))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|err| self.fail(err))?;
        Ok(stream)
    }

    /// An image of the engine's: its archive, in a nameless file below `folder`.
    ///
    /// # Errors
    /// If the engine does not answer, or has no such image.
    pub fn image(&self, name: &str, folder: &Path) -> Result<ArchiveSource, Error> {
        let mut stream = self.connect()?;
        let path = escape(name);
        let request = format!("GET /images/{path}/get HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|err| self.fail(err))?;
        let (status, mut body) = answer(stream).map_err(|err| self.fail(err))?;
        if status != 200 {
            return Err(self.refused(&mut body));
        }
        let any = hull_store::digest(hull_spec::Algorithm::Sha256, name.as_bytes());
        let kept = spool(body, &any, folder, IMAGE_MAX)?;
        let file = kept.into_file().map_err(|err| self.fail(err))?;
        ArchiveSource::of(Archive::read(file.into(), folder)?, None)
    }

    /// A place for an image in the engine.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub fn load(&self, name: &Reference) -> Result<DaemonTarget, Error> {
        let mut stream = self.connect()?;
        let head = "POST /images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
                    Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).map_err(|err| self.fail(err))?;
        let (ours, theirs) = UnixStream::pair().map_err(|err| self.fail(err))?;
        let place = format!("the engine at `{}`", self.socket.display());
        let feeder = std::thread::spawn(move || feed(ours, stream));
        Ok(DaemonTarget {
            archive: ArchiveTarget::stream(&place, vec![name.clone().or_latest()], theirs.into())?,
            feeder: Mutex::new(Some(feeder)),
            place,
        })
    }

    fn refused(&self, body: &mut dyn Read) -> Error {
        let mut text = String::new();
        let _ = body.take(SAID_MAX).read_to_string(&mut text);
        self.fail(said(&text))
    }
}

/// Passes an archive on in chunks; returns what the engine says at its end.
fn feed(mut from: UnixStream, mut to: UnixStream) -> io::Result<(u16, String)> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        let n = from.read(&mut buffer)?;
        let sent = to.write_all(format!("{n:x}\r\n").as_bytes()).and_then(|()| {
            to.write_all(&buffer[..n])?;
            to.write_all(b"\r\n")
        });
        // One that breaks off may have said why.
        if n == 0 || sent.is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let (status, body) = answer(to)?;
    let mut text = String::new();
    body.take(SAID_MAX).read_to_string(&mut text)?;
    Ok((status, text))
}

#[derive(Deserialize)]
struct Line {
    message: Option<String>,
    error: Option<String>,
    stream: Option<String>,
}

/// What an engine says, in words.
fn said(text: &str) -> String {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut words = lines.filter_map(|line| line.error.or(line.message));
    words
        .next_back()
        .map_or_else(|| printable(text.trim()), |words| printable(&words))
}

fn failed(text: &str) -> bool {
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.any(|line| line.error.is_some() && line.stream.is_none())
}

/// Reads the head of an answer. Returns the status and the body, its transfer coding undone.
fn answer(stream: UnixStream) -> io::Result<(u16, Box<dyn Read + Send>)> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.by_ref().take(64 << 10).read_line(&mut line)? == 0 || head.len() > 200 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it gave no HTTP answer"));
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_ascii_lowercase()),
        }
    }
    let status = head.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it gave no HTTP answer"))?;
    let header = |name: &str| {
        let mut found = head
            .iter()
            .filter_map(|line| line.split_once(':'))
            .filter(|(key, _)| *key == name);
        found.next().map(|(_, value)| value.trim().to_owned())
    };
    if header("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        return Ok((
            status,
            Box::new(Chunks {
                reader,
                left: 0,
                begun: false,
                ended: false,
            }),
        ));
    }
    Ok(match header("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => (status, Box::new(reader.take(length))),
        None => (status, Box::new(reader)),
    })
}

/// A body in chunks (RFC 9112, 7.1).
struct Chunks {
    reader: BufReader<UnixStream>,
    left: u64,
    begun: bool,
    ended: bool,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "a chunk is malformed");
        if self.left == 0 && !self.ended {
            let mut line = String::new();
            if self.begun {
                self.reader.by_ref().take(2).read_line(&mut line)?;
                if !line.trim_end().is_empty() {
                    return Err(bad());
                }
                line.clear();
            }
            self.begun = true;
            if self.reader.by_ref().take(1 << 10).read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let size = line.split(';').next().unwrap_or_default().trim();
            self.left = u64::from_str_radix(size, 16).map_err(|_| bad())?;
            self.ended = self.left == 0;
        }
        if self.ended {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.reader.read(&mut buffer[..most])?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// A name in a path.
fn escape(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/' | b':' | b'@' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// What passes the archive on, and what the engine says then.
type Feeder = JoinHandle<io::Result<(u16, String)>>;

/// A name in Docker's engine.
#[derive(Debug)]
pub struct DaemonTarget {
    archive: ArchiveTarget,
    feeder: Mutex<Option<Feeder>>,
    place: String,
}

impl DaemonTarget {
    /// What the engine said in the end.
    fn outcome(&self) -> Result<(), Error> {
        let feeder = self.feeder.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(feeder) = feeder else {
            return Ok(());
        };
        let fail = |reason: String| Error::Place {
            place: self.place.clone(),
            reason,
        };
        let told = feeder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match told {
            Err(err) => Err(fail(err.to_string())),
            Ok((200, text)) if !failed(&text) => Ok(()),
            Ok((_, text)) => Err(fail(said(&text))),
        }
    }
}

impl Target for DaemonTarget {
    fn name(&self) -> String {
        self.place.clone()
    }

    fn takes(&self) -> Takes {
        self.archive.takes()
    }

    fn begin(&self, manifest: &Manifest, config: &[u8]) -> Result<(), Error> {
        self.archive.begin(manifest, config)
    }

    fn blob(&self, blob: &Blob<'_>) -> Result<Put, Error> {
        self.archive.blob(blob)
    }

    fn document(&self, document: &Document, named: bool) -> Result<(), Error> {
        self.archive.document(document, named)
    }

    fn finish(&self) -> Result<(), Error> {
        let written = self.archive.finish();
        // Its own words say more than that the pipe is broken.
        self.outcome()?;
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_in_every_coding() {
        let check = |text: &str, expected: Option<(u16, &str)>| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(text.as_bytes()).unwrap();
            drop(theirs);
            let found = answer(ours).and_then(|(status, mut body)| {
                let mut text = String::new();
                body.read_to_string(&mut text)?;
                Ok((status, text))
            });
            let found = found.ok();
            assert_eq!(found.as_ref().map(|(s, t)| (*s, t.as_str())), expected, "{text:?}");
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhix", Some((200, "hi")));
        check("HTTP/1.1 404 No\r\n\r\nall", Some((404, "all")));
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n",
            Some((200, "abcd")),
        );
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", None);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", None);
        check("SSH-2.0\r\n", None);
        check("", None);
    }

    #[test]
    fn what_an_engine_says_is_put_in_words() {
        let ok = "{\"stream\":\"Loaded image: x\"}\n";
        let bad = "{\"stream\":\"x\"}\n{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no space\"}\n";
        assert!(!failed(ok) && failed(bad));
        assert_eq!(said(bad), "no space");
        assert_eq!(said("{\"message\":\"No such image: y\"}"), "No such image: y");
        assert_eq!(escape("a b/c:1%"), "a%20b/c:1%25");
    }
}
