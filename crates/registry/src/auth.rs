//! Being let in: basic authentication and bearer tokens (the distribution project's "Token Authentication
//! Specification" and "OAuth2 Token Authentication").
//!
//! Nothing secret is sent before the registry has asked for it, and then only to the registry itself over the way it
//! was reached, or to a token server over https.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::Error;
use crate::challenge::Challenge;
use crate::credentials::Credentials;
use crate::settings::Settings;
use crate::transport::{Body, Request, Response};
use crate::url::{Origin, Scheme, Url, escape};

/// The most that a token server may answer, in bytes.
const TOKEN_MAX: u64 = 1 << 20;
/// How long a token lives where its server does not say, and at least.
const LIFE_MIN: u64 = 60;
/// A token is not used in its last seconds: the request has to arrive before its end.
const MARGIN: Duration = Duration::from_secs(5);
/// What oauth2 calls us.
const CLIENT_ID: &str = "hull";

/// What was learnt about each registry: how it wants to be asked, and the tokens that it accepts.
#[derive(Default)]
pub(crate) struct Auth {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Basic headers that a registry has asked for.
    basic: HashMap<Origin, String>,
    tokens: HashMap<(Origin, String), Token>,
}

struct Token {
    header: String,
    end: Instant,
}

#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// One registry asked for one thing.
pub(crate) struct Door<'a> {
    pub(crate) origin: &'a Origin,
    /// `repository:NAME:pull`; several with a space between them.
    pub(crate) scope: &'a str,
    /// How errors call the registry.
    pub(crate) registry: &'a str,
    /// Who we are there.
    pub(crate) credentials: Option<&'a Credentials>,
}

impl Auth {
    /// The header that was accepted before, if it still holds.
    pub(crate) fn known(&self, origin: &Origin, scope: &str) -> Option<String> {
        self.state().known(origin, scope)
    }

