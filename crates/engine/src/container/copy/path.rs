//! Docker's rules for what is copied where: trailing slashes, `/.`, names that are there and names that are not.

use crate::{Error, Result};

/// Go's `filepath.Clean`: without `.`, `..`, double and trailing slashes; `.` where nothing is left.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => drop(parts.pop()),
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Whether the last part of a path is `.`: what is in the folder is meant, not the folder.
pub(super) fn is_content(path: &str) -> bool {
    path.trim_end_matches('/').rsplit('/').next() == Some(".") || path.is_empty()
}

/// Whether a path can only be a folder's.
pub(super) fn asserts_folder(path: &str) -> bool {
    path.ends_with('/') || is_content(path)
}

/// The path cleaned, with the `/` or `/.` that it ends with.
pub(super) fn keep_end(path: &str, cleaned: String) -> String {
    let mut out = cleaned;
    if is_content(path) && !is_content(&out) {
        if !out.ends_with('/') {
            out.push('/');
        }
        out.push('.');
    }
    if path.ends_with('/') && !out.ends_with('/') {
        out.push('/');
    }
    out
}

/// Folder and name. A name of `.` stays.
pub(super) fn split(path: &str) -> (String, String) {
    let mut cleaned = clean(path);
    if is_content(path) {
        cleaned.push_str("/.");
    }
    match cleaned.rsplit_once('/') {
        Some(("", "")) => ("/".to_owned(), "/".to_owned()),
        Some((folder, name)) => (clean(if folder.is_empty() { "/" } else { folder }), name.to_owned()),
        None => (".".to_owned(), cleaned),
    }
}

/// Go's `filepath.Base`.
pub(super) fn base(path: &str) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        Some("") | None => "/".to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// What a link's target is in place of the path that led to it, and the name that is kept.
pub(super) fn rebase(path: &str, resolved: &str) -> (String, Option<String>) {
    let resolved = keep_end(path, resolved.to_owned());
    let name = (base(path) != base(&resolved)).then(|| base(path));
    (resolved, name)
}

/// One side of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) path: String,
    pub(super) exists: bool,
    pub(super) folder: bool,
    /// The name under which it goes on, where that is not the path's own.
    pub(super) name: Option<String>,
}

/// Into which folder, and under which name there: the top entry's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) folder: String,
    pub(super) name: String,
}

/// Decides where the copy of `from` goes.
pub(super) fn plan(from: &Side, to: &Side) -> Result<Plan> {
    let (folder, name) = split(&to.path);
    let own = || from.name.clone().unwrap_or_else(|| split(&from.path).1);
    match (to.exists, to.folder, from.folder) {
        (true, true, _) => Ok(Plan {
            folder: to.path.clone(),
            name: own(),
        }),
        (true, false, true) => Err(Error::Invalid("cannot copy directory".to_owned())),
        (false, _, false) if asserts_folder(&to.path) => Err(Error::Invalid("no such directory".to_owned())),
        _ => Ok(Plan { folder, name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_gos() {
        for (path, expected) in [
            ("", "."),
            ("/", "/"),
            ("//a//b/", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/../x", "/x"),
            ("a/../..", ".."),
            ("../a", "../a"),
            ("./", "."),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
        for (path, expected) in [
            ("/a/", "/a/"),
            ("/a/.", "/a/."),
            ("/a/b/./", "/a/b/./"),
            ("/", "/"),
            ("/.", "/."),
            ("/a", "/a"),
        ] {
            assert_eq!(keep_end(path, clean(path)), expected, "{path}");
        }
        for (path, folder, name) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a/b/.", "/a/b", "."),
            ("/a", "/", "a"),
            ("/", "/", "/"),
            ("/.", "/", "."),
            ("a", ".", "a"),
        ] {
            assert_eq!(split(path), (folder.to_owned(), name.to_owned()), "{path}");
        }
    }

    #[test]
    fn links_keep_the_name_they_were_asked_by() {
        for (path, resolved, expected, name) in [
            ("/w/link", "/w/file", "/w/file", Some("link")),
            ("/w/link/", "/w/dir", "/w/dir/", Some("link")),
            ("/w/link/.", "/w/dir", "/w/dir/.", None),
            ("/w/a", "/v/a", "/v/a", None),
        ] {
            assert_eq!(
                rebase(path, resolved),
                (expected.to_owned(), name.map(str::to_owned)),
                "{path}"
            );
        }
    }

    /// What Docker 26 was seen to do.
    #[test]
    fn copies_go_where_dockers_go() {
        let side = |path: &str, kind: char| Side {
            path: path.to_owned(),
            exists: kind != '-',
            folder: kind == 'd',
            name: None,
        };
        for (from, kind, to, there, expected) in [
            ("/w/f", 'f', "/tmp/f", '-', Ok(("/tmp", "f"))),
            ("/w/f", 'f', "/tmp/", 'd', Ok(("/tmp/", "f"))),
            ("/w/f", 'f', "/tmp/g", 'f', Ok(("/tmp", "g"))),
            ("/w/f", 'f', "/nodir/f", '-', Ok(("/nodir", "f"))),
            ("/w/f", 'f', "/nodir/", '-', Err("no such directory")),
            ("/w/d", 'd', "/tmp/new", '-', Ok(("/tmp", "new"))),
            ("/w/d", 'd', "/tmp/new", 'd', Ok(("/tmp/new", "d"))),
            ("/w/d/.", 'd', "/tmp/new/", '-', Ok(("/tmp", "new"))),
            ("/w/d/.", 'd', "/tmp/new", 'd', Ok(("/tmp/new", "."))),
            ("/w/d", 'd', "/etc/passwd", 'f', Err("cannot copy directory")),
            ("/", 'd', "/out", '-', Ok(("/", "out"))),
            ("/", 'd', "/out", 'd', Ok(("/out", "/"))),
        ] {
            let plan = plan(&side(from, kind), &side(to, there));
            let got = plan.as_ref().map(|p| (p.folder.as_str(), p.name.as_str()));
            assert_eq!(
                got.map_err(ToString::to_string),
                expected.map_err(str::to_owned),
                "{from} to {to}"
            );
        }
    }
}
