//! Why something failed, in the few kinds that a caller can act on.

/// The kind of a failure. `cli` maps it to an exit code and `api` to an HTTP status, each in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The thing named does not exist (HTTP 404).
    NotFound,
    /// It exists already, is in use, or is in the wrong state (HTTP 409).
    Conflict,
    /// What was given is malformed or contradicts itself (HTTP 400).
    Invalid,
    /// Credentials or privileges are missing (HTTP 401 or 403).
    Denied,
    /// A peer did not answer, or not now (HTTP 503).
    Unavailable,
    /// This host or this version cannot do it (HTTP 501).
    Unsupported,
    /// A limit was reached: disk, memory, addresses, processes (HTTP 507).
    Exhausted,
    /// A defect, or a state that should not be (HTTP 500).
    Internal,
}

/// What can be wrong with a name that a person or a stranger gave.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A reference does not follow `[registry/]repository[:tag][@digest]`.
    #[error("invalid reference format: `{reference}`: {reason}")]
    Reference {
        /// The text as given.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A repository's name has letters in upper case, in Docker's words.
    #[error("invalid reference format: repository name ({repository}) must be lowercase")]
    Uppercase {
        /// The repository, in full.
        repository: String,
    },
    /// A digest does not follow `algorithm:hex`.
    #[error("invalid digest `{digest}`: {reason}")]
    Digest {
        /// The text as given.
        digest: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A manifest or an index is malformed, or is two things at once.
    #[error("the document is malformed: {reason}")]
    Document {
        /// What is wrong with it.
        reason: String,
    },
    /// A platform does not follow `os[/architecture[/variant]]`.
    #[error("invalid platform `{platform}`: {reason}")]
    Platform {
        /// The text as given.
        platform: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Error {
    /// Every failure of this crate is a malformed value.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}
