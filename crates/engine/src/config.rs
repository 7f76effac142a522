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
    /// How much may stay of what nothing refers to.
    pub gc: Gc,
}

/// `[gc]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Gc {
    /// Whether anything is taken away without being asked for.
    pub enabled: bool,
    /// Bytes of images without a name, and of layers and blobs without an image, that may stay.
    pub keep: Size,
    /// Bytes of the file system that are to stay free.
    pub free: Size,
}

impl Default for Gc {
    fn default() -> Self {
        Self {
            enabled: true,
            keep: Size(20_000_000_000),
            free: Size(2_000_000_000),
        }
    }
}

/// A number of bytes, written as `20GB`, `512MiB` or `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size: write 20GB, 512MiB or a number of bytes");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim().to_ascii_lowercase();
        let base: u64 = if unit.contains('i') { 1024 } else { 1000 };
        let power = match unit.as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 1,
            "m" | "mb" | "mib" => 2,
            "g" | "gb" | "gib" => 3,
            "t" | "tb" | "tib" => 4,
            _ => return Err(wrong()),
        };
        number.checked_mul(base.pow(power)).map(Self).ok_or_else(wrong)
    }
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
    fn sizes_are_read() {
        let check = |text: &str, expected: Option<u64>| {
            let size = Size::try_from(text.to_owned()).ok();
            assert_eq!(size, expected.map(Size), "{text}");
        };
        check("20GB", Some(20_000_000_000));
        check("512 MiB", Some(512 << 20));
        check("0", Some(0));
        check("7k", Some(7000));
        check("", None);
        check("GB", None);
        check("-1GB", None);
        check("1.5GB", None);
        check("1XB", None);
        check("99999999999TB", None);
        let config = Config::parse("[gc]\nkeep = '1GB'\n", Path::new("x")).unwrap();
        assert_eq!(
            (config.gc.keep, config.gc.free, config.gc.enabled),
            (Size(1_000_000_000), Size(2_000_000_000), true)
        );
        assert!(Config::parse("[gc]\nkeep = 'much'\n", Path::new("x")).is_err());
    }

    #[test]
    fn a_mistyped_key_is_refused() {
        let error = Config::parse("[log]\ndrivr = 'none'\n", Path::new("/etc/hull/config.toml")).unwrap_err();
        assert_eq!(error.kind(), hull_spec::ErrorKind::Invalid);
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("drivr"));
    }
}
