//! Names in an archive, made safe.

/// What a cleaned name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name<'p> {
    /// The layer's own top directory.
    Root,
    /// An entry `name` in the directory `parent` (empty: the top).
    Plain { parent: &'p [u8], name: &'p [u8] },
    /// `.wh.NAME`: hides `name` of the layers below (OCI image spec, layer.md, "Whiteouts").
    Whiteout { parent: &'p [u8], name: &'p [u8] },
    /// `.wh..wh..opq`: hides everything that the layers below have in `parent`.
    Opaque { parent: &'p [u8] },
    /// Housekeeping of aufs, which means nothing here.
    Aufs,
}

/// Writes `path` to `out` without a leading slash, empty parts, `.` and `..`, as Docker does.
pub(crate) fn clean(path: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    out.clear();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if out.is_empty() => return Err("its path leaves the layer"),
            b".." => {
                let cut = out.iter().rposition(|&b| b == b'/').unwrap_or(0);
                out.truncate(cut);
            }
            _ => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
            }
        }
    }
    Ok(())
}

/// Splits a cleaned path at its last slash.
pub(crate) fn split(clean: &[u8]) -> (&[u8], &[u8]) {
    match clean.iter().rposition(|&b| b == b'/') {
        Some(at) => (&clean[..at], &clean[at + 1..]),
        None => (&[], clean),
    }
}

/// Says what a cleaned path stands for.
pub(super) fn name(clean: &[u8]) -> Result<Name<'_>, &'static str> {
    const RESERVED: &str = "its name is reserved for whiteouts";
    if clean.is_empty() {
        return Ok(Name::Root);
    }
    let (parent, last) = split(clean);
    // Few names begin so, and none of them can be read without this prefix somewhere.
    if !clean.windows(4).any(|w| w == b".wh.") {
        return Ok(Name::Plain { parent, name: last });
    }
    if last == b".wh..wh..opq" && !has_marker(parent) {
        return Ok(Name::Opaque { parent });
    }
    if clean.split(|&b| b == b'/').any(|part| part.starts_with(b".wh..wh.")) {
        return Ok(Name::Aufs);
    }
    if has_marker(parent) {
        return Err(RESERVED);
    }
    match last.strip_prefix(b".wh.") {
        None => Ok(Name::Plain { parent, name: last }),
        Some(b"" | b"." | b"..") => Err(RESERVED),
        Some(name) => Ok(Name::Whiteout { parent, name }),
    }
}

fn has_marker(parent: &[u8]) -> bool {
    parent.split(|&b| b == b'/').any(|part| part.starts_with(b".wh."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        let check = |path: &str, expected: Option<&str>| {
            let mut out = b"old".to_vec();
            let got = clean(path.as_bytes(), &mut out)
                .ok()
                .map(|()| String::from_utf8(out).unwrap());
            assert_eq!(got.as_deref(), expected, "{path}");
        };
        check("./", Some(""));
        check("/", Some(""));
        check("./a/b", Some("a/b"));
        check("//a//b/", Some("a/b"));
        check("a/../b", Some("b"));
        check("a/b/../../c", Some("c"));
        check("..", None);
        check("../a", None);
        check("/../a", None);
        check("a/../../b", None);
        check("...", Some("..."));
        check("..a", Some("..a"));
    }

    #[test]
    fn whiteouts_are_told_by_their_names() {
        let check = |path: &str, expected: Result<Name<'_>, ()>| {
            assert_eq!(name(path.as_bytes()).map_err(|_| ()), expected, "{path}");
        };
        check("", Ok(Name::Root));
        check(
            "a",
            Ok(Name::Plain {
                parent: b"",
                name: b"a",
            }),
        );
        check(
            "a/b/c",
            Ok(Name::Plain {
                parent: b"a/b",
                name: b"c",
            }),
        );
        check(
            "a/.wh.b",
            Ok(Name::Whiteout {
                parent: b"a",
                name: b"b",
            }),
        );
        check(
            ".wh.b",
            Ok(Name::Whiteout {
                parent: b"",
                name: b"b",
            }),
        );
        check("a/.wh..wh..opq", Ok(Name::Opaque { parent: b"a" }));
        check(".wh..wh.plnk", Ok(Name::Aufs));
        check(".wh..wh.plnk/1.2", Ok(Name::Aufs));
        check("a/.wh..wh.aufs", Ok(Name::Aufs));
        check(
            "x.wh.y",
            Ok(Name::Plain {
                parent: b"",
                name: b"x.wh.y",
            }),
        );
        check(".wh.", Err(()));
        check(".wh..", Err(()));
        check(".wh...", Err(()));
        check(".wh.a/b", Err(()));
        check(".wh.a/.wh..wh..opq", Ok(Name::Aufs));
    }
}
