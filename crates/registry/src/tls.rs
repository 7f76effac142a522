//! Whom to trust over TLS. Nothing here is touched before the first https request: a registry on loopback pays nothing.

use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::Error;
use crate::settings::Settings;

/// Where distributions keep the certificates that the system trusts, all in one file.
const SYSTEM: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
    "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
];

/// The most that is read of a file of certificates. Debian's has 220 KiB.
const FILE_MAX: u64 = 16 << 20;

/// What TLS with one registry needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Trust {
    /// Certificates of CAs for this registry, besides the system's.
    authorities: Vec<PathBuf>,
    /// Our own certificate and key.
    client: Option<(PathBuf, PathBuf)>,
    /// Whether any certificate will do.
    unverified: bool,
}

impl Trust {
    /// The rules for `authority` (`host[:port]`), with whatever its folders under `certs.d` hold.
    pub(crate) fn of(settings: &Settings, authority: &str) -> Self {
        let mut trust = Self::default();
        let name = crate::config::authority(authority).unwrap_or_else(|_| authority.to_owned());
        if let Some(registry) = settings.registries.get(&name) {
            trust.authorities.extend(registry.ca.clone());
            trust.client.clone_from(&registry.client);
        }
        for dir in &settings.certificates {
            trust.add_folder(&dir.join(authority));
        }
        trust.unverified = trust.authorities.is_empty() && settings.is_insecure(&name);
        trust
    }

    /// Docker's layout: `*.crt` are CAs, `NAME.cert` and `NAME.key` are a pair.
    fn add_folder(&mut self, dir: &Path) {
        let Ok(entries) = std::fs::read_dir(dir) else {
            return;
        };
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        for file in files {
            match file.extension().and_then(|e| e.to_str()) {
                Some("crt") => self.authorities.push(file),
                Some("cert") if self.client.is_none() => {
                    let key = file.with_extension("key");
                    self.client = Some((file, key));
                }
                _ => {}
            }
        }
    }

    /// Reads the certificates.
    pub(crate) fn load(&self, roots: Option<&Path>) -> Result<TlsConfig, Error> {
        let mut builder = TlsConfig::builder();
        if self.unverified {
            builder = builder.disable_verification(true);
        } else {
            let mut certificates = Vec::new();
            for path in &self.authorities {
                certificates.extend(read(path)?);
            }
            builder = builder.root_certs(match roots.map(Path::to_owned).or_else(system) {
                Some(path) => {
                    certificates.extend(read(&path)?);
                    RootCerts::new_with_certs(&certificates)
                }
                // A bare root has no certificates of its own: Mozilla's, which are built in, serve.
                None if certificates.is_empty() => RootCerts::WebPki,
                None => RootCerts::new_with_certs(&certificates),
            });
        }
        if let Some((certificate, key)) = &self.client {
            let chain = read(certificate)?;
            let key = PrivateKey::from_pem(&read_file(key)?).map_err(|err| Error::Certificates {
                path: key.clone(),
                reason: err.to_string(),
            })?;
            builder = builder.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
        }
        Ok(builder.build())
    }
}

fn system() -> Option<PathBuf> {
    SYSTEM.iter().map(PathBuf::from).find(|path| path.is_file())
}

fn read(path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let pem = read_file(path)?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Error::Certificates {
            path: path.to_owned(),
            reason: "it holds no certificate in PEM form".to_owned(),
        });
    }
    Ok(certificates)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Read as _;
    let fail = |err: std::io::Error| Error::Certificates {
        path: path.to_owned(),
        reason: err.to_string(),
    };
    let mut out = Vec::new();
    std::fs::File::open(path)
        .map_err(fail)?
        .take(FILE_MAX)
        .read_to_end(&mut out)
        .map_err(fail)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_of_its_own_ends_blind_trust() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            certificates: vec![dir.path().to_owned()],
            ..Settings::default()
        };
        assert!(Trust::of(&settings, "localhost:5000").unverified);
        assert!(!Trust::of(&settings, "example.com").unverified);
        let folder = dir.path().join("localhost:5000");
        std::fs::create_dir(&folder).unwrap();
        for name in ["ca.crt", "client.cert", "client.key", "README"] {
            std::fs::write(folder.join(name), "x").unwrap();
        }
        let trust = Trust::of(&settings, "localhost:5000");
        assert!(!trust.unverified);
        assert_eq!(trust.authorities, [folder.join("ca.crt")]);
        assert_eq!(
            trust.client,
            Some((folder.join("client.cert"), folder.join("client.key")))
        );
        let err = trust.load(None).unwrap_err().to_string();
        assert!(err.contains("ca.crt"), "{err}");
    }
}
