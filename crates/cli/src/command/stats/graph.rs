//! `stats --graph`: the histories of CPU and memory of each container, drawn over the whole terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::chart::{History, scale, scale_bytes};
use super::watch::{Figures, Watch};
use super::{FIRST, PERIOD, percent};
use crate::error::{Failure, Outcome, Result};
use crate::output::{self, size, text};
use crate::terminal::{self, Raw};

/// The other screen, without a cursor, and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
const RESET: &str = "\u{1b}[0m";
const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";
const CPU_COLOUR: &str = "\u{1b}[36m";
const MEMORY_COLOUR: &str = "\u{1b}[35m";

/// Rows of a container's two charts at least, and at most.
const LEAST_ROWS: usize = 2;
const MOST_ROWS: usize = 12;
/// What a container takes besides its charts: its title and a free line.
const AROUND: usize = 2;
/// Cells before a chart, for its scale.
const LABEL: usize = 9;

const INT: i32 = 2;
const QUIT: i32 = 3;
const TERM: i32 = 15;
const HUP: i32 = 1;
const CONT: i32 = 18;
const WINCH: i32 = 28;

/// Draws until `q`, Ctrl-C or a signal. The terminal is then as it was.
pub(super) fn run(watch: &mut Watch<'_>) -> Outcome {
    if !terminal::stdout_is_terminal() || !terminal::stdin_is_terminal() {
        return Err(Failure::new("--graph needs a terminal").hint("leave out --graph, or use --format json"));
    }
    let wanted = [INT, QUIT, TERM, HUP, CONT, WINCH];
    hull_sys::signal::block(&wanted)?;
    let signals = hull_sys::signal::descriptor(&wanted)?;
    let raw = Raw::prepare_screen(LEAVE).ok_or_else(|| Failure::new("the terminal cannot be set"))?;
    raw.enter()?;
    let screen = Screen::enter()?;
    let ended = turn(watch, &signals, &raw);
    drop(screen);
    drop(raw);
    match ended? {
        Some(signal) => Ok(crate::attach::signal_code(signal)),
        None => Ok(0),
    }
}

/// The other screen, left when this is dropped.
struct Screen;

impl Screen {
    fn enter() -> Result<Self> {
        output::print(ENTER)?;
        Ok(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to restore.
        let _ = output::print(LEAVE);
    }
}

/// Looks, draws and listens. Returns the signal that ended it, if one did.
fn turn(watch: &mut Watch<'_>, signals: &OwnedFd, raw: &Raw) -> Result<Option<i32>> {
    let mut histories = Histories::default();
    let mut figures = Vec::new();
    let mut first = 0;
    let mut due = Instant::now() + FIRST;
    loop {
        let now = Instant::now();
        if now >= due {
            figures = watch.look()?;
            histories.take(&figures);
            due = now + PERIOD;
        }
        // One that does not tell its size is taken for the usual one.
        let [rows, columns] = match terminal::size() {
            [0, _] | [_, 0] => [24, 80],
            size => size.map(usize::from),
        };
        first = first.min(figures.len().saturating_sub(1));
        output::print(&frame(&figures, &histories, first, rows, columns))?;
        let left = due.saturating_duration_since(Instant::now());
        match listen(signals, left)? {
            Heard::Nothing => {}
            Heard::Key(b'q' | b'Q' | 3 | 4) => return Ok(None),
            Heard::Key(b'j' | b'B') => first += 1,
            Heard::Key(b'k' | b'A') => first = first.saturating_sub(1),
            Heard::Key(_) => {}
            Heard::Signal(WINCH) => {}
            Heard::Signal(CONT) => {
                raw.enter()?;
                output::print(ENTER)?;
            }
            Heard::Signal(signal) => return Ok(Some(signal)),
        }
    }
}

enum Heard {
    Nothing,
    Key(u8),
    Signal(i32),
}

/// Waits for a key or a signal. Of the keys that send several bytes (arrows) the last counts.
fn listen(signals: &OwnedFd, patience: Duration) -> Result<Heard> {
    let timeout = Timespec::try_from(patience).ok();
    let stdin = rustix::stdio::stdin();
    let mut fds = [
        PollFd::new(signals, PollFlags::IN),
        PollFd::from_borrowed_fd(stdin, PollFlags::IN),
    ];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    let ready = fds.each_ref().map(|fd| !fd.revents().is_empty());
    if ready[0]
        && let Some(signal) = hull_sys::signal::take(signals)?
    {
        return Ok(Heard::Signal(signal));
    }
    if ready[1] {
        let mut keys = [0u8; 16];
        return match rustix::io::read(stdin, &mut keys) {
            // The terminal hung up.
            Ok(0) | Err(Errno::IO) => Ok(Heard::Signal(HUP)),
            Ok(n) => Ok(Heard::Key(keys[n - 1])),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Heard::Nothing),
            Err(e) => Err(e.into()),
        };
    }
    Ok(Heard::Nothing)
}

