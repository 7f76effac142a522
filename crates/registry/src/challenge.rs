//! `WWW-Authenticate`: what a registry wants to see before it answers (RFC 9110, 11.6.1; the distribution project's
//! "Token Authentication Specification").

/// One way to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A user name and a password with every request.
    Basic,
    /// A token from elsewhere.
    Bearer {
        /// Where tokens are given.
        realm: String,
        /// For whom the token is.
        service: Option<String>,
        /// What it is to allow, in the registry's words.
        scope: Option<String>,
        /// Why the token that was shown is no good (RFC 6750, 3.1).
        error: Option<String>,
    },
}

/// Reads all challenges that are understood, in order. Others (`Negotiate`, ..) are left out.
pub(crate) fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    let mut out = Vec::new();
    for value in values {
        let mut rest = value;
        while let Some((scheme, parameters, next)) = one(rest) {
            let get = |name: &str| {
                parameters
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("basic") {
                out.push(Challenge::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = get("realm")
            {
                out.push(Challenge::Bearer {
                    realm,
                    service: get("service"),
                    scope: get("scope"),
                    error: get("error"),
                });
            }
            rest = next;
        }
    }
    out
}

type Parameters = Vec<(String, String)>;

/// Splits off the first challenge: its scheme, its parameters and what follows it.
fn one(text: &str) -> Option<(&str, Parameters, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let end = text.find(|c: char| !is_token(c)).unwrap_or(text.len());
    let (scheme, mut rest) = text.split_at(end);
    if scheme.is_empty() {
        return None;
    }
    let mut parameters = Vec::new();
    loop {
        let start = rest.trim_start_matches([' ', '\t', ',']);
        let end = start.find(|c: char| !is_token(c)).unwrap_or(start.len());
        let (key, after) = start.split_at(end);
        let Some(after) = after.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            // Not `key=value`: the next challenge begins here, if anything does.
            return Some((scheme, parameters, start));
        };
        if key.is_empty() {
            return Some((scheme, parameters, ""));
        }
        let (value, after) = value(after.trim_start_matches([' ', '\t']));
        parameters.push((key.to_owned(), value));
        rest = after;
    }
}

fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut out = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (out, &quoted[at + 1..]),
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            c => out.push(c),
        }
    }
    (out, "")
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
            error: None,
        }
    }

    #[test]
    fn challenges_are_read() {
        let check = |values: &[&str], expected: &[Challenge]| {
            assert_eq!(parse(values.iter().copied()), expected, "{values:?}");
        };
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull,push\"";
        check(
            &[hub],
            &[bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:a/b:pull,push"),
            )],
        );
        check(&["Basic realm=\"x, y\""], &[Challenge::Basic]);
        check(&["basic"], &[Challenge::Basic]);
        check(
            &["Negotiate abc==, BEARER Realm = \"https://r\" , service=s, Basic realm=z"],
            &[bearer("https://r", Some("s"), None), Challenge::Basic],
        );
        check(
            &["Basic realm=\"a\\\"b\"", "Bearer realm=\"https://r\""],
            &[Challenge::Basic, bearer("https://r", None, None)],
        );
        check(&["Bearer service=\"x\""], &[]);
        check(
            &["", ",,", "=", "\"", "Bearer realm=\"open"],
            &[bearer("open", None, None)],
        );
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_to_its_end(text in "[ -~]{0,120}") {
            let _ = parse([text.as_str()]);
        }
    }
}
