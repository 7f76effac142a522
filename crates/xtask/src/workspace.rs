//! Where things are in the source tree and in cargo's target folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

/// The folder of the workspace's Cargo.toml.
pub(crate) fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own)
}

/// What cargo says of the workspace, without its dependencies' dependencies.
pub(crate) fn metadata() -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.exec().context("run cargo metadata")
}

/// The target folder.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(metadata()?.target_directory.into_std_path_buf())
}

/// Builds the package `hull-cli` in `profile` (`dev` or `release`) and returns the path of the binary.
pub(crate) fn build(profile: &str) -> Result<PathBuf> {
    let mut command = crate::command::cargo();
    command.args([
        "build",
        "--package",
        "hull-cli",
        "--profile",
        profile,
        "--message-format",
        "json-render-diagnostics",
    ]);
    crate::command::announce(&command);
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("run cargo build")?;
    anyhow::ensure!(output.status.success(), "cargo build: {}", output.status);
    let messages = cargo_metadata::Message::parse_stream(output.stdout.as_slice());
    let executables = messages.filter_map(|message| match message {
        Ok(cargo_metadata::Message::CompilerArtifact(artifact)) if artifact.target.name == "hull" => {
            artifact.executable
        }
        _ => None,
    });
    executables
        .last()
        .map(cargo_metadata::camino::Utf8PathBuf::into_std_path_buf)
        .context("cargo built no hull")
}
