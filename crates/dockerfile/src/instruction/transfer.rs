//! `COPY` and `ADD`.

use super::flag::Flags;
use crate::error::{Located, Problem};
use crate::heredoc::{self, Heredoc};
use crate::source::Word;

/// What `COPY` and `ADD` have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Paths, patterns and, for `ADD`, URLs.
    pub sources: Vec<Word>,
    /// Files whose contents stand in the Dockerfile.
    pub contents: Vec<Content>,
    /// Where they go.
    pub destination: Word,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`: the layer does not depend on what is below it.
    pub link: bool,
    /// `--exclude`: patterns of what stays behind. Variables in them are not replaced.
    pub excludes: Vec<Word>,
}

/// A file whose content stands in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its name.
    pub name: Word,
    /// What is in it.
    pub data: String,
    /// Whether variables in it are replaced.
    pub expand: bool,
}

/// `COPY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The files.
    pub files: Files,
    /// `--from`: a stage, an image or a named context in place of the build context.
    pub from: Option<Word>,
    /// `--parents`: the folders of each source are made, too.
    pub parents: bool,
}

/// `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// The files.
    pub files: Files,
    /// `--checksum` of a URL or a git commit.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`; where it is not given, the URL may say so.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`; where it is not given, local archives are unpacked and remote ones not.
    pub unpack: Option<bool>,
}

/// Reads sources, here-documents and the destination, which is the last of `words`.
pub(crate) fn files(
    instruction: &'static str,
    mut words: Vec<Word>,
    heredocs: &[Heredoc],
    flags: &Flags<'_>,
) -> Result<Files, Located> {
    let Some(destination) = words.pop() else {
        return Err((Problem::NoDestination { instruction }, crate::Span::default()));
    };
    // A word that cannot be read as a here-document is none.
    let is_heredoc = |word: &Word| heredoc::read(&word.text).ok().flatten();
    if is_heredoc(&destination).is_some() {
        return Err((Problem::HeredocDestination { instruction }, destination.span));
    }
    let (mut sources, mut contents) = (Vec::new(), Vec::new());
    for word in words {
        let Some(found) = is_heredoc(&word) else {
            sources.push(word);
            continue;
        };
        let read = heredocs.iter().rev().find(|doc| doc.name == found.name);
        contents.push(Content {
            name: word.with(found.name),
            data: read.map(Heredoc::text).unwrap_or_default(),
            expand: found.expand,
        });
    }
    Ok(Files {
        sources,
        contents,
        destination,
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.switch("link").unwrap_or_default(),
        excludes: flags.list("exclude"),
    })
}
