//! Words as systemd splits and quotes them (`systemd.syntax(7)`, `systemd.service(5)`).

/// The words of a value: quotes hold them together, backslashes escape as in C.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(out);
        }
        let mut word = String::new();
        let mut quote = None;
        loop {
            match chars.next() {
                None if quote.is_some() => return Err(format!("unbalanced quotes in `{text}`")),
                None => break,
                Some(c) if quote == Some(c) => quote = None,
                Some(c @ ('"' | '\'')) if quote.is_none() => quote = Some(c),
                Some('\\') => match chars.next() {
                    None => return Err(format!("a backslash at the end of `{text}`")),
                    Some('n') => word.push('\n'),
                    Some('t') => word.push('\t'),
                    Some('r') => word.push('\r'),
                    Some('s') => word.push(' '),
                    Some('x') => {
                        let digits: String = [chars.next(), chars.next()].into_iter().flatten().collect();
                        let byte = u8::from_str_radix(&digits, 16).ok().filter(|b| b.is_ascii() && *b > 0);
                        word.push(char::from(byte.ok_or_else(|| format!("invalid escape in `{text}`"))?));
                    }
                    Some(c @ ('\\' | '"' | '\'' | '$' | ';')) => word.push(c),
                    // systemd leaves what it does not know as it is.
                    Some(c) => word.extend(['\\', c]),
                },
                Some(c) if c.is_whitespace() && quote.is_none() => break,
                Some(c) => word.push(c),
            }
        }
        out.push(word);
    }
}

/// A command line for `ExecStart=`. `%` stays: it is the writer's, and systemd's to expand.
pub(super) fn join(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\'' | '\\' | ';') && !c.is_control();
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut out = String::from("\"");
    for c in word.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_and_quoted() {
        for (text, expected) in [
            ("", &[][..]),
            ("a  b", &["a", "b"]),
            ("\"a b\" 'c \"d'", &["a b", "c \"d"]),
            ("x=\"a b\"c", &["x=a bc"]),
            ("a\\sb \\x41 \\\"q\\\"", &["a b", "A", "\"q\""]),
            ("''", &[""]),
        ] {
            assert_eq!(split(text).unwrap(), expected, "{text}");
        }
        for bad in ["\"a", "a\\", "\\xzz"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_quoted_is_one_word_again(words in proptest::collection::vec("[ -~\t\n]{0,8}", 0..5)) {
            proptest::prop_assert_eq!(split(&join(&words)).unwrap(), words);
        }
    }
}
