//! Why a container does not run, on its way from the monitor to the command.

use hull_spec::ErrorKind;

use crate::Error;

/// Why a container does not run, as its monitor told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What failed, on what and why.
    pub message: String,
    /// Which kind of failure.
    pub kind: ErrorKind,
    /// The container's exit code: 127 where its program is missing, 126 where it cannot be executed.
    pub exit_code: Option<i32>,
}

const KINDS: [ErrorKind; 8] = [
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::Invalid,
    ErrorKind::Denied,
    ErrorKind::Unavailable,
    ErrorKind::Unsupported,
    ErrorKind::Exhausted,
    ErrorKind::Internal,
];

impl Failure {
    pub(crate) fn of(error: &Error) -> Self {
        let exit_code = match error {
            Error::Runtime(e) => e.exit_code(),
            _ => None,
        };
        Self {
            message: chain(error),
            kind: error.kind(),
            exit_code,
        }
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let kind = KINDS.iter().position(|k| *k == self.kind).unwrap_or(KINDS.len() - 1);
        let mut out = vec![
            b'F',
            u8::try_from(kind).unwrap_or(7),
            u8::try_from(self.exit_code.unwrap_or(0)).unwrap_or(0),
        ];
        out.extend(self.message.bytes().take(8000));
        out
    }

    pub(crate) fn read(message: &[u8]) -> Self {
        let byte = |at: usize| message.get(at).copied().unwrap_or_default();
        Self {
            message: String::from_utf8_lossy(message.get(3..).unwrap_or_default()).into_owned(),
            kind: KINDS.get(usize::from(byte(1))).copied().unwrap_or(ErrorKind::Internal),
            exit_code: Some(i32::from(byte(2))).filter(|code| *code != 0),
        }
    }
}

/// An error and what caused it in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}
