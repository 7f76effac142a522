//! A machine on which a transcript's command lines run: a host where `docker` is hull, or one with a Docker daemon of
//! its own.
//!
//! Both have a network of their own with a registry at [`REGISTRY`] that holds the same images, and an empty folder in
//! which the command lines run. `$image` is busybox there, pulled already, and `$registry` the registry.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::host::{Host, Run};
use crate::image::Image;
use crate::{distribution, until};

/// Where the registry of a machine is.
pub const REGISTRY: &str = "127.0.0.1:5000";

/// A setting: the words before `dockerd` and `docker` that reach the Docker to compare with, such as `nsenter` into
/// another root. Empty where they are on PATH.
pub const DOCKER: &str = "HULL_TRANSCRIPT_DOCKER";

/// How long a command line may take.
const LIMIT: &str = "30";

/// See the module.
#[derive(Debug)]
pub struct Machine {
    host: Host,
    /// Words that reach the place where the programs are.
    prefix: Vec<String>,
    /// The machine's folder, as those programs see it.
    folder: String,
    settings: Vec<(&'static str, String)>,
    daemon: Option<Child>,
}

/// How a command line ended, and what it said.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The exit code; 128 + the signal where one ended it, and 124 where it took too long.
    pub code: i32,
}

impl Machine {
    /// A machine where `docker` is the hull of `binary`. `None`, and a counted skip, where there is no registry program.
    ///
    /// # Panics
    /// If the caller may not make a network namespace.
    #[must_use]
    pub fn hull(binary: &Path) -> Option<Self> {
        let host = Host::new(binary);
        let folder = host.path("").display().to_string().trim_end_matches('/').to_owned();
        let machine = Self {
            settings: Vec::new(),
            prefix: Vec::new(),
            folder,
            daemon: None,
            host,
        };
        machine.folders_made();
        std::os::unix::fs::symlink(machine.host.binary(), machine.host.path("bin/docker")).expect("name hull docker");
        machine.stocked()
    }

    /// A machine with a Docker daemon of its own, found behind `prefix`. `None`, and a counted skip, where there is no
    /// registry program.
    ///
    /// # Panics
    /// If the daemon does not come up.
    #[must_use]
    pub fn docker(prefix: &[String]) -> Option<Self> {
        let host = Host::new("/bin/true");
        let mut machine = Self {
            settings: Vec::new(),
            prefix: prefix.to_vec(),
            folder: String::new(),
            daemon: None,
            host,
        };
        let made = Run::of(machine.command("mktemp").args(["-d", "/tmp/h-XXXXXX"])).ok();
        made.stdout.trim_end().clone_into(&mut machine.folder);
        machine.folders_made();
        let socket = format!("unix://{}/docker.sock", machine.folder);
        machine.settings = vec![
            ("DOCKER_HOST", socket.clone()),
            ("DOCKER_CONFIG", format!("{}/config", machine.folder)),
            ("DOCKER_CLI_HINTS", "false".to_owned()),
        ];
        machine.daemon = Some(machine.start(&socket));
        until("the Docker daemon", || {
            (machine.run("docker version").code == 0).then_some(())
        });
        machine.stocked()
    }

    fn start(&self, socket: &str) -> Child {
        let mut command = self.command("sh");
        let script = "exec dockerd --host \"$2\" --data-root \"$1/docker\" --exec-root \"$1/exec\" \
                      --pidfile \"$1/pid\" >\"$1/log\" 2>&1";
        command.args(["-c", script, "sh", &self.folder, socket]);
        command.stdin(Stdio::null()).spawn().expect("start dockerd")
    }

    fn folders_made(&self) {
        let script = "cd \"$1\" && mkdir bin work config";
        Run::of(self.command("sh").args(["-c", script, "sh", &self.folder])).ok();
    }

    /// Whether `docker` is hull here.
    #[must_use]
    pub fn is_hull(&self) -> bool {
        self.daemon.is_none()
    }

