//! What the template engine lets pass and Go does not: blocks that do not match, and variables that nobody declared.
//! Without this, `{{if .Name}}x` would print nothing and succeed.

/// An open block: its keyword, and how many variables were known before it.
struct Block {
    keyword: String,
    variables: usize,
}

/// Checks that every block of `source` is closed once, and that its variables are declared.
///
/// # Errors
/// What is wrong, in Go's words.
pub(super) fn check(source: &str) -> Result<(), String> {
    let mut open: Vec<Block> = Vec::new();
    let mut variables = vec!["$".to_owned()];
    let mut rest = source;
    while let Some(start) = rest.find("{{") {
        rest = &rest[start + 2..];
        let line = source[..source.len() - rest.len()].matches('\n').count() + 1;
        let fail = |what: String| Err(format!("template: :{line}: {what}"));
        let Some((action, after)) = action(rest) else {
            // The parser tells what is not closed.
            return Ok(());
        };
        rest = after;
        let words = visible(action);
        if words.contains("..") {
            return fail("unexpected <.> in operand".to_owned());
        }
        let keyword = words.split_whitespace().next().unwrap_or_default().to_owned();
        match keyword.as_str() {
            "if" | "range" | "with" | "define" | "block" => open.push(Block {
                keyword: keyword.clone(),
                variables: variables.len(),
            }),
            "else" if open.is_empty() => return fail("unexpected {{else}}".to_owned()),
            "end" => match open.pop() {
                Some(block) => variables.truncate(block.variables),
                None => return fail("unexpected {{end}}".to_owned()),
            },
            "break" | "continue" if !open.iter().any(|block| block.keyword == "range") => {
                return fail(format!("{{{{{keyword}}}}} outside {{{{range}}}}"));
            }
            _ => {}
        }
        let (declared, used) = words.split_once(":=").map_or(("", words.as_str()), |(a, b)| (a, b));
        if let Some(unknown) = names(used).find(|name| !variables.contains(name)) {
            return fail(format!("undefined variable \"{unknown}\""));
        }
        variables.extend(names(declared));
    }
    if open.is_empty() {
        return Ok(());
    }
    let line = source.matches('\n').count() + 1;
    Err(format!("template: :{line}: unexpected EOF"))
}

/// The text of the action that `text` begins with, and what follows its `}}`.
fn action(text: &str) -> Option<(&str, &str)> {
    let comment = text.trim_start_matches('-').trim_start();
    if comment.starts_with("/*") {
        let end = text.find("*/")?;
        let close = text[end..].find("}}")?;
        return Some(("", &text[end + close + 2..]));
    }
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(q) if c == '\\' && q != '`' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`' | '\'') => quote = Some(c),
            None if text[at..].starts_with("}}") => return Some((&text[..at], &text[at + 2..])),
            None => {}
        }
    }
    None
}

/// An action without its marks for trimming and without what stands in quotes.
fn visible(action: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut escaped = false;
    for c in action.trim_start_matches('-').trim_end_matches('-').chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(q) if c == '\\' && q != '`' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`' | '\'') => quote = Some(c),
            None => out.push(c),
        }
    }
    out
}

/// The variables that are named in a text.
fn names(text: &str) -> impl Iterator<Item = String> {
    text.match_indices('$').map(|(at, _)| {
        let name = text[at + 1..].split(|c: char| !c.is_alphanumeric() && c != '_').next();
        format!("${}", name.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_must_match() {
        for good in [
            "",
            "text",
            "{{.Name}}",
            "{{if .A}}a{{else if .B}}b{{else}}c{{end}}",
            "{{range $i, $v := .A}}{{$i}}{{$v.X}}{{break}}{{end}}",
            "{{- /* if }} */ -}}x",
            "{{\"{{if\"}}{{`end}}`}}{{'}'}}",
            "{{define \"x\"}}{{.}}{{end}}{{template \"x\" $}}",
            "{{$a := 1}}{{if $a}}{{$a = 2}}{{end}}{{$a}}",
            "{{with $x := .A}}{{$x}}{{end}}",
            "{{\"..\"}} ..",
            "{{ not closed",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, expected) in [
            ("{{if .A}}", "template: :1: unexpected EOF"),
            ("{{if .A}}\n{{range .B}}{{end}}", "template: :2: unexpected EOF"),
            ("a\n{{end}}", "template: :2: unexpected {{end}}"),
            ("{{else}}", "template: :1: unexpected {{else}}"),
            ("{{if .A}}{{end}}{{- end -}}", "template: :1: unexpected {{end}}"),
            ("{{break}}", "template: :1: {{break}} outside {{range}}"),
            ("{{$x}}", "template: :1: undefined variable \"$x\""),
            (
                "{{range $v := .A}}{{end}}{{$v}}",
                "template: :1: undefined variable \"$v\"",
            ),
            ("{{.a..b}}", "template: :1: unexpected <.> in operand"),
        ] {
            assert_eq!(check(bad), Err(expected.to_owned()), "{bad}");
        }
    }
}
