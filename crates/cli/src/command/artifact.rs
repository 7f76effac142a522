//! `artifact push` and `artifact pull`: files that are kept in a registry as images are.

use std::path::{Path, PathBuf};

use hull_registry::artifact::{ArtifactRequest, pull_artifact, push_artifact};

use super::repository::{client, remote};
use super::{Command, push};
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, USAGE, print_line};
use crate::progress::Show;

pub(crate) const PUSH: Command = Command {
    names: &["artifact push"],
    synopsis: "[OPTIONS] NAME[:TAG] [FILE[:TYPE]...]",
    about: "Upload files as an artifact, attached to an image or not",
    flags: &[
        Flag::list("annotation").help("Metadata of the artifact: key=value"),
        push::DIGEST_FILE,
        Flag::switch("quiet").short('q').help("Print nothing but the digest"),
        Flag::string("subject").help("The image that it is attached to, in the same repository"),
        Flag::string("type").help("What kind of artifact it is, such as application/spdx+json"),
    ],
    count: Count::AtLeast(1),
    interspersed: true,
    run: upload,
};

pub(crate) const PULL: Command = Command {
    names: &["artifact pull"],
    synopsis: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Download the files of an artifact",
    flags: &[
        Flag::switch("force").short('f').help("Replace files that are there"),
        Flag::string("output")
            .short('o')
            .default("\".\"")
            .help("The folder that they go to"),
    ],
    count: Count::Exactly(1),
    interspersed: true,
    run: download,
};

/// `FILE:TYPE`, where what follows the last colon looks like a media type.
fn file(text: &str) -> (PathBuf, Option<String>) {
    match text.rsplit_once(':') {
        Some((path, kind)) if kind.contains('/') && !kind.starts_with('/') && !path.is_empty() => {
            (PathBuf::from(path), Some(kind.to_owned()))
        }
        _ => (PathBuf::from(text), None),
    }
}

fn upload(args: &Matches, ctx: &Context) -> Outcome {
    let reference = remote(args.arg())?;
    let subject = args.value("subject").map(remote).transpose()?;
    if let Some(subject) = &subject
        && subject.name() != reference.name()
    {
        return Err(Failure::new("--subject must be in the repository that the artifact goes to").code(USAGE));
    }
    let kind = args
        .value("type")
        .ok_or_else(|| Failure::new("--type is needed: it says what kind of artifact this is").code(USAGE))?;
    if !kind.contains('/') || kind.contains(char::is_whitespace) {
        return Err(Failure::new(format!("--type: `{kind}` is no media type")).code(USAGE));
    }
    let mut annotations = std::collections::BTreeMap::new();
    for text in args.values("annotation") {
        let Some((key, value)) = text.split_once('=') else {
            return Err(Failure::new(format!("--annotation: `{text}` is not key=value")).code(USAGE));
        };
        annotations.insert(key.to_owned(), value.to_owned());
    }
    let request = ArtifactRequest {
        kind: kind.to_owned(),
        files: args.args()[1..].iter().map(|text| file(text)).collect(),
        annotations,
        subject,
    };
    let show = if args.on("quiet") { Show::Nothing } else { Show::Stderr };
    // Where the files are kept while they are sent; it is there once anything is in the store.
    let folder = ctx.settings.root.join("ingest");
    std::fs::create_dir_all(&folder)?;
    let pushed = push_artifact(&client(ctx)?, &reference, &request, &folder, &show.progress())?;
    push::write_digest(args, &pushed)?;
    print_line(pushed.digest.as_str())?;
    Ok(0)
}

fn download(args: &Matches, ctx: &Context) -> Outcome {
    let reference = remote(args.arg())?;
    let folder = Path::new(args.value("output").unwrap_or("."));
    let (digest, files) = pull_artifact(&client(ctx)?, &reference, folder, args.on("force"))?;
    for path in files {
        print_line(&path.display().to_string())?;
    }
    print_line(&format!("Digest: {digest}"))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_follows_the_file() {
        for (text, path, kind) in [
            ("a.json:application/json", "a.json", Some("application/json")),
            ("a.json", "a.json", None),
            ("x:y", "x:y", None),
            ("./a:/b", "./a:/b", None),
        ] {
            assert_eq!(file(text), (PathBuf::from(path), kind.map(str::to_owned)), "{text}");
        }
    }
}
