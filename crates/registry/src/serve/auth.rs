//! Who asks, and whether they may. Nothing is looked up for a client that may not: what is refused is refused in the same
//! way and after the same work, whether it exists or not.

use std::collections::HashMap;

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};

use super::answer::Refusal;
use super::route::Name;
use super::settings::{Access, Action, Auth, Settings, fits};
use crate::Error;

mod bcrypt;
mod htpasswd;
mod token;

use htpasswd::Htpasswd;
use token::Tokens;

/// The way in.
#[derive(Debug)]
pub(super) struct Gatekeeper {
    way: Way,
    access: Vec<Access>,
}

#[derive(Debug)]
enum Way {
    Open,
    Password(Box<Htpasswd>),
    Token(Box<Tokens>),
}

/// Somebody who has been let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Nobody has said who they are.
    Anonymous,
    /// A user with a password.
    User(String),
    /// The bearer of a token: what it allows, by repository.
    Bearer(String, HashMap<String, Vec<String>>),
}

impl Who {
    /// Their name in the log.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Anonymous => "-",
            Self::User(name) | Self::Bearer(name, _) => name,
        }
    }
}

impl Gatekeeper {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let way = match &settings.auth {
            Auth::None => Way::Open,
            Auth::Htpasswd { file, realm } => Way::Password(Box::new(Htpasswd::open(file, realm)?)),
            Auth::Token(token) => Way::Token(Box::new(Tokens::open(token)?)),
        };
        Ok(Self {
            way,
            access: settings.access.clone(),
        })
    }

    /// Finds out who sends these headers. Wrong credentials are refused, not ignored. It may take as long as a password's
    /// hash takes, so it is called where that stops nobody else.
    pub(super) fn identify(&self, headers: &HeaderMap) -> Result<Who, Refusal> {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Ok(Who::Anonymous);
        };
        let value = value.to_str().unwrap_or("");
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        let found = match &self.way {
            // Clients that keep credentials for a registry send them even where nobody wants them.
            Way::Open => Some(Who::Anonymous),
            Way::Password(htpasswd) if scheme.eq_ignore_ascii_case("basic") => htpasswd.check(rest.trim()),
            Way::Token(tokens) if scheme.eq_ignore_ascii_case("bearer") => tokens.check(rest.trim()),
            _ => None,
        };
        found.ok_or_else(|| self.unauthorized(None, "invalid_token"))
    }

    /// Whether the header needs work to check: a password's hash.
    pub(super) fn is_slow(&self, headers: &HeaderMap) -> bool {
        matches!(self.way, Way::Password(_)) && headers.contains_key(AUTHORIZATION)
    }

    /// Whether `who` may do `action` with `name`.
    pub(super) fn may(&self, who: &Who, name: Option<&Name>, action: Action) -> bool {
        match (&self.way, who) {
            (Way::Open, _) => true,
            (_, Who::Bearer(_, grants)) => {
                let (key, words): (String, &[&str]) = match (name, action) {
                    (Some(name), Action::Pull) => (format!("repository:{}", name.as_str()), &["pull", "*"]),
                    (Some(name), Action::Push) => (format!("repository:{}", name.as_str()), &["push", "*"]),
                    (Some(name), _) => (format!("repository:{}", name.as_str()), &["delete", "*"]),
                    (None, Action::Metrics) => ("registry:metrics".to_owned(), &["pull", "*"]),
                    (None, _) => ("registry:catalog".to_owned(), &["*"]),
                };
                let granted = grants.get(&key);
                granted.is_some_and(|granted| granted.iter().any(|word| words.contains(&word.as_str())))
            }
            (Way::Token(_), _) => false,
            (Way::Password(_), who) => self.rules_allow(who, name, action),
        }
    }

    fn rules_allow(&self, who: &Who, name: Option<&Name>, action: Action) -> bool {
        let user = match who {
            Who::User(user) => Some(user.as_str()),
            Who::Anonymous | Who::Bearer(..) => None,
        };
        if self.access.is_empty() {
            return user.is_some();
        }
        // The catalogue itself is for everybody who is logged in: it shows to each what each may pull.
        if name.is_none() && action == Action::Pull {
            return user.is_some()
                || self
                    .access
                    .iter()
                    .any(|rule| rule.users.iter().any(|u| u == "anonymous"));
        }
        self.access.iter().any(|rule| {
            let whom = |allowed: &String| match allowed.as_str() {
                "anonymous" => true,
                "*" => user.is_some(),
                allowed => user == Some(allowed),
            };
            let what = |name: &Name| rule.repositories.iter().any(|pattern| fits(pattern, name.as_str()));
            rule.actions.contains(&action) && rule.users.iter().any(whom) && name.is_none_or(what)
        })
    }

    /// Lets `who` do `actions`, or says what is missing: credentials (401), or rights (403).
    pub(super) fn admit(&self, who: &Who, name: Option<&Name>, actions: &[Action]) -> Result<(), Refusal> {
        if actions.iter().all(|action| self.may(who, name, *action)) {
            return Ok(());
        }
        match (&self.way, who) {
            (Way::Token(_), _) | (_, Who::Anonymous) => {
                let words: Vec<&str> = actions.iter().map(|action| word(*action)).collect();
                let scope = match name {
                    Some(name) => format!("repository:{}:{}", name.as_str(), words.join(",")),
                    None if actions.contains(&Action::Metrics) => "registry:metrics:pull".to_owned(),
                    None => "registry:catalog:*".to_owned(),
                };
                Err(self.unauthorized(Some(&scope), "insufficient_scope"))
            }
            _ => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "DENIED",
                "requested access to the resource is denied",
            )),
        }
    }

    /// Lets in whoever has shown any valid credentials, if any are asked for: what `docker login` asks.
    pub(super) fn knock(&self, who: &Who) -> Result<(), Refusal> {
        match (&self.way, who) {
            (Way::Open, _) | (_, Who::User(_) | Who::Bearer(..)) => Ok(()),
            (_, Who::Anonymous) => Err(self.unauthorized(None, "")),
        }
    }

    fn unauthorized(&self, scope: Option<&str>, error: &str) -> Refusal {
        let challenge = match &self.way {
            Way::Open => String::new(),
            Way::Password(htpasswd) => format!("Basic realm=\"{}\"", quoted(htpasswd.realm())),
            Way::Token(tokens) => {
                let mut text = tokens.challenge();
                if let Some(scope) = scope {
                    text.push_str(&format!(",scope=\"{scope}\""));
                }
                if !error.is_empty() {
                    text.push_str(&format!(",error=\"{error}\""));
                }
                text
            }
        };
        Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required")
            .with(WWW_AUTHENTICATE, challenge)
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Pull | Action::Metrics => "pull",
        Action::Push => "pull,push",
        Action::Delete => "delete",
    }
}

/// Text that may stand in a quoted string.
fn quoted(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !matches!(c, '"' | '\\'))
        .collect()
}
