//! `config.toml`: what the host's administrator, or a rootless user, has decided.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::{Error, Result};

/// The whole file. Every part may be missing; an unknown key is an error, so that a typing error does not pass for a
/// setting.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Where images come from: read by the registry's client.
    pub registry: toml::Table,
    /// How containers log unless they say otherwise.
    pub log: Log,
    /// Where devices are described.
    pub cdi: Cdi,
}

/// `[cdi]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Cdi {
    /// Folders of device specifications; what a later one says counts.
    pub spec_dirs: Vec<std::path::PathBuf>,
}

impl Default for Cdi {
    fn default() -> Self {
        Self {
            spec_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
        }
    }
}

/// `[log]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Log {
    /// The log driver; empty for `json-file`.
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

impl Config {
    /// Reads the file; a missing one is an empty one.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(Error::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|source| Error::Config {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read() {
        let text = r#"
            [registry]
            insecure = ["10.0.0.0/8", "registry.lan:5000"]
            [log]
            driver = "none"
            options = { max-size = "1m" }
        "#;
        let config = Config::parse(text, Path::new("x")).unwrap();
        assert_eq!(config.log.driver, "none");
        assert_eq!(config.log.options["max-size"], "1m");
        assert_eq!(Config::parse("", Path::new("x")).unwrap(), Config::default());
    }

    #[test]
    fn a_mistyped_key_is_refused() {
        let error = Config::parse("[log]\ndrivr = 'none'\n", Path::new("/etc/hull/config.toml")).unwrap_err();
        assert_eq!(error.kind(), hull_spec::ErrorKind::Invalid);
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("drivr"));
    }
}
