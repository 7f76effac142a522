//! A machine of its own for the binary under test: state folders in a temporary place, and a network namespace whose
//! interfaces, firewall and ports nobody else touches.
//!
//! ```text
//! /tmp/h-XXXXXX/        the host; short, because a Unix socket's path holds 107 bytes
//!   data/  run/         HULL_ROOT and HULL_RUN_ROOT (a rootless host uses home/ and xdg/ instead)
//!   home/               HOME
//!   registry/           what a Distribution on this host keeps
//! /run/netns/h-XXXXXX   its network
//! ```
//! Dropping it kills what it ran, by process, never by name.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use crate::distribution::{self, Distribution};
use crate::image::Image;
use crate::leak::{self, Traces};

/// See the module.
#[derive(Debug)]
pub struct Host {
    folder: tempfile::TempDir,
    name: String,
    binary: PathBuf,
    user: Option<User>,
    registry: std::sync::OnceLock<Distribution>,
}

/// The user of a rootless host, who exists only in files that are mounted over the machine's for its commands.
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// User and group ID.
    pub id: u32,
    /// Whether `/etc/subuid` and `/etc/subgid` grant 65536 more.
    pub subordinate: bool,
}

impl Host {
    /// A host whose commands run as root. `binary` is the program under test unless `HULL_BIN` names another.
    ///
    /// # Panics
    /// If the caller may not make a network namespace.
    #[must_use]
    pub fn new(binary: impl AsRef<Path>) -> Self {
        Self::make(binary.as_ref(), None)
    }

    /// A host whose commands run as `user`.
    ///
    /// # Panics
    /// As `new`.
    #[must_use]
    pub fn rootless(binary: impl AsRef<Path>, user: User) -> Self {
        Self::make(binary.as_ref(), Some(user))
    }

    fn make(binary: &Path, user: Option<User>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("h-")
            .tempdir_in("/tmp")
            .expect("make the host's folder");
        let name = folder
            .path()
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let binary = std::env::var_os("HULL_BIN").map_or_else(|| binary.to_owned(), PathBuf::from);
        must(Command::new("ip").args(["netns", "add", &name]));
        must(Command::new("ip").args(["-n", &name, "link", "set", "lo", "up"]));
        let mut host = Self {
            folder,
            name,
            binary,
            user,
            registry: std::sync::OnceLock::new(),
        };
        for part in ["data", "run", "home", "xdg"] {
            std::fs::create_dir(host.path(part)).expect("make a folder of the host");
        }
        if let Some(user) = user {
            host.settle(user);
        }
        host
    }

    /// Gives the folders, a readable copy of the binary and an account to the rootless user.
    fn settle(&mut self, user: User) {
        let copy = self.path("hull");
        std::fs::copy(&self.binary, &copy).expect("copy the binary for the user");
        self.binary = copy;
        std::fs::set_permissions(self.path(""), PermissionsExt::from_mode(0o755)).expect("open the host's folder");
        for part in ["home", "xdg"] {
            chown(self.path(part), Some(user.id), Some(user.id)).expect("give a folder to the user");
        }
        let passwd = std::fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
        let account = format!(
            "hulltest:x:{0}:{0}::{1}:/bin/sh\n",
            user.id,
            self.path("home").display()
        );
        std::fs::write(self.path("passwd"), passwd + &account).expect("write the account");
        let granted = if user.subordinate {
            "hulltest:200000:65536\n"
        } else {
            ""
        };
        std::fs::write(self.path("subid"), granted).expect("write the subordinate IDs");
    }

