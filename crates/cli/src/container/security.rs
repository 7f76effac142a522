//! Capabilities and security options.

use std::collections::BTreeSet;
use std::path::Path;

/// Capabilities in one spelling, sorted. What wins where one is both added and dropped is for the runtime to say.
pub(super) fn capabilities<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let normal = |name: &str| {
        let name = name.trim().to_ascii_uppercase();
        if name == "ALL" || name.starts_with("CAP_") {
            name
        } else {
            format!("CAP_{name}")
        }
    };
    names.map(normal).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Security options, and whether no path is to be masked or read-only.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Options {
    /// As they are sent: a seccomp profile is its content.
    pub(super) options: Vec<String>,
    /// `systempaths=unconfined`.
    pub(super) unconfined_paths: bool,
}

/// Reads `--security-opt`s.
pub(super) fn options<'a>(given: impl Iterator<Item = &'a str>) -> Result<Options, String> {
    let mut out = Options::default();
    for option in given {
        if option == "systempaths=unconfined" {
            out.unconfined_paths = true;
            continue;
        }
        let (name, value) = match option.split_once('=') {
            Some(pair) => pair,
            None if option == "no-new-privileges" => (option, "true"),
            None => option.split_once(':').unwrap_or((option, "")),
        };
        if value.is_empty() {
            return Err(format!("Invalid --security-opt: {}", crate::args::value::quote(option)));
        }
        match (name, value) {
            ("seccomp", "unconfined" | "default" | "builtin") => out.options.push(format!("seccomp={value}")),
            ("seccomp", file) => out.options.push(format!("seccomp={}", profile(file)?)),
            ("no-new-privileges", "true" | "false") | ("apparmor" | "label", _) => out.options.push(option.to_owned()),
            ("no-new-privileges", _) => {
                return Err(format!("invalid --security-opt: {}", crate::args::value::quote(option)));
            }
            // The engine refuses what nobody knows.
            _ => out.options.push(option.to_owned()),
        }
    }
    Ok(out)
}

/// The content of a seccomp profile, compacted.
fn profile(file: &str) -> Result<String, String> {
    let bytes = super::environment::read_file(Path::new(file))
        .map_err(|e| format!("opening seccomp profile ({file}) failed: {e}"))?;
    let value: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|e| format!("compacting json for seccomp profile ({file}) failed: {e}"))?;
    Ok(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_one_spelling() {
        let names = ["net_admin", "CAP_CHOWN", "all", "CHOWN"];
        assert_eq!(capabilities(names.into_iter()), ["ALL", "CAP_CHOWN", "CAP_NET_ADMIN"]);
    }

    #[test]
    fn options_are_checked() {
        let read = |list: &[&str]| options(list.iter().copied());
        let ok = read(&[
            "no-new-privileges",
            "seccomp=unconfined",
            "label:disable",
            "systempaths=unconfined",
        ])
        .unwrap();
        assert_eq!(ok.options, ["no-new-privileges", "seccomp=unconfined", "label:disable"]);
        assert!(ok.unconfined_paths);
        assert_eq!(read(&["foo"]).unwrap_err(), "Invalid --security-opt: \"foo\"");
        for bad in ["", "seccomp=", "seccomp=/no/such", "no-new-privileges=maybe"] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_profile_is_sent_as_its_content() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }\n").unwrap();
        let option = format!("seccomp={}", file.path().display());
        let read = options([option.as_str()].into_iter()).unwrap();
        assert_eq!(read.options, [r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#]);
    }
}
