//! Answers that are refusals: the registry's own code and message, in Docker's words.

use hull_spec::Reference;
use serde::Deserialize;

use crate::Error;
use crate::retry::after;
use crate::transport::Response;

/// The most of an error's body that is read, in bytes.
const BODY_MAX: u64 = 64 << 10;

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    errors: Vec<Entry>,
    /// Token servers and some registries answer with these instead.
    details: Option<String>,
    message: Option<String>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The error that `response` stands for. Its body is read as far as is useful.
pub(crate) fn status(response: Response) -> Error {
    let retry_after = response
        .header("retry-after")
        .and_then(|value| after(value, std::time::SystemTime::now()));
    let (method, url, status) = (response.method, response.url.redacted(), response.status);
    let mut bytes = Vec::new();
    // What cannot be read is left out: the status says enough.
    let _ = std::io::Read::read_to_end(&mut std::io::Read::take(response.body, BODY_MAX), &mut bytes);
    Error::Status {
        method,
        url,
        status,
        detail: detail(status, &bytes),
        retry_after,
    }
}

/// `code: message` as Docker prints it, or the status' own words.
fn detail(status: u16, body: &[u8]) -> String {
    let words = || {
        ureq::http::StatusCode::from_u16(status)
            .ok()
            .and_then(|s| s.canonical_reason())
            .unwrap_or("no reason given")
            .to_lowercase()
    };
    let Ok(body) = serde_json::from_slice::<Body>(body) else {
        return words();
    };
    let text = match body.errors.first() {
        Some(entry) if !entry.code.is_empty() => {
            let code = entry.code.to_lowercase().replace('_', " ");
            if entry.message.is_empty() {
                code
            } else {
                format!("{code}: {}", entry.message)
            }
        }
        Some(entry) if !entry.message.is_empty() => entry.message.clone(),
        _ => match (body.details, body.message, body.error) {
            (Some(text), ..) | (None, Some(text), _) | (None, None, Some(serde_json::Value::String(text))) => text,
            _ => words(),
        },
    };
    printable(&text)
}

/// A stranger's text for a terminal: one line, no control characters, not too long.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(500)
        .collect()
}

/// Turns a refusal of a manifest into what Docker says about it.
pub(crate) fn of_manifest(err: Error, reference: &Reference) -> Error {
    let Error::Status { status, ref detail, .. } = err else {
        return err;
    };
    let detail = detail.clone();
    match status {
        401 | 403 => Error::AccessDenied {
            name: reference.familiar_name(),
            detail,
        },
        404 if detail.starts_with("name unknown") => Error::RepositoryUnknown {
            name: reference.familiar_name(),
            detail,
        },
        404 if detail.starts_with("denied") || detail.starts_with("unauthorized") => Error::AccessDenied {
            name: reference.familiar_name(),
            detail,
        },
        404 => Error::ManifestUnknown {
            reference: reference.familiar(),
            detail: if detail.starts_with("manifest unknown") {
                detail
            } else {
                format!("manifest unknown: {detail}")
            },
        },
        _ => err,
    }
}

/// Turns a refusal of a push into what Docker says about it.
pub(crate) fn of_push(err: Error, reference: &Reference) -> Error {
    let Error::Status { status, ref detail, .. } = err else {
        return err;
    };
    let (name, detail) = (reference.familiar_name(), detail.clone());
    match status {
        401 | 403 => Error::PushDenied { name, detail },
        404 if detail.starts_with("name unknown") => Error::RepositoryUnknown { name, detail },
        _ => err,
    }
}

/// Turns a refusal to list a repository into words.
pub(crate) fn of_repository(err: Error, reference: &Reference) -> Error {
    let Error::Status { status, ref detail, .. } = err else {
        return err;
    };
    let (name, detail) = (reference.familiar_name(), detail.clone());
    match status {
        401 | 403 => Error::AccessDenied { name, detail },
        404 => Error::RepositoryUnknown { name, detail },
        _ => err,
    }
}

/// What a refusal says.
pub(crate) fn text(err: Error) -> String {
    match err {
        Error::Status { detail, .. } => detail,
        err => err.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_docker_s_words() {
        let check = |status: u16, body: &str, expected: &str| {
            assert_eq!(detail(status, body.as_bytes()), expected, "{body}");
        };
        check(
            404,
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#,
            "manifest unknown: manifest unknown",
        );
        check(429, r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#, "toomanyrequests");
        check(
            401,
            r#"{"details":"incorrect username or password"}"#,
            "incorrect username or password",
        );
        check(400, r#"{"error":"invalid_grant"}"#, "invalid_grant");
        check(503, "<html>", "service unavailable");
        check(404, r#"{"errors":[]}"#, "not found");
        check(
            404,
            r#"{"errors":[{"message":"\u001b[31mred\nline"}]}"#,
            " [31mred line",
        );
    }

    #[test]
    fn refusals_of_manifests_read_as_docker_s() {
        let reference: Reference = "me/app:1".parse().unwrap();
        let check = |status: u16, detail: &str, expected: &str| {
            let err = Error::Status {
                method: "GET",
                url: "https://r/v2/".to_owned(),
                status,
                detail: detail.to_owned(),
                retry_after: None,
            };
            assert_eq!(of_manifest(err, &reference).to_string(), expected);
        };
        check(
            404,
            "manifest unknown: x",
            "manifest for me/app:1 not found: manifest unknown: x",
        );
        check(
            404,
            "not found",
            "manifest for me/app:1 not found: manifest unknown: not found",
        );
        check(404, "name unknown: y", "repository me/app not found: name unknown: y");
        check(
            401,
            "unauthorized: z",
            "pull access denied for me/app, repository does not exist or may require 'docker login': unauthorized: z",
        );
        check(500, "boom", "GET https://r/v2/ answered 500: boom");
    }
}
