//! Variables and labels, from flags and from files.

use std::path::Path;

/// The largest file of variables or labels that is read, in bytes.
const FILE_MAX: u64 = 16 << 20;

/// Variables of files, then of flags; a later one takes the place of an earlier one of the same name. `NAME` alone takes
/// the value that `lookup` has for it. A name in a file that has none is left out; one of a flag stays without a value,
/// which takes the image's variable away.
///
/// # Errors
/// If a file cannot be read or is malformed.
pub(crate) fn read_environment<'a>(
    files: impl Iterator<Item = &'a str>,
    flags: impl Iterator<Item = &'a str>,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    for file in files {
        read_lines(file, &lookup, &mut out)?;
    }
    for flag in flags {
        match lookup(flag).filter(|_| !flag.contains('=')) {
            Some(value) => out.push(format!("{flag}={value}")),
            None => out.push(flag.to_owned()),
        }
    }
    Ok(last_of_each(out))
}

/// The last variable of each name, at the place of the first.
fn last_of_each(all: Vec<String>) -> Vec<String> {
    fn name(variable: &str) -> &str {
        variable.split_once('=').map_or(variable, |(name, _)| name)
    }
    let mut places = std::collections::HashMap::new();
    let mut out: Vec<String> = Vec::with_capacity(all.len());
    for variable in all {
        match places.get(name(&variable)) {
            Some(&place) => out[place] = variable,
            None => {
                places.insert(name(&variable).to_owned(), out.len());
                out.push(variable);
            }
        }
    }
    out
}

/// Labels, in the same order. A label without a value has an empty one.
///
/// # Errors
/// If a file cannot be read or is malformed.
pub(crate) fn read_labels<'a>(
    files: impl Iterator<Item = &'a str>,
    flags: impl Iterator<Item = &'a str>,
) -> Result<Vec<(String, String)>, String> {
    let mut lines = Vec::new();
    for file in files {
        read_lines(file, |_| None, &mut lines)?;
    }
    lines.extend(flags.map(str::to_owned));
    let pair = |line: String| match line.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (line, String::new()),
    };
    Ok(lines.into_iter().map(pair).collect())
}

fn read_lines(file: &str, lookup: impl Fn(&str) -> Option<String>, out: &mut Vec<String>) -> Result<(), String> {
    let bytes = read_file(Path::new(file))?;
    parse_lines(&bytes, lookup, out).map_err(|e| format!("invalid env file ({file}): {e}"))
}

/// A file that a flag names, of a bounded size.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let err = |e: std::io::Error| format!("open {}: {}", path.display(), crate::error::reason(&e));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(err)?;
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(err)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("{} is larger than {} MiB", path.display(), FILE_MAX >> 20));
    }
    Ok(bytes)
}

/// Docker's format: a `NAME=value` or `NAME` a line, `#` starts a comment line, nothing is quoted.
fn parse_lines(bytes: &[u8], lookup: impl Fn(&str) -> Option<String>, out: &mut Vec<String>) -> Result<(), String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| {
            let bytes: Vec<_> = line.iter().map(u8::to_string).collect();
            format!("invalid utf8 bytes at line {}: [{}]", i + 1, bytes.join(" "))
        })?;
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        if name.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if name.contains(char::is_whitespace) {
            return Err(format!("variable '{name}' contains whitespaces"));
        }
        if value.is_some() {
            out.push(line.to_owned());
        } else if let Some(value) = lookup(name) {
            out.push(format!("{name}={value}"));
        }
    }
    Ok(())
}

pub(crate) fn check(text: &str) -> Result<(), String> {
    if text.split('=').next().is_none_or(str::is_empty) {
        return Err(format!("invalid environment variable: {text}"));
    }
    if text.contains('\0') {
        return Err("a variable holds no NUL byte".to_owned());
    }
    Ok(())
}

pub(super) fn check_label(text: &str) -> Result<(), String> {
    let blank = [' ', '\t'];
    let name = text.split('=').next().unwrap_or_default().trim_start_matches(blank);
    if name.is_empty() {
        return Err(format!("invalid label '{text}': empty name"));
    }
    if name.contains(blank) {
        return Err(format!("label '{name}' contains whitespaces"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        let lookup = |name: &str| (name == "HOME").then(|| "/me".to_owned());
        parse_lines(text.as_bytes(), lookup, &mut out)?;
        Ok(out)
    }

    #[test]
    fn files_read_as_docker_reads_them() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(read(text).unwrap(), expected, "{text:?}");
        };
        check("A=1\n\n# c\n  B=2 \nC=\n", &["A=1", "B=2 ", "C="]);
        check("A=\"q\"\nB=a=b # no comment", &["A=\"q\"", "B=a=b # no comment"]);
        check("HOME\nUNSET\n", &["HOME=/me"]);
        check("\u{feff}A=1\r\nB=2\r\n", &["A=1", "B=2"]);
        check("", &[]);
        for bad in ["=x", "A B=1", "A\t=1"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert!(parse_lines(b"A=\xff", |_| None, &mut Vec::new()).is_err());
    }

    #[test]
    fn flags_come_after_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, "A=file\n").unwrap();
        let lookup = |name: &str| (name == "HOME").then(|| "/me".to_owned());
        let flags = ["A=flag", "HOME", "GONE"];
        let read = read_environment([file.to_str().unwrap()].into_iter(), flags.into_iter(), lookup);
        assert_eq!(read.unwrap(), ["A=flag", "HOME=/me", "GONE"]);
        let missing = read_environment(["/no/such"].into_iter(), [].into_iter(), lookup);
        assert_eq!(missing.unwrap_err(), "open /no/such: no such file or directory");
    }
}
