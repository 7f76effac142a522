//! Texts cut short and put into quotes as Go does.

/// Go's `strconv.Quote`: what cannot be printed is escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            '\0'..='\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Whether Go prints a character beyond ASCII as it is: letters, marks, numbers, punctuation and symbols, but no space.
fn is_printable(c: char) -> bool {
    // What Rust's debug form escapes besides is a mark that joins the character before it, which Go prints.
    !c.is_whitespace() && (c.escape_debug().len() == 1 || is_joining(c))
}

fn is_joining(c: char) -> bool {
    // Zero-width joiners and other format characters are not printed.
    !c.is_control()
        && !matches!(u32::from(c), 0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x180e | 0x200b..=0x200f
        | 0x202a..=0x202e | 0x2060..=0x206f | 0xd800..=0xf8ff | 0xfeff | 0xfff0..=0xfffb | 0xe_0000..=0x10_ffff)
        && format!("a{c}").escape_debug().count() == 2
}

/// `text` cut to `width` columns, the last of which is then an ellipsis.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().map(columns).sum::<usize>() <= width {
        return text.to_owned();
    }
    let mut used = 0;
    let mut out = String::new();
    for c in text.chars() {
        used += columns(c);
        if used >= width {
            break;
        }
        out.push(c);
    }
    out.push('\u{2026}');
    out
}

/// Columns that a terminal gives a character: two to those of East Asia (UAX 11, wide and fullwidth).
fn columns(c: char) -> usize {
    let wide = matches!(u32::from(c),
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0x33ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xa000..=0xa4cf
        | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1_f300..=0x1_f64f
        | 0x1_f900..=0x1_f9ff | 0x2_0000..=0x3_fffd);
    if wide { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_go_does() {
        for (text, expected) in [
            ("", r#""""#),
            ("sh -c 'a'", r#""sh -c 'a'""#),
            ("a\"b\\\n\t\x1b\u{7f}", r#""a\"b\\\n\t\x1b\x7f""#),
            ("caf\u{e9}\u{2026}", "\"caf\u{e9}\u{2026}\""),
            ("\u{a0}\u{ad}\u{200b}", r#""\u00a0\u00ad\u200b""#),
            ("\u{1f600}\u{e0001}", "\"\u{1f600}\\U000e0001\""),
        ] {
            assert_eq!(quote(text), expected);
        }
    }

    #[test]
    fn long_texts_are_cut() {
        for (text, width, expected) in [
            ("short", 20, "short"),
            ("exactly-twenty-chars", 20, "exactly-twenty-chars"),
            ("exactly-twenty-chars!", 20, "exactly-twenty-char\u{2026}"),
            ("\u{4e2d}\u{4e2d}\u{4e2d}", 6, "\u{4e2d}\u{4e2d}\u{4e2d}"),
            ("\u{4e2d}\u{4e2d}\u{4e2d}\u{4e2d}", 6, "\u{4e2d}\u{4e2d}\u{2026}"),
        ] {
            assert_eq!(ellipsis(text, width), expected);
        }
    }
}
