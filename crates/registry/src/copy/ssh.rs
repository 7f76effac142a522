//! Another host as a place, over one connection of `ssh`: `ssh://[USER@]HOST[:PORT]`.
//!
//! The other side needs hull, or only Docker. hull there is asked for each blob whether it has it ([`receive`] answers);
//! of Docker the layers that its images have are asked first, and the archive that `docker load` then gets lacks them.
//!
//! # The conversation
//! The other side says `hull-image-receive 1`. Then each request is a line of JSON, some with bytes after it, and each is
//! answered by one: `{"ok":true}`, `{"have":true}`, `{"want":OFFSET}` (the bytes from there are sent, and answered once
//! more), or `{"error":TEXT}`, which is the last.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hull_spec::image::{CONFIG_MAX, ImageConfig};
use hull_spec::manifest::{Descriptor, MANIFEST_MAX, Manifest};
use hull_spec::{Digest, Progress, Reference};
use hull_store::Store;
use serde::{Deserialize, Serialize};

use super::archive::ArchiveTarget;
use super::store::StoreTarget;
use super::{Blob, Document, Put, Reader, Slot, Takes, Target};
use crate::Error;
use crate::failure::printable;

const GREETING: &str = "hull-image-receive 1";
/// The most of what a host says before the greeting, such as a message of the day, in bytes.
const PREAMBLE_MAX: usize = 256 << 10;
/// The longest line of the conversation: a manifest and a config, escaped.
const LINE_MAX: u64 = 4 * (MANIFEST_MAX + CONFIG_MAX);

/// What the other side runs: hull if it is there, else Docker, after the layers that it has.
const REMOTE: &str = "if command -v hull >/dev/null 2>&1; then exec hull image receive; \
elif command -v docker >/dev/null 2>&1; then echo hull-docker-load 1; \
for i in $(docker image ls -q --no-trunc); do docker image inspect --format \"{{json .RootFS.Layers}}\" $i; done; \
echo hull-docker-end; exec docker load -q; else echo hull-none; fi";

/// A host that ssh reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    user_at_host: String,
    port: Option<u16>,
    program: Vec<String>,
}

impl Host {
    /// Reads `[USER@]HOST[:PORT]`. `program` is what connects, with its options.
    ///
    /// # Errors
    /// If it is malformed. What ssh would take for an option is (CVE-2017-1000117).
    pub fn parse(text: &str, program: Vec<String>) -> Result<Self, Error> {
        let fail = |reason: &str| Error::Place {
            place: format!("ssh://{}", printable(text)),
            reason: reason.to_owned(),
        };
        let text = text.trim_end_matches('/');
        let (user, authority) = match text.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, text),
        };
        let (host, port) = crate::url::split_authority(authority).map_err(fail)?;
        let word = |text: &str| {
            let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+');
            !text.is_empty() && !text.starts_with('-') && text.bytes().all(fine)
        };
        if user.is_some_and(|user| !word(user)) {
            return Err(fail("the user is malformed"));
        }
        if host.starts_with('-') {
            return Err(fail("the host is malformed"));
        }
        if program.is_empty() {
            return Err(fail("there is no program to connect with"));
        }
        Ok(Self {
            user_at_host: match user {
                Some(user) => format!("{user}@{host}"),
                None => host,
            },
            port,
            program,
        })
    }

    fn fail(&self, reason: impl std::fmt::Display) -> Error {
        Error::Place {
            place: format!("ssh://{}", self.user_at_host),
            reason: reason.to_string(),
        }
    }

    /// Connects, and finds out who is there. The image will be called `name`.
    ///
    /// # Errors
    /// If ssh fails, or neither hull nor Docker is there.
    pub fn connect(&self, name: &Reference) -> Result<Box<dyn Target>, Error> {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]);
        if let Some(port) = self.port {
            command.arg("-p").arg(port.to_string());
        }
        // The user's shell there may be any: it is given one word to pass on.
        command
            .arg("--")
            .arg(&self.user_at_host)
            .arg(format!("sh -c '{REMOTE}'"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|err| self.fail(format!("`{}`: {err}", self.program[0])))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(self.fail("it has no standard streams"));
        };
        let mut from = BufReader::new(from);
        let child = Line {
            child,
            place: format!("ssh://{}", self.user_at_host),
        };
        let mut seen = 0;
        loop {
            let line = line(&mut from).map_err(|err| self.fail(err))?;
            seen += line.len() + 1;
            match line.trim_end() {
                GREETING => {
                    let talk = Talk { to, from };
                    let target = HullTarget {
                        line: child,
                        talk: Mutex::new(talk),
                        name: name.clone(),
                    };
                    target.say(&Request::Name { name: name.to_string() })?;
                    return Ok(Box::new(target));
                }
                "hull-docker-load 1" => {
                    let known = layers(&mut from).map_err(|err| self.fail(err))?;
                    return Ok(Box::new(DockerTarget::new(child, to, from, name, known)?));
                }
                "hull-none" => return Err(self.fail("neither hull nor docker is there")),
                _ if line.is_empty() || seen > PREAMBLE_MAX => {
                    return Err(self.fail("the connection gave no answer that is understood"));
                }
                // What a shell's start-up files print.
                _ => {}
            }
        }
    }
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.by_ref().take(LINE_MAX).read_line(&mut line)?;
    Ok(line)
}

