//! Sources that are elsewhere: URLs and git repositories, as `ADD` and a build's context take them.

/// Where a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A path in the build context.
    Local,
    /// A file behind `http://` or `https://`.
    Http,
    /// A git repository.
    Git(GitSource),
}

/// A git repository, a commit in it and a folder of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitSource {
    /// What git is given.
    pub remote: String,
    /// A branch, a tag or a commit.
    pub reference: Option<String>,
    /// The folder, without a slash before it.
    pub folder: Option<String>,
    /// The commit that must be found.
    pub checksum: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched.
    pub submodules: Option<bool>,
}

/// Says where a source is.
///
/// # Errors
/// What is wrong with the query of a repository's URL.
pub fn locate(source: &str) -> Result<Location, String> {
    if source.starts_with("./") || source.starts_with("../") {
        return Ok(Location::Local);
    }
    if let Some((scheme, rest)) = scheme(source) {
        let (address, fragment) = cut(rest, '#');
        let (path, query) = cut(address, '?');
        return match scheme.as_str() {
            "http" | "https" if !path.ends_with(".git") => Ok(if source.starts_with(&scheme) {
                Location::Http
            } else {
                Location::Local
            }),
            "http" | "https" | "ssh" | "git" => git(format!("{scheme}://{path}"), query, fragment).map(Location::Git),
            _ => Ok(Location::Local),
        };
    }
    if !is_scp(source) {
        return Ok(Location::Local);
    }
    let (address, fragment) = cut(source, '#');
    let (path, query) = cut(address, '?');
    git(path.to_owned(), query, fragment).map(Location::Git)
}

/// The scheme in lower case, and what follows `://`.
fn scheme(source: &str) -> Option<(String, &str)> {
    let (scheme, rest) = source.split_once("://")?;
    let valid = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    valid.then(|| (scheme.to_ascii_lowercase(), rest))
}

fn cut(text: &str, mark: char) -> (&str, &str) {
    text.split_once(mark).unwrap_or((text, ""))
}

/// Whether it is `user@host:path`, as git and scp take it.
fn is_scp(source: &str) -> bool {
    let Some((user, rest)) = source.split_once('@') else {
        return false;
    };
    let Some((host, path)) = rest.split_once(':') else {
        return false;
    };
    let word = |text: &str, more: &[u8]| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    word(user, b"-_.") && word(host, b"-.") && !path.is_empty()
}

fn git(remote: String, query: &str, fragment: &str) -> Result<GitSource, String> {
    let mut out = GitSource {
        remote,
        ..GitSource::default()
    };
    let (reference, folder) = cut(fragment, ':');
    out.reference = some(reference);
    out.folder = some(folder);
    for item in query.split('&').filter(|item| !item.is_empty()) {
        let (key, value) = cut(item, '=');
        let flag = || match value {
            "" => Ok(true),
            value => hull_spec::value::parse_bool(value).ok_or_else(|| format!("invalid {key} value: {value:?}")),
        };
        if value.is_empty() && !matches!(key, "submodules" | "keep-git-dir") {
            return Err(format!("query {key:?} has no value"));
        }
        match key {
            "ref" => set(&mut out.reference, "ref", value)?,
            "tag" => set(&mut out.reference, "ref", &under("refs/tags/", value))?,
            "branch" => set(&mut out.reference, "ref", &under("refs/heads/", value))?,
            "subdir" => set(&mut out.folder, "subdir", value)?,
            "checksum" | "commit" => out.checksum = some(value),
            "keep-git-dir" => out.keep_git_dir = Some(flag()?),
            "submodules" => out.submodules = Some(flag()?),
            _ => return Err(format!("unexpected query {key:?}")),
        }
    }
    // A folder is one of the repository, whatever dots are in it.
    out.folder = out
        .folder
        .take()
        .and_then(|folder| some(crate::path::rooted(&folder)[1..].as_ref()));
    Ok(out)
}

fn some(text: &str) -> Option<String> {
    Some(text).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn under(prefix: &str, value: &str) -> String {
    if value.starts_with(prefix) {
        value.to_owned()
    } else {
        format!("{prefix}{value}")
    }
}

fn set(slot: &mut Option<String>, what: &str, value: &str) -> Result<(), String> {
    match slot {
        Some(before) if before != value => Err(format!("{what} conflicts: {before:?} vs {value:?}")),
        _ => {
            *slot = Some(value.to_owned());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_where_they_say() {
        let check = |source: &str, expected: &Location| assert_eq!(locate(source).as_ref(), Ok(expected), "{source}");
        for local in [
            "a",
            "a.git",
            "./https://x/y.git",
            "github.com/a/b",
            "ftp://x/y",
            "HTTP://x/y",
            "a@b",
            "a b@c:d",
            "@x:y",
            "",
            "/a/b:c",
        ] {
            check(local, &Location::Local);
        }
        for http in ["http://x/y", "https://x/y.git/z", "https://x/y?a=b.git"] {
            check(http, &Location::Http);
        }
        let git = |remote: &str, reference: Option<&str>, folder: Option<&str>| {
            Location::Git(GitSource {
                remote: remote.to_owned(),
                reference: reference.map(str::to_owned),
                folder: folder.map(str::to_owned),
                ..GitSource::default()
            })
        };
        check("https://x/y.git", &git("https://x/y.git", None, None));
        check(
            "https://x/y.git#v1:a/b",
            &git("https://x/y.git", Some("v1"), Some("a/b")),
        );
        check("https://x/y.git#:../../a", &git("https://x/y.git", None, Some("a")));
        check("git@x.org:a/b", &git("git@x.org:a/b", None, None));
        check("git@x.org:a/b.git#main", &git("git@x.org:a/b.git", Some("main"), None));
        check("ssh://git@x/y", &git("ssh://git@x/y", None, None));
        check(
            "https://x/y.git?tag=v1&subdir=/c",
            &git("https://x/y.git", Some("refs/tags/v1"), Some("c")),
        );
    }

    #[test]
    fn queries_are_checked() {
        let check = |source: &str, expected: &str| assert_eq!(locate(source).unwrap_err(), expected, "{source}");
        check("https://x/y.git?what=1", "unexpected query \"what\"");
        check("https://x/y.git?ref=", "query \"ref\" has no value");
        check("https://x/y.git?ref=a#b", "ref conflicts: \"b\" vs \"a\"");
        check("https://x/y.git?submodules=x", "invalid submodules value: \"x\"");
    }
}
