//! What a request's path and query ask for (OCI distribution spec, "Endpoints"). Whatever is not one of these is 404.

use hull_spec::{Digest, Reference};

/// A repository's name, checked: it is safe as a relative path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name(String);

/// A tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Tag(String),
    Digest(Digest),
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/` (end-1)
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/metrics`
    Metrics,
    /// `/v2/NAME/tags/list` (end-8)
    Tags(Name),
    /// `/v2/NAME/manifests/WHICH` (end-3, end-7, end-9)
    Manifest(Name, Which),
    /// `/v2/NAME/blobs/DIGEST` (end-2, end-10)
    Blob(Name, Digest),
    /// `/v2/NAME/blobs/uploads/` (end-4, end-11)
    Uploads(Name),
    /// `/v2/NAME/blobs/uploads/ID` (end-5, end-6, end-13, end-14)
    Upload(Name, String),
    /// `/v2/NAME/referrers/DIGEST` (end-12)
    Referrers(Name, Digest),
}

/// Why a path leads nowhere, with the code of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Astray {
    Nowhere,
    Name,
    Digest,
    Tag,
}

impl Name {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Reference::is_repository(text).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Which {
    pub(super) fn parse(text: &str) -> Result<Self, Astray> {
        if text.contains(':') {
            return text.parse().map(Self::Digest).map_err(|_| Astray::Digest);
        }
        if Reference::is_tag(text) {
            return Ok(Self::Tag(text.to_owned()));
        }
        Err(Astray::Tag)
    }
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => f.write_str(digest.as_str()),
        }
    }
}

impl Route {
    /// Reads a path as it was sent. Names may hold the words that separate them from what follows (`a/blobs/b`), so it
    /// is read from its end.
    pub(super) fn parse(path: &str) -> Result<Self, Astray> {
        let path = decode(path, false).ok_or(Astray::Nowhere)?;
        let rest = match path.as_str() {
            "/v2" | "/v2/" => return Ok(Self::Base),
            "/metrics" => return Ok(Self::Metrics),
            "/v2/_catalog" => return Ok(Self::Catalog),
            path => path.strip_prefix("/v2/").ok_or(Astray::Nowhere)?,
        };
        let name = |text: &str| Name::parse(text).ok_or(Astray::Name);
        if let Some(at) = rest
            .strip_suffix("/blobs/uploads/")
            .or(rest.strip_suffix("/blobs/uploads"))
        {
            return Ok(Self::Uploads(name(at)?));
        }
        let (head, last) = rest.rsplit_once('/').ok_or(Astray::Nowhere)?;
        if let Some(at) = head.strip_suffix("/blobs/uploads") {
            let ok = last.len() == 32 && last.bytes().all(|b| b.is_ascii_hexdigit());
            let id = if ok { last } else { "" };
            return Ok(Self::Upload(name(at)?, id.to_owned()));
        }
        let (at, noun) = head.rsplit_once('/').ok_or(Astray::Nowhere)?;
        let digest = || last.parse::<Digest>().map_err(|_| Astray::Digest);
        match noun {
            "tags" if last == "list" => Ok(Self::Tags(name(at)?)),
            "manifests" => Ok(Self::Manifest(name(at)?, Which::parse(last)?)),
            "blobs" => Ok(Self::Blob(name(at)?, digest()?)),
            "referrers" => Ok(Self::Referrers(name(at)?, digest()?)),
            _ => Err(Astray::Nowhere),
        }
    }

    /// What it is called in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Metrics => "metrics",
            Self::Tags(_) => "tags",
            Self::Manifest(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Uploads(_) | Self::Upload(..) => "upload",
            Self::Referrers(..) => "referrers",
        }
    }
}

/// The values of `key` in a query.
pub(super) fn values(query: Option<&str>, key: &str) -> Vec<String> {
    query
        .unwrap_or("")
        .split('&')
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name == key).then(|| decode(value, true))?
        })
        .collect()
}

