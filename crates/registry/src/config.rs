//! The `[registry]` part of `/etc/hull/config.toml` and of the user's own `config.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Error;
use crate::settings::{Network, Registry, Settings};
use crate::url::{Url, split_authority};

/// The most that is read of a settings file.
const FILE_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    registry: Section,
}

/// Keys of `[registry]`; what is left over are the registries by name.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Section {
    search: Option<Vec<String>>,
    downloads: Option<usize>,
    uploads: Option<usize>,
    retries: Option<u32>,
    #[serde(default)]
    insecure: Vec<String>,
    #[serde(flatten)]
    by_name: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    mirrors: Vec<String>,
    #[serde(default)]
    insecure: bool,
    ca: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
}

impl Settings {
    /// Applies the file at `path` over these settings. A file that is not there changes nothing.
    ///
    /// # Errors
    /// If the file cannot be read, or says something that is not understood: a misspelt key must not be passed over.
    pub fn read_file(&mut self, path: &Path) -> Result<(), Error> {
        use std::io::Read as _;
        let fail = |reason: String| Error::Config {
            path: path.to_owned(),
            reason,
        };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(err) => return Err(fail(err.to_string())),
        };
        let mut text = String::new();
        file.take(FILE_MAX)
            .read_to_string(&mut text)
            .map_err(|err| fail(err.to_string()))?;
        self.apply(&text).map_err(fail)
    }

    /// Applies the text of a settings file.
    ///
    /// # Errors
    /// What is wrong with the text, for a person.
    pub fn apply(&mut self, text: &str) -> Result<(), String> {
        let File { registry } = toml::from_str(text).map_err(|err| err.to_string().trim_end().to_owned())?;
        for (name, value) in registry.by_name {
            let key = format!("registry.\"{name}\"");
            if !value.is_table() {
                return Err(format!("`{key}` is not a known key of [registry]"));
            }
            let name = authority(&name).map_err(|err| format!("`{key}` is not `host[:port]`: {err}"))?;
            let entry: Entry = value
                .try_into()
                .map_err(|err| format!("{key}: {}", err.to_string().trim_end()))?;
            self.registries
                .insert(name, entry.checked().map_err(|err| format!("{key}: {err}"))?);
        }
        for name in registry.insecure {
            if name.contains('/') {
                let network = Network::parse(&name).map_err(|err| format!("insecure: `{name}`: {err}"))?;
                self.insecure_networks.push(network);
            } else {
                let name = authority(&name).map_err(|err| format!("insecure: `{name}`: {err}"))?;
                self.registries.entry(name).or_default().insecure = true;
            }
        }
        if let Some(search) = registry.search {
            let names: Result<Vec<_>, _> = search
                .iter()
                .map(|name| authority(name).map_err(|err| format!("search: `{name}`: {err}")))
                .collect();
            self.search = names?;
            if self.search.is_empty() {
                return Err("search: the list is empty".to_owned());
            }
        }
        if let Some(downloads) = registry.downloads {
            if !(1..=64).contains(&downloads) {
                return Err("downloads: not 1 to 64".to_owned());
            }
            self.downloads = downloads;
        }
        if let Some(uploads) = registry.uploads {
            if !(1..=64).contains(&uploads) {
                return Err("uploads: not 1 to 64".to_owned());
            }
            self.uploads = uploads;
        }
        if let Some(retries) = registry.retries {
            self.retry.attempts = retries.min(100) + 1;
        }
        Ok(())
    }
}

impl Entry {
    fn checked(self) -> Result<Registry, String> {
        for mirror in &self.mirrors {
            mirror_url(mirror).map_err(|err| format!("mirror `{mirror}`: {err}"))?;
        }
        let client = match (self.client_cert, self.client_key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err("client-cert and client-key go together".to_owned()),
        };
        Ok(Registry {
            mirrors: self.mirrors,
            insecure: self.insecure,
            ca: self.ca,
            client,
        })
    }
}

/// One spelling for each registry: lower case, and Docker Hub by its short name.
pub(crate) fn authority(name: &str) -> Result<String, &'static str> {
    split_authority(name)?;
    let name = name.to_ascii_lowercase();
    Ok(match name.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        _ => name,
    })
}

/// A mirror is `host[:port][/prefix]`, or the same with a scheme: only a mirror that says `http://` is asked so.
/// Returns the URL and whether the scheme was given.
pub(crate) fn mirror_url(text: &str) -> Result<(Url, bool), &'static str> {
    let given = text.contains("://");
    let url = if given {
        Url::parse(text)?
    } else {
        Url::parse(&format!("https://{text}"))?
    };
    if url.path.contains(['?', '%']) {
        return Err("a mirror has no query");
    }
    Ok((url, given))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        settings.apply(text).map(|()| settings)
    }

    #[test]
    fn the_registry_tables_are_read() {
        let settings = apply(
            r#"
            [network]
            unrelated = true
            [registry]
            search = ["docker.io", "Quay.io"]
            downloads = 6
            uploads = 9
            retries = 2
            insecure = ["10.0.0.0/8", "old.lan:5000"]
            [registry."docker.io"]
            mirrors = ["mirror.lan:5000", "https://harbor.lan/hub"]
            [registry."reg.lan"]
            insecure = true
            ca = "/etc/ca.pem"
            client-cert = "/c"
            client-key = "/k"
            "#,
        )
        .unwrap();
        assert_eq!(settings.search, ["docker.io", "quay.io"]);
        assert_eq!(
            (settings.downloads, settings.uploads, settings.retry.attempts),
            (6, 9, 3)
        );
        assert_eq!(settings.registries["docker.io"].mirrors.len(), 2);
        assert!(settings.registries["reg.lan"].insecure && settings.registries["reg.lan"].client.is_some());
        assert!(settings.is_insecure("10.3.4.5:80") && settings.is_insecure("old.lan:5000"));
        assert!(!settings.is_insecure("docker.io"));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let check = |text: &str, named: &str| {
            let err = apply(text).unwrap_err();
            assert!(err.contains(named), "{text}: {err}");
        };
        check("[registry]\nmirors = []", "mirors");
        check("[registry.\"a.b\"]\nmirors = []", "mirors");
        check("[registry.\"a b\"]\ninsecure = true", "a b");
        check("[registry.\"a.b\"]\nmirrors = [\"ftp://x\"]", "ftp://x");
        check("[registry.\"a.b\"]\nclient-cert = \"/x\"", "client-key");
        check("[registry]\ndownloads = 0", "downloads");
        check("[registry]\nuploads = 65", "uploads");
        check("[registry]\nsearch = []", "search");
        check("[registry]\ninsecure = [\"1.2.3.4/99\"]", "1.2.3.4/99");
        check("registry = 3", "registry");
        check("[registry", "registry");
    }

    #[test]
    fn a_missing_file_changes_nothing_and_a_broken_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let mut settings = Settings::default();
        settings.read_file(&path).unwrap();
        std::fs::write(&path, "[registry]\ndownloads = \"x\"").unwrap();
        let err = settings.read_file(&path).unwrap_err().to_string();
        assert!(err.contains("config.toml") && err.contains("downloads"), "{err}");
    }
}
