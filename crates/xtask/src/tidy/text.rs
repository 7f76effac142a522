//! Rust source without what is not code: comments, the insides of literals, and test modules.

/// Replaces comments and the insides of string and character literals by spaces. Lines stay where they are.
pub(super) fn code(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = skip(bytes, at);
        if end > at {
            code.extend(source[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            let next = source[at..].chars().next().unwrap_or(' ');
            code.push(next);
            at += next.len_utf8();
        }
    }
    code
}

/// Where the comment or literal that starts at `at` ends; `at` itself where none starts.
fn skip(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return at + block(rest);
    }
    let before = at.checked_sub(1).map(|i| bytes[i]);
    if rest[0] == b'r' && !before.is_some_and(|b| b.is_ascii_alphanumeric() && b != b'b' || b == b'_') {
        let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            return at + raw(rest, hashes);
        }
    }
    match rest[0] {
        b'"' => at + quoted(rest, b'"'),
        // A lifetime has no closing quote after one character.
        b'\'' if rest.get(1) == Some(&b'\\') || character(rest) => at + quoted(rest, b'\''),
        _ => at,
    }
}

fn character(rest: &[u8]) -> bool {
    let width = match rest.get(1) {
        Some(byte) if *byte >= 0xf0 => 4,
        Some(byte) if *byte >= 0xe0 => 3,
        Some(byte) if *byte >= 0xc0 => 2,
        _ => 1,
    };
    rest.get(1 + width) == Some(&b'\'')
}

fn block(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn raw(rest: &[u8], hashes: usize) -> usize {
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let body = 2 + hashes;
    rest[body..]
        .windows(end.len())
        .position(|w| w == end)
        .map_or(rest.len(), |found| body + found + end.len())
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Blanks every item behind `#[cfg(test)]` in what `code` made; lines stay where they are. Returns the number of blanked
/// lines, too.
pub(super) fn without_tests(code: &str) -> (String, usize) {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut blanked = 0;
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        kept.push_str(&rest[..start]);
        let end = start + item(&rest[start..]);
        let lines = rest[start..end].matches('\n').count();
        kept.extend(std::iter::repeat_n('\n', lines));
        blanked += lines + 1;
        rest = &rest[end..];
    }
    (kept + rest, blanked)
}

/// The length of the first item: to its closing brace, or to its semicolon where that comes first.
fn item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_comments_and_literals_only() {
        let check = |source: &str, expected: &str| assert_eq!(code(source).trim_end(), expected, "{source}");
        check("a(); // unsafe", "a();");
        check("a /* x /* y */ z */ b", "a                   b");
        check("f(\"un\\\"safe\", 'u', '\\'', b'x')", "f(          ,    ,     , b   )");
        check("r#\"a \" b\"# + var\"x\"", "           + var");
        check("fn f<'a>(x: &'a str) -> &'a str", "fn f<'a>(x: &'a str) -> &'a str");
        check("'ü' + '€'", "    +");
        check("let s = \"open", "let s =");
    }

    #[test]
    fn blanks_test_items_only() {
        let source =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { {} }\n}\nfn c() {}\n#[cfg(test)]\nuse x;\nfn d() {}\n";
        let (left, blanked) = without_tests(source);
        assert_eq!(blanked, 6);
        assert_eq!(left.lines().count(), source.lines().count());
        assert_eq!(
            left.split_whitespace().collect::<Vec<_>>().join(" "),
            "fn a() {} fn c() {} fn d() {}"
        );
    }
}