    /// A path in the host's folder.
    #[must_use]
    pub fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    /// Where hull keeps its data on this host.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path(if self.user.is_some() {
            "home/.local/share/hull"
        } else {
            "data"
        })
    }

    /// Where hull keeps what does not outlive a boot.
    #[must_use]
    pub fn run_root(&self) -> PathBuf {
        self.path(if self.user.is_some() { "xdg/hull" } else { "run" })
    }

    /// The program under test.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A command that runs `program` on this host.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--");
        if let Some(user) = self.user {
            let mounts = "mount --bind \"$1/passwd\" /etc/passwd && mount --bind \"$1/subid\" /etc/subuid && \
                          mount --bind \"$1/subid\" /etc/subgid && id=$2 && shift 2 && \
                          exec setpriv --reuid=\"$id\" --regid=\"$id\" --clear-groups -- \"$@\"";
            command.args([
                "unshare",
                "--mount",
                "--propagation",
                "slave",
                "--",
                "sh",
                "-c",
                mounts,
                "sh",
            ]);
            command.arg(self.folder.path()).arg(user.id.to_string());
            command
                .env("XDG_RUNTIME_DIR", self.path("xdg"))
                .env_remove("HULL_ROOT")
                .env_remove("HULL_RUN_ROOT");
            command.env_remove("XDG_DATA_HOME").env("USER", "hulltest");
        } else {
            command
                .env("HULL_ROOT", self.data())
                .env("HULL_RUN_ROOT", self.run_root());
        }
        command
            .arg(program.as_ref())
            .env("HOME", self.path("home"))
            .current_dir("/");
        command
    }

    /// A command that runs the program under test on this host.
    #[must_use]
    pub fn hull_command<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(&self.binary);
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Runs `hull ARGS` without input and returns what it said.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn hull<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        Run::of(&mut self.hull_command(args))
    }

    /// Runs `hull ARGS`, which must succeed, and returns its standard output without the line end.
    ///
    /// # Panics
    /// If it fails.
    pub fn ok<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        self.hull(args).ok().stdout.trim_end().to_owned()
    }

    /// Runs `hull ARGS` with `input` on its standard input.
    ///
    /// # Panics
    /// If it cannot be started or does not end.
    pub fn hull_with_input<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &[u8]) -> Run {
        let mut command = self.hull_command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let words = words(&command);
        let mut child = command.spawn().expect("start hull");
        let mut stdin = child.stdin.take().expect("a pipe to hull");
        // Input and output at once: a pipe holds 64 KiB. A program that reads none of it closes the pipe, which is fine.
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output().expect("wait for hull")
        });
        Run::new(words, output)
    }

    /// Starts `hull ARGS` with its output thrown away.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        self.hull_command(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start hull")
    }

    /// Runs `act` in a thread that is in the host's network: sockets made there belong to it for good.
    ///
    /// # Panics
    /// If `act` does.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        in_network(&PathBuf::from(format!("/run/netns/{}", self.name)), act)
    }

    /// The address of a registry on this host (Debian's `docker-registry`), started when it is first asked for. `None`,
    /// and a counted skip, where it is not installed.
    pub fn registry(&self) -> Option<SocketAddr> {
        self.registry_at("127.0.0.1:0")
    }

    /// The same, at an address of the caller's choice when it is the first to ask: every port of the host is free.
    pub fn registry_at(&self, address: &str) -> Option<SocketAddr> {
        if self.registry.get().is_none() {
            let started = Distribution::start_at(address, &self.path("registry"), |program| {
                let mut command = Command::new("nsenter");
                command
                    .arg(format!("--net=/run/netns/{}", self.name))
                    .arg("--")
                    .arg(program);
                command
            })?;
            let _ = self.registry.set(started);
        }
        self.registry.get().map(Distribution::address)
    }

    /// Pushes `image` to the host's registry as `name:latest`, pulls it with hull and returns its reference. `None` where
    /// there is no registry.
    ///
    /// # Panics
    /// If the push or the pull fails.
    pub fn provide(&self, name: &str, image: &Image) -> Option<String> {
        let address = self.registry()?;
        self.within(|| distribution::push(address, name, "latest", image))
            .expect("push a test image");
        let reference = format!("{address}/{name}:latest");
        self.hull(["pull", "--quiet", &reference]).ok();
        Some(reference)
    }

    /// What the host holds now, to be compared with `assert_clean`. Take it after a first container has made what stays
    /// (the bridge, the firewall's table, the lock files).
    #[must_use]
    pub fn traces(&self) -> Traces {
        leak::traces(self.folder.path(), &[self.data(), self.run_root()], &self.name)
    }

    /// Waits until nothing is left that was not there `before`.
    ///
    /// # Panics
    /// If something still is after 15 seconds.
    pub fn assert_clean(&self, before: &Traces) {
        let mut left = Vec::new();
        let clean = crate::wait::within(std::time::Duration::from_secs(15), || {
            left = self.traces().since(before);
            left.is_empty().then_some(())
        });
        assert!(clean.is_some(), "left behind:\n  {}", left.join("\n  "));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.registry.take();
        let ids = self.hull_command(["ps", "-aq"]).stderr(Stdio::null()).output();
        let ids = ids
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        if !ids.is_empty() {
            let mut remove = self.hull_command(["rm", "-f"].into_iter().chain(ids.split_whitespace()));
            let _ = remove.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        leak::sweep(self.folder.path());
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .stderr(Stdio::null())
            .status();
    }
}

