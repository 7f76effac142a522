//! What can go wrong in the store.

use std::path::PathBuf;

use hull_spec::{Digest, ErrorKind};

/// The store's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the store: which act, on what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("cannot {act} `{}`", path.display())]
    Io {
        /// The act, as a verb.
        act: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The index refused a statement.
    #[error("cannot {act} in the image index")]
    Index {
        /// The act, as a verb with its object.
        act: &'static str,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// The index was written by a newer hull.
    #[error("the store at `{}` has layout version {found}, this hull knows versions up to {known}", root.display())]
    Newer {
        /// The store.
        root: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that is understood.
        known: i64,
    },
    /// A verb that writes was called on a store that was opened for reading.
    #[error("the store at `{}` is open for reading only", root.display())]
    ReadOnly {
        /// The store.
        root: PathBuf,
    },
    /// No image has this name or ID.
    #[error("No such image: {name}")]
    NoImage {
        /// As it was asked for.
        name: String,
    },
    /// Several images' IDs begin so.
    #[error("ambiguous image ID `{prefix}`: {count} images match")]
    Ambiguous {
        /// The digits given.
        prefix: String,
        /// How many images have them.
        count: usize,
    },
    /// A name or digest is malformed.
    #[error(transparent)]
    Name(#[from] hull_spec::Error),
    /// Docker's refusals to remove an image.
    #[error("conflict: {what}")]
    InUse {
        /// Docker's sentence.
        what: String,
    },
    /// The caller could not say what its containers use.
    #[error("cannot tell which images are in use")]
    Users {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A blob is not in the store.
    #[error("blob {digest} is not in the store")]
    NoBlob {
        /// The blob.
        digest: Digest,
    },
    /// A layer is not in the store.
    #[error("layer {chain} is not in the store")]
    NoLayer {
        /// Its chain ID.
        chain: Digest,
    },
    /// A blob's bytes are not those that its digest names.
    #[error("blob {expected} is not what its digest says: its bytes have {actual}")]
    BlobDigest {
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// A blob is longer or shorter than its descriptor says.
    #[error("blob {digest} should have {expected} bytes and has {}", if *actual > *expected { "more".to_owned() } else { actual.to_string() })]
    BlobSize {
        /// The blob.
        digest: Digest,
        /// Bytes promised.
        expected: u64,
        /// Bytes seen; one more than promised where there are more.
        actual: u64,
    },
    /// A blob is larger than its reader accepts.
    #[error("blob {digest} is larger than {limit} bytes")]
    BlobTooLarge {
        /// The blob.
        digest: Digest,
        /// The limit in bytes.
        limit: u64,
    },
    /// The uncompressed layer is not the one that the image config names.
    #[error("layer {blob} unpacks to {actual}, but the image config names {expected}")]
    DiffId {
        /// The compressed layer.
        blob: Digest,
        /// The diff ID of the image config.
        expected: Digest,
        /// What the layer's bytes have.
        actual: Digest,
    },
    /// The caller's source of bytes failed.
    #[error("cannot fetch blob {blob}")]
    Source {
        /// The blob.
        blob: Digest,
        /// The caller's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The media type names no layer that can be unpacked.
    #[error("layer {blob} has the unknown media type `{media_type}`")]
    MediaType {
        /// The blob.
        blob: Digest,
        /// What its descriptor says.
        media_type: String,
    },
    /// The compressed stream is damaged, though its digest is right.
    #[error("layer {blob} is not valid {format}")]
    Compression {
        /// The blob.
        blob: Digest,
        /// `gzip` or `zstd`.
        format: &'static str,
        /// What the decompressor found.
        source: std::io::Error,
    },
    /// The layer is no tar archive that can be unpacked safely.
    #[error("layer {blob} is malformed: {reason}{}", if entry.is_empty() { String::new() } else { format!(" (entry `{entry}`)") })]
    Archive {
        /// The compressed layer.
        blob: Digest,
        /// The entry, as its archive names it; empty before the first.
        entry: String,
        /// What is wrong.
        reason: String,
    },
    /// A system call failed on an entry.
    #[error("cannot {act} `{entry}` of layer {blob}")]
    Entry {
        /// The compressed layer.
        blob: Digest,
        /// The entry, as its archive names it.
        entry: String,
        /// The act, as a verb.
        act: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The layer holds more than the limits allow.
    #[error("layer {blob} holds more than {limit} {unit}")]
    TooLarge {
        /// The compressed layer.
        blob: Digest,
        /// The limit.
        limit: u64,
        /// `bytes` or `entries`.
        unit: &'static str,
    },
    /// Unpacking would fill the disk.
    #[error("layer {blob} does not fit: less than {reserve} bytes would stay free under `{}`", root.display())]
    NoSpace {
        /// The compressed layer.
        blob: Digest,
        /// Bytes that have to stay free.
        reserve: u64,
        /// The store.
        root: PathBuf,
    },
    /// A file belongs to a user or group that this user namespace cannot express.
    #[error("`{entry}` of layer {blob} belongs to {what} {id}, which is not mapped in this user namespace")]
    Unmapped {
        /// The compressed layer.
        blob: Digest,
        /// The entry.
        entry: String,
        /// `user` or `group`.
        what: &'static str,
        /// The ID.
        id: u32,
    },
    /// A name that means something else in a layer.
    #[error("`{}` cannot be in a layer: names that begin with `.wh.` stand for deleted files", path.display())]
    Reserved {
        /// The file.
        path: PathBuf,
    },
    /// A writable layer that overlayfs has filled in a way that no layer can hold.
    #[error("`{}` is only a reference to another layer's content", path.display())]
    Redirected {
        /// The file or directory.
        path: PathBuf,
    },
    /// Docker's refusal to replace a directory by something else, or the reverse.
    #[error("cannot overwrite {} \"{}\" with {} \"{}\"", what(*directory), path.display(), what(!*directory), with.display())]
    Overwrite {
        /// What is there.
        path: PathBuf,
        /// Whether that is a directory.
        directory: bool,
        /// Where the archive was to be unpacked.
        with: PathBuf,
    },
    /// An archive that was to be unpacked into a tree is malformed, or one entry of it.
    #[error("the archive cannot be unpacked: {reason}{}", if entry.is_empty() { String::new() } else { format!(" (entry `{entry}`)") })]
    Unpack {
        /// The entry, as the archive names it; empty before the first.
        entry: String,
        /// What is wrong.
        reason: String,
    },
    /// An archive of images is not what it should be.
    #[error("the image archive `{place}` is malformed: {reason}")]
    Malformed {
        /// The archive.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An archive of images is of a kind that is not read or written.
    #[error("cannot use the image archive `{place}`: {reason}")]
    Foreign {
        /// The archive.
        place: String,
        /// Why.
        reason: String,
    },
    /// What an image was to be recorded from contradicts itself.
    #[error("image {id} is inconsistent: {reason}")]
    Image {
        /// The image ID.
        id: Digest,
        /// What does not fit.
        reason: String,
    },
}

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } | Self::Entry { source, .. } => io_kind(source),
            Self::Index { source, .. } => index_kind(source),
            Self::Newer { .. } => ErrorKind::Unsupported,
            Self::ReadOnly { .. } => ErrorKind::Internal,
            Self::NoImage { .. } | Self::NoBlob { .. } | Self::NoLayer { .. } => ErrorKind::NotFound,
            Self::InUse { .. } => ErrorKind::Conflict,
            Self::Users { .. } => ErrorKind::Internal,
            Self::Source { .. } => ErrorKind::Unavailable,
            Self::TooLarge { .. } | Self::NoSpace { .. } => ErrorKind::Exhausted,
            Self::Unmapped { .. } => ErrorKind::Denied,
            Self::MediaType { .. } | Self::Redirected { .. } | Self::Foreign { .. } => ErrorKind::Unsupported,
            Self::Name(error) => error.kind(),
            Self::Ambiguous { .. }
            | Self::BlobDigest { .. }
            | Self::BlobSize { .. }
            | Self::BlobTooLarge { .. }
            | Self::DiffId { .. }
            | Self::Compression { .. }
            | Self::Archive { .. }
            | Self::Unpack { .. }
            | Self::Reserved { .. }
            | Self::Overwrite { .. }
            | Self::Malformed { .. }
            | Self::Image { .. } => ErrorKind::Invalid,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Newer { .. } => "use the newer hull that wrote it, or another `--root`".to_owned(),
            Self::NoSpace { .. } => "free space on that file system, or choose another `--root`".to_owned(),
            Self::Io { source, .. } | Self::Entry { source, .. } if io_kind(source) == ErrorKind::Exhausted => {
                "free space on the store's file system, or choose another `--root`".to_owned()
            }
            Self::Unmapped { id, what, .. } => format!(
                "extend your range in /etc/sub{}id so that it holds more than {id} IDs",
                if *what == "group" { "g" } else { "u" }
            ),
            _ => return None,
        })
    }

    /// Whether the disk is full.
    pub(crate) fn is_no_space(&self) -> bool {
        self.kind() == ErrorKind::Exhausted && !matches!(self, Self::TooLarge { .. })
    }
}

fn io_kind(error: &std::io::Error) -> ErrorKind {
    match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded | std::io::ErrorKind::OutOfMemory => {
            ErrorKind::Exhausted
        }
        _ => ErrorKind::Internal,
    }
}

fn index_kind(error: &rusqlite::Error) -> ErrorKind {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => ErrorKind::Exhausted,
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => ErrorKind::Unavailable,
        Some(rusqlite::ErrorCode::PermissionDenied | rusqlite::ErrorCode::ReadOnly) => ErrorKind::Denied,
        _ => ErrorKind::Internal,
    }
}

fn what(directory: bool) -> &'static str {
    if directory { "directory" } else { "non-directory" }
}

impl Error {
    /// A failed system call on a path that is bytes.
    pub(crate) fn from_errno(act: &'static str, path: &[u8], errno: rustix::io::Errno) -> Self {
        use std::os::unix::ffi::OsStrExt;
        Self::Io {
            act,
            path: std::ffi::OsStr::from_bytes(path).into(),
            source: errno.into(),
        }
    }
}

/// Names the act and the path of a failed system call.
pub(crate) trait At<T> {
    /// Says that `act` on `path` failed.
    fn at(self, act: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> At<T> for Result<T, E> {
    fn at(self, act: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::Io {
            act,
            path: path.into(),
            source: source.into(),
        })
    }
}