/// The layers of Docker's images, a list of diff IDs each.
fn layers(from: &mut impl BufRead) -> io::Result<Vec<Vec<Digest>>> {
    let mut out = Vec::new();
    loop {
        let line = line(from)?;
        match line.trim_end() {
            "" => return Err(io::ErrorKind::UnexpectedEof.into()),
            "hull-docker-end" => return Ok(out),
            text => out.extend(serde_json::from_str::<Vec<Digest>>(text).ok()),
        }
    }
}

/// The process of ssh; it ends with this value.
#[derive(Debug)]
struct Line {
    child: Child,
    place: String,
}

impl Drop for Line {
    fn drop(&mut self) {
        // It has ended, or is of no use any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
struct Talk {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Request {
    Name {
        name: String,
    },
    Begin {
        manifest: Box<Manifest>,
        config: Vec<u8>,
    },
    Blob {
        descriptor: Descriptor,
    },
    Document {
        digest: Digest,
        media_type: String,
        size: u64,
        named: bool,
    },
    Finish,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reply {
    Ok,
    Have,
    Want(u64),
    Error(String),
}

/// A host with hull.
#[derive(Debug)]
struct HullTarget {
    line: Line,
    talk: Mutex<Talk>,
    name: Reference,
}

impl HullTarget {
    fn fail(&self, reason: impl std::fmt::Display) -> Error {
        Error::Place {
            place: self.line.place.clone(),
            reason: reason.to_string(),
        }
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, request: &Request) -> Result<Reply, Error> {
        let mut talk = self.talk();
        self.send(&mut talk, request)?;
        self.hear(&mut talk)
    }

    fn send(&self, talk: &mut Talk, request: &Request) -> Result<(), Error> {
        let mut text = serde_json::to_vec(request).map_err(|err| self.fail(err))?;
        text.push(b'\n');
        let sent = talk.to.write_all(&text).and_then(|()| talk.to.flush());
        // Whoever hung up has said why.
        sent.or_else(|err| self.hear(talk).and(Err(self.fail(err))))
    }

    fn hear(&self, talk: &mut Talk) -> Result<Reply, Error> {
        let text = line(&mut talk.from).map_err(|err| self.fail(err))?;
        match serde_json::from_str(&text) {
            Ok(Reply::Error(text)) => Err(self.fail(printable(&text))),
            Ok(reply) => Ok(reply),
            Err(_) if text.is_empty() => Err(self.fail("the connection has ended")),
            Err(_) => Err(self.fail("it gave an answer that is not understood")),
        }
    }
}

impl Target for HullTarget {
    fn name(&self) -> String {
        format!("{} at {}", self.name.familiar(), self.line.place)
    }

    fn takes(&self) -> Takes {
        Takes {
            parallel: 1,
            indexes: true,
            format: None,
            registry: None,
        }
    }

    fn begin(&self, manifest: &Manifest, config: &[u8]) -> Result<(), Error> {
        let begin = Request::Begin {
            manifest: Box::new(manifest.clone()),
            config: config.to_vec(),
        };
        self.say(&begin).map(drop)
    }

    fn blob(&self, blob: &Blob<'_>) -> Result<Put, Error> {
        let mut talk = self.talk();
        let asked = Request::Blob {
            descriptor: blob.descriptor.clone(),
        };
        self.send(&mut talk, &asked)?;
        let size = blob.descriptor.size;
        let offset = match self.hear(&mut talk)? {
            Reply::Want(offset) if offset <= size => offset,
            Reply::Want(_) => return Err(self.fail("it wants bytes that there are not")),
            _ => return Ok(Put::Present),
        };
        let mut bytes = blob.open(offset)?.take(size - offset);
        let sent = io::copy(&mut bytes, &mut talk.to).and_then(|sent| {
            talk.to.flush()?;
            Ok(sent)
        });
        match sent {
            Ok(sent) if sent == size - offset => {}
            // The other side waits for the rest: this connection is of no use any more.
            Ok(_) => return Err(self.fail("the blob is shorter than its descriptor says")),
            Err(err) if blob.source_failed() => return Err(self.fail(err)),
            Err(err) => return Err(self.hear(&mut talk).err().unwrap_or_else(|| self.fail(err))),
        }
        self.hear(&mut talk)?;
        blob.moved(size - offset);
        Ok(Put::Written)
    }

    fn document(&self, document: &Document, named: bool) -> Result<(), Error> {
        let mut talk = self.talk();
        let put = Request::Document {
            digest: document.digest.clone(),
            media_type: document.media_type.clone(),
            size: document.bytes.len() as u64,
            named,
        };
        self.send(&mut talk, &put)?;
        talk.to
            .write_all(&document.bytes)
            .and_then(|()| talk.to.flush())
            .map_err(|err| self.fail(err))?;
        self.hear(&mut talk).map(drop)
    }

    fn finish(&self) -> Result<(), Error> {
        self.say(&Request::Finish).map(drop)
    }
}

/// The other end: takes one image from `input` into `store`, which must be open for writing.
///
/// # Errors
/// What went wrong here; the peer is told, too.
pub fn receive(store: &Store, input: impl Read + Send + 'static, output: impl Write + Send) -> Result<(), Error> {
    let output = Mutex::new(output);
    let reply = |reply: &Reply| -> Result<(), Error> {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = serde_json::to_vec(reply).map_err(peer)?;
        text.push(b'\n');
        output.write_all(&text).and_then(|()| output.flush()).map_err(peer)
    };
    {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(output, "{GREETING}")
            .and_then(|()| output.flush())
            .map_err(peer)?;
    }
    let input = Arc::new(Mutex::new(BufReader::with_capacity(128 << 10, input)));
    let done = take(store, &input, &reply);
    if let Err(err) = &done {
        // Who has hung up is not told.
        let _ = reply(&Reply::Error(err.to_string()));
    }
    done
}

fn peer(err: impl std::fmt::Display) -> Error {
    Error::Place {
        place: "the peer".to_owned(),
        reason: err.to_string(),
    }
}

type Input<R> = Arc<Mutex<BufReader<R>>>;

fn next<R: Read>(input: &Input<R>) -> Result<Option<Request>, Error> {
    let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
    let text = line(&mut *input).map_err(peer)?;
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|_| peer("it asks for something that is not understood"))
}

fn take<R: Read + Send + 'static>(
    store: &Store,
    input: &Input<R>,
    reply: &(dyn Fn(&Reply) -> Result<(), Error> + Sync),
) -> Result<(), Error> {
    let Some(Request::Name { name }) = next(input)? else {
        return Err(peer("it does not say what the image is called"));
    };
    let target = StoreTarget::new(store, &name.parse()?, &Progress::silent())?;
    reply(&Reply::Ok)?;
    while let Some(request) = next(input)? {
        match request {
            Request::Name { .. } => return Err(peer("it names the image twice")),
            Request::Begin { manifest, config } => target.begin(&manifest, &config)?,
            Request::Blob { descriptor } => {
                if !accept(&target, &descriptor, input, reply)? {
                    reply(&Reply::Have)?;
                    continue;
                }
            }
            Request::Document {
                digest,
                media_type,
                size,
                named,
            } => {
                if size > MANIFEST_MAX {
                    return Err(Error::TooLarge {
                        what: "the manifest".to_owned(),
                        limit: MANIFEST_MAX,
                    });
                }
                let mut bytes = Vec::new();
                let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
                input.by_ref().take(size).read_to_end(&mut bytes).map_err(peer)?;
                let document = Document {
                    digest,
                    media_type,
                    bytes,
                };
                target.document(&document, named)?;
            }
            Request::Finish => {
                target.finish()?;
                return reply(&Reply::Ok);
            }
        }
        reply(&Reply::Ok)?;
    }
    Err(peer("the connection has ended before the image was whole"))
}

/// Takes a blob, if it is not there. Returns whether bytes were taken.
fn accept<R: Read + Send + 'static>(
    target: &StoreTarget<'_>,
    descriptor: &Descriptor,
    input: &Input<R>,
    reply: &(dyn Fn(&Reply) -> Result<(), Error> + Sync),
) -> Result<bool, Error> {
    let left = Arc::new(Mutex::new(0));
    let asked = Mutex::new(false);
    let open = |offset: u64| -> Result<Reader, Error> {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *asked, true) {
            return Err(peer("a blob is sent once"));
        }
        *left.lock().unwrap_or_else(PoisonError::into_inner) = descriptor.size.saturating_sub(offset);
        reply(&Reply::Want(offset))?;
        Ok(Box::new(Portion {
            input: Arc::clone(input),
            left: Arc::clone(&left),
        }))
    };
    let (failed, moved) = (Slot::default(), AtomicU64::new(0));
    let blob = Blob {
        descriptor,
        mount: &[],
        open: &open,
        failed: &failed,
        moved: &moved,
        shown: None,
    };
    target.blob(&blob)?;
    let asked = *asked.lock().unwrap_or_else(PoisonError::into_inner);
    let rest = *left.lock().unwrap_or_else(PoisonError::into_inner);
    if rest > 0 {
        return Err(peer("a blob was not read to its end"));
    }
    Ok(asked)
}

