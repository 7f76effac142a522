//! Lines of text as an SVG that looks like a terminal and needs no font but the reader's own.

use std::fmt::Write;

use super::cells::{Piece, Style, TRUE_COLOUR};

const CELL: (f64, f64) = (8.4, 19.0);
const MARGIN: f64 = 18.0;
const BAR: f64 = 34.0;
const PALETTE: [&str; 16] = [
    "#45475a", "#f38ba8", "#a6e3a1", "#f9e2af", "#89b4fa", "#f5c2e7", "#94e2d5", "#bac2de", "#585b70", "#f38ba8",
    "#a6e3a1", "#f9e2af", "#89b4fa", "#f5c2e7", "#94e2d5", "#ffffff",
];

/// The picture of `lines` in a window of `columns`.
pub(super) fn draw(lines: &[Vec<Piece>], columns: usize) -> String {
    let width = 2.0 * MARGIN + columns as f64 * CELL.0;
    let height = BAR + 2.0 * MARGIN + lines.len() as f64 * CELL.1;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         aria-label=\"A terminal session with hull\">\n\
         <rect width=\"{width:.0}\" height=\"{height:.0}\" rx=\"9\" fill=\"#1e1e2e\"/>\n"
    );
    for (n, colour) in ["#f38ba8", "#f9e2af", "#a6e3a1"].iter().enumerate() {
        let x = 22.0 + 20.0 * n as f64;
        let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"18\" r=\"6\" fill=\"{colour}\"/>");
    }
    svg += "<g font-family=\"ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace\" font-size=\"14\" \
            fill=\"#cdd6f4\" xml:space=\"preserve\">\n";
    for (row, line) in lines.iter().enumerate() {
        let y = BAR + MARGIN + (row as f64 + 0.75) * CELL.1;
        for piece in line {
            let dots = dots(piece, BAR + MARGIN + row as f64 * CELL.1);
            if !dots.is_empty() {
                let _ = writeln!(svg, "<path{} d=\"{dots}\"/>", look(piece.style));
            }
            let text: String = piece
                .text
                .chars()
                .map(|c| if is_braille(c) { ' ' } else { c })
                .collect();
            let lead = text.chars().take_while(|c| *c == ' ').count();
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            let x = MARGIN + (piece.column + lead) as f64 * CELL.0;
            // The reader's font may be wider or narrower: the text is fitted to its cells.
            let length = text.chars().count() as f64 * CELL.0;
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\"{}>{}</text>",
                look(piece.style),
                escape(text)
            );
        }
    }
    svg + "</g>\n</svg>\n"
}

fn is_braille(c: char) -> bool {
    ('\u{2800}'..='\u{28ff}').contains(&c)
}

/// The dots of a piece's braille patterns, as a path: few fonts have them as wide as letters. `top` is the upper edge of its
/// line.
fn dots(piece: &Piece, top: f64) -> String {
    const SIDE: f64 = 2.8;
    let mut path = String::new();
    for (at, c) in piece.text.chars().enumerate().filter(|(_, c)| is_braille(*c)) {
        // Bits 0 to 2 and 6 are the left column from above, 3 to 5 and 7 the right one (Unicode, Braille Patterns).
        for (bit, column, row) in [
            (0, 0, 0),
            (1, 0, 1),
            (2, 0, 2),
            (6, 0, 3),
            (3, 1, 0),
            (4, 1, 1),
            (5, 1, 2),
            (7, 1, 3),
        ] {
            if u32::from(c) & (1 << bit) != 0 {
                let x = MARGIN + ((piece.column + at) as f64 + 0.25 + f64::from(column) / 2.0) * CELL.0 - SIDE / 2.0;
                let y = top + (0.125 + f64::from(row) / 4.0) * CELL.1 - SIDE / 2.0;
                let _ = write!(path, "M{x:.1} {y:.1}h{SIDE}v{SIDE}h-{SIDE}z");
            }
        }
    }
    path
}

fn look(style: Style) -> String {
    let mut look = String::new();
    if let Some(colour) = style.colour {
        let _ = write!(look, " fill=\"{}\"", name(colour));
    }
    if style.bold {
        look += " font-weight=\"bold\"";
    }
    if style.dim {
        look += " opacity=\"0.6\"";
    }
    look
}

/// A colour as SVG writes it: of the palette, of the 6x6x6 cube, of the greys, or true.
fn name(colour: u32) -> String {
    match colour {
        0..=15 => PALETTE[colour as usize].to_owned(),
        16..=231 => {
            let level = |n: u32| if n == 0 { 0 } else { 55 + 40 * n };
            let n = colour - 16;
            format!("#{:02x}{:02x}{:02x}", level(n / 36), level(n / 6 % 6), level(n % 6))
        }
        232..=255 => {
            let grey = 8 + 10 * (colour - 232);
            format!("#{grey:02x}{grey:02x}{grey:02x}")
        }
        _ => format!("#{:06x}", colour & (TRUE_COLOUR - 1)),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_kind_of_colour() {
        for (colour, expected) in [
            (1, "#f38ba8"),
            (16, "#000000"),
            (231, "#ffffff"),
            (232, "#080808"),
            (TRUE_COLOUR | 0xab, "#0000ab"),
        ] {
            assert_eq!(name(colour), expected);
        }
    }

    #[test]
    fn text_is_escaped_and_placed() {
        let piece = Piece {
            column: 2,
            text: " <a & b>".into(),
            style: Style {
                bold: true,
                ..Style::default()
            },
        };
        let svg = draw(&[vec![piece]], 20);
        assert!(svg.contains(" font-weight=\"bold\">&lt;a &amp; b&gt;</text>"), "{svg}");
        assert!(svg.contains("<text x=\"43.2\""), "18 and three cells: {svg}");
    }
    #[test]
    fn braille_is_drawn_as_dots() {
        let piece = Piece {
            column: 1,
            text: "\u{2881} x".into(),
            style: Style::default(),
        };
        let svg = draw(&[vec![piece]], 20);
        assert_eq!(svg.matches("v2.8").count(), 2, "{svg}");
        assert!(svg.contains(">x</text>") && !svg.contains('\u{2881}'), "{svg}");
    }
}
