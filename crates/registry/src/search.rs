//! `search`: repositories by a word, from Docker Hub's index or from any registry's catalogue.

use serde::Deserialize;

use crate::client::Client;
use crate::url::escape;
use crate::{Error, login, web};

/// The most that an index may answer, in bytes.
const ANSWER_MAX: u64 = 4 << 20;
const HUB_INDEX: &str = "https://index.docker.io/v1/search";

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchRequest {
    /// A word; `host[:port]/word` looks at that registry.
    pub term: String,
    /// How many at the most.
    pub limit: usize,
}

/// A repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What it says of itself.
    #[serde(default)]
    pub description: String,
    /// How many people like it.
    #[serde(default, rename = "star_count")]
    pub stars: i64,
    /// Whether it is one of Docker's own.
    #[serde(default, rename = "is_official")]
    pub official: bool,
    /// Whether it is built by itself.
    #[serde(default, rename = "is_automated")]
    pub automated: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Found>,
}

/// Looks for repositories, the most liked first.
///
/// # Errors
/// If the index does not answer, or answers nonsense.
pub fn search(client: &Client, request: &SearchRequest) -> Result<Vec<Found>, Error> {
    let (registry, word) = split(&request.term);
    let mut found = match registry {
        None => hub(client, &request.term, request.limit)?,
        Some(registry) => catalogue(client, registry, word)?,
    };
    found.sort_by_key(|one| std::cmp::Reverse(one.stars));
    found.truncate(request.limit);
    Ok(found)
}

/// Docker's rule: the first part is a registry if it holds a dot or a colon, or is `localhost`.
fn split(term: &str) -> (Option<&str>, &str) {
    match term.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
            let hub = matches!(host, "docker.io" | "index.docker.io");
            (Some(host).filter(|_| !hub), rest)
        }
        _ => (None, term),
    }
}

fn hub(client: &Client, term: &str, limit: usize) -> Result<Vec<Found>, Error> {
    let (_, term) = split(term);
    let url = format!("{HUB_INDEX}?q={}&n={limit}", escape(term));
    let response = web::get(client.settings(), &url)?;
    read(&response.read(
        "the answer of Docker Hub",
        ANSWER_MAX,
        client.settings().timeouts.document,
    )?)
}

fn read(bytes: &[u8]) -> Result<Vec<Found>, Error> {
    let answer: Answer = serde_json::from_slice(bytes).map_err(|source| Error::Json {
        what: "the answer of Docker Hub".to_owned(),
        source,
    })?;
    // What strangers write is shown on a terminal.
    let clean = |text: &str| {
        text.chars()
            .filter(|c| !c.is_control() || *c == '\n')
            .collect::<String>()
    };
    let results = answer.results.into_iter().map(|one| Found {
        name: clean(&one.name),
        description: clean(&one.description),
        ..one
    });
    Ok(results.collect())
}

/// The repositories of a registry whose names hold the word.
fn catalogue(client: &Client, registry: &str, word: &str) -> Result<Vec<Found>, Error> {
    let (registry, _) = login::server(registry)?;
    let names = client.catalog(&registry)?;
    let matching = names.into_iter().filter(|name| name.repository().contains(word));
    let found = matching.map(|name| Found {
        name: name.familiar_name(),
        ..Found::default()
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_before_the_word_is_asked_itself() {
        let check = |term: &str, expected: (Option<&str>, &str)| assert_eq!(split(term), expected, "{term}");
        check("busybox", (None, "busybox"));
        check("me/app", (None, "me/app"));
        check("docker.io/busybox", (None, "busybox"));
        check("localhost/a/b", (Some("localhost"), "a/b"));
        check("reg.lan:5000/", (Some("reg.lan:5000"), ""));
    }

    #[test]
    fn the_answer_of_the_hub_is_read() {
        let text = r#"{"num_results":2,"results":[{"name":"busybox","description":"Small\u001b[31m","star_count":3,"is_official":true,"extra":1},{"name":"x"}]}"#;
        let found = read(text.as_bytes()).unwrap();
        assert_eq!((found.len(), found[0].stars, found[0].official), (2, 3, true));
        assert_eq!(found[0].description, "Small[31m");
        assert!(read(b"1").is_err() && read(&b"[".repeat(100_000)).is_err());
    }
}
