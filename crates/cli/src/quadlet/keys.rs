//! Keys of Quadlet's sections, each with what becomes of it.

use super::unit::Unit;
use super::words;

/// What becomes of a key.
#[derive(Clone, Copy)]
pub(super) enum Key {
    /// Its last value is a flag's.
    Last(&'static str),
    /// Each of its values is a flag's.
    Each(&'static str),
    /// Each word of its values is a flag's.
    Words(&'static str),
    /// Where it is true, these words are added.
    On(&'static [&'static str]),
    /// Its words are added as they are, at the end.
    Plain,
    /// Somebody else reads it.
    Elsewhere,
    /// It is reported, with the reason.
    Refused(&'static str),
}

/// systemd's words for yes and no.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" | "y" | "t" => Ok(true),
        "0" | "no" | "false" | "off" | "n" | "f" | "" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// Turns a key's value into the flag's; `None` leaves the flag out.
pub(super) type Change<'a> = &'a mut dyn FnMut(&str, String) -> Result<Option<String>, String>;

/// The flags that the keys of `section` stand for, in the order of `table`. `change` may turn a value into another one.
pub(super) fn flags(
    unit: &Unit,
    section: &str,
    table: &[(&str, Key)],
    change: Change<'_>,
) -> Result<Vec<String>, String> {
    for (name, _) in unit.keys(section) {
        match table.iter().find(|(key, _)| key == name) {
            None => return Err(format!("unsupported key '{name}' in group '{section}'")),
            Some((_, Key::Refused(reason))) => return Err(format!("{name}= is not there: {reason}")),
            Some(_) => {}
        }
    }
    let (mut out, mut last) = (Vec::new(), Vec::new());
    for (name, key) in table {
        let failed = |e: String| format!("{name}=: {e}");
        let mut add = |out: &mut Vec<String>, flag: &str, value: String| -> Result<(), String> {
            if let Some(value) = change(name, value).map_err(failed)? {
                out.extend([flag.to_owned(), value]);
            }
            Ok(())
        };
        match key {
            Key::Last(flag) => {
                if let Some(value) = unit.last(section, name).filter(|value| !value.is_empty()) {
                    add(&mut out, flag, value.to_owned())?;
                }
            }
            Key::Each(flag) => {
                for value in unit.all(section, name) {
                    add(&mut out, flag, value.to_owned())?;
                }
            }
            Key::Words(flag) => {
                for value in unit.all(section, name) {
                    for word in words::split(value).map_err(failed)? {
                        add(&mut out, flag, word)?;
                    }
                }
            }
            Key::On(flags) => {
                if unit.last(section, name).map_or(Ok(false), boolean).map_err(failed)? {
                    out.extend(flags.iter().map(|&flag| flag.to_owned()));
                }
            }
            Key::Plain => {
                for value in unit.all(section, name) {
                    last.extend(words::split(value).map_err(failed)?);
                }
            }
            Key::Elsewhere | Key::Refused(_) => {}
        }
    }
    out.append(&mut last);
    Ok(out)
}

/// The words before hull's command: its path and `GlobalArgs=`.
pub(super) fn program(unit: &Unit, section: &str, program: &str) -> Result<Vec<String>, String> {
    let mut out = vec![program.to_owned()];
    for value in unit.all(section, "GlobalArgs") {
        out.extend(words::split(value)?);
    }
    Ok(out)
}

/// `program` and more words as one command line.
pub(super) fn line(program: &[String], rest: &[&str], more: &[String]) -> String {
    let rest = rest.iter().map(|&word| word.to_owned());
    let all: Vec<String> = program
        .iter()
        .cloned()
        .chain(rest)
        .chain(more.iter().cloned())
        .collect();
    words::join(&all)
}
