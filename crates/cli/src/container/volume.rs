//! `--volume` and `--tmpfs`.

use std::path::Path;

/// What a `--volume` turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Volume {
    /// A path in the container that gets an anonymous volume.
    Anonymous(String),
    /// `source:target[:options]`, with an absolute source where it is a path.
    Bind(String),
}

/// `[SOURCE:]TARGET[:OPTIONS]`. A source that begins with a dot is relative to `directory`.
pub(super) fn parse(text: &str, directory: &Path) -> Result<Volume, String> {
    if text.is_empty() {
        return Err("invalid empty volume spec".to_owned());
    }
    if text.len() <= 2 {
        return Ok(Volume::Anonymous(text.to_owned()));
    }
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(format!("invalid spec: {text}: empty section between colons"));
    }
    match parts[..] {
        [target] => Ok(Volume::Anonymous(target.to_owned())),
        [source, _] | [source, _, _] => {
            let rest = &text[source.len()..];
            Ok(Volume::Bind(absolute(source, directory) + rest))
        }
        _ => Err(format!("invalid spec: {text}: too many colons")),
    }
}

/// `source` as it is sent: a path that begins with a dot becomes absolute, lexically, as Docker's client makes it.
pub(super) fn absolute(source: &str, directory: &Path) -> String {
    if !source.starts_with('.') {
        return source.to_owned();
    }
    let mut out = directory.to_path_buf();
    for part in Path::new(source).components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::Normal(name) => out.push(name),
            _ => {}
        }
    }
    out.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_read_as_docker_reads_them() {
        let bind = |text: &str, expected: &str| {
            assert_eq!(
                parse(text, Path::new("/here/now")),
                Ok(Volume::Bind(expected.to_owned())),
                "{text}"
            );
        };
        bind("a:/b", "a:/b");
        bind("/a:/b:ro,z", "/a:/b:ro,z");
        bind("./x:/y", "/here/now/x:/y");
        bind(".:/y:ro", "/here/now:/y:ro");
        bind("../x/./y:/y", "/here/x/y:/y");
        bind("../../../..:/y", "/:/y");
        assert_eq!(
            parse("/data", Path::new("/")),
            Ok(Volume::Anonymous("/data".to_owned()))
        );
        for bad in ["", "a::/b", ":/b", "/a:", "a:/b:ro:x"] {
            assert!(parse(bad, Path::new("/")).is_err(), "{bad}");
        }
    }
}
