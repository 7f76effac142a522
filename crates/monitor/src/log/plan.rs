//! What becomes of a container's output: plain data, which one monitor can hand to the next.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What becomes of the output beside being shown to clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogPlan {
    /// The files that `logs` reads, where there are any.
    pub file: Option<LogFile>,
    /// Another program that gets every line, where there is one.
    pub target: Option<LogTarget>,
    /// `mode=non-blocking`: the container never waits for whoever takes its output. So many bytes may wait for a slow
    /// target or a full disk; what comes on top is lost.
    pub buffer: Option<usize>,
    /// A file that keeps lines whose end has not come yet, so that they outlive a monitor. It belongs to this run.
    pub unfinished: Option<PathBuf>,
}

/// Files of a bounded size: `PATH`, and `PATH.1`, `PATH.2` and so on, which are older.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// The newest file.
    pub path: PathBuf,
    /// How entries are written.
    pub form: LogForm,
    /// Bytes of one file; `None` for no limit.
    pub max_size: Option<u64>,
    /// Files in all, at least 1.
    pub max_files: u32,
    /// Whether the older ones are compressed.
    pub compress: bool,
    /// What is added to every entry (only in the form of `json-file`).
    pub attributes: BTreeMap<String, String>,
}

/// The form of a log's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogForm {
    /// Docker's `json-file`, compressed with gzip.
    JsonFile,
    /// `local`: a line of stream, time and raw text, compressed with zstd.
    Local,
}

impl LogForm {
    /// What compressed files' names end with.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::JsonFile => ".gz",
            Self::Local => ".zst",
        }
    }
}

/// Another program that takes the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogTarget {
    /// systemd's journal.
    Journald(JournaldPlan),
    /// A syslog server.
    Syslog(SyslogPlan),
}

/// How entries go to the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournaldPlan {
    /// The journal's socket.
    pub socket: PathBuf,
    /// Fields of every entry.
    pub fields: Vec<(String, String)>,
}

/// How entries go to a syslog server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyslogPlan {
    /// Where it listens; tried in turn.
    pub addresses: Vec<SyslogAddress>,
    /// The number of the facility, 0 to 23.
    pub facility: u8,
    /// How a message looks.
    pub format: SyslogFormat,
    /// Who logs.
    pub tag: String,
    /// The host's name.
    pub hostname: String,
}

/// Where a syslog server listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogAddress {
    /// Datagrams on a socket of the file system.
    Unixgram(PathBuf),
    /// A stream on a socket of the file system.
    Unix(PathBuf),
    /// UDP.
    Udp(SocketAddr),
    /// TCP.
    Tcp(SocketAddr),
}

/// How a syslog message looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogFormat {
    /// As local programs write it: no host name.
    Local,
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424, times with seconds.
    Rfc5424,
    /// RFC 5424, times with microseconds.
    Rfc5424Micro,
}
