//! The options of a log driver, read as Docker reads them and refused in its words.

use std::collections::BTreeMap;

use hull_spec::container::Config;

use crate::{Error, Result};

/// What every driver takes.
const COMMON: [&str; 2] = ["mode", "max-buffer-size"];

/// What every driver takes for its local copy, each behind `cache-`.
const CACHE: [&str; 4] = ["disabled", "max-file", "max-size", "compress"];

/// Whether an option is about the local copy.
pub(super) fn is_cache(name: &str) -> bool {
    name.strip_prefix("cache-").is_some_and(|rest| CACHE.contains(&rest))
}

/// Whether there is to be no local copy.
pub(super) fn cache_disabled(options: &BTreeMap<String, String>) -> Result<bool> {
    match options.get("cache-disabled").map(String::as_str) {
        None | Some("") => Ok(false),
        Some(text) => {
            go_bool(text).ok_or_else(|| Error::Invalid(format!("invalid value for option cache-disabled: {text}")))
        }
    }
}

/// An error of a kind that Docker meets when it opens the log, not before.
pub(super) fn driver_error(why: impl std::fmt::Display) -> Error {
    Error::Invalid(format!(
        "failed to create task for container: failed to initialize logging driver: {why}"
    ))
}

/// The options of one driver.
#[derive(Debug)]
pub(super) struct Options {
    driver: String,
    pub(super) given: BTreeMap<String, String>,
}

impl Options {
    pub(super) fn new(driver: &str, given: BTreeMap<String, String>) -> Self {
        Self {
            driver: driver.to_owned(),
            given,
        }
    }

    /// The options of the local copy.
    pub(super) fn of_cache(&self) -> Self {
        let cache = self
            .given
            .iter()
            .filter(|(name, _)| is_cache(name) && *name != "cache-disabled");
        let given = cache.map(|(name, value)| (name["cache-".len()..].to_owned(), value.clone()));
        Self::new("local", given.collect())
    }

    /// Refuses what is wrong for any driver.
    pub(super) fn check_common(&self) -> Result<()> {
        cache_disabled(&self.given)?;
        let mode = self.text("mode");
        if !matches!(mode, "" | "blocking" | "non-blocking") {
            return Err(Error::Invalid(format!("logger: logging mode not supported: {mode}")));
        }
        if self.given.contains_key("max-buffer-size") && mode != "non-blocking" {
            return Err(Error::Invalid(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'".to_owned(),
            ));
        }
        Ok(())
    }

    /// Refuses options that the driver does not have.
    pub(super) fn only(&self, known: &[&str]) -> Result<()> {
        let strange = |name: &&String| {
            let name = name.as_str();
            !known.contains(&name) && !COMMON.contains(&name) && !is_cache(name)
        };
        match self.given.keys().find(strange) {
            None => Ok(()),
            Some(name) if self.driver == "local" => {
                Err(Error::Invalid(format!("unknown log opt '{name}' for log driver local")))
            }
            Some(name) => Err(Error::Invalid(format!(
                "unknown log opt '{name}' for {} log driver",
                self.driver
            ))),
        }
    }