/// The bytes of one blob among those of the conversation.
struct Portion<R> {
    input: Input<R>,
    left: Arc<Mutex<u64>>,
}

impl<R: Read> Read for Portion<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            // A buffered reader that is asked for nothing waits for something all the same.
            return Ok(0);
        }
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let n = input.read(&mut buffer[..most])?;
        *left -= n as u64;
        Ok(n)
    }
}

/// A host with Docker, whose `docker load` gets an archive without the layers that it has.
#[derive(Debug)]
struct DockerTarget {
    line: Mutex<Line>,
    archive: ArchiveTarget,
    from: Mutex<BufReader<ChildStdout>>,
    /// The layers of each of its images.
    known: Vec<Vec<Digest>>,
    /// Blobs of layers that it has.
    have: Mutex<Vec<Digest>>,
    place: String,
}

impl DockerTarget {
    fn new(
        line: Line,
        to: ChildStdin,
        from: BufReader<ChildStdout>,
        name: &Reference,
        known: Vec<Vec<Digest>>,
    ) -> Result<Self, Error> {
        let place = line.place.clone();
        Ok(Self {
            archive: ArchiveTarget::stream(&place, vec![name.clone().or_latest()], OwnedFd::from(to))?,
            line: Mutex::new(line),
            from: Mutex::new(from),
            known,
            have: Mutex::default(),
            place,
        })
    }

