//! `RUN`.

use super::flag::Flags;
use super::mount::{self, Device, MountFlag};
use super::{CommandLine, Form, with_shell};
use crate::error::{Located, Problem};
use crate::heredoc::{self, Heredoc};

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What is run.
    pub command: CommandLine,
    /// Its here-documents.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`.
    pub mounts: Vec<MountFlag>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
    /// `--device`.
    pub devices: Vec<Device>,
}

/// `RUN --network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// The build's.
    #[default]
    Default,
    /// None.
    None,
    /// The host's.
    Host,
}

/// `RUN --security`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// As a container.
    #[default]
    Sandbox,
    /// With all rights; the build has to be allowed to.
    Insecure,
}

/// What a `RUN` executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// The script that the first argument is, where it stands in the Dockerfile and names its own interpreter.
    pub script: Option<InlineScript>,
}

/// A script that has to be there, read-only and executable, while the step runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineScript {
    /// Where.
    pub path: String,
    /// What is in it.
    pub data: String,
}

/// Where inline scripts are mounted.
const SCRIPTS: &str = "/dev/pipes";

impl Run {
    /// What is executed, given the shell and its options.
    ///
    /// A single here-document is a script: of the interpreter that its first line names, or of the shell. Of several, or
    /// with other words on the line, the shell sees the text as it stands in the file.
    #[must_use]
    pub fn program(&self, shell: &[String]) -> Program {
        let plain = |arguments| Program {
            arguments,
            script: None,
        };
        let (Form::Shell, [word], Some(first)) =
            (self.command.form, self.command.words.as_slice(), self.heredocs.first())
        else {
            return plain(self.command.arguments(shell));
        };
        if heredoc::read(&word.text).ok().flatten().is_none() {
            let mut text = word.text.clone();
            for doc in &self.heredocs {
                text.push('\n');
                text.push_str(&doc.content);
                text.push_str(&doc.name);
            }
            return plain(with_shell(shell, text));
        }
        let data = first.text();
        if !data.starts_with("#!") {
            return plain(with_shell(shell, data));
        }
        // The name is the file's, but a name that is a path would lead elsewhere.
        let name = match first.name.as_str() {
            "." | ".." => "script",
            name if name.contains('/') => "script",
            name => name,
        };
        let path = format!("{SCRIPTS}/{name}");
        Program {
            arguments: with_shell(shell, path.clone()),
            script: Some(InlineScript { path, data }),
        }
    }
}

/// Reads the command and the flags.
pub(crate) fn read(command: CommandLine, heredocs: Vec<Heredoc>, flags: &Flags<'_>) -> Result<Run, Located> {
    let mounts = flags.list("mount").iter().map(mount::split).collect::<Result<_, _>>()?;
    let network = match flags.given("network") {
        None => Network::Default,
        Some(word) => match word.text.as_str() {
            "default" => Network::Default,
            "none" => Network::None,
            "host" => Network::Host,
            mode => return Err((Problem::Network { mode: mode.to_owned() }, word.span)),
        },
    };
    let security = match flags.given("security") {
        None => Security::Sandbox,
        Some(word) => match word.text.as_str() {
            "sandbox" => Security::Sandbox,
            "insecure" => Security::Insecure,
            mode => return Err((Problem::Security { mode: mode.to_owned() }, word.span)),
        },
    };
    Ok(Run {
        command,
        heredocs,
        mounts,
        network,
        security,
        devices: flags
            .list("device")
            .iter()
            .map(mount::device)
            .collect::<Result<_, _>>()?,
    })
}
