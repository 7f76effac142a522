//! The one file that ships: static, position-independent, small.

use anyhow::{Context, Result, ensure};

/// The largest the release binary may be, in bytes.
const MAX: u64 = 12 << 20;

pub(crate) fn run() -> Result<()> {
    let binary = crate::workspace::build("release")?;
    let elf = hull_testkit::elf::read(&binary)?.with_context(|| format!("{} is no ELF program", binary.display()))?;
    ensure!(
        elf.interpreter.is_none(),
        "{} needs {:?}: it is not static",
        binary.display(),
        elf.interpreter
    );
    ensure!(
        elf.position_independent,
        "{} is not position-independent",
        binary.display()
    );
    let size = std::fs::metadata(&binary)?.len();
    ensure!(size <= MAX, "{} has {size} bytes; the limit is {MAX}", binary.display());
    println!(
        "{}: static-pie, {:.1} MB of at most {} MB",
        binary.display(),
        mb(size),
        MAX >> 20
    );
    Ok(())
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