    fn have(&self) -> MutexGuard<'_, Vec<Digest>> {
        self.have.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target for DockerTarget {
    fn name(&self) -> String {
        self.place.clone()
    }

    fn takes(&self) -> Takes {
        self.archive.takes()
    }

    fn begin(&self, manifest: &Manifest, config: &[u8]) -> Result<(), Error> {
        self.archive.begin(manifest, config)?;
        let config: ImageConfig = serde_json::from_slice(config).map_err(|source| Error::Json {
            what: "the config".to_owned(),
            source,
        })?;
        let ids = &config.rootfs.diff_ids;
        // A layer is known by all that lies below it.
        let shared = |known: &Vec<Digest>| known.iter().zip(ids).take_while(|(a, b)| a == b).count();
        let shared = self.known.iter().map(shared).max().unwrap_or(0);
        let mut have: Vec<Digest> = manifest
            .layers
            .iter()
            .take(shared)
            .map(|layer| layer.digest.clone())
            .collect();
        // One that also lies further up is needed there.
        have.retain(|digest| !manifest.layers.iter().skip(shared).any(|layer| layer.digest == *digest));
        *self.have() = have;
        Ok(())
    }

    fn blob(&self, blob: &Blob<'_>) -> Result<Put, Error> {
        if self.have().contains(&blob.descriptor.digest) {
            return Ok(Put::Present);
        }
        self.archive.blob(blob)
    }

    fn document(&self, document: &Document, named: bool) -> Result<(), Error> {
        self.archive.document(document, named)
    }

    fn finish(&self) -> Result<(), Error> {
        let written = self.archive.finish();
        let mut said = String::new();
        let mut from = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = from.by_ref().take(64 << 10).read_to_string(&mut said);
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let fail = |reason: String| Error::Place {
            place: self.place.clone(),
            reason,
        };
        let status = line.child.wait().map_err(|err| fail(err.to_string()))?;
        if !status.success() {
            return Err(fail(format!("docker load failed: {}", printable(said.trim()))));
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_and_options_are_none() {
        let check = |text: &str, expected: Option<(&str, Option<u16>)>| {
            let found = Host::parse(text, vec!["ssh".to_owned()]).ok();
            let found = found.as_ref().map(|host| (host.user_at_host.as_str(), host.port));
            assert_eq!(found, expected, "{text}");
        };
        check("me@host", Some(("me@host", None)));
        check("host:2222/", Some(("host", Some(2222))));
        check("a.b@10.0.0.1", Some(("a.b@10.0.0.1", None)));
        check("-oProxyCommand=x", None);
        check("-x@host", None);
        check("me@-host", None);
        check("me@host;id", None);
        check("me$(id)@host", None);
        check("", None);
    }

    #[test]
    fn the_command_for_the_other_side_is_one_word_of_a_shell() {
        assert!(!REMOTE.contains('\''));
    }
}
