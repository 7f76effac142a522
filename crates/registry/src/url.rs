//! The URLs of registries: `http` or `https`, a host, a port, a path. Nothing else is accepted, so that what a stranger
//! writes into a `Location` or a `realm` cannot smuggle in credentials, another protocol or a second header.

use std::fmt;
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Who answers: credentials given to one origin are never sent to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    pub(crate) host: String,
    pub(crate) port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) origin: Origin,
    /// Path and query; begins with a slash.
    pub(crate) path: String,
}

impl Url {
    /// Parses an absolute URL. The fragment is dropped.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > 16 << 10 {
            return Err("it is longer than 16 KiB");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("it has no scheme");
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err("only http and https are known"),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = split_authority(authority)?;
        let path = match path.chars().next() {
            Some('/') => path.to_owned(),
            _ => format!("/{path}"),
        };
        Ok(Self {
            origin: Origin {
                scheme,
                host,
                port: port.unwrap_or(scheme.port()),
            },
            path: clean_path(&path)?,
        })
    }

    /// The root of a registry given as `host[:port]`.
    pub(crate) fn root(scheme: Scheme, authority: &str) -> Result<Self, &'static str> {
        let (host, port) = split_authority(authority)?;
        Ok(Self {
            origin: Origin {
                scheme,
                host,
                port: port.unwrap_or(scheme.port()),
            },
            path: "/".to_owned(),
        })
    }

    /// Resolves a `Location` against this URL (RFC 3986, 5.2, without dot segments: no registry sends them).
    pub(crate) fn join(&self, location: &str) -> Result<Self, &'static str> {
        let location = location.trim();
        if location
            .split(['/', '?', '#'])
            .next()
            .is_some_and(|first| first.contains(':'))
        {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.origin.scheme.name()));
        }
        let base = self.path.split('?').next().unwrap_or("/");
        let path = match location.chars().next() {
            Some('/') => location.to_owned(),
            Some('?') => format!("{base}{location}"),
            Some('#') | None => return Err("it is empty"),
            Some(_) => format!("{}/{location}", base.rsplit_once('/').map_or("", |(dir, _)| dir)),
        };
        Ok(Self {
            origin: self.origin.clone(),
            path: clean_path(&path)?,
        })
    }

    /// The same origin with another path.
    pub(crate) fn at(&self, path: String) -> Self {
        Self {
            origin: self.origin.clone(),
            path,
        }
    }

    /// What an error may show: the values of a query can be signatures or tokens.
    pub(crate) fn redacted(&self) -> String {
        match self.path.split_once('?') {
            Some((path, _)) => format!("{}{path}?REDACTED", self.origin),
            None => self.to_string(),
        }
    }
}

impl Origin {
    /// Whether the host is this machine by its name alone.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// `host`, or `host:port` where the port is not the scheme's own.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == self.scheme.port() {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

/// 127.0.0.0/8, `::1` and `localhost`, as Docker sees it.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Splits `host[:port]` or `[v6][:port]`; the host comes back in lower case, without brackets.
pub(crate) fn split_authority(authority: &str) -> Result<(String, Option<u16>), &'static str> {
    if authority.contains('@') {
        return Err("it holds credentials");
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("the bracket is not closed")?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("the address in brackets is malformed");
        }
        (host, rest)
    } else {
        let at = authority.find(':').unwrap_or(authority.len());
        let (host, rest) = authority.split_at(at);
        let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if host.is_empty() || !host.bytes().all(ok) {
            return Err("the host is malformed");
        }
        (host, rest)
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse::<u16>() {
            Ok(port) if port != 0 => Some(port),
            _ => return Err("the port is not 1 to 65535"),
        },
        Some(_) => return Err("the port is not a number"),
        None if port.is_empty() => None,
        None => return Err("something follows the host"),
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// Refuses what would end the request line, and escapes what browsers and Go escape.
fn clean_path(path: &str) -> Result<String, &'static str> {
    let path = path.split('#').next().unwrap_or(path);
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            0..=0x20 | 0x7f => return Err("it holds a space or a control character"),
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                out.push_str(&format!("%{byte:02X}"));
            }
            _ => out.push(char::from(byte)),
        }
    }
    Ok(out)
}

/// Escapes a value for a query (RFC 3986 unreserved characters stay; so do those that scopes are made of).
pub(crate) fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' | b',' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_urls_are_parsed() {
        let check = |text: &str, expected: Option<&str>| {
            let found = Url::parse(text).ok().map(|u| u.to_string());
            assert_eq!(found.as_deref(), expected, "{text:?}");
        };
        check("https://Example.COM/v2/", Some("https://example.com/v2/"));
        check("https://example.com:443", Some("https://example.com/"));
        check("http://example.com:8080?a=b#c", Some("http://example.com:8080/?a=b"));
        check("http://[::1]:5000/x", Some("http://[::1]:5000/x"));
        check("http://a/b c", None);
        check("http://a/b\r\nX: y", None);
        check("http://user:secret@a/", None);
        check("ftp://a/", None);
        check("file:///etc/shadow", None);
        check("http:///x", None);
        check("http://a:0/", None);
        check("http://a:65536/", None);
        check("http://a:+1/", None);
        check("http://[::1/", None);
        check("//a/", None);
        check("", None);
    }

    #[test]
    fn locations_are_resolved() {
        let base = Url::parse("https://a:5000/v2/x/blobs/y?q=1").unwrap();
        let check = |location: &str, expected: Option<&str>| {
            let found = base.join(location).ok().map(|u| u.to_string());
            assert_eq!(found.as_deref(), expected, "{location:?}");
        };
        check("/z", Some("https://a:5000/z"));
        check("z", Some("https://a:5000/v2/x/blobs/z"));
        check("?r=2", Some("https://a:5000/v2/x/blobs/y?r=2"));
        check("//b/z", Some("https://b/z"));
        check("http://b/z", Some("http://b/z"));
        check("gopher://b/z", None);
        check("javascript:alert(1)", None);
        check("", None);
    }

    #[test]
    fn queries_are_not_shown() {
        let url = Url::parse("https://a/b?X-Amz-Signature=secret").unwrap();
        assert_eq!(url.redacted(), "https://a/b?REDACTED");
    }

    #[test]
    fn loopback_is_known_by_name_and_address() {
        for (host, expected) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("localhost.example.com", false),
            ("128.0.0.1", false),
            ("127.0.0.1.example.com", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_parses_prints_and_parses_again(text in "https?://[ -~]{0,60}") {
            if let Ok(url) = Url::parse(&text) {
                assert_eq!(Url::parse(&url.to_string()).unwrap(), url);
                assert!(!url.path.contains(['\r', '\n', ' ']));
            }
        }
    }
}
