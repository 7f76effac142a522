//! Names without a registry, and the registries that they may mean.

use hull_spec::Reference;

use crate::Error;
use crate::settings::Settings;

impl Settings {
    /// The references that `text` may mean, in the order in which they are to be tried: itself where it names its
    /// registry, otherwise one for each search registry (Docker's rule: the first part is a registry if it holds a dot
    /// or a colon, or is `localhost`). Go on to the next only where the image was not found.
    ///
    /// # Errors
    /// If the name is malformed.
    pub fn candidates(&self, text: &str) -> Result<Vec<Reference>, Error> {
        let plain: Reference = text.parse()?;
        if plain.registry() != "docker.io" || names_registry(text) {
            return Ok(vec![plain]);
        }
        let mut out = Vec::with_capacity(self.search.len());
        for registry in &self.search {
            out.push(if registry == "docker.io" {
                plain.clone()
            } else {
                format!("{registry}/{text}").parse()?
            });
        }
        Ok(out)
    }
}

fn names_registry(text: &str) -> bool {
    text.split_once('/').is_some_and(|(host, _)| {
        host.contains(['.', ':']) || host == "localhost" || host.chars().any(char::is_uppercase)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_without_a_registry_are_searched_for() {
        let settings = Settings {
            search: ["docker.io", "quay.io", "localhost:5000"].map(str::to_owned).to_vec(),
            ..Settings::default()
        };
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<_> = settings
                .candidates(text)
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected, "{text}");
        };
        check("a", &["docker.io/library/a", "quay.io/a", "localhost:5000/a"]);
        check("a/b:1", &["docker.io/a/b:1", "quay.io/a/b:1", "localhost:5000/a/b:1"]);
        check("docker.io/a", &["docker.io/library/a"]);
        check("ghcr.io/a/b", &["ghcr.io/a/b"]);
        assert!(settings.candidates("A").is_err());
    }
}
