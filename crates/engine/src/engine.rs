//! Where the engine keeps things, and the handles that it opens once.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hull_store::{Access, Store};

use crate::config::Config;
use crate::{Error, Result};

/// What the engine is told of its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where images and containers are kept: `/var/lib/hull`.
    pub root: PathBuf,
    /// Where the state of running containers is kept, gone at a reboot: `/run/hull`.
    pub run_root: PathBuf,
    /// The configuration file, `/etc/hull/config.toml`. It may be missing.
    pub config: PathBuf,
    /// Whether this process has no privileges beyond its own user namespace.
    pub rootless: bool,
    /// Whether this program, called as [`hull_monitor::resident::NAME`], goes on as a container's monitor.
    pub resident: bool,
}

impl Settings {
    /// The places of an engine that runs as the host's root.
    #[must_use]
    pub fn rootful() -> Self {
        Self {
            root: "/var/lib/hull".into(),
            run_root: "/run/hull".into(),
            config: "/etc/hull/config.toml".into(),
            rootless: false,
            resident: false,
        }
    }

    /// The places of an engine that runs as a normal user, below the XDG base directories.
    #[must_use]
    pub fn rootless(data_home: &Path, runtime_dir: &Path, config_home: &Path) -> Self {
        Self {
            root: data_home.join("hull"),
            run_root: runtime_dir.join("hull"),
            config: config_home.join("hull/config.toml"),
            rootless: true,
            resident: false,
        }
    }
}

impl Settings {
    /// The settings of the engine that started a monitor, from the arguments that the monitor was given.
    #[must_use]
    pub fn from_arguments(arguments: &[OsString]) -> Option<Self> {
        let [root, run_root, config, rootless] = arguments else {
            return None;
        };
        Some(Self {
            root: root.into(),
            run_root: run_root.into(),
            config: config.into(),
            rootless: rootless == "rootless",
            resident: true,
        })
    }
}

/// Paths, and stores opened at first use. Cheap to open; use one a thread.
#[derive(Debug)]
pub struct Engine {
    /// The data root.
    pub data: PathBuf,
    /// The run root.
    pub run: PathBuf,
    /// Whether this is a normal user's engine.
    pub rootless: bool,
    resident: bool,
    config_path: PathBuf,
    config: OnceCell<Config>,
    reader: OnceCell<Store>,
    writer: OnceCell<Store>,
}

impl Engine {
    /// An engine over the places of `settings`. Touches nothing on disk.
    #[must_use]
    pub fn open(settings: &Settings) -> Self {
        Self {
            data: settings.root.clone(),
            run: settings.run_root.clone(),
            rootless: settings.rootless,
            resident: settings.resident,
            config_path: settings.config.clone(),
            config: OnceCell::new(),
            reader: OnceCell::new(),
            writer: OnceCell::new(),
        }
    }

    /// Another engine over the same places, for another thread.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            data: self.data.clone(),
            run: self.run.clone(),
            rootless: self.rootless,
            resident: self.resident,
            config_path: self.config_path.clone(),
            config: OnceCell::new(),
            reader: OnceCell::new(),
            writer: OnceCell::new(),
        }
    }

    /// What this program takes to work in the same places as this engine: the roots, the configuration file, and whether it
    /// is a normal user's. [`Settings::from_arguments`] reads them.
    pub(crate) fn resident_arguments(&self) -> Option<Vec<OsString>> {
        let rootless = if self.rootless { "rootless" } else { "rootful" };
        let paths = [&self.data, &self.run, &self.config_path].map(|path| path.clone().into_os_string());
        self.resident
            .then(|| paths.into_iter().chain([rootless.into()]).collect())
    }

    /// The configuration file, read at first use.
    ///
    /// # Errors
    /// If the file is there and cannot be used.
    pub fn config(&self) -> Result<&Config> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = Config::read(&self.config_path)?;
        Ok(self.config.get_or_init(|| config))
    }

    /// The image store, opened at first use and then kept: verbs that only look at containers must not ask for it.
    /// Opened for reading it touches nothing until something is looked up.
    ///
    /// # Errors
    /// If the store cannot be opened.
    pub fn store(&self, access: Access) -> Result<&Store> {
        // What was opened for writing serves readers, too.
        let cell = match (access, self.writer.get()) {
            (Access::Read, None) => &self.reader,
            _ => &self.writer,
        };
        if let Some(store) = cell.get() {
            return Ok(store);
        }
        let store = Store::open(&self.data, access)?;
        Ok(cell.get_or_init(|| store))
    }

    /// The layer below all layers of every image: the folders and empty files that each container has something mounted
    /// on. Without them the kernel would be given nothing to mount on where an image lacks them, and making them would
    /// leave traces in the container's writable layer. Made at first use.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn base_layer(&self) -> Result<PathBuf> {
        let layers = self.data.join("layers");
        let base = layers.join("base");
        if rustix::fs::access(&base, rustix::fs::Access::EXISTS).is_ok() {
            return Ok(base);
        }
        let new = layers.join(format!("base.new-{}", std::process::id()));
        let made = (|| {
            for folder in ["proc", "sys", "dev", "etc"] {
                std::fs::create_dir_all(new.join(folder))?;
            }
            for file in ["etc/hosts", "etc/resolv.conf", "etc/hostname"] {
                std::fs::write(new.join(file), "")?;
            }
            std::fs::rename(&new, &base)
        })();
        match made {
            // Another command was first.
            Err(_) if base.is_dir() => drop(std::fs::remove_dir_all(&new)),
            made => made.map_err(|source| Error::Write {
                path: base.clone(),
                source,
            })?,
        }
        Ok(base)
    }

    /// `DATA/containers/ID`. `id` is a whole ID.
    #[must_use]
    pub fn container_dir(&self, id: &str) -> PathBuf {
        let mut path = self.data.join("containers");
        path.push(id);
        path
    }

    /// `RUN/containers/ID`. `id` is a whole ID.
    #[must_use]
    pub fn container_run(&self, id: &str) -> PathBuf {
        let mut path = self.run.join("containers");
        path.push(id);
        path
    }

    /// `DATA/names`, where each container's name is a symbolic link to its ID.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.data.join("names")
    }
}
