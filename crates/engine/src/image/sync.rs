//! What `image sync` is to copy: a list of repositories in skopeo's YAML.

use std::path::Path;

use hull_spec::Reference;
use regex_lite::Regex;
use serde_json::Value;

use crate::{Error, Result, cdi};

/// Repositories and the tags of them that are wanted.
#[derive(Debug)]
pub struct Wanted {
    /// The repository.
    pub repository: Reference,
    /// Its tags.
    pub tags: Tags,
}

/// Which tags of a repository.
#[derive(Debug)]
pub enum Tags {
    /// All that there are.
    All,
    /// These tags and digests.
    Named(Vec<Reference>),
    /// Those that match.
    Matching(Regex),
}

/// Keys of a registry that say what is wanted, and those that hull keeps elsewhere.
const ELSEWHERE: [&str; 3] = ["credentials", "tls-verify", "cert-dir"];

/// Reads a list: for each registry `images`, a map from repositories to lists of tags and digests (an empty one stands for
/// all), and `images-by-tag-regex`.
///
/// # Errors
/// What is malformed, by name; a key that is not understood.
pub fn read_list(path: &Path) -> Result<Vec<Wanted>> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text).map_err(|reason| Error::Invalid(format!("`{}`: {reason}", path.display())))
}

fn parse(text: &str) -> Result<Vec<Wanted>, String> {
    let Value::Object(registries) = cdi::yaml(text)? else {
        return Err("it is no map of registries".to_owned());
    };
    let mut out = Vec::new();
    for (registry, rules) in &registries {
        let Value::Object(rules) = rules else {
            return Err(format!("`{registry}` is no map"));
        };
        for (key, value) in rules {
            match key.as_str() {
                "images" => images(registry, value, &mut out)?,
                "images-by-tag-regex" => patterns(registry, value, &mut out)?,
                key if ELSEWHERE.contains(&key) => {
                    return Err(format!(
                        "`{registry}`: `{key}` belongs into Docker's config.json and hull's config.toml"
                    ));
                }
                key => return Err(format!("`{registry}`: `{key}` is not known")),
            }
        }
    }
    Ok(out)
}

fn repository(registry: &str, name: &str) -> Result<Reference, String> {
    let reference: Reference = format!("{registry}/{name}")
        .parse()
        .map_err(|e: hull_spec::Error| e.to_string())?;
    if reference.tag().is_some() || reference.digest().is_some() {
        return Err(format!("`{name}`: its tags are a list after it"));
    }
    Ok(reference)
}

fn images(registry: &str, value: &Value, out: &mut Vec<Wanted>) -> Result<(), String> {
    let Value::Object(images) = value else {
        return Err(format!("`{registry}`: `images` is no map"));
    };
    for (name, tags) in images {
        let repository = repository(registry, name)?;
        let list = match tags {
            Value::Null => &[][..],
            Value::Array(list) => list,
            _ => return Err(format!("`{registry}/{name}`: its tags are no list")),
        };
        let mut named = Vec::new();
        for tag in list {
            let Value::String(tag) = tag else {
                // 1.10 is a number to YAML, and 1.1 then.
                return Err(format!(
                    "`{registry}/{name}`: the tag {tag} is no text: put it in quotes"
                ));
            };
            named.push(match tag.parse() {
                Ok(digest) => repository.with_digest(digest),
                Err(_) => repository.with_tag(tag).map_err(|e| e.to_string())?,
            });
        }
        let tags = if named.is_empty() {
            Tags::All
        } else {
            Tags::Named(named)
        };
        out.push(Wanted { repository, tags });
    }
    Ok(())
}

fn patterns(registry: &str, value: &Value, out: &mut Vec<Wanted>) -> Result<(), String> {
    let Value::Object(patterns) = value else {
        return Err(format!("`{registry}`: `images-by-tag-regex` is no map"));
    };
    for (name, pattern) in patterns {
        let repository = repository(registry, name)?;
        let Value::String(pattern) = pattern else {
            return Err(format!("`{registry}/{name}`: its pattern is no text"));
        };
        let pattern = Regex::new(pattern).map_err(|e| format!("`{registry}/{name}`: {e}"))?;
        out.push(Wanted {
            repository,
            tags: Tags::Matching(pattern),
        });
    }
    Ok(())
}

impl Tags {
    /// The images that are wanted, of the tags that there are; `all` is asked for them where that is needed.
    ///
    /// # Errors
    /// What `all` says.
    pub fn pick<E>(
        &self,
        repository: &Reference,
        all: impl FnOnce() -> Result<Vec<String>, E>,
    ) -> Result<Vec<Reference>, E> {
        let tagged = |tags: Vec<String>| tags.iter().filter_map(|tag| repository.with_tag(tag).ok()).collect();
        Ok(match self {
            Self::Named(named) => named.clone(),
            Self::All => tagged(all()?),
            Self::Matching(pattern) => {
                let mut tags = all()?;
                tags.retain(|tag| pattern.is_match(tag));
                tagged(tags)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skopeos_lists_are_read() {
        let text = "reg.lan:5000:\n  images:\n    a/b: []\n    c:\n      - '1.0'\n      - '2.5'\n      - sha256:\
                    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n  images-by-tag-regex:\n    d: ^v[12]$\n";
        let found = parse(text).unwrap();
        let there = || Ok::<_, ()>(["v1", "v2", "v3"].map(str::to_owned).to_vec());
        let names: Vec<String> = found
            .iter()
            .flat_map(|wanted| wanted.tags.pick(&wanted.repository, there).unwrap())
            .map(|name| name.to_string())
            .collect();
        let digest = format!("reg.lan:5000/c@sha256:{}", "a".repeat(64));
        let expected = [
            "reg.lan:5000/a/b:v1",
            "reg.lan:5000/a/b:v2",
            "reg.lan:5000/a/b:v3",
            "reg.lan:5000/c:1.0",
            "reg.lan:5000/c:2.5",
            digest.as_str(),
            "reg.lan:5000/d:v1",
            "reg.lan:5000/d:v2",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let check = |text: &str, named: &str| {
            let err = parse(text).unwrap_err();
            assert!(err.contains(named), "{text}: {err}");
        };
        check("- a", "no map");
        check("a.b: 3", "`a.b` is no map");
        check("a.b:\n  imagse: {}", "imagse");
        check("a.b:\n  credentials: {}", "config.json");
        check("a.b:\n  images:\n    c: x", "a.b/c");
        check("a.b:\n  images:\n    c: [\"../x\"]", "tag is malformed");
        check("a.b:\n  images:\n    c:1: []", "c:1");
        check("a.b:\n  images-by-tag-regex:\n    c: \"(\"", "a.b/c");
        check("a.b:\n  images:\n    c: [1.10]", "quotes");
        check("a: &x 1", "anchor");
    }
}
