//! Where a registry's content is asked for: its mirrors in order, then itself.

use hull_spec::Reference;

use crate::Error;
use crate::config::{authority, mirror_url};
use crate::settings::Settings;
use crate::url::{Scheme, Url, split_authority};

/// Docker Hub answers under another name than the one in references.
const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";

/// One server that may have the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// How its credentials and its settings are called: `docker.io`, `host[:port]`.
    pub(crate) name: String,
    /// The roots under which it may be reached, the likeliest first.
    pub(crate) roots: Vec<Url>,
    /// The repository, with the mirror's prefix.
    pub(crate) repository: String,
    /// Whether it only stands in for the registry that was named.
    pub(crate) mirror: bool,
}

/// All servers to ask for `reference`, in order; the registry itself comes last.
pub(crate) fn sources(settings: &Settings, reference: &Reference) -> Result<Vec<Source>, Error> {
    let name = reference.registry().to_ascii_lowercase();
    let malformed = |text: &str, reason: &'static str| Error::Malformed {
        what: format!("the registry `{text}`"),
        reason: reason.to_owned(),
    };
    let mut out = Vec::new();
    let mirrors = settings.registries.get(&name).map(|r| r.mirrors.as_slice());
    for mirror in mirrors.unwrap_or_default() {
        let (url, scheme_given) = mirror_url(mirror).map_err(|reason| malformed(mirror, reason))?;
        let prefix = url.path.trim_matches('/').to_owned();
        let at = url.origin.authority();
        out.push(Source {
            roots: if scheme_given {
                vec![url.at("/".to_owned())]
            } else {
                roots(settings, &at, &at)?
            },
            name: authority(&at).map_err(|reason| malformed(mirror, reason))?,
            repository: [prefix.as_str(), reference.repository()]
                .join("/")
                .trim_start_matches('/')
                .to_owned(),
            mirror: true,
        });
    }
    let host = if name == HUB { HUB_HOST } else { name.as_str() };
    out.push(Source {
        roots: roots(settings, &name, host)?,
        name,
        repository: reference.repository().to_owned(),
        mirror: false,
    });
    Ok(out)
}

/// The ways to reach a registry. A registry is only ever asked over https, unless it is on this machine or was named
/// insecure. On this machine plain http is tried first: that is what listens there in nine of ten cases, it costs no
/// certificates, and a TLS server says at once that it was spoken to in plain. Elsewhere https is tried first, so that
/// nothing is sent in the clear to a registry that can do better.
fn roots(settings: &Settings, name: &str, host: &str) -> Result<Vec<Url>, Error> {
    let malformed = |reason: &'static str| Error::Malformed {
        what: format!("the registry `{host}`"),
        reason: reason.to_owned(),
    };
    let (bare, port) = split_authority(host).map_err(malformed)?;
    let https = Url::root(Scheme::Https, host).map_err(malformed)?;
    if !settings.is_insecure(name) {
        return Ok(vec![https]);
    }
    let http = Url::root(Scheme::Http, host).map_err(malformed)?;
    Ok(if crate::url::is_loopback(&bare) && port != Some(443) {
        vec![http, https]
    } else {
        vec![https, http]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Registry;

    #[test]
    fn mirrors_come_first_and_plain_http_only_where_it_is_allowed() {
        let mut settings = Settings::default();
        let mirrors = [
            "m1.lan",
            "https://m2.lan:5000/hub/x/",
            "http://m3.lan",
            "127.0.0.1:5000",
        ];
        settings.registries.insert(
            "docker.io".to_owned(),
            Registry {
                mirrors: mirrors.map(str::to_owned).to_vec(),
                ..Registry::default()
            },
        );
        settings.registries.insert(
            "old.lan".to_owned(),
            Registry {
                insecure: true,
                ..Registry::default()
            },
        );
        let check = |reference: &str, expected: &[(&str, &[&str], &str)]| {
            let found = sources(&settings, &reference.parse().unwrap()).unwrap();
            let found: Vec<_> = found
                .iter()
                .map(|s| {
                    let roots: Vec<_> = s.roots.iter().map(ToString::to_string).collect();
                    (s.name.clone(), roots, s.repository.clone())
                })
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, roots, repository)| {
                    let roots: Vec<_> = roots.iter().map(|&r| r.to_owned()).collect();
                    ((*name).to_owned(), roots, (*repository).to_owned())
                })
                .collect();
            assert_eq!(found, expected, "{reference}");
        };
        check(
            "busybox",
            &[
                ("m1.lan", &["https://m1.lan/"], "library/busybox"),
                ("m2.lan:5000", &["https://m2.lan:5000/"], "hub/x/library/busybox"),
                ("m3.lan", &["http://m3.lan/"], "library/busybox"),
                (
                    "127.0.0.1:5000",
                    &["http://127.0.0.1:5000/", "https://127.0.0.1:5000/"],
                    "library/busybox",
                ),
                ("docker.io", &["https://registry-1.docker.io/"], "library/busybox"),
            ],
        );
        check("Quay.io/a/b", &[("quay.io", &["https://quay.io/"], "a/b")]);
        check(
            "old.lan/a",
            &[("old.lan", &["https://old.lan/", "http://old.lan/"], "a")],
        );
        check(
            "localhost:443/a",
            &[("localhost:443", &["https://localhost/", "http://localhost:443/"], "a")],
        );
        check(
            "[::1]:5000/a",
            &[("[::1]:5000", &["http://[::1]:5000/", "https://[::1]:5000/"], "a")],
        );
    }
}
