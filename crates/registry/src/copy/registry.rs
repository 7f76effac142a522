//! Registries as places.

use std::io::{self, Read};
use std::sync::Arc;

use hull_spec::manifest::{Descriptor, Manifest};
use hull_spec::{Digest, Progress, Reference};

use super::{Blob, Document, Put, Reader, Source, Takes, Target};
use crate::Error;
use crate::client::Client;
use crate::download::{Download, Downloads, Failure};
use crate::manifest::{Which, parse_any};
use crate::push::Upload;
use crate::retry::Cancel;
use crate::source::Source as Server;

/// An image in a registry.
#[derive(Debug)]
pub struct RegistrySource {
    client: Arc<Client>,
    reference: Reference,
    servers: Vec<Server>,
    cancel: Arc<Cancel>,
}

impl RegistrySource {
    /// The image that `reference` names; `latest` where it names neither a tag nor a digest.
    ///
    /// # Errors
    /// If the registry's name is malformed.
    pub fn new(client: &Arc<Client>, reference: &Reference) -> Result<Self, Error> {
        let reference = reference.clone().or_latest();
        Ok(Self {
            client: Arc::clone(client),
            servers: client.sources(&reference)?,
            reference,
            cancel: Arc::default(),
        })
    }

    fn fetch(&self, which: Which<'_>) -> Result<Document, Error> {
        let mut last = Error::Cancelled;
        for server in &self.servers {
            let fetched = self.client.patiently(server, &self.cancel, || {
                self.client.raw_document(server, &self.reference, which)
            });
            match fetched {
                Ok((digest, bytes, served)) => {
                    let name = self.reference.familiar();
                    let (_, media_type) = parse_any(&bytes, served.as_deref(), which, &name)?;
                    return Ok(Document {
                        digest,
                        media_type,
                        bytes,
                    });
                }
                Err(err) => last = err,
            }
        }
        Err(last)
    }
}

impl Source for RegistrySource {
    fn name(&self) -> String {
        self.reference.familiar()
    }

    fn root(&self) -> Result<Document, Error> {
        self.fetch(Which::of(&self.reference))
    }

    fn document(&self, listed: &Descriptor) -> Result<Document, Error> {
        self.fetch(Which::Listed(listed))
    }

    fn blob(&self, blob: &Descriptor, offset: u64) -> Result<Reader, Error> {
        let shared = Arc::new(Downloads {
            client: Arc::clone(&self.client),
            cancel: Arc::clone(&self.cancel),
            progress: Progress::silent(),
        });
        let failure = Failure::default();
        let servers = self.servers.iter().cloned();
        let download = Download::new(shared, servers, blob, offset, failure.clone()).silent();
        Ok(Box::new(Told { download, failure }))
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        self.client.referrers(&self.reference, subject, None)
    }

    fn repositories(&self, registry: &str, _blob: &Digest) -> Vec<String> {
        let same = self.reference.registry().eq_ignore_ascii_case(registry);
        same.then(|| self.reference.repository().to_owned())
            .into_iter()
            .collect()
    }

    fn interrupt(&self) {
        self.cancel.cancel();
        self.client.interrupt();
    }
}

/// A download whose errors carry the real one.
struct Told {
    download: Download,
    failure: Failure,
}

impl Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.download.read(buffer).map_err(|err| match self.failure.take() {
            Some(failure) => io::Error::other(failure),
            None => err,
        })
    }
}

/// A place in a registry.
#[derive(Debug)]
pub struct RegistryTarget {
    client: Arc<Client>,
    reference: Reference,
    server: Server,
    cancel: Cancel,
}

impl RegistryTarget {
    /// The place that `reference` names; `latest` where it names neither a tag nor a digest.
    ///
    /// # Errors
    /// If the registry's name is malformed.
    pub fn new(client: &Arc<Client>, reference: &Reference) -> Result<Self, Error> {
        let reference = reference.clone().or_latest();
        Ok(Self {
            server: client.server(&reference)?,
            client: Arc::clone(client),
            reference,
            cancel: Cancel::default(),
        })
    }
}

impl Target for RegistryTarget {
    fn name(&self) -> String {
        self.reference.familiar()
    }

    fn takes(&self) -> Takes {
        Takes {
            parallel: self.client.settings().uploads,
            indexes: true,
            format: None,
            registry: Some(self.reference.registry().to_owned()),
        }
    }

    fn begin(&self, _manifest: &Manifest, _config: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn blob(&self, blob: &Blob<'_>) -> Result<Put, Error> {
        Upload::new(&self.client, &self.server, &self.reference, &self.cancel, blob).run()
    }

    fn document(&self, document: &Document, named: bool) -> Result<(), Error> {
        let digest = self.reference.digest().filter(|_| named);
        if let Some(digest) = digest.filter(|digest| **digest != document.digest) {
            return Err(Error::DigestMismatch {
                what: format!("what was to be {}", self.reference.familiar()),
                expected: digest.to_string(),
                actual: document.digest.clone(),
            });
        }
        let tag = self.reference.tag().filter(|_| named && digest.is_none());
        self.client
            .put_document(&self.server, &self.reference, document, tag, &self.cancel)
    }

    fn finish(&self) -> Result<(), Error> {
        Ok(())
    }

    fn interrupt(&self) {
        self.cancel.cancel();
        self.client.interrupt();
    }
}
