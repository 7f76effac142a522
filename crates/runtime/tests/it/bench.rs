//! A place for bundles and containers that goes with the test.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hull_testkit::{Run, require_program, require_root};
use serde_json::{Value, json};

/// A folder with bundles, a state folder, and the runtime.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    runtime: PathBuf,
    busybox: PathBuf,
}

impl Bench {
    /// `None` where the machine cannot run containers, which has then been told.
    pub(crate) fn new() -> Option<Self> {
        if !require_root() {
            return None;
        }
        let busybox = require_program("busybox")?;
        // Beside this test's own binary: .../debug/deps/it-HASH and .../debug/examples/hull-runtime.
        let deps = std::env::current_exe().unwrap();
        let runtime = deps.parent().unwrap().with_file_name("examples").join("hull-runtime");
        assert!(
            runtime.exists(),
            "{} is not built: run the tests of the whole package",
            runtime.display()
        );
        Some(Self {
            folder: tempfile::tempdir().unwrap(),
            runtime,
            busybox,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Makes the bundle `name`, which runs a shell script, with a config changed by `edit`.
    pub(crate) fn bundle(&self, name: &str, script: &str, edit: impl FnOnce(&mut Value)) -> PathBuf {
        let bundle = self.path(name);
        let root = bundle.join("rootfs");
        for part in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
            std::fs::create_dir_all(root.join(part)).unwrap();
        }
        std::fs::copy(&self.busybox, root.join("bin/busybox")).unwrap();
        let applets =
            "sh cat echo id ls mkdir sleep tty hostname grep true false touch pwd readlink kill unshare mount";
        for applet in applets.split(' ') {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        self.run(&["spec", "--bundle", bundle.to_str().unwrap()]).ok();
        let config = bundle.join("config.json");
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
        spec["process"]["terminal"] = false.into();
        spec["process"]["args"] = json!(["sh", "-c", script]);
        spec["root"]["readonly"] = false.into();
        edit(&mut spec);
        std::fs::write(&config, spec.to_string()).unwrap();
        bundle
    }

    /// The runtime with this bench's state folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(self.state()).args(args).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    /// `run` of a bundle.
    pub(crate) fn run_bundle(&self, bundle: &Path, id: &str) -> Run {
        self.run(&["run", "--bundle", bundle.to_str().unwrap(), id])
    }

    /// `create` of a bundle: its process writes to a file, which is returned, since it lives on.
    pub(crate) fn create(&self, bundle: &Path, id: &str, more: &[&str]) -> (Run, PathBuf) {
        let output = self.path(&format!("{id}.out"));
        let file = File::create(&output).unwrap();
        let errors = self.path(&format!("{id}.err"));
        let mut command = self.command(&["create", "--bundle", bundle.to_str().unwrap()]);
        command
            .args(more)
            .arg(id)
            .stdout(file.try_clone().unwrap())
            .stderr(File::create(&errors).unwrap());
        let status = command.status().unwrap();
        let stderr = std::fs::read_to_string(errors).unwrap();
        (
            Run {
                words: format!("create {id}"),
                status,
                stdout: String::new(),
                stderr,
            },
            output,
        )
    }

    /// A field of `state`.
    pub(crate) fn field(&self, id: &str, field: &str) -> Value {
        let state: Value = serde_json::from_str(&self.run(&["state", id]).ok().stdout).unwrap();
        state[field].clone()
    }

    pub(crate) fn status(&self, id: &str) -> String {
        self.field(id, "status").as_str().unwrap().to_owned()
    }

    /// The cgroups of a name in all hierarchies.
    pub(crate) fn cgroups(&self, name: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
        while let Some((folder, depth)) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|t| t.is_dir()) {
                    continue;
                }
                if entry.file_name() == name {
                    found.push(entry.path());
                } else if depth < 3 {
                    folders.push((entry.path(), depth + 1));
                }
            }
        }
        found
    }

    /// Nothing of a container is left.
    pub(crate) fn assert_gone(&self, id: &str) {
        assert!(!self.state().join(id).exists(), "the state folder of {id} is left");
        assert_eq!(self.cgroups(id), Vec::<PathBuf>::new(), "cgroups of {id} are left");
        self.run(&["state", id]).fails(1).says("container does not exist");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for id in self.run(&["list", "-q"]).stdout.lines() {
            self.run(&["delete", "--force", id]);
        }
    }
}

/// A name that no other test's container has.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}
