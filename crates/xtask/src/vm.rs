//! hull on a kernel of its own with cgroup v2 alone: a virtual machine that boots Debian's kernel, runs a list of checks
//! and says on its serial console how each went. QEMU emulates the processor, so this needs no `/dev/kvm`.
//!
//! ```text
//! target/vm/kernel/     the unpacked kernel package
//! target/vm/initramfs   what the machine boots from; all that it writes is in its memory
//! ```

mod archive;
mod check;
mod module;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hull_testkit::{Host, Image};

use archive::Archive;

/// Seconds that the machine may take.
const LIMIT: &str = "900";

#[derive(Args)]
pub(crate) struct Options {
    /// Use this binary instead of building a debug one.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Run only the checks whose name contains this.
    filter: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64") && crate::packages::is_privileged(),
        "the machine is made by root on x86-64"
    );
    crate::packages::ensure()?;
    if crate::command::find("qemu-system-x86_64").is_none() {
        crate::packages::install(&["qemu-system-x86"])?;
    }
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => crate::workspace::build("dev")?,
    };
    let filter = options.filter.as_deref().unwrap_or_default();
    let checks: Vec<_> = check::ALL.iter().filter(|(name, _)| name.contains(filter)).collect();
    ensure!(!checks.is_empty(), "no check is named like `{filter}`");
    let folder = crate::workspace::target()?.join("vm");
    let kernel = kernel(&folder.join("kernel"))?;
    let initramfs = folder.join("initramfs");
    fill(&initramfs, &kernel, &binary, &checks)?;
    let good = boot(&kernel.join("boot"), &initramfs)?;
    ensure!(
        good == checks.len(),
        "{good} of {} checks passed; see FAIL above, or a machine that stopped early",
        checks.len()
    );
    println!("All {good} checks passed.");
    Ok(())
}

/// Fetches the kernel that Debian has for virtual machines, once.
fn kernel(folder: &Path) -> Result<PathBuf> {
    if folder.join("boot").is_dir() {
        return Ok(folder.to_owned());
    }
    let depends = crate::command::output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .context(
            "no kernel package linux-image-cloud-amd64 is known here: this needs Debian, after `apt-get update`",
        )?;
    let part = folder.with_extension("part");
    std::fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
    // apt's own user may not write here.
    std::fs::set_permissions(&part, PermissionsExt::from_mode(0o777)).context("open the kernel's folder")?;
    crate::command::show(Command::new("apt-get").args(["download", package]).current_dir(&part))?;
    let deb = single(&part, ".deb")?;
    crate::command::show(Command::new("dpkg").arg("-x").args([&deb, &part]))?;
    // Since the merge of /usr.
    if !part.join("lib/modules").is_dir() {
        std::fs::rename(part.join("usr/lib"), part.join("lib")).context("find the kernel's modules")?;
    }
    std::fs::remove_file(deb).context("remove the kernel's package")?;
    std::fs::rename(&part, folder).context("keep the kernel")?;
    Ok(folder.to_owned())
}

/// The one entry of `folder` whose name has `part` in it.
fn single(folder: &Path, part: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().contains(part))
        })
        .with_context(|| format!("no {part} in {}", folder.display()))
}

/// Writes the machine's root: busybox, hull with an image, the kernel's modules, the checks.
fn fill(file: &Path, kernel: &Path, binary: &Path, checks: &[&(&str, &str)]) -> Result<()> {
    let mut archive = Archive::create(file)?;
    for folder in [
        "bin", "checks", "dev", "mnt", "modules", "proc", "run", "sys", "tmp", "var", "var/lib",
    ] {
        archive.folder(folder)?;
    }
    let busybox = crate::command::find("busybox").context("busybox-static is not installed")?;
    archive.file("bin/busybox", 0o755, &read(&busybox)?)?;
    archive.file("bin/hull", 0o755, &read(binary)?)?;
    archive.file("init", 0o755, include_bytes!("vm/init.sh"))?;
    for (at, (name, contents)) in module::load(&single(&kernel.join("lib/modules"), "")?)?
        .iter()
        .enumerate()
    {
        archive.file(&format!("modules/{at:02}-{name}.ko"), 0o644, contents)?;
    }
    for (name, script) in checks {
        archive.file(&format!("checks/{name}"), 0o644, script.as_bytes())?;
    }
    let host = Host::new(binary);
    let reference = host
        .provide("busybox", &Image::busybox())
        .context("docker-registry is not installed")?;
    archive.file("image", 0o644, reference.as_bytes())?;
    archive.tree(&host.data(), "var/lib/hull")?;
    archive.finish()
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("read {}", file.display()))
}

/// Boots, shows what the machine says, and returns how many checks passed.
fn boot(kernel: &Path, initramfs: &Path) -> Result<usize> {
    let mut machine = Command::new("timeout");
    machine
        .args([
            "--kill-after=5",
            LIMIT,
            "qemu-system-x86_64",
            "-accel",
            "tcg",
            "-cpu",
            "max",
        ])
        .args(["-smp", "2", "-m", "1536", "-nographic", "-no-reboot", "-nic", "none"])
        .arg("-kernel")
        .arg(single(kernel, "vmlinuz")?)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 quiet panic=-1"]);
    crate::command::announce(&machine);
    let mut machine = machine
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start QEMU")?;
    let console = machine.stdout.take().context("the machine's console")?;
    let (mut good, mut ended) = (0, false);
    for line in BufReader::new(console).split(b'\n') {
        let line = line.context("read the machine's console")?;
        let line = String::from_utf8_lossy(&line);
        good += usize::from(line.starts_with("CHECK ") && line.trim_end().ends_with(" ok"));
        ended |= line.trim_end() == "CHECKS ENDED";
        writeln!(std::io::stdout(), "{}", line.trim_end())?;
    }
    let status = machine.wait().context("wait for QEMU")?;
    if !status.success() || !ended {
        bail!("the machine did not come to its end: {status}");
    }
    Ok(good)
}
