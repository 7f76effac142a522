//! What the tests, the tour and the benchmarks use of the machine, and the Debian packages that bring it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// A program or file, and the package that brings it on Debian and Ubuntu.
struct Need {
    program: &'static str,
    package: &'static str,
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

const TESTS: &[Need] = &[
    need("busybox", "busybox-static"),
    need("cc", "gcc"),
    need("curl", "curl"),
    need("docker-registry", "docker-registry"),
    need("ip", "iproute2"),
    need("newuidmap", "uidmap"),
    need("nft", "nftables"),
    need("nsenter", "util-linux"),
    need("setpriv", "util-linux"),
    need("ssh", "openssh-client"),
    need("sshd", "openssh-server"),
    need("tar", "tar"),
];

/// Makes sure that all is there. As root on a machine with apt-get it installs what is missing; elsewhere it says what is
/// missing and goes on. Returns whether all is there.
pub(crate) fn ensure() -> Result<bool> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(true);
    }
    let list = missing.join(" ");
    if !is_root() {
        println!("Not root: the tests that need {list} are skipped. `sudo apt-get install {list}` brings them.");
        return Ok(false);
    }
    if crate::command::find("apt-get").is_none() {
        println!("No apt-get here: the tests that need what Debian has in {list} are skipped.");
        return Ok(false);
    }
    install(&missing)?;
    let left = self::missing();
    anyhow::ensure!(
        left.is_empty(),
        "apt-get installed {list}, and yet {} is missing",
        left.join(" ")
    );
    Ok(true)
}

/// Installs Debian packages, as root. An older list of packages is tried first: refreshing it takes longer than the rest.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let install = |quiet: bool| {
        let mut command = apt();
        command
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages);
        if quiet {
            return crate::command::quiet(command.stdout(Stdio::null()).stderr(Stdio::null()));
        }
        crate::command::show(command.stdout(Stdio::null()))
    };
    println!("\nInstalling {}", packages.join(" "));
    if install(true).is_ok() {
        return Ok(());
    }
    crate::command::show(apt().arg("update").stdout(Stdio::null())).context("refresh the list of packages")?;
    install(false).with_context(|| format!("install {}", packages.join(" ")))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command
        .arg("-q")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null());
    command
}

fn missing() -> Vec<&'static str> {
    let absent = TESTS.iter().filter(|need| crate::command::find(need.program).is_none());
    let mut packages: Vec<_> = absent.map(|need| need.package).collect();
    // The package `busybox` brings the same name, linked dynamically: useless as an image.
    if let Some(busybox) = crate::command::find("busybox")
        && !is_static(&busybox)
    {
        packages.push("busybox-static");
    }
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn is_static(program: &Path) -> bool {
    matches!(hull_testkit::elf::read(program), Ok(Some(elf)) if elf.interpreter.is_none())
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

/// Whether root may do what containers need: a container or a sandbox may forbid namespaces and mounts.
pub(crate) fn is_privileged() -> bool {
    let probe = "mount -t tmpfs none /mnt && ip link add probe0 type veth";
    is_root()
        && Command::new("unshare")
            .args([
                "--fork", "--pid", "--mount", "--net", "--ipc", "--uts", "sh", "-c", probe,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}
