//! `--log-driver` and `--log-opt`: what becomes of a container's output.

mod options;
mod syslog;
mod tag;

use std::collections::BTreeMap;
use std::path::PathBuf;

use hull_monitor::{JournaldPlan, LogFile, LogForm, LogPlan, LogTarget};
use hull_spec::container::Record;

use crate::{Engine, Error, Result};

use options::Options;

/// The drivers that there are.
pub(crate) const DRIVERS: [&str; 5] = ["journald", "json-file", "local", "none", "syslog"];

/// Docker's drivers for services, which want a client of their own each.
const FOREIGN: [&str; 6] = ["awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "splunk"];

/// Docker's bounds of a json-file log unless told otherwise: none. Ours are three files of ten megabytes, so that no
/// container fills the disk.
const JSON_SIZE: u64 = 10 * 1000 * 1000;
const JSON_FILES: u32 = 3;

/// Docker's bounds of a local log.
const LOCAL_SIZE: u64 = 20 << 20;
const LOCAL_FILES: u32 = 5;

/// What may wait for a slow target with `mode=non-blocking`.
const BUFFER: usize = 1_000_000;

/// Where systemd's journal listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The driver of a container and its options, with what the configuration says of them.
pub(in crate::container) fn wish(engine: &Engine, record: &Record) -> Result<(String, BTreeMap<String, String>)> {
    let own = &record.host_config.log_config;
    let default = &engine.config()?.log;
    let default_driver = match default.driver.as_str() {
        "" => "json-file",
        driver => driver,
    };
    let driver = match own.driver.as_str() {
        "" => default_driver,
        driver => driver,
    };
    let mut options = own.config.clone();
    for (name, value) in &default.options {
        if driver == default_driver || options::is_cache(name) {
            options.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    Ok((driver.to_owned(), options))
}

/// Refuses a log that cannot be.
pub(crate) fn check_log(engine: &Engine, record: &Record) -> Result<()> {
    Plan::new(engine, record)?.plan(false).map(drop)
}

/// The container's log.
pub(crate) fn log(engine: &Engine, record: &Record) -> Result<LogPlan> {
    Plan::new(engine, record)?.plan(true)
}

/// What is added to every entry, as `logs --details` shows it: chosen labels and variables, and the tag where one was
/// asked for.
pub(in crate::container) fn attributes(engine: &Engine, record: &Record) -> Result<BTreeMap<String, String>> {
    let plan = Plan::new(engine, record)?;
    plan.attributes(&plan.options)
}

/// The file that `logs` reads, with its form; `None` where the driver keeps none.
pub(in crate::container) fn readable(engine: &Engine, record: &Record) -> Result<Option<(PathBuf, LogForm)>> {
    let (driver, options) = wish(engine, record)?;
    let form = match driver.as_str() {
        "json-file" => LogForm::JsonFile,
        "none" => return Ok(None),
        "local" => LogForm::Local,
        _ if options::cache_disabled(&options)? => return Ok(None),
        _ => LogForm::Local,
    };
    Ok(Some((path(engine, record, form), form)))
}

fn path(engine: &Engine, record: &Record, form: LogForm) -> PathBuf {
    let name = match form {
        LogForm::JsonFile => "json",
        LogForm::Local => "local",
    };
    engine
        .container_dir(&record.id)
        .join(format!("{}-{name}.log", record.id))
}

/// A plan that is being made.
struct Plan<'a> {
    engine: &'a Engine,
    record: &'a Record,
    driver: String,
    options: Options,
}

impl<'a> Plan<'a> {
    fn new(engine: &'a Engine, record: &'a Record) -> Result<Self> {
        let (driver, options) = wish(engine, record)?;
        Ok(Self {
            engine,
            record,
            options: Options::new(&driver, options),
            driver,
        })
    }

    /// With `resolve`, names of hosts become addresses, which takes what it takes.
    fn plan(&self, resolve: bool) -> Result<LogPlan> {
        if self.driver == "none" {
            return Ok(LogPlan::default());
        }
        if FOREIGN.contains(&self.driver.as_str()) {
            return Err(Error::Unsupported(format!(
                "log driver `{}` is not part of hull: use one of {}",
                self.driver,
                DRIVERS.join(", ")
            )));
        }
        if !DRIVERS.contains(&self.driver.as_str()) {
            return Err(Error::Invalid(format!(
                "error looking up logging plugin {0}: plugin \"{0}\" not found",
                self.driver
            )));
        }
        self.options.check_common()?;
        let (file, target) = match self.driver.as_str() {
            "json-file" => (Some(self.json_file()?), None),
            "local" => (Some(self.local(&self.options)?), None),
            "journald" => (self.cache()?, Some(LogTarget::Journald(self.journald()?))),
            _ => {
                let tag = self.tag("{{.ID}}")?;
                let plan = syslog::plan(&self.options, tag, resolve)?;
                (self.cache()?, Some(LogTarget::Syslog(plan)))
            }
        };
        Ok(LogPlan {
            file,
            target,
            buffer: self.options.buffer(BUFFER)?,
            unfinished: Some(self.engine.container_run(&self.record.id).join("unfinished")),
        })
    }

    fn json_file(&self) -> Result<LogFile> {
        let options = &self.options;
        options.only(&[
            "max-size",
            "max-file",
            "compress",
            "labels",
            "labels-regex",
            "env",
            "env-regex",
            "tag",
        ])?;
        let max_size = options.size("max-size", 1000)?.unwrap_or(Some(JSON_SIZE));
        let max_files = options.files("max-file")?.unwrap_or(JSON_FILES);
        let compress = options.flag("compress")?.unwrap_or(false);
        if compress && (max_files < 2 || max_size.is_none()) {
            return Err(options::driver_error(
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ));
        }
        Ok(LogFile {
            path: path(self.engine, self.record, LogForm::JsonFile),
            form: LogForm::JsonFile,
            max_size,
            max_files,
            compress,
            attributes: self.attributes(options)?,
        })
    }

    fn local(&self, options: &Options) -> Result<LogFile> {
        options.only(&[
            "max-size",
            "max-file",
            "compress",
            "labels",
            "labels-regex",
            "env",
            "env-regex",
            "tag",
        ])?;
        // Refused here, added by the reader: what a container has is in its record.
        self.attributes(options)?;
        let max_size = options.size("max-size", 1024)?.unwrap_or(Some(LOCAL_SIZE));
        let max_files = options.files("max-file")?.unwrap_or(LOCAL_FILES);
        Ok(LogFile {
            path: path(self.engine, self.record, LogForm::Local),
            form: LogForm::Local,
            max_size,
            max_files,
            compress: options.flag("compress")?.unwrap_or(true) && max_files > 1,
            attributes: BTreeMap::new(),
        })
    }

    /// The copy that `logs` reads where the driver's own is out of reach.
    fn cache(&self) -> Result<Option<LogFile>> {
        if options::cache_disabled(&self.options.given)? {
            return Ok(None);
        }
        self.local(&self.options.of_cache()).map(Some)
    }

    fn journald(&self) -> Result<JournaldPlan> {
        self.options
            .only(&["labels", "labels-regex", "env", "env-regex", "tag"])?;
        let record = self.record;
        let tag = self.tag("{{.ID}}")?;
        let mut fields: BTreeMap<String, String> = [
            ("CONTAINER_ID", &record.id[..12]),
            ("CONTAINER_ID_FULL", &record.id),
            ("CONTAINER_NAME", &record.name),
            ("CONTAINER_TAG", &tag),
            ("IMAGE_NAME", &record.config.image),
            ("SYSLOG_IDENTIFIER", &tag),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let extra = self.options.attributes(&record.config)?;
        fields.extend(extra.into_iter().filter_map(|(name, value)| {
            let name = journal_name(&name);
            (!name.is_empty()).then_some((name, value))
        }));
        Ok(JournaldPlan {
            socket: JOURNAL.into(),
            fields: fields.into_iter().collect(),
        })
    }

    fn tag(&self, default: &str) -> Result<String> {
        let template = match self.options.text("tag") {
            "" => default,
            given => given,
        };
        tag::fill(template, self.record)
    }

    fn attributes(&self, options: &Options) -> Result<BTreeMap<String, String>> {
        let mut attributes = options.attributes(&self.record.config)?;
        if !options.text("tag").is_empty() {
            let tag = tag::fill(options.text("tag"), self.record)?;
            if !tag.is_empty() {
                attributes.insert("tag".to_owned(), tag);
            }
        }
        Ok(attributes)
    }
}

/// A field's name as the journal takes it: capital letters, digits and underscores, none of which leads.
fn journal_name(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    let clean = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    clean.skip_while(|c| *c == '_').collect()
}

#[cfg(test)]
mod tests;