/// The histories of CPU and memory by container.
#[derive(Default)]
struct Histories(BTreeMap<String, [History; 2]>);

impl Histories {
    fn take(&mut self, figures: &[Figures]) {
        for figure in figures {
            let [cpu, memory] = self.0.entry(figure.id.clone()).or_default();
            cpu.push(figure.cpu);
            memory.push(figure.memory as f64);
        }
        self.0.retain(|id, _| figures.iter().any(|figure| figure.id == *id));
    }
}

/// The whole screen, from `first` on.
fn frame(figures: &[Figures], histories: &Histories, first: usize, rows: usize, columns: usize) -> String {
    let (rows, columns) = (rows.max(1), columns.max(1));
    let mut lines = vec![head(figures, columns)];
    let shown = &figures[first.min(figures.len())..];
    let space = rows.saturating_sub(2);
    let fit = (space / (LEAST_ROWS + AROUND)).clamp(1, shown.len().max(1));
    let height = (space / fit).saturating_sub(AROUND).clamp(1, MOST_ROWS);
    for figure in shown.iter().take(fit) {
        lines.push(String::new());
        lines.push(title(figure, columns));
        if let Some([cpu, memory]) = histories.0.get(&figure.id) {
            lines.extend(charts(cpu, memory, columns, height));
        }
    }
    let hidden = shown.len().saturating_sub(fit) + first;
    if hidden > 0 {
        lines.truncate(rows - 1);
        lines.push(format!("{DIM}{hidden} more: arrows move{RESET}"));
    }
    lines.truncate(rows);
    format!("\u{1b}[H{}\u{1b}[K\u{1b}[J", lines.join("\u{1b}[K\r\n"))
}

fn head(figures: &[Figures], columns: usize) -> String {
    let count = match figures.len() {
        1 => "1 container".to_owned(),
        n => format!("{n} containers"),
    };
    let cpu: f64 = figures.iter().map(|figure| figure.cpu).sum();
    let memory: u64 = figures.iter().map(|figure| figure.memory).sum();
    let text = format!(
        "hull stats   {count}   CPU {}   MEM {}",
        percent(cpu),
        size::binary(memory)
    );
    let keys = "q quits";
    let gap = columns.saturating_sub(text.chars().count() + keys.len());
    if gap == 0 {
        return format!("{BOLD}{}{RESET}", text::ellipsis(&text, columns));
    }
    format!("{BOLD}{text}{RESET}{}{DIM}{keys}{RESET}", " ".repeat(gap))
}

fn title(figure: &Figures, columns: usize) -> String {
    let id = figure.id.get(..12).unwrap_or(&figure.id);
    if figure.gone {
        return text::ellipsis(&format!("{} {id} is gone", figure.name), columns);
    }
    let rest = format!(
        "  {id}   NET {} / {}   BLOCK {} / {}   PIDS {}",
        size::short(figure.received),
        size::short(figure.sent),
        size::short(figure.read),
        size::short(figure.written),
        figure.tasks
    );
    let name = text::ellipsis(&figure.name, columns.max(2));
    let rest = text::ellipsis(&rest, columns.saturating_sub(name.chars().count()));
    let mut out = format!("{BOLD}{name}{RESET}{DIM}{rest}{RESET}");
    if columns < 24 {
        out = format!("{BOLD}{name}{RESET}");
    }
    out
}

