//! The result: a Markdown table of medians, ratios and targets.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";

/// One comparison.
struct Row {
    what: String,
    hull: String,
    other: String,
    ratio: String,
    target: String,
    met: Option<bool>,
}

/// All comparisons of a run.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// hull's time beside another's; `most` is the ratio that must not be passed, where there is one.
    pub(crate) fn ratio(&mut self, what: &str, hull: Duration, other: (&str, Duration), most: Option<f64>) {
        let ratio = hull.as_secs_f64() / other.1.as_secs_f64();
        let shown = if ratio < 0.2 {
            format!("1/{:.0}", 1.0 / ratio)
        } else {
            format!("{ratio:.2}")
        };
        self.push(Row {
            what: what.into(),
            hull: time(hull),
            other: format!("`{}` {}", other.0, time(other.1)),
            ratio: shown,
            target: most
                .map(|most| {
                    if most < 0.2 {
                        format!("1/{:.0}", 1.0 / most)
                    } else {
                        most.to_string()
                    }
                })
                .unwrap_or_default(),
            met: most.map(|most| ratio <= most),
        });
    }

    /// A figure of hull's own beside its limit, both in the same unit.
    pub(crate) fn figure(&mut self, what: &str, value: f64, most: Option<f64>, show: impl Fn(f64) -> String) {
        self.push(Row {
            what: what.into(),
            hull: show(value),
            other: String::new(),
            ratio: String::new(),
            target: most.map(&show).unwrap_or_default(),
            met: most.map(|most| value <= most),
        });
    }

    fn push(&mut self, row: Row) {
        println!(
            "{}: {} {} {} {}",
            row.what,
            row.hull,
            row.other,
            row.ratio,
            verdict(row.met)
        );
        self.0.push(row);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = "| what | hull | beside | ratio | at most | |\n|---|--:|--:|--:|--:|---|\n".to_owned();
        for row in &self.0 {
            let Row {
                what,
                hull,
                other,
                ratio,
                target,
                met,
            } = row;
            let other = cell(other);
            text += &format!(
                "| {what} | {hull} | {other} | {ratio} | {target} | {} |\n",
                verdict(*met)
            );
        }
        text
    }

    /// A short table for the README: no targets, no verdicts.
    pub(crate) fn summary(&self) -> String {
        let mut text = "| what | hull | beside | ratio |\n|---|--:|--:|--:|\n".to_owned();
        for Row {
            what,
            hull,
            other,
            ratio,
            ..
        } in &self.0
        {
            let other = cell(other);
            text += &format!("| {what} | {hull} | {other} | {ratio} |\n");
        }
        text
    }

    /// The rows whose target was missed.
    pub(crate) fn missed(&self) -> Vec<String> {
        let missed = self.0.iter().filter(|row| row.met == Some(false));
        missed
            .map(|row| {
                format!(
                    "{} ({} instead of {})",
                    row.what,
                    if row.ratio.is_empty() { &row.hull } else { &row.ratio },
                    row.target
                )
            })
            .collect()
    }
}

/// A text as a cell of a table: a pipe would end it, even in code.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "**missed**",
        None => "",
    }
}

/// A time with three digits.
pub(crate) fn time(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 100.0 {
        format!("{ms:.1} ms")
    } else if ms < 1000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.2} s", ms / 1000.0)
    }
}

/// Bytes as megabytes of 2^20.
pub(crate) fn megabytes(bytes: f64) -> String {
    format!("{:.2} MB", bytes / f64::from(1 << 20))
}

/// The machine, in one line.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{}, {cores} cores, Linux {}.",
        model.trim_matches([' ', '\t', ':']),
        read("/proc/sys/kernel/osrelease").trim()
    )
}

/// Replaces what stands between the two marks in `page`.
pub(crate) fn write(page: &Path, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
    let new = replace(&old, text).with_context(|| format!("{} has no marks `{BEGIN}`, `{END}`", page.display()))?;
    std::fs::write(page, new).with_context(|| format!("write {}", page.display()))
}

fn replace(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_by_the_target() {
        let mut table = Table::default();
        let ms = Duration::from_millis;
        table.ratio("run", ms(5), ("unshare", ms(2)), Some(2.5));
        table.ratio("run", ms(6), ("unshare", ms(2)), Some(2.5));
        table.ratio("run", ms(5), ("docker", ms(300)), Some(1.0 / 40.0));
        table.figure("size", f64::from(13 << 20), Some(f64::from(12 << 20)), megabytes);
        assert_eq!(
            table.missed(),
            ["run (3.00 instead of 2.5)", "size (13.00 MB instead of 12.00 MB)"]
        );
        assert!(
            table
                .markdown()
                .contains("| run | 5.0 ms | `docker` 300 ms | 1/60 | 1/40 | met |"),
            "{}",
            table.markdown()
        );
    }

    #[test]
    fn replaces_only_what_is_between_the_marks() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(replace(&page, "new"), Some(format!("a\n{BEGIN}\nnew\n{END}\nb\n")));
        assert_eq!(replace("a", "new"), None);
    }
}
