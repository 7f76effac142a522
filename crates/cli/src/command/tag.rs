//! `tag`: another name for an image.

use hull_engine::image;
use hull_spec::Reference;

use super::Command;
use crate::args::{Count, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result};

pub(crate) const COMMAND: Command = Command {
    names: &["tag", "image tag"],
    synopsis: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Give an image another name",
    flags: &[],
    count: Count::Exactly(2),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let [source, target] = args.args() else {
        return Err(Failure::usage(&COMMAND, "'hull tag' requires 2 arguments"));
    };
    image::tag(&ctx.engine(), source, &name(target)?)?;
    Ok(0)
}

/// A name that an image may be given, in Docker's words where it is none.
pub(super) fn name(text: &str) -> Result<Reference> {
    let wrong = |why: String| {
        Failure::new(format!(
            "Error parsing reference: {text:?} is not a valid repository/tag: {why}"
        ))
    };
    let reference: Reference = text.parse().map_err(|error| match error {
        error @ hull_spec::Error::Uppercase { .. } => wrong(error.to_string()),
        error => wrong(format!("invalid reference format: {error}")),
    })?;
    if reference.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    Ok(reference.or_latest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_in_dockers_words() {
        let check = |text: &str, expected: &str| {
            let said = name(text).unwrap_err().message();
            assert!(said.contains(expected), "{text}: {said}");
        };
        check(
            "X",
            "\"X\" is not a valid repository/tag: invalid reference format: repository name (library/X) must be lowercase",
        );
        check(
            "a:b c",
            "\"a:b c\" is not a valid repository/tag: invalid reference format",
        );
        check(
            &format!("a@sha256:{}", "a".repeat(64)),
            "refusing to create a tag with a digest reference",
        );
        assert_eq!(name("a").unwrap().familiar(), "a:latest");
    }
}
