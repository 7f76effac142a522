//! The server's side of TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Error;

/// How often it is looked whether the certificate was renewed.
const LOOK: Duration = Duration::from_secs(5);

/// The certificate in use; a renewed one is used from the next connection on.
pub(super) struct Acceptor {
    certificate: PathBuf,
    key: PathBuf,
    current: Option<(TlsAcceptor, [Option<SystemTime>; 2])>,
    looked: Instant,
}

impl Acceptor {
    pub(super) fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self {
            certificate,
            key,
            current: None,
            looked: Instant::now(),
        }
    }

    pub(super) fn current(&mut self) -> Result<TlsAcceptor, Error> {
        if let Some((acceptor, times)) = &self.current {
            if self.looked.elapsed() < LOOK {
                return Ok(acceptor.clone());
            }
            self.looked = Instant::now();
            if *times == self.times() {
                return Ok(acceptor.clone());
            }
        }
        let times = self.times();
        match (load(&self.certificate, &self.key), &self.current) {
            (Ok(acceptor), _) => {
                self.current = Some((acceptor.clone(), times));
                Ok(acceptor)
            }
            // Half of the new pair may be there: the old one serves until both are.
            (Err(_), Some((acceptor, _))) => Ok(acceptor.clone()),
            (Err(error), None) => Err(error),
        }
    }

    fn times(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| path.metadata().and_then(|m| m.modified()).ok())
    }
}

/// Reads a certificate with its chain, and its key.
pub(super) fn load(certificate: &Path, key: &Path) -> Result<TlsAcceptor, Error> {
    let fail = |path: &Path, reason: String| Error::Certificates {
        path: path.to_owned(),
        reason,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|err| fail(certificate, err.to_string()))?;
    if chain.is_empty() {
        return Err(fail(certificate, "it holds no certificate in PEM form".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|err| fail(key, err.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|err| fail(certificate, err.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|err| fail(certificate, err.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
