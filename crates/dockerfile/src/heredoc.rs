//! Here-documents: `<<NAME`, `<<-NAME`, `<<"NAME"`.

use crate::environment::Environment;
use crate::error::Problem;
use crate::expand::Expander;
use crate::source::Span;

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, without quotes.
    pub name: String,
    /// Whether variables in it are replaced: not where the name is quoted.
    pub expand: bool,
    /// Whether tabs at the start of each line are dropped (`<<-`).
    pub chomp: bool,
    /// The descriptor of `3<<NAME`; 0 where there is none.
    pub descriptor: u32,
    /// The lines, with their ends, as they stand in the file.
    pub content: String,
    /// The lines.
    pub span: Span,
    /// Whether there were blanks behind `<<`: then it may be a shift after all.
    pub(crate) spaced: bool,
}

impl Heredoc {
    /// The content, without the tabs that `<<-` drops.
    #[must_use]
    pub fn text(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        let lines = self.content.split_inclusive('\n');
        lines.map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// The here-documents that a line asks for, without their contents. A line that cannot be read as words has none.
pub(crate) fn in_line(line: &str) -> Result<Vec<Heredoc>, Problem> {
    if !line.contains("<<") {
        return Ok(Vec::new());
    }
    let Ok((words, _)) = Expander::of_line().words(line, &Environment::default()) else {
        return Ok(Vec::new());
    };
    let found = words.iter().map(|word| read(word));
    found.filter_map(Result::transpose).collect()
}

/// The here-document that a word is, if it is one: an optional number, `<<`, an optional `-`, and a name.
pub(crate) fn read(word: &str) -> Result<Option<Heredoc>, Problem> {
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (number, rest) = word.split_at(digits);
    let Some(rest) = rest.strip_prefix("<<") else {
        return Ok(None);
    };
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let bare = rest.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']);
    let spaced = bare.len() < rest.len();
    let rest = bare;
    // `$((1 << 2))` is a shell's arithmetic.
    if spaced && rest.contains(['(', ')', '&', '|', ';', '`', '$']) {
        return Ok(None);
    }
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let none = Environment::default();
    let (words, _) = Expander::of_name(false).words(rest, &none)?;
    let [name] = words.as_slice() else { return Ok(None) };
    // A quote that is gone in one reading and still there in the other did quote something.
    let (raw, _) = Expander::of_name(true).words(rest, &none)?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(Heredoc {
        name: name.clone(),
        expand: raw.first().is_some_and(|raw| quotes(raw) == quotes(name)),
        chomp,
        descriptor: number.parse().unwrap_or_default(),
        content: String::new(),
        span: Span::default(),
        spaced,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heredocs_are_found() {
        let check = |line: &str, expected: &[(&str, bool, bool, u32)]| {
            let found = in_line(line).unwrap();
            let found: Vec<_> = found
                .iter()
                .map(|doc| (doc.name.as_str(), doc.expand, doc.chomp, doc.descriptor))
                .collect();
            assert_eq!(found, expected, "{line}");
        };
        check("RUN <<EOF", &[("EOF", true, false, 0)]);
        check("RUN << EOF", &[("EOF", true, false, 0)]);
        check("RUN <<-EOF", &[("EOF", true, true, 0)]);
        check("RUN <<'EOF'", &[("EOF", false, false, 0)]);
        check("RUN <<\"E F\"", &[("E F", false, false, 0)]);
        check("RUN <<E'O'F", &[("EOF", false, false, 0)]);
        check("RUN <<\\EOF", &[("EOF", true, false, 0)]);
        check("RUN 3<<A cat <<B > x", &[("A", true, false, 3), ("B", true, false, 0)]);
        check(
            "COPY <<a.txt <<b.txt /x/",
            &[("a.txt", true, false, 0), ("b.txt", true, false, 0)],
        );
        check("RUN cat <<<x", &[]);
        check("RUN cat<<EOF", &[]);
        check("RUN \"<<EOF\"", &[]);
        check("RUN echo \"it's <<EOF", &[]);
        check("RUN a <<", &[]);
        check("RUN a <<-", &[]);
        check("RUN $((1 << 2))", &[]);
        check("RUN <<$x", &[("$x", true, false, 0)]);
    }

    #[test]
    fn tabs_are_dropped_where_asked() {
        let mut doc = read("<<-EOF").unwrap().unwrap();
        "\t\ta\n\tb \n c\n\t\n".clone_into(&mut doc.content);
        assert_eq!(doc.text(), "a\nb \n c\n\n");
        doc.chomp = false;
        assert_eq!(doc.text(), doc.content);
    }
}