    /// Finds the header that answers `challenges`. `refused` is what the registry did not accept. `None` where there is
    /// nothing more to offer. `send` performs a request with its retries.
    pub(crate) fn answer(
        &self,
        settings: &Settings,
        door: &Door<'_>,
        challenges: &[Challenge],
        refused: Option<&str>,
        send: &dyn Fn(&Request<'_>) -> Result<Response, Error>,
    ) -> Result<Option<String>, Error> {
        // Held while a token is fetched: of several downloads that were all refused, one asks and the others use it.
        let mut state = self.state();
        if let Some(header) = state
            .known(door.origin, door.scope)
            .filter(|header| Some(header.as_str()) != refused)
        {
            return Ok(Some(header));
        }
        state.tokens.remove(&(door.origin.clone(), door.scope.to_owned()));
        for challenge in challenges {
            match challenge {
                Challenge::Bearer { realm, service, .. } => {
                    let token = match door.credentials {
                        Some(Credentials::Token(token)) => Token {
                            header: bearer(token, door.registry)?,
                            end: Instant::now() + Duration::from_secs(LIFE_MIN),
                        },
                        _ => fetch(settings, door, realm, service.as_deref(), send)?,
                    };
                    let header = token.header.clone();
                    state.tokens.insert((door.origin.clone(), door.scope.to_owned()), token);
                    return Ok(Some(header).filter(|header| Some(header.as_str()) != refused));
                }
                Challenge::Basic => {
                    let header = door.credentials.and_then(Credentials::basic);
                    if let Some(header) = header.filter(|header| Some(header.as_str()) != refused) {
                        state.basic.insert(door.origin.clone(), header.clone());
                        return Ok(Some(header));
                    }
                }
            }
        }
        state.basic.remove(door.origin);
        Ok(None)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn known(&self, origin: &Origin, scope: &str) -> Option<String> {
        match self.tokens.get(&(origin.clone(), scope.to_owned())) {
            Some(token) if Instant::now() + MARGIN < token.end => Some(token.header.clone()),
            _ => self.basic.get(origin).cloned(),
        }
    }
}

/// Asks the token server.
fn fetch(
    settings: &Settings,
    door: &Door<'_>,
    realm: &str,
    service: Option<&str>,
    send: &dyn Fn(&Request<'_>) -> Result<Response, Error>,
) -> Result<Token, Error> {
    let url = check_realm(settings, door, realm)?;
    let form;
    let request = match door.credentials {
        Some(Credentials::Identity(refresh)) => {
            form = oauth2(service, door.scope, refresh);
            Request {
                method: "POST",
                url,
                headers: &[],
                authorization: None,
                body: Body::Form(&form),
            }
        }
        credentials => get(url, service, door.scope, credentials),
    };
    let response = send(&request)?;
    let shown = response.url.redacted();
    let fail = |reason: String| Error::Token {
        url: shown.clone(),
        reason,
    };
    if response.status != 200 {
        return Err(crate::failure::status(response));
    }
    let body = response.read("the token server's answer", TOKEN_MAX, settings.timeouts.document)?;
    // Not quoted: the answer is made of secrets.
    let granted: Granted =
        serde_json::from_slice(&body).map_err(|_| fail("the answer is no valid JSON of a token".to_owned()))?;
    let token = [granted.token, granted.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty())
        .ok_or_else(|| fail("authorization server did not include a token in the response".to_owned()))?;
    let life = granted.expires_in.unwrap_or(LIFE_MIN).clamp(LIFE_MIN, 24 * 3600);
    Ok(Token {
        header: bearer(&token, &shown)?,
        end: Instant::now() + Duration::from_secs(life),
    })
}

/// A token is one word of visible characters: anything else would be a second header.
fn bearer(token: &str, from: &str) -> Result<String, Error> {
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::Token {
            url: from.to_owned(),
            reason: "it holds characters that no token holds".to_owned(),
        });
    }
    Ok(format!("Bearer {token}"))
}

/// Whether the token server may be asked, and with what (CVE-2020-15157: a registry that is merely named in an image
/// could collect the credentials of another). Over plain http only where the registry itself is: then only on this
/// machine, on the registry's own host, or where it was named insecure.
fn check_realm(settings: &Settings, door: &Door<'_>, realm: &str) -> Result<Url, Error> {
    let fail = |reason| Error::Realm {
        registry: door.registry.to_owned(),
        realm: realm.split(['?', '#']).next().unwrap_or("").chars().take(200).collect(),
        reason,
    };
    let url = Url::parse(realm).map_err(fail)?;
    if url.origin.scheme == Scheme::Http && door.credentials.is_some() {
        if door.origin.scheme == Scheme::Https {
            return Err(fail("it would carry credentials over plain http"));
        }
        if url.origin.host != door.origin.host && !settings.is_insecure(&url.origin.authority()) {
            return Err(fail("it would carry credentials over plain http to another host"));
        }
    }
    Ok(url)
}

fn get<'a>(url: Url, service: Option<&str>, scope: &str, credentials: Option<&Credentials>) -> Request<'a> {
    let account = match credentials {
        Some(Credentials::Password { user, .. }) => Some(format!("account={}", escape(user))),
        _ => None,
    };
    let service = service.map(|service| format!("service={}", escape(service)));
    // A login asks for no scope: only who somebody is counts.
    let scopes = scope
        .split_ascii_whitespace()
        .map(|scope| format!("scope={}", escape(scope)));
    let query: Vec<String> = account.into_iter().chain(service).chain(scopes).collect();
    let query = query.join("&");
    let joint = if url.path.contains('?') { '&' } else { '?' };
    Request {
        method: "GET",
        url: url.at(format!("{}{joint}{query}", url.path)),
        headers: &[],
        authorization: credentials.and_then(Credentials::basic),
        body: Body::Empty,
    }
}

/// The form that asks for a token.
fn oauth2(service: Option<&str>, scope: &str, refresh: &str) -> String {
    format!(
        "grant_type=refresh_token&service={}&client_id={CLIENT_ID}&scope={}&refresh_token={}",
        escape(service.unwrap_or("")),
        escape(scope),
        escape(refresh)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_only_where_they_are_safe() {
        let settings = Settings::default();
        let password = Credentials::Password {
            user: "u".to_owned(),
            password: "p".to_owned(),
        };
        let check = |registry: &str, realm: &str, with: bool, without: bool| {
            let origin = Url::parse(registry).unwrap().origin;
            let door = |credentials| Door {
                origin: &origin,
                scope: "repository:a:pull",
                registry,
                credentials,
            };
            assert_eq!(
                check_realm(&settings, &door(Some(&password)), realm).is_ok(),
                with,
                "{registry} {realm}"
            );
            assert_eq!(
                check_realm(&settings, &door(None), realm).is_ok(),
                without,
                "{registry} {realm}"
            );
        };
        check("https://reg/", "https://auth/token", true, true);
        check("https://reg/", "http://auth/token", false, true);
        check("https://reg/", "http://reg/token", false, true);
        check("https://reg/", "http://127.0.0.1/token", false, true);
        check("http://127.0.0.1:5000/", "http://127.0.0.1:5001/token", true, true);
        check("http://127.0.0.1:5000/", "http://auth.example/token", false, true);
        check("http://127.0.0.1:5000/", "https://auth.example/token", true, true);
        check("http://reg.lan/", "http://reg.lan:81/token", true, true);
        check("https://reg/", "file:///etc/passwd", false, false);
        check("https://reg/", "https://u:p@auth/", false, false);
        check("https://reg/", "/token", false, false);
    }

    #[test]
    fn token_requests_are_escaped() {
        let url = Url::parse("https://auth/token?x=1").unwrap();
        let password = Credentials::Password {
            user: "a b&c".to_owned(),
            password: "p".to_owned(),
        };
        let request = get(url.clone(), Some("reg&x"), "repository:a/b:pull", Some(&password));
        assert_eq!(
            request.url.path,
            "/token?x=1&account=a%20b%26c&service=reg%26x&scope=repository:a/b:pull"
        );
        assert_eq!(request.authorization.as_deref(), Some("Basic YSBiJmM6cA=="));
        let several = get(url, None, "repository:a:pull,push repository:b:pull", None);
        assert_eq!(
            several.url.path,
            "/token?x=1&scope=repository:a:pull,push&scope=repository:b:pull"
        );
        let form = oauth2(None, "s", "r+t");
        assert!(
            form.contains("refresh_token=r%2Bt") && form.contains("grant_type=refresh_token"),
            "{form}"
        );
        assert!(bearer("a b", "x").is_err() && bearer("a\r\nX: y", "x").is_err() && bearer("", "x").is_err());
    }
}
