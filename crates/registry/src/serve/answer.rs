//! Answers, and refusals in the words of the specification ("Error Codes").

use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::content::Content;
use super::storage::Fault;

/// An answer.
pub(super) type Answer = Response<Content>;

/// An answer, or why there is none.
pub(super) type Outcome = Result<Answer, Refusal>;

/// A request that is refused: status, code and words.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// 400 with one of the codes for malformed input.
    pub(super) fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }

    pub(super) fn blob_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry")
    }

    pub(super) fn manifest_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")
    }

    pub(super) fn name_unknown() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            "repository name not known to registry",
        )
    }

    pub(super) fn upload_unknown() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "BLOB_UPLOAD_UNKNOWN",
            "blob upload unknown to registry",
        )
    }

    /// The answer. A refused request's body may still be on its way: it is not read.
    pub(super) fn answer(self) -> Answer {
        let body = serde_json::json!({"errors": [{"code": self.code, "message": self.message}]}).to_string();
        let mut answer = whole(self.status, "application/json", body.into());
        for (name, value) in self.headers {
            set(&mut answer, name, &value);
        }
        answer
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Quota(message) => Self::new(StatusCode::FORBIDDEN, "DENIED", message),
            Fault::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "UNKNOWN",
                "no space is left on the registry's disk",
            ),
            Fault::Io(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "UNKNOWN",
                "the registry's storage failed",
            ),
        }
    }
}

/// An answer with its whole body.
pub(super) fn whole(status: StatusCode, media_type: &str, body: Bytes) -> Answer {
    let mut answer = Response::new(Content::Bytes(body.clone()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    set(&mut answer, CONTENT_TYPE, media_type);
    answer
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Content::Empty);
    *answer.status_mut() = status;
    if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
    }
    answer
}

/// Sets a header. A value that no header can have is left out: all values here are checked names, digests and numbers.
pub(super) fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// Header names that are the registry protocol's own.
pub(super) mod header {
    use hyper::header::HeaderName;

    pub(in super::super) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
    pub(in super::super) const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
    pub(in super::super) const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");
    pub(in super::super) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
    pub(in super::super) const TAG: HeaderName = HeaderName::from_static("oci-tag");
    pub(in super::super) const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
}