/// The charts of CPU and memory, side by side.
fn charts(cpu: &History, memory: &History, columns: usize, rows: usize) -> Vec<String> {
    let half = columns / 2;
    let width = half.saturating_sub(LABEL + 1);
    if width == 0 {
        return Vec::new();
    }
    let cpu_top = scale(cpu.peak(width * 2), 10.0);
    let memory_top = scale_bytes(memory.peak(width * 2));
    let now = |history: &History| history.peak(1);
    let parts = [
        (
            cpu,
            cpu_top,
            format!("{cpu_top:.0}%"),
            format!("{:.1}%", now(cpu)),
            "CPU",
            CPU_COLOUR,
        ),
        (
            memory,
            memory_top,
            size::binary(memory_top as u64),
            size::binary(now(memory) as u64),
            "MEM",
            MEMORY_COLOUR,
        ),
    ];
    let mut lines = vec![String::new(); rows];
    for (history, top, label, now, what, colour) in parts {
        for (row, line) in history.draw(width, rows, top).into_iter().enumerate() {
            // The scale's top above, what is used now below, and what it is about between.
            let label = match row {
                0 if rows > 1 => label.as_str(),
                row if row == rows - 1 => now.as_str(),
                1 => what,
                _ => "",
            };
            let style = if row == 0 && rows > 1 { DIM } else { "" };
            let label = text::ellipsis(label, LABEL - 1);
            let _ = write!(
                lines[row],
                "{style}{label:>w$}{RESET} {colour}{line}{RESET} ",
                w = LABEL - 1
            );
        }
    }
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(name: &str) -> Figures {
        Figures {
            id: name.repeat(12),
            name: name.to_owned(),
            cpu: 50.0,
            memory: 3 << 20,
            tasks: 2,
            ..Figures::default()
        }
    }

    /// A frame without its colours.
    fn plain(frame: &str) -> Vec<String> {
        let mut out = String::new();
        let mut rest = frame;
        while let Some((before, after)) = rest.split_once("\u{1b}[") {
            out.push_str(before);
            let end = after.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            rest = &after[end + 1..];
        }
        out.push_str(rest);
        out.split("\r\n").map(|line| line.trim_end().to_owned()).collect()
    }

    fn draw(count: usize, first: usize, rows: usize, columns: usize) -> Vec<String> {
        let all: Vec<Figures> = (0..count).map(|n| figures(&n.to_string())).collect();
        let mut histories = Histories::default();
        histories.take(&all);
        plain(&frame(&all, &histories, first, rows, columns))
    }

    #[test]
    fn one_container_has_the_whole_terminal() {
        let lines = draw(1, 0, 8, 70);
        insta::assert_snapshot!(lines.join("\n"), @r"
        hull stats   1 container   CPU 50.00%   MEM 3MiB               q quits

        0  000000000000   NET 0B / 0B   BLOCK 0B / 0B   PIDS 2
             50%                         ⢸     4MiB
             CPU                         ⢸      MEM                         ⢸
                                         ⢸                                  ⢸
           50.0%                         ⢸     3MiB                         ⢸
        ");
    }

    #[test]
    fn a_frame_never_exceeds_the_terminal() {
        for count in [0usize, 1, 3, 40] {
            for (rows, columns) in [(0, 0), (1, 1), (2, 10), (5, 30), (24, 80), (60, 200)] {
                for first in [0, count / 2, count.saturating_sub(1)] {
                    let lines = draw(count, first, rows, columns);
                    assert!(
                        lines.len() <= rows.max(1),
                        "{count} {rows}x{columns}: {} lines",
                        lines.len()
                    );
                    for line in &lines {
                        let width = line.chars().count();
                        assert!(width <= columns.max(20), "{count} {rows}x{columns}: {line:?}");
                    }
                }
            }
        }
        assert!(draw(40, 0, 24, 80).last().unwrap().contains("35 more"));
    }

    #[test]
    fn a_removed_container_s_history_goes_with_it() {
        let mut histories = Histories::default();
        histories.take(&[figures("a"), figures("b")]);
        histories.take(&[figures("b")]);
        assert_eq!(histories.0.len(), 1);
    }
}
