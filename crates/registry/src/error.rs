//! What can go wrong between a registry and the store.

use std::path::PathBuf;

use hull_spec::{Digest, ErrorKind, Platform};

/// A failure of this crate. URLs are shown without the values of their queries, which can be signatures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry knows no such tag or digest.
    #[error("manifest for {reference} not found: {detail}")]
    ManifestUnknown {
        /// The image as people write it.
        reference: String,
        /// The registry's code and message.
        detail: String,
    },
    /// The registry knows no such repository.
    #[error("repository {name} not found: {detail}")]
    RepositoryUnknown {
        /// The repository as people write it.
        name: String,
        /// The registry's code and message.
        detail: String,
    },
    /// The registry hides the repository, or it does not exist: many do not say which.
    #[error("pull access denied for {name}, repository does not exist or may require 'docker login': {detail}")]
    AccessDenied {
        /// The repository as people write it.
        name: String,
        /// The registry's code and message.
        detail: String,
    },
    /// The registry does not take what is pushed to it.
    #[error("push access denied for {name}: {detail}")]
    PushDenied {
        /// The repository as people write it.
        name: String,
        /// The registry's code and message.
        detail: String,
    },
    /// The registry deletes nothing.
    #[error("the registry {registry} deletes nothing: {detail}")]
    NoDeletion {
        /// The registry.
        registry: String,
        /// Its code and message.
        detail: String,
    },
    /// A blob could not be read where it comes from.
    #[error("cannot read blob {digest}")]
    Read {
        /// The blob.
        digest: Digest,
        /// Why.
        source: std::io::Error,
    },
    /// An image cannot have the form that it would need.
    #[error("{name} is not converted: {reason}")]
    Conversion {
        /// The image.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A place cannot be used, or not for this.
    #[error("cannot use {place}: {reason}")]
    Place {
        /// The place.
        place: String,
        /// Why not.
        reason: String,
    },
    /// What a compressed layer was said to be is not what it is now. Never leaves this crate.
    #[error("the layer is compressed to something else than before")]
    Forgotten,
    /// A manifest list is there, and was not to be changed.
    #[error("refusing to amend an existing manifest list with no --amend flag")]
    ListExists,
    /// What was to go into a list is one.
    #[error("{name} is a manifest list")]
    IsList {
        /// The image.
        name: String,
    },
    /// A list has no such image.
    #[error("manifest for image {image} does not exist in {list}")]
    NotListed {
        /// The image.
        image: String,
        /// The list.
        list: String,
    },
    /// There is no such list to push.
    #[error("{name} not found")]
    NoList {
        /// The list.
        name: String,
    },
    /// There is no such list.
    #[error("No such manifest: {name}")]
    NoManifest {
        /// The list.
        name: String,
    },
    /// An image has no such platform in the store.
    #[error("{platform} of {name} is not in the store")]
    Absent {
        /// The image.
        name: String,
        /// The platform, or the manifest's digest.
        platform: String,
    },
    /// An answer that is neither what was asked for nor one of the above.
    #[error("{method} {url} answered {status}: {detail}")]
    Status {
        /// HTTP method.
        method: &'static str,
        /// Redacted URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// The registry's code and message, or the status' own words.
        detail: String,
        /// Seconds that the server asked to wait (`Retry-After`).
        retry_after: Option<u64>,
    },
    /// The registry could not be talked to.
    #[error("cannot {method} {url}")]
    Transport {
        /// HTTP method.
        method: &'static str,
        /// Redacted URL.
        url: String,
        /// Why.
        source: Cause,
    },
    /// The body of an answer ended or stalled before it was whole.
    #[error("the answer to {method} {url} broke off after {received} bytes")]
    Truncated {
        /// HTTP method.
        method: &'static str,
        /// Redacted URL.
        url: String,
        /// Bytes that arrived.
        received: u64,
        /// Why, where the connection said.
        source: Option<std::io::Error>,
    },
    /// A document is larger than any honest one.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What was to be read.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Content is not what its digest says.
    #[error("{what} has the digest {actual}, not {expected}")]
    DigestMismatch {
        /// What was read.
        what: String,
        /// The digest it was asked for by.
        expected: String,
        /// The digest of what came.
        actual: Digest,
    },
    /// Content has not the size that was promised.
    #[error("blob {digest} has {actual} bytes, not {expected}")]
    SizeMismatch {
        /// The blob.
        digest: Digest,
        /// Bytes promised by its descriptor.
        expected: u64,
        /// Bytes that the server offers.
        actual: u64,
    },
    /// A manifest, index or config breaks its own rules, or is two things at once (CVE-2021-41190).
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// Which document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A document is no JSON of its kind.
    #[error("cannot parse {what}")]
    Json {
        /// Which document.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The image is in Docker's first manifest format, which has no content digests of its layers.
    #[error("{reference} is in the retired format \"Docker image manifest version 2, schema 1\"")]
    Schema1 {
        /// The image.
        reference: String,
    },
    /// The manifest describes something other than an image: a chart, a signature, an encrypted layer.
    #[error("{reference} cannot be run: encountered remote \"{media_type}\"(unknown) when fetching")]
    NotAnImage {
        /// The image.
        reference: String,
        /// The media type that is none of an image.
        media_type: String,
    },
    /// The index has nothing for the platform.
    #[error("no matching manifest for {wanted} in the manifest list entries of {reference}")]
    NoPlatform {
        /// The image.
        reference: String,
        /// What was wanted.
        wanted: Box<Platform>,
        /// What there is.
        offered: Vec<String>,
    },
    /// The image is for another platform than the one asked for.
    #[error(
        "image with reference {reference} was found but does not match the specified platform: wanted {wanted}, actual: {actual}"
    )]
    PlatformMismatch {
        /// The image.
        reference: String,
        /// What was wanted.
        wanted: Box<Platform>,
        /// What it is for.
        actual: Box<Platform>,
    },
    /// A redirect that must not or cannot be followed.
    #[error("{url} redirects to `{location}`, which is refused: {reason}")]
    Redirect {
        /// Redacted URL.
        url: String,
        /// Where to, without its query.
        location: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// The registry names a token server that must not see credentials (CVE-2020-15157).
    #[error("registry {registry} names the token server `{realm}`, which is refused: {reason}")]
    Realm {
        /// The registry.
        registry: String,
        /// What it named.
        realm: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// The token server answers, but gives no token.
    #[error("{url} gave no token: {reason}")]
    Token {
        /// Redacted URL.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The credentials file cannot be used.
    #[error("cannot read the credentials in `{path}`: {reason}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A credential helper failed.
    #[error("credential helper `{helper}` failed: {reason}")]
    Helper {
        /// The program.
        helper: String,
        /// What it said.
        reason: String,
    },
    /// The settings file cannot be used.
    #[error("invalid configuration in `{path}`: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificates or keys for TLS cannot be used.
    #[error("cannot use the certificates in `{path}`: {reason}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A system call on a registry server's storage failed.
    #[error("cannot {act} `{}`", path.display())]
    Storage {
        /// The act, as a verb.
        act: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Another server has the storage.
    #[error("another server uses the storage `{}`", root.display())]
    Serving {
        /// The storage.
        root: PathBuf,
    },
    /// A registry server cannot use the network.
    #[error("cannot {act}")]
    Network {
        /// The act, as a verb with its object.
        act: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A name does not follow the grammar of references.
    #[error(transparent)]
    Reference(#[from] hull_spec::Error),
    /// The store refused what arrived, or could not keep it.
    #[error(transparent)]
    Store(#[from] hull_store::Error),
    /// Another part of the same work failed first.
    #[error("cancelled")]
    Cancelled,
}

/// Why a registry could not be talked to, in the words of whoever found out: the system, TLS, or HTTP.
#[derive(Debug)]
pub struct Cause(Box<ureq::Error>);

impl From<ureq::Error> for Cause {
    fn from(err: ureq::Error) -> Self {
        Self(Box::new(err))
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_ref() {
            ureq::Error::Io(err) => write!(f, "{err}"),
            ureq::Error::Other(err) => write!(f, "{err}"),
            err => write!(f, "{err}"),
        }
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.0.as_ref() {
            ureq::Error::Other(err) => err.source(),
            _ => None,
        }
    }
}

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ManifestUnknown { .. } | Self::RepositoryUnknown { .. } | Self::NoPlatform { .. } => {
                ErrorKind::NotFound
            }
            Self::Absent { .. } | Self::NotListed { .. } | Self::NoList { .. } | Self::NoManifest { .. } => {
                ErrorKind::NotFound
            }
            Self::ListExists => ErrorKind::Conflict,
            Self::IsList { .. } => ErrorKind::Invalid,
            Self::AccessDenied { .. } | Self::PushDenied { .. } | Self::Realm { .. } => ErrorKind::Denied,
            Self::Status { status, .. } => match status {
                401 | 403 | 407 => ErrorKind::Denied,
                404 | 410 => ErrorKind::NotFound,
                _ => ErrorKind::Unavailable,
            },
            Self::Read { .. } | Self::Forgotten => ErrorKind::Internal,
            Self::Place { .. } | Self::Conversion { .. } => ErrorKind::Invalid,
            Self::NoDeletion { .. } => ErrorKind::Unsupported,
            Self::Transport { .. } | Self::Truncated { .. } | Self::Token { .. } | Self::Cancelled => {
                ErrorKind::Unavailable
            }
            Self::TooLarge { .. }
            | Self::DigestMismatch { .. }
            | Self::SizeMismatch { .. }
            | Self::Malformed { .. }
            | Self::Json { .. }
            | Self::Redirect { .. }
            | Self::Credentials { .. }
            | Self::Helper { .. }
            | Self::Config { .. }
            | Self::Certificates { .. }
            | Self::Reference(_) => ErrorKind::Invalid,
            Self::PlatformMismatch { .. } => ErrorKind::NotFound,
            Self::Schema1 { .. } | Self::NotAnImage { .. } => ErrorKind::Unsupported,
            Self::Serving { .. } => ErrorKind::Conflict,
            Self::Storage { source, .. } | Self::Network { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
                std::io::ErrorKind::AddrInUse => ErrorKind::Conflict,
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
                _ => ErrorKind::Internal,
            },
            Self::Store(err) => err.kind(),
        }
    }

    /// What the person can do next, one sentence each.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::PushDenied { .. } => {
                vec!["log in with `docker login` as somebody who may push there".to_owned()]
            }
            Self::Absent { .. } => vec!["pull it with --platform first".to_owned()],
            Self::AccessDenied { .. } => {
                vec!["log in with `docker login`, or check the spelling of the repository".to_owned()]
            }
            Self::Status {
                status: 429,
                retry_after,
                ..
            } => vec![match retry_after {
                Some(seconds) => format!("the registry limits how often it is asked: try again in {seconds} s"),
                None => "the registry limits how often it is asked: log in for a higher limit, or name a mirror in \
                         /etc/hull/config.toml"
                    .to_owned(),
            }],
            Self::Transport { source, url, .. } => transport_hints(&source.0, url),
            Self::NoPlatform { offered, .. } if !offered.is_empty() => {
                vec![format!("it is there for {}: see --platform", offered.join(", "))]
            }
            Self::Schema1 { .. } => vec!["push the image again with a current Docker, then pull it".to_owned()],
            Self::Realm { .. } => vec!["credentials are never sent over plain http to another host".to_owned()],
            Self::Store(err) => err.hint().into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Seconds that the server asked to wait.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether nothing listens where it was tried to connect, or nobody says where that is.
    pub(crate) fn is_refused(&self) -> bool {
        match self {
            Self::Transport { source, .. } => match source.0.as_ref() {
                ureq::Error::Io(err) => err.kind() == std::io::ErrorKind::ConnectionRefused,
                ureq::Error::Other(_) => true,
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether the peer speaks TLS, but with a certificate that is not trusted.
    pub(crate) fn is_distrust(&self) -> bool {
        matches!(self, Self::Transport { source, .. } if is_certificate(&source.0))
    }

    /// Whether the same request may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => is_transient(*status),
            Self::Truncated { .. } => true,
            Self::Transport { source, .. } => match source.0.as_ref() {
                // What is no TLS, or TLS with a stranger, will be the same next time.
                ureq::Error::Io(err) => err.kind() != std::io::ErrorKind::InvalidData,
                // The name servers are silent: nothing else is reported so.
                ureq::Error::Other(_) => true,
                ureq::Error::Timeout(_) | ureq::Error::Protocol(_) | ureq::Error::ConnectionFailed => true,
                _ => false,
            },
            _ => false,
        }
    }
}

/// Whether an answer with this status says "not now".
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Whether TLS broke off because of the peer's certificate. rustls' error is told from others by its text alone.
fn is_certificate(err: &ureq::Error) -> bool {
    match err {
        ureq::Error::Io(err) => {
            err.kind() == std::io::ErrorKind::InvalidData && err.to_string().contains("certificate")
        }
        ureq::Error::Rustls(err) => err.to_string().contains("certificate"),
        _ => false,
    }
}

fn transport_hints(source: &ureq::Error, url: &str) -> Vec<String> {
    let host = url.split('/').nth(2).unwrap_or(url);
    match source {
        ureq::Error::Other(_) => vec!["check the name servers in /etc/resolv.conf".to_owned()],
        ureq::Error::HostNotFound => vec![format!(
            "check that `{host}` is spelt right and that names are resolved here"
        )],
        ureq::Error::Io(err) if err.kind() == std::io::ErrorKind::ConnectionRefused => {
            vec![format!("nothing listens at `{host}`")]
        }
        err if is_certificate(err) => vec![format!(
            "put the registry's CA into /etc/hull/certs.d/{host}/ca.crt, or name it insecure in /etc/hull/config.toml"
        )],
        _ => Vec::new(),
    }
}