/// Runs `act` in a thread that is in the network namespace of the file `namespace`, such as `/proc/PID/ns/net`.
///
/// # Panics
/// If `act` does, or if there is no such namespace.
pub fn in_network<T: Send>(namespace: &Path, act: impl FnOnce() -> T + Send) -> T {
    let namespace = std::fs::File::open(namespace).expect("open a network namespace");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind)).expect("enter the network");
            act()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// How a command ended, and what it said.
#[derive(Clone, Debug)]
pub struct Run {
    /// The command, for messages.
    pub words: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Run {
    /// Runs `command` to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn of(command: &mut Command) -> Self {
        let words = words(command);
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("start `{words}`: {error}"));
        Self::new(words, output)
    }

    fn new(words: String, output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            words,
            status: output.status,
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// The exit code; 128 + the signal where one ended it.
    #[must_use]
    pub fn code(&self) -> i32 {
        code(self.status)
    }

    /// Itself, when it succeeded.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.fails(0)
    }

    /// Itself, when it ended with `code`.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn fails(self, code: i32) -> Self {
        let Self {
            words, stdout, stderr, ..
        } = &self;
        assert_eq!(
            self.code(),
            code,
            "exit code of `{words}`\nstdout: {stdout}\nstderr: {stderr}"
        );
        self
    }

    /// Itself, when its standard error holds `text`.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "`{}` does not say `{text}` but: {}",
            self.words,
            self.stderr
        );
        self
    }
}

/// The exit code of `status`; 128 + the signal where one ended the process.
pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn words(command: &Command) -> String {
    let all = std::iter::once(command.get_program()).chain(command.get_args());
    let all: Vec<_> = all.map(|word| word.to_string_lossy().into_owned()).collect();
    // What matters begins behind the wrapper that enters the network.
    let from = all.iter().position(|word| word == "--").map_or(0, |at| at + 1);
    all[from..].join(" ")
}

fn must(command: &mut Command) {
    let run = Run::of(command);
    assert!(run.status.success(), "`{}`: {}", run.words, run.stderr);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileged_hosts_have_networks_of_their_own() {
        if !crate::require_root() {
            return;
        }
        let (one, two) = (Host::new("/bin/true"), Host::new("/bin/true"));
        let address = one.within(|| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        });
        let listener = one.within(|| std::net::TcpListener::bind(address).unwrap());
        assert!(one.within(|| std::net::TcpStream::connect(address)).is_ok());
        assert!(
            two.within(|| std::net::TcpStream::connect(address)).is_err(),
            "the port is not the other host's"
        );
        drop(listener);
    }

    #[test]
    fn privileged_a_leak_is_seen_and_swept() {
        if !crate::require_root() {
            return;
        }
        let host = Host::new("/bin/true");
        let before = host.traces();
        let mut child = host.command("sleep").arg("1000").spawn().unwrap();
        std::fs::write(host.data().join("forgotten"), "").unwrap();
        must(Command::new("ip").args(["-n", &host.name, "link", "add", "veth-left", "type", "veth"]));
        must(Command::new("mount").args(["-t", "tmpfs", "left"]).arg(host.data()));
        let pid = child.id();
        let left = crate::until("the leaks", || {
            let left = host.traces().since(&before);
            (left.len() >= 4).then_some(left)
        });
        for sign in [
            format!("process {pid}"),
            "link veth-left".into(),
            format!("mount {}", host.data().display()),
        ] {
            assert!(left.iter().any(|line| line.contains(&sign)), "{sign} in {left:?}");
        }
        let name = host.name.clone();
        let start = std::time::Instant::now();
        drop(host);
        assert!(
            start.elapsed().as_secs() < 3,
            "the sweep waits for something that is not the host's"
        );
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert!(!Path::new(&format!("/run/netns/{name}")).exists());
    }

    #[test]
    fn privileged_the_rootless_user_is_who_it_should_be() {
        if !crate::require_root() {
            return;
        }
        let host = Host::rootless(
            "/bin/true",
            User {
                id: 4242,
                subordinate: true,
            },
        );
        let mut command = host.command("sh");
        let run = Run::of(command.args(["-c", "id -u; id -un; id -G; cat /etc/subuid; touch $HOME/x"])).ok();
        assert_eq!(run.stdout, "4242\nhulltest\n4242\nhulltest:200000:65536\n");
    }
}
