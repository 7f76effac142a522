//! Whom a test registry lets in.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::{Reply, Seen, Shared, lock};

/// What a registry asks for.
#[derive(Clone, Debug, Default)]
pub struct Login {
    kind: Kind,
    /// The value of basic authentication that is accepted, `user:password` in base64.
    basic: Option<String>,
    /// The refresh token that is accepted.
    identity: Option<String>,
    /// Where tokens are to be had, if not here.
    realm: Option<String>,
    /// What tokens say of their life, in seconds.
    expires_in: Option<u64>,
    /// Requests that one token is good for.
    uses: Option<u64>,
    /// Tokens given, and how often each was shown.
    given: HashSet<String>,
    shown: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    None,
    Basic,
    Token,
}

impl Login {
    /// A user name and a password with each request.
    #[must_use]
    pub fn basic(user: &str, password: &str) -> Self {
        Self {
            kind: Kind::Basic,
            basic: Some(base64(format!("{user}:{password}").as_bytes())),
            ..Self::default()
        }
    }

    /// A token, which anybody gets.
    #[must_use]
    pub fn anonymous_token() -> Self {
        Self {
            kind: Kind::Token,
            ..Self::default()
        }
    }

    /// A token, which is given for a user name and a password.
    #[must_use]
    pub fn token(user: &str, password: &str) -> Self {
        Self {
            kind: Kind::Token,
            ..Self::basic(user, password)
        }
    }

    /// A token, which is given for a refresh token.
    #[must_use]
    pub fn identity(refresh: &str) -> Self {
        Self {
            kind: Kind::Token,
            identity: Some(refresh.to_owned()),
            ..Self::default()
        }
    }

    /// The same, with a token server elsewhere.
    #[must_use]
    pub fn at(mut self, realm: &str) -> Self {
        self.realm = Some(realm.to_owned());
        self
    }

    /// The same, with tokens that say how long they live.
    #[must_use]
    pub fn expires_in(mut self, seconds: u64) -> Self {
        self.expires_in = Some(seconds);
        self
    }

    /// The same, with tokens that are refused after so many requests.
    #[must_use]
    pub fn uses(mut self, uses: u64) -> Self {
        self.uses = Some(uses);
        self
    }
}

/// The refusal or the token that `request` gets instead of content, if it does.
pub(super) fn check(shared: &Shared, request: &Seen, address: SocketAddr) -> Option<Reply> {
    let mut login = lock(&shared.login);
    if request.path.starts_with("/token") {
        return Some(login.grant(shared, request));
    }
    let shown = request.header("authorization");
    let accepted = match login.kind {
        Kind::None => true,
        Kind::Basic => shown.and_then(|s| s.strip_prefix("Basic ")) == login.basic.as_deref(),
        Kind::Token => login.accept(shown.and_then(|s| s.strip_prefix("Bearer "))),
    };
    if accepted {
        return None;
    }
    let mut reply = Reply::error(401, "UNAUTHORIZED", "authentication required");
    let challenge = if login.kind == Kind::Basic {
        "Basic realm=\"test\"".to_owned()
    } else {
        let realm = login.realm.clone().unwrap_or_else(|| format!("http://{address}/token"));
        format!("Bearer realm=\"{realm}\",service=\"test registry\"")
    };
    reply.set("WWW-Authenticate", &challenge);
    Some(reply)
}

impl Login {
    fn accept(&mut self, token: Option<&str>) -> bool {
        let Some(token) = token.filter(|token| self.given.contains(*token)) else {
            return false;
        };
        self.shown += 1;
        if self.uses.is_some_and(|uses| self.shown > uses) {
            self.given.remove(token);
            self.shown = 0;
            return false;
        }
        true
    }

    fn grant(&mut self, shared: &Shared, request: &Seen) -> Reply {
        let basic = request.header("authorization").and_then(|s| s.strip_prefix("Basic "));
        let refresh = request
            .body
            .split('&')
            .find_map(|pair| pair.strip_prefix("refresh_token="));
        let known = match (&self.basic, &self.identity) {
            (Some(wanted), _) => basic == Some(wanted),
            (None, Some(wanted)) => request.method == "POST" && refresh == Some(wanted),
            (None, None) => true,
        };
        if !known {
            return Reply::error(401, "UNAUTHORIZED", "incorrect username or password");
        }
        let token = format!("token-{}", shared.tokens.fetch_add(1, Ordering::Relaxed));
        self.given.insert(token.clone());
        self.shown = 0;
        let mut body = serde_json::json!({ "token": token, "issued_at": "2024-01-01T00:00:00Z" });
        if let Some(seconds) = self.expires_in {
            body["expires_in"] = seconds.into();
        }
        Reply::new(200, body.to_string())
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .enumerate()
            .fold(0u32, |word, (i, b)| word | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            out.push(if i <= chunk.len() {
                char::from(DIGITS[(word >> (18 - 6 * i)) as usize & 63])
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_padded() {
        for (text, expected) in [
            ("", ""),
            ("u:p", "dTpw"),
            ("a", "YQ=="),
            ("ab", "YWI="),
            ("u:pw", "dTpwdw=="),
        ] {
            assert_eq!(super::base64(text.as_bytes()), expected, "{text}");
        }
    }
}
