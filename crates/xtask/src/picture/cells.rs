//! A screen as `tmux capture-pane -e` writes it: text with SGR sequences (ECMA-48, 8.3.117).

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    /// An index into the 256-colour palette, or `0x1000000` and a true colour.
    pub(super) colour: Option<u32>,
    pub(super) bold: bool,
    pub(super) dim: bool,
}

/// A true colour, told from an index by this bit.
pub(super) const TRUE_COLOUR: u32 = 1 << 24;

/// Text of one look, with the column where it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) column: usize,
    pub(super) text: String,
    pub(super) style: Style,
}

/// The lines of a screen; empty ones at its end are left out.
pub(super) fn parse(screen: &str) -> Vec<Vec<Piece>> {
    let mut style = Style::default();
    let mut lines: Vec<_> = screen.lines().map(|line| parse_line(line, &mut style)).collect();
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}

fn parse_line(line: &str, style: &mut Style) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut column = 0;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some(sequence) = rest.strip_prefix("\u{1b}[") {
            let end = sequence
                .find(|c: char| c.is_ascii_alphabetic())
                .unwrap_or(sequence.len());
            if sequence[end..].starts_with('m') {
                apply(&sequence[..end], style);
            }
            rest = sequence.get(end + 1..).unwrap_or_default();
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match pieces.last_mut() {
            Some(piece) if piece.style == *style => piece.text.push(c),
            _ => pieces.push(Piece {
                column,
                text: c.to_string(),
                style: *style,
            }),
        }
        column += 1;
    }
    pieces.retain(|piece| !piece.text.trim().is_empty());
    pieces
}

fn apply(parameters: &str, style: &mut Style) {
    let mut numbers = parameters.split([';', ':']).map(|n| n.parse::<u32>().unwrap_or(0));
    while let Some(number) = numbers.next() {
        match number {
            0 => *style = Style::default(),
            1 => style.bold = true,
            2 => style.dim = true,
            22 => (style.bold, style.dim) = (false, false),
            30..=37 => style.colour = Some(number - 30),
            90..=97 => style.colour = Some(number - 90 + 8),
            39 => style.colour = None,
            38 | 48 => {
                let colour = match numbers.next() {
                    Some(5) => numbers.next(),
                    Some(2) => {
                        let mut next = || numbers.next().unwrap_or(0) & 0xff;
                        Some(TRUE_COLOUR | next() << 16 | next() << 8 | next())
                    }
                    _ => None,
                };
                if number == 38 {
                    style.colour = colour;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_lines_by_look() {
        let plain = Style::default();
        let check = |screen: &str, expected: &[(usize, &str, Style)]| {
            let pieces = expected.iter().map(|(column, text, style)| Piece {
                column: *column,
                text: (*text).into(),
                style: *style,
            });
            let pieces = pieces.collect::<Vec<_>>();
            assert_eq!(
                parse(screen).into_iter().flatten().collect::<Vec<_>>(),
                pieces,
                "{screen:?}"
            );
        };
        let green = Style {
            colour: Some(2),
            ..plain
        };
        check(
            "ab\u{1b}[32mcd\u{1b}[0m e\n\n\n",
            &[(0, "ab", plain), (2, "cd", green), (4, " e", plain)],
        );
        let loud = Style {
            colour: Some(TRUE_COLOUR | 0x01_02_03),
            bold: true,
            dim: false,
        };
        check("\u{1b}[1;38;2;1;2;3mx", &[(0, "x", loud)]);
        check(
            "\u{1b}[38;5;200my\u{1b}[39;22;48;5;1mz",
            &[
                (
                    0,
                    "y",
                    Style {
                        colour: Some(200),
                        ..plain
                    },
                ),
                (1, "z", plain),
            ],
        );
        check("cut \u{1b}[3", &[(0, "cut ", plain)]);
    }
}