/// The first value of `key` in a query.
pub(super) fn value(query: Option<&str>, key: &str) -> Option<String> {
    values(query, key).into_iter().next()
}

/// Resolves `%xx`, and `+` in queries. `None` if that is no text.
fn decode(text: &str, plus: bool) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if plus => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).ok().filter(|text| !text.contains('\0'))
}

/// Writes `text` so that it can be a value in a query.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Route {
        /// The repository, where there is one.
        fn name(&self) -> Option<&Name> {
            match self {
                Self::Base | Self::Catalog | Self::Metrics => None,
                Self::Tags(name)
                | Self::Manifest(name, _)
                | Self::Blob(name, _)
                | Self::Uploads(name)
                | Self::Upload(name, _)
                | Self::Referrers(name, _) => Some(name),
            }
        }
    }

    #[test]
    fn paths_are_read_from_their_end() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let check = |path: &str, expected: Result<&str, Astray>| {
            let found = Route::parse(path).map(|r| format!("{} {}", r.label(), r.name().map_or("", Name::as_str)));
            assert_eq!(found.as_deref().map(str::trim_end).map_err(|e| *e), expected, "{path}");
        };
        check("/v2/", Ok("base"));
        check("/v2", Ok("base"));
        check("/v2/_catalog", Ok("catalog"));
        check("/v2/a/tags/list", Ok("tags a"));
        check("/v2/a/b/manifests/latest", Ok("manifest a/b"));
        check("/v2/manifests/blobs/tags/list", Ok("tags manifests/blobs"));
        check(&format!("/v2/a/blobs/{digest}"), Ok("blob a"));
        check(&format!("/v2/a/blobs/{}", digest.replace(':', "%3A")), Ok("blob a"));
        check(&format!("/v2/a/blobs/b/blobs/{digest}"), Ok("blob a/blobs/b"));
        check("/v2/a/blobs/uploads/", Ok("upload a"));
        check("/v2/a/blobs/uploads/0123456789abcdef0123456789abcdef", Ok("upload a"));
        check(&format!("/v2/a/referrers/{digest}"), Ok("referrers a"));
        check("/v2/a/blobs/sha256:abc", Err(Astray::Digest));
        check("/v2/a/blobs/sha256:../../../etc/passwd", Err(Astray::Nowhere));
        check("/v2/a/manifests/.hidden", Err(Astray::Tag));
        check("/v2/a/manifests/md5:00", Err(Astray::Digest));
        check("/v2/../tags/list", Err(Astray::Name));
        check("/v2/a/../b/tags/list", Err(Astray::Name));
        check("/v2/a/%2e%2e/b/tags/list", Err(Astray::Name));
        check("/v2/a%2F..%2Fb/tags/list", Err(Astray::Name));
        check("/v2/_blobs/tags/list", Err(Astray::Name));
        check("/v2/a//b/tags/list", Err(Astray::Name));
        check("/v2/A/tags/list", Err(Astray::Name));
        check("/v2/a%00/tags/list", Err(Astray::Nowhere));
        check(&format!("/v2/{}/tags/list", "a".repeat(256)), Err(Astray::Name));
        check("/v1/x", Err(Astray::Nowhere));
        check("/v2/a/manifests/", Err(Astray::Tag));
    }

    #[test]
    fn queries_are_decoded() {
        let query = Some("n=2&last=a%2Fb&tag=x&tag=y+z&bad=%zz&empty");
        assert_eq!(value(query, "n").as_deref(), Some("2"));
        assert_eq!(value(query, "last").as_deref(), Some("a/b"));
        assert_eq!(values(query, "tag"), ["x", "y z"]);
        assert_eq!(value(query, "bad"), None);
        assert_eq!(value(query, "empty").as_deref(), Some(""));
        assert_eq!(value(None, "n"), None);
        assert_eq!(encode("a/b c:+"), "a/b%20c%3A%2B");
    }
}
