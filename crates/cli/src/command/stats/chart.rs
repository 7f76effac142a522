//! A history as an area of braille dots: two values a cell across, four steps a cell up.

use std::collections::VecDeque;

/// Values that a history keeps: more than a wide terminal shows.
const KEPT: usize = 1024;

/// The last values of a figure, the newest at the end.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<f64>);

impl History {
    /// Adds a value.
    pub(super) fn push(&mut self, value: f64) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(value.max(0.0));
    }

    /// The greatest of the last `count` values.
    pub(super) fn peak(&self, count: usize) -> f64 {
        self.0.iter().rev().take(count).copied().fold(0.0, f64::max)
    }

    /// Draws the last values as `rows` lines of `columns` cells, the newest at the right. `top` is the value of a full
    /// column. A value above nothing is at least one dot high.
    pub(super) fn draw(&self, columns: usize, rows: usize, top: f64) -> Vec<String> {
        let steps = rows * 4;
        let height = |at_right: usize| {
            let value = self.0.len().checked_sub(at_right + 1).map_or(0.0, |at| self.0[at]);
            if value <= 0.0 || top <= 0.0 {
                return 0;
            }
            ((value / top * steps as f64).round() as usize).clamp(1, steps)
        };
        (0..rows)
            .map(|row| {
                // Steps below this row.
                let floor = (rows - 1 - row) * 4;
                (0..columns)
                    .map(|column| {
                        let right = (columns - 1 - column) * 2;
                        let [left, right] = [height(right + 1), height(right)].map(|h| h.saturating_sub(floor).min(4));
                        cell(left, right)
                    })
                    .collect()
            })
            .collect()
    }
}

/// The braille pattern (Unicode, 2800 to 28FF) whose left and right columns are filled so high.
fn cell(left: usize, right: usize) -> char {
    const LEFT: [u32; 5] = [0, 0x40, 0x44, 0x46, 0x47];
    const RIGHT: [u32; 5] = [0, 0x80, 0xa0, 0xb0, 0xb8];
    match LEFT[left] | RIGHT[right] {
        0 => ' ',
        dots => char::from_u32(0x2800 + dots).unwrap_or(' '),
    }
}

/// The next greater of 1, 2 and 5 times a power of ten: the top of a scale.
pub(super) fn scale(peak: f64, least: f64) -> f64 {
    let peak = peak.max(least);
    let mut power = 1.0;
    while power * 10.0 < peak {
        power *= 10.0;
    }
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|top| *top >= peak)
        .unwrap_or(peak)
}

/// The next greater power of two: the top of a scale of bytes.
pub(super) fn scale_bytes(peak: f64) -> f64 {
    let mut top = 1024.0 * 1024.0;
    while top < peak {
        top *= 2.0;
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(values: &[f64]) -> History {
        let mut out = History::default();
        values.iter().for_each(|value| out.push(*value));
        out
    }

    #[test]
    fn the_newest_is_at_the_right() {
        assert_eq!(
            history(&[0.0, 25.0, 50.0, 100.0]).draw(3, 1, 100.0),
            [" \u{2880}\u{28fc}"]
        );
        assert_eq!(
            history(&[100.0, 50.0]).draw(1, 2, 100.0),
            ["\u{2847}", "\u{28ff}"],
            "half as high is the lower of two rows"
        );
        assert_eq!(history(&[]).draw(2, 2, 100.0), ["  ", "  "]);
        assert_eq!(
            history(&[0.01]).draw(1, 1, 100.0),
            ["\u{2880}"],
            "little is more than nothing"
        );
        assert_eq!(
            history(&[900.0]).draw(1, 1, 100.0),
            ["\u{28b8}"],
            "and never more than full"
        );
        assert_eq!(history(&[f64::NAN, -1.0]).draw(1, 1, 100.0), [" "]);
    }

    #[test]
    fn a_history_is_bounded() {
        let mut long = History::default();
        (0..5000).for_each(|n| long.push(f64::from(n)));
        assert_eq!(long.0.len(), KEPT);
        assert_eq!(long.peak(10), 4999.0);
        assert_eq!(history(&[9.0, 1.0, 2.0]).peak(2), 2.0);
    }

    #[test]
    fn scales_are_round() {
        for (peak, top) in [
            (0.0, 10.0),
            (10.0, 10.0),
            (10.1, 20.0),
            (47.0, 50.0),
            (99.0, 100.0),
            (101.0, 200.0),
        ] {
            assert_eq!(scale(peak, 10.0), top);
        }
        assert_eq!(scale_bytes(0.0), 1_048_576.0);
        assert_eq!(scale_bytes(1_048_577.0), 2_097_152.0);
    }
}