    /// An option's value; empty where it is not given.
    pub(super) fn text(&self, name: &str) -> &str {
        self.given.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A number of bytes, `k` being `thousand`; the inner `None` stands for no limit.
    #[expect(clippy::option_option, reason = "not given is not the same as no limit")]
    pub(super) fn size(&self, name: &str, thousand: u32) -> Result<Option<Option<u64>>> {
        let Some(text) = self.given.get(name) else {
            return Ok(None);
        };
        // How people say it, though Docker's own reader refuses it.
        if text == "-1" {
            return Ok(Some(None));
        }
        let size = bytes(text, thousand).ok_or_else(|| driver_error(format!("invalid size: '{text}'")))?;
        if size == 0 {
            return Err(driver_error(format!("{name} must be a positive number")));
        }
        Ok(Some(Some(size)))
    }

    /// A number of files.
    pub(super) fn files(&self, name: &str) -> Result<Option<u32>> {
        let Some(text) = self.given.get(name) else {
            return Ok(None);
        };
        match text.parse::<i64>() {
            Err(_) => Err(driver_error(format!("strconv.Atoi: parsing {text:?}: invalid syntax"))),
            Ok(n) if n < 1 => Err(driver_error(format!("{name} cannot be less than 1"))),
            Ok(n) => Ok(Some(u32::try_from(n).unwrap_or(u32::MAX))),
        }
    }

    /// Yes or no.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>> {
        let Some(text) = self.given.get(name) else {
            return Ok(None);
        };
        match go_bool(text) {
            Some(value) => Ok(Some(value)),
            None => Err(driver_error(format!(
                "strconv.ParseBool: parsing {text:?}: invalid syntax"
            ))),
        }
    }

    /// What may wait where the container does not, in bytes.
    pub(super) fn buffer(&self, default: usize) -> Result<Option<usize>> {
        if self.text("mode") != "non-blocking" {
            return Ok(None);
        }
        let Some(text) = self.given.get("max-buffer-size") else {
            return Ok(Some(default));
        };
        let size = bytes(text, 1024).and_then(|size| usize::try_from(size).ok());
        size.map(Some)
            .ok_or_else(|| Error::Invalid(format!("error parsing option max-buffer-size: invalid size: '{text}'")))
    }

    /// The labels and variables that were chosen.
    pub(super) fn attributes(&self, config: &Config) -> Result<BTreeMap<String, String>> {
        let variables: BTreeMap<&str, &str> = config.env.iter().filter_map(|text| text.split_once('=')).collect();
        let labels = config
            .labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut out = BTreeMap::new();
        self.choose("labels", &labels, &mut out)?;
        self.choose("env", &variables, &mut out)?;
        Ok(out)
    }

    fn choose(&self, option: &str, from: &BTreeMap<&str, &str>, out: &mut BTreeMap<String, String>) -> Result<()> {
        let mut take = |name: &str, value: &str| out.insert(name.to_owned(), value.to_owned());
        for name in self.text(option).split(',') {
            if let Some(value) = from.get(name) {
                take(name, value);
            }
        }
        let pattern = self.text(&format!("{option}-regex"));
        if !pattern.is_empty() {
            let regex = regex_lite::Regex::new(pattern)
                .map_err(|e| driver_error(format!("error parsing regexp: {e}: `{pattern}`")))?;
            for (name, value) in from.iter().filter(|(name, _)| regex.is_match(name)) {
                take(name, value);
            }
        }
        Ok(())
    }
}

/// Go's `strconv.ParseBool`.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `10m`, `1.5 GB` or bytes.
fn bytes(text: &str, thousand: u32) -> Option<u64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.')? + 1;
    let (number, unit) = text.split_at(end);
    if number.contains(|c: char| !c.is_ascii_digit() && c != '.') {
        return None;
    }
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return None,
    };
    let size = number.parse::<f64>().ok()? * f64::from(thousand).powi(power);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked"
    )]
    (size < 9.2e18).then_some(size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, decimal, binary) in [
            ("10", Some(10), Some(10)),
            ("10b", Some(10), Some(10)),
            ("10k", Some(10_000), Some(10_240)),
            ("1.5 MB", Some(1_500_000), Some(1_572_864)),
            ("2GiB", Some(2_000_000_000), Some(2 << 30)),
            ("", None, None),
            ("k", None, None),
            ("10x", None, None),
            ("-1", None, None),
            ("+1", None, None),
            ("1e3", None, None),
            ("1.2.3k", None, None),
            ("9999999p", None, None),
        ] {
            assert_eq!(bytes(text, 1000), decimal, "{text}");
            assert_eq!(bytes(text, 1024), binary, "{text}");
        }
    }
}
