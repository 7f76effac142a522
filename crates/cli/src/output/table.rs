//! Columns as Go's `text/tabwriter` lays them out for Docker: at least 10 wide, 3 apart, filled with spaces.

/// The least width of a column, with its padding.
const MIN_WIDTH: usize = 10;
/// Spaces after the widest cell.
const PADDING: usize = 3;

/// Lays out lines of cells. What ends with a tab is a cell; what follows the last tab of a line is no part of a column.
/// A column is as wide as its cells on neighbouring lines: a line that has no such cell ends it.
pub(crate) fn layout(text: &str) -> String {
    layout_wide(text, MIN_WIDTH)
}

/// [`layout`], with columns that are at least `min_width` wide.
pub(crate) fn layout_wide(text: &str, min_width: usize) -> String {
    let ends_with_line = text.ends_with('\n');
    let body = if ends_with_line { &text[..text.len() - 1] } else { text };
    let lines: Vec<Vec<&str>> = body.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len()]).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let has_cell = |line: &Vec<&str>| line.len() > column + 1;
        let mut from = 0;
        while from < lines.len() {
            let to = from + lines[from..].iter().take_while(|line| has_cell(line)).count();
            let cells = lines[from..to]
                .iter()
                .map(|line| line[column].chars().count() + PADDING);
            let width = cells.max().unwrap_or(0).max(min_width);
            for line in &mut widths[from..to] {
                line[column] = width;
            }
            from = to.max(from + 1);
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (at, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if at > 0 {
            out.push('\n');
        }
        for (cell, width) in cells.iter().zip(widths) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
    }
    if ends_with_line {
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_laid_out_as_gos() {
        for (text, expected) in [
            ("", ""),
            ("a\n", "a\n"),
            ("a\tb\n", "a         b\n"),
            (
                "REPOSITORY\tTAG\tIMAGE ID\nx\ty\tz\n",
                "REPOSITORY   TAG       IMAGE ID\nx            y         z\n",
            ),
            ("a\t\nlonger-than-ten\t\n", "a                 \nlonger-than-ten   \n"),
            // A line without the cell ends the column.
            ("0123456789\tx\nplain\nab\tx\n", "0123456789   x\nplain\nab        x\n"),
            // Width is counted in characters.
            ("\u{e9}\u{e9}\u{e9}\u{2026}\tx\n", "\u{e9}\u{e9}\u{e9}\u{2026}      x\n"),
            ("a\tb", "a         b"),
            ("\n\n", "\n\n"),
        ] {
            assert_eq!(layout(text), expected, "{text:?}");
        }
    }
}
