//! A Dockerfile's words: lines and their continuation, quotes, `$NAME` and `${NAME:-word}`.

use crate::{Error, Result};

fn invalid(text: String) -> Error {
    Error::Invalid(text)
}

/// The instructions of a text: comments gone, lines that end with a backslash joined with the next.
pub(super) fn lines(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut line = String::new();
    for part in text.lines() {
        let trimmed = part.trim_start();
        if trimmed.starts_with('#') || (line.is_empty() && trimmed.is_empty()) {
            continue;
        }
        let end = part.trim_end();
        if let Some(begun) = end.strip_suffix('\\') {
            line.push_str(begun);
            continue;
        }
        line.push_str(part);
        out.push(std::mem::take(&mut line).trim().to_owned());
    }
    if !line.trim().is_empty() {
        out.push(line.trim().to_owned());
    }
    out
}

/// Splits at blanks outside of quotes, which stay, as do backslashes.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        out.push(word);
    }
    out
}

/// Takes quotes and backslashes away and puts variables in.
pub(super) fn expand(text: &str, env: &[String]) -> Result<String> {
    let unprocessed = |why: &str| invalid(format!("failed to process {text:?}: {why}"));
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, '\\') => match chars.next() {
                Some(next) => out.push(next),
                None => out.push('\\'),
            },
            (Some('"'), '\\') => match chars.next() {
                Some(next @ ('"' | '$' | '\\')) => out.push(next),
                Some(next) => out.extend(['\\', next]),
                None => out.push('\\'),
            },
            (None | Some('"'), '$') => {
                let rest: String = chars.clone().collect();
                let (value, used) = variable(&rest, env).map_err(|why| unprocessed(&why))?;
                out.push_str(&value);
                for _ in 0..used {
                    chars.next();
                }
            }
            (_, c) => out.push(c),
        }
    }
    match quote {
        Some('"') => Err(unprocessed(
            "unexpected end of statement while looking for matching double-quote",
        )),
        Some(_) => Err(unprocessed(
            "unexpected end of statement while looking for matching single-quote",
        )),
        None => Ok(out),
    }
}

/// The value of the variable whose name begins `rest`, and how many characters name it.
fn variable(rest: &str, env: &[String]) -> std::result::Result<(String, usize), String> {
    let get = |name: &str| {
        env.iter()
            .rev()
            .find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value.to_owned())
    };
    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let Some(inner) = rest.strip_prefix('{') else {
        let name: String = rest.chars().take_while(is_name).collect();
        if name.is_empty() {
            // A dollar alone is one.
            return Ok(("$".to_owned(), 0));
        }
        return Ok((get(&name).unwrap_or_default(), name.len()));
    };
    let end = inner.find('}').ok_or("syntax error: missing '}'")?;
    let body = &inner[..end];
    let name: String = body.chars().take_while(is_name).collect();
    let used = inner[..end].chars().count() + 2;
    let (value, word) = (get(&name), &body[name.len()..]);
    let filled = value.as_ref().is_some_and(|value| !value.is_empty());
    let value = match word.split_at_checked(2) {
        _ if name.is_empty() => return Err("bad substitution".to_owned()),
        None if word.is_empty() => value.unwrap_or_default(),
        Some((":-", word)) => value.filter(|_| filled).unwrap_or_else(|| word.to_owned()),
        Some((":+", word)) => {
            if filled {
                word.to_owned()
            } else {
                String::new()
            }
        }
        _ => match (word.chars().next(), word.get(1..)) {
            (Some('-'), Some(word)) => value.unwrap_or_else(|| word.to_owned()),
            (Some('+'), Some(word)) => value.map(|_| word.to_owned()).unwrap_or_default(),
            _ => return Err(format!("unsupported modifier ({word}) in substitution")),
        },
    };
    Ok((value, used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined() {
        let text = "ENV A=1 \\\n  B=2\n# comment\n\nCMD x \\\n# inside\n y";
        assert_eq!(lines(text), ["ENV A=1   B=2", "CMD x  y"]);
        assert_eq!(lines("CMD a \\"), ["CMD a"]);
        assert_eq!(lines("\n#\n"), [""; 0]);
    }

    #[test]
    fn words_keep_their_quotes() {
        let check = |text: &str, expected: &[&str]| assert_eq!(split(text), expected, "{text}");
        check(
            r#"a=b  "c d"=e f\ g 'h "i'"#,
            &["a=b", r#""c d"=e"#, r"f\ g", r#"'h "i'"#],
        );
        check("", &[]);
        check(r#"A="x y"#, &[r#"A="x y"#]);
    }

    #[test]
    fn variables_are_put_in() {
        let env = ["A=1".to_owned(), "E=".to_owned(), "A=2".to_owned()];
        for (text, expected) in [
            ("$A", "2"),
            ("${A}b", "2b"),
            ("x$B-y", "x-y"),
            ("'$A'", "$A"),
            ("\"$A b\"", "2 b"),
            (r"\$A", "$A"),
            (r#""a\n\"""#, r#"a\n""#),
            ("${B:-w}${E:-v}${E-u}", "wv"),
            ("${A:+w}${B:+v}${E+u}", "wu"),
            ("$", "$"),
            (r"f\ g", "f g"),
        ] {
            assert_eq!(expand(text, &env).unwrap(), expected, "{text}");
        }
        for text in ["\"x", "'x", "${A", "${}", "${A:?x}"] {
            assert!(expand(text, &env).is_err(), "{text}");
        }
        let expected =
            "failed to process \"\\\"x\": unexpected end of statement while looking for matching double-quote";
        assert_eq!(expand("\"x", &env).unwrap_err().to_string(), expected);
    }
}
