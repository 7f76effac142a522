//! `login`: whether a registry knows somebody.

use hull_spec::Reference;

use crate::client::{Ask, At, Client};
use crate::credentials::HUB_KEY;
use crate::source::sources;
use crate::transport::Body;
use crate::{Error, failure};

/// How a registry that a person names is called in references and files: `docker.io` for Docker Hub, else `host[:port]`;
/// and how messages call it.
///
/// # Errors
/// If it is no name of a registry.
pub fn server(text: &str) -> Result<(String, String), Error> {
    let bare = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text);
    let host = bare.split('/').next().unwrap_or(bare);
    if matches!(host, "" | "docker.io" | "index.docker.io" | "registry-1.docker.io") {
        return Ok(("docker.io".to_owned(), HUB_KEY.to_owned()));
    }
    let name = crate::config::authority(host).map_err(|reason| Error::Malformed {
        what: format!("the registry `{}`", failure::printable(host)),
        reason: reason.to_owned(),
    })?;
    Ok((name.clone(), name))
}

/// Asks `registry` ([`server`]) whether it knows the client's credentials.
///
/// # Errors
/// If it does not, or does not answer.
pub fn login(client: &Client, registry: &str) -> Result<(), Error> {
    let any: Reference = format!("{registry}/x").parse()?;
    // The registry itself, not one that stands in for it.
    let servers = sources(client.settings(), &any)?;
    let Some(server) = servers.last() else {
        return Ok(());
    };
    let response = client.ask(
        server,
        &Ask {
            method: "GET",
            at: At::Path(String::new()),
            headers: &[],
            scope: " ",
            body: Body::Empty,
        },
    )?;
    match response.status {
        200 => {
            response.drain();
            Ok(())
        }
        _ => Err(failure::status(response)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_by_their_host() {
        let check = |text: &str, expected: &str| assert_eq!(server(text).unwrap().0, expected, "{text}");
        check("", "docker.io");
        check("docker.io", "docker.io");
        check("https://index.docker.io/v1/", "docker.io");
        check("https://reg.lan:5000/v2/", "reg.lan:5000");
        check("Reg.lan", "reg.lan");
        assert!(server("a b").is_err());
    }
}