    /// The folders of this machine, and what transcripts call them.
    #[must_use]
    pub fn folders(&self) -> Vec<(String, String)> {
        let data = if self.is_hull() { "data" } else { "docker" };
        vec![
            (format!("{}/{data}", self.folder), "<root>".to_owned()),
            (self.folder.clone(), "<host>".to_owned()),
        ]
    }

    /// A command that runs `program` where the machine's programs are.
    fn command(&self, program: &str) -> Command {
        let mut words = self.prefix.iter().map(String::as_str).chain([program]);
        let mut command = self.host.command(words.next().unwrap_or(program));
        command.args(words);
        command
    }

    /// Runs a command line.
    ///
    /// # Panics
    /// If there is no shell.
    #[must_use]
    pub fn run(&self, line: &str) -> Raw {
        let mut command = self.command("env");
        command.args(self.settings.iter().map(|(name, value)| format!("{name}={value}")));
        command
            .arg(format!("image={REGISTRY}/busybox"))
            .arg(format!("registry={REGISTRY}"));
        command.args(["LC_ALL=C.UTF-8", "timeout", "-k", "1", LIMIT, "sh", "-c"]);
        let script = "cd \"$1/work\" && PATH=$1/bin:$PATH && eval \"$2\"";
        command.args([script, "sh", &self.folder, line]).stdin(Stdio::null());
        let output = command.output().expect("run a command line");
        Raw {
            code: crate::host::code(output.status),
            stdout: output.stdout,
            stderr: output.stderr,
        }
    }

    /// Itself, with the images in its registry and busybox pulled.
    fn stocked(self) -> Option<Self> {
        let address = self.host.registry_at(REGISTRY)?;
        self.host.within(|| push(address));
        self.must("docker pull --quiet $image");
        Some(self)
    }

    /// Makes a Docker's machine as it was when it was new.
    ///
    /// # Panics
    /// If what a transcript left cannot be removed.
    pub fn reset(&self) {
        self.must("docker ps -aq | xargs -r docker rm -fv >/dev/null");
        self.must("docker volume ls -q | xargs -r docker volume rm -f >/dev/null");
        // An image that others were made from goes after them.
        self.must(
            "for round in 1 2 3 4 5; do docker images -aq | sort -u | xargs -r docker rmi -f >/dev/null 2>&1; done; \
             test -z \"$(docker images -aq)\"",
        );
        self.must("docker network prune -f >/dev/null && rm -rf ../work && mkdir ../work");
        self.must("docker pull --quiet $image");
    }

    fn must(&self, line: &str) {
        let raw = self.run(line);
        let said = String::from_utf8_lossy(&raw.stderr);
        assert_eq!(raw.code, 0, "`{line}`: {said}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let _ = self.run("docker ps -aq | xargs -r docker rm -fv");
        // The daemon ends its containerd, too, when it is asked to end.
        let _ = Command::new("kill").arg(daemon.id().to_string()).status();
        let _ = daemon.wait();
        // It leaves its data folder and its network namespace as mounts.
        let script = "umount \"$1/docker\" \"$1\"/exec/netns/* 2>/dev/null; rm -rf \"$1\"";
        let _ = self.command("sh").args(["-c", script, "sh", &self.folder]).status();
    }
}

/// Puts the images of the transcripts into the registry: busybox, and one on it whose config says something of
/// everything.
fn push(address: SocketAddr) {
    let busybox = Image::busybox();
    let rich = busybox
        .clone()
        // Lists are ordered by it.
        .set_top("created", json!("2024-01-02T00:00:00Z"))
        .entrypoint(&["echo", "entry"])
        .cmd(&["default", "words"])
        .set("User", json!("app"))
        .set("WorkingDir", json!("/home/app"))
        .set("Labels", json!({ "colour": "blue", "shape": "round" }))
        .set("ExposedPorts", json!({ "80/tcp": {}, "53/udp": {} }))
        .set("Volumes", json!({ "/data": {} }))
        .set("StopSignal", json!("SIGINT"));
    for (repository, tag, image) in [
        ("busybox", "latest", &busybox),
        ("busybox", "1.0", &busybox),
        ("rich", "latest", &rich),
    ] {
        distribution::push(address, repository, tag, image).expect("push an image");
    }
}
