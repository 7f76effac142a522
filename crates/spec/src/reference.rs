//! How an image is named: `[registry/]repository[:tag][@digest]`, with Docker's defaults
//! (the grammar of distribution's `reference` package).

use std::fmt;
use std::str::FromStr;

use crate::{Digest, Error};

const DEFAULT_REGISTRY: &str = "docker.io";
/// Distribution's limit for registry and repository together.
const NAME_MAX: usize = 255;

/// A full name of an image. `busybox` is read as `docker.io/library/busybox`, without a tag or a digest: what a missing
/// tag means is for the verb to say ([`Reference::or_latest`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Whether `name` is a repository's name below its registry: components joined by slashes, 255 bytes at most. Such a
    /// name is safe as a relative path: no component is empty, begins with a dot or holds a backslash.
    #[must_use]
    pub fn is_repository(name: &str) -> bool {
        name.len() <= NAME_MAX && name.split('/').all(is_component)
    }

    /// Whether `text` can be a tag. A tag is safe as a file name.
    #[must_use]
    pub fn is_tag(text: &str) -> bool {
        is_tag(text)
    }

    /// Host and port of the registry, `docker.io` where none was given.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry, with Docker Hub's `library/` where it was left out.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same name with the tag `latest` where neither tag nor digest was given.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same repository named by `digest` alone.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The same repository named by `tag` alone.
    ///
    /// # Errors
    /// If `tag` is not a valid tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, Error> {
        if !is_tag(tag) {
            return Err(Error::Reference {
                reference: clip(tag),
                reason: "the tag is malformed",
            });
        }
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// `registry/repository`, in full.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The repository as people write it: `busybox`, `me/app`, `ghcr.io/me/app`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        self.repository
            .strip_prefix("library/")
            .filter(|r| !r.contains('/'))
            .unwrap_or(&self.repository)
            .to_owned()
    }

    /// The whole reference as people write it.
    #[must_use]
    pub fn familiar(&self) -> String {
        self.suffixed(self.familiar_name())
    }

    fn suffixed(&self, mut out: String) -> String {
        if let Some(tag) = &self.tag {
            out.push(':');
            out.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            out.push('@');
            out.push_str(digest.as_str());
        }
        out
    }
}

/// In full: `docker.io/library/busybox:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(self.name()))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let err = |reason| Error::Reference {
            reference: clip(text),
            reason,
        };
        if text.is_empty() {
            return Err(err("it is empty"));
        }
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(err("64 hexadecimal digits are an image ID, not a repository"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(digest.parse::<Digest>().map_err(|_| err("the digest is malformed"))?),
            ),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(err("the tag is malformed"));
        }
        let (registry, repository) = match name.split_once('/') {
            Some((host, path))
                if host.contains(['.', ':']) || host == "localhost" || host.chars().any(char::is_uppercase) =>
            {
                (host, path)
            }
            _ => (DEFAULT_REGISTRY, name),
        };
        let before_tag = repository.split(':').next().unwrap_or_default();
        if before_tag.chars().any(|c| c.is_ascii_uppercase()) {
            let whole = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
                format!("library/{repository}")
            } else {
                repository.to_owned()
            };
            return Err(Error::Uppercase {
                repository: clip(&whole),
            });
        }
        if !is_registry(registry) {
            return Err(err("the registry is not `host[:port]`"));
        }
        if !repository.split('/').all(is_component) {
            return Err(err("a part of the repository is malformed"));
        }
        let registry = if registry == "index.docker.io" {
            DEFAULT_REGISTRY
        } else {
            registry
        };
        let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        if registry.len() + 1 + repository.len() > NAME_MAX {
            return Err(err("repository name must not be more than 255 characters"));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or dashes.
fn is_component(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alnum(first) || !alnum(last) {
        return false;
    }
    part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128 && tag.bytes().next().is_some_and(word) && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        Some((host, rest)) => {
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", rest)
        }
        None => match text.find(':') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        },
    };
    let port_ok = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|p| p.parse::<u16>().is_ok_and(|p| p != 0));
    port_ok
        && host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn clip(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_defaults_apply() {
        let check = |text: &str, full: &str, familiar: &str| {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(
                (reference.to_string().as_str(), reference.familiar().as_str()),
                (full, familiar)
            );
        };
        check("busybox", "docker.io/library/busybox", "busybox");
        check("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36");
        check("me/app:x", "docker.io/me/app:x", "me/app:x");
        check("docker.io/busybox", "docker.io/library/busybox", "busybox");
        check("index.docker.io/a/b", "docker.io/a/b", "a/b");
        check("localhost/a", "localhost/a", "localhost/a");
        check("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b:c");
        check("ghcr.io/a/b-c__d.e", "ghcr.io/a/b-c__d.e", "ghcr.io/a/b-c__d.e");
        check("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a");
        let digest = format!("sha256:{}", "0".repeat(64));
        check(
            &format!("a:t@{digest}"),
            &format!("docker.io/library/a:t@{digest}"),
            &format!("a:t@{digest}"),
        );
        assert_eq!("a".parse::<Reference>().unwrap().or_latest().tag(), Some("latest"));
    }

    #[test]
    fn malformed_references_are_refused() {
        let hex = "a".repeat(64);
        for bad in [
            "",
            ":",
            "/",
            "a//b",
            "a:",
            "a:-x",
            "A",
            "a/B",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a@",
            "a@sha256:00",
            "../a",
            "a/../b",
            "a b",
            "a:b:c",
            "http://a/b",
            "a\n",
            "localhost:99999/a",
            "localhost:/a",
            ".x/a",
            "a\0b",
            "é",
            &hex,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
        assert!(format!("x/{}", "a".repeat(300)).parse::<Reference>().is_err());
        assert!(format!("x:{}", "a".repeat(129)).parse::<Reference>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_parses_prints_and_parses_again(text in "[ -~]{0,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
                assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,80}") {
            let _ = text.parse::<Reference>();
        }
    }
}
