//! The names under which images and contexts are known.

use hull_spec::Reference;

/// A name as a person would write it shortest: `docker.io/library/alpine:latest` is `alpine`.
pub(super) fn normal(name: &str) -> Result<String, hull_spec::Error> {
    let reference: Reference = name.parse()?;
    let familiar = reference.familiar();
    Ok(familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        for name in [
            "alpine",
            "alpine:latest",
            "docker.io/library/alpine",
            "library/alpine:latest",
        ] {
            assert_eq!(normal(name).unwrap(), "alpine", "{name}");
        }
        assert_eq!(normal("x.org/a:1").unwrap(), "x.org/a:1");
        assert!(normal("A").is_err());
    }
}
