//! An engine in a temporary folder, and containers that look as if they ran.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use hull_engine::container::{self, name};
use hull_engine::{Engine, Settings};
use hull_spec::Digest;
use hull_spec::container::{Config, HostConfig, LastExit, LiveState, NetworkingConfig, Record};
use rustix::fs::{FlockOperation, flock};

/// An engine with places of its own.
pub struct Host {
    pub engine: Engine,
    _dir: tempfile::TempDir,
}

impl Host {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(&Settings {
            root: dir.path().join("data"),
            run_root: dir.path().join("run"),
            config: dir.path().join("config.toml"),
            rootless: false,
            resident: false,
        });
        fs::create_dir_all(engine.names()).unwrap();
        Self { engine, _dir: dir }
    }

    /// Creates a container of this name; `change` completes its record.
    pub fn create(&self, name: &str, change: impl FnOnce(&mut Record)) -> String {
        let mut record = record(name);
        change(&mut record);
        fs::create_dir_all(self.dir(&record.id).join("upper")).unwrap();
        container::save(&self.engine, &record).unwrap();
        std::os::unix::fs::symlink(&record.id, self.engine.names().join(&record.name)).unwrap();
        record.id
    }

    pub fn dir(&self, id: &str) -> PathBuf {
        self.engine.container_dir(id)
    }

    pub fn run(&self, id: &str) -> PathBuf {
        self.engine.container_run(id)
    }

    /// Makes the container look as if it ran: a process of ours is its first one, and we are its monitor.
    pub fn start(&self, id: &str, change: impl FnOnce(&mut LiveState)) -> Running {
        let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut live = LiveState {
            pid,
            start_ticks: start_ticks(pid),
            monitor_pid: i32::try_from(std::process::id()).unwrap(),
            started_at: jiff::Timestamp::now().to_string(),
            restarting: false,
            restarts: 0,
            streams: [0; 2],
            cgroups: Vec::new(),
            networks: Default::default(),
            ports: Default::default(),
        };
        change(&mut live);
        fs::create_dir_all(self.run(id)).unwrap();
        let lock = File::create(self.run(id).join("lock")).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        self.write_live(id, &live);
        Running {
            live,
            child,
            lock: Some(lock),
        }
    }

    /// A cgroup, as far as the freezer goes, that says `state`.
    pub fn freezer(&self, id: &str, state: &str) -> String {
        let cgroup = self.dir(id).join("cgroup");
        fs::create_dir_all(&cgroup).unwrap();
        fs::write(cgroup.join("freezer.state"), format!("{state}\n")).unwrap();
        cgroup.display().to_string()
    }

    pub fn write_live(&self, id: &str, live: &LiveState) {
        fs::write(self.run(id).join("state.json"), serde_json::to_vec(live).unwrap()).unwrap();
    }

    /// Writes how the container ended.
    pub fn write_exit(&self, id: &str, change: impl FnOnce(&mut LastExit)) {
        let mut exit = LastExit {
            started_at: "2024-05-01T10:00:00.5Z".to_owned(),
            finished_at: "2024-05-01T10:00:01.25Z".to_owned(),
            ..LastExit::default()
        };
        change(&mut exit);
        let next = self.dir(id).join("exit.json.new");
        fs::write(&next, serde_json::to_vec(&exit).unwrap()).unwrap();
        fs::rename(next, self.dir(id).join("exit.json")).unwrap();
    }
}

/// A container that looks as if it ran.
pub struct Running {
    pub live: LiveState,
    child: Child,
    lock: Option<File>,
}

impl Running {
    /// Ends its process.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends its monitor.
    pub fn unlock(&mut self) {
        self.lock = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn start_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .nth(19)
        .unwrap()
        .parse()
        .unwrap()
}

/// A record with a new ID.
pub fn record(name: &str) -> Record {
    let digest = Digest::sha256(&[0xab; 32]);
    Record {
        id: name::id(name::entropy()),
        name: name.to_owned(),
        created: jiff::Timestamp::now().to_string(),
        image_id: digest.clone(),
        manifest: digest.clone(),
        layers: vec![digest],
        platform: "linux/amd64".to_owned(),
        config: Config {
            hostname: "0123456789ab".to_owned(),
            image: "busybox".to_owned(),
            cmd: Some(vec!["sleep".to_owned(), "1000".to_owned()]),
            ..Config::default()
        },
        host_config: HostConfig::default(),
        networking_config: NetworkingConfig::default(),
        mounts: Vec::new(),
        pod: None,
        id_maps: None,
    }
}
