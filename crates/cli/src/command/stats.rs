//! `stats`.

mod chart;
mod graph;
mod watch;

use std::time::{Duration, Instant};

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result};
use crate::output::listing::{self, Field, Format, Listing};
use crate::output::{self, size};
use crate::terminal;
use watch::{Figures, Watch};

pub(crate) const COMMAND: Command = Command {
    names: &["stats", "container stats"],
    synopsis: "[OPTIONS] [CONTAINER...]",
    about: "Show what containers use, again and again",
    flags: &[
        Flag::switch("all")
            .short('a')
            .help("Show all containers (default shows just running)"),
        Flag::string("format").help(listing::FORMAT_HELP),
        Flag::switch("graph").help("Draw the history of CPU and memory on the terminal"),
        Flag::switch("no-stream").help("Show the figures once"),
        Flag::switch("no-trunc").help("Don't truncate output"),
    ],
    count: Count::AtLeast(0),
    interspersed: true,
    run,
};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// Between the first two, which the first CPU figures are made of.
const FIRST: Duration = Duration::from_millis(500);

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    if args.on("graph") {
        if args.on("no-stream") || args.changed("format") {
            return Err(Failure::new(
                "conflicting options: --graph draws by itself, without --no-stream and --format",
            ));
        }
        let mut watch = Watch::new(&engine, args.args(), args.on("all"))?;
        return graph::run(&mut watch);
    }
    show(args, ctx, args.args(), terminal::stdout_is_terminal())
}

/// Shows the figures of `containers`, or of all, again and again or once, as the flags say. `repaint`: each over the one
/// before.
pub(super) fn show(args: &Matches, ctx: &Context, containers: &[String], repaint: bool) -> Outcome {
    let engine = ctx.engine();
    let mut watch = Watch::new(&engine, containers, args.on("all"))?;
    let source = listing::source(args.value("format"), false, "statsFormat", ctx);
    let trunc = !(args.knows("no-trunc") && args.on("no-trunc"));
    let columns = vec![
        "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs",
    ];
    let format = Format::read(&source, columns)?;
    let show = |figures: Vec<Figures>| {
        let rows: Vec<Row> = figures.into_iter().map(|figures| Row { figures, trunc }).collect();
        LISTING.render(&rows, &format)
    };
    std::thread::sleep(FIRST);
    if args.on("no-stream") {
        output::print(&show(watch.look()?)?)?;
        return Ok(0);
    }
    let mut due = Instant::now();
    let mut first = true;
    loop {
        let text = show(watch.look()?)?;
        output::print(&if repaint { painted(&text, first) } else { text })?;
        first = false;
        due += PERIOD;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// The text over the one before it: from the top, each line and what is below cleared of what was there.
fn painted(text: &str, first: bool) -> String {
    let clear = if first { "\u{1b}[2J" } else { "" };
    format!("{clear}\u{1b}[H{}\u{1b}[J", text.replace('\n', "\u{1b}[K\n"))
}

/// A container's line.
struct Row {
    figures: Figures,
    trunc: bool,
}

const LISTING: Listing<Row> = Listing {
    fields: &[
        Field {
            name: "BlockIO",
            header: "BLOCK I/O",
            value: |row| row.pair(|f| (f.read, f.written)),
        },
        Field {
            name: "CPUPerc",
            header: "CPU %",
            value: |row| row.or_dashes("--", |f| percent(f.cpu)),
        },
        Field {
            name: "Container",
            header: "CONTAINER",
            value: |row| row.figures.asked.clone(),
        },
        Field {
            name: "ID",
            header: "CONTAINER ID",
            value: |row| {
                let id = &row.figures.id;
                id[..if row.trunc { id.len().min(12) } else { id.len() }].to_owned()
            },
        },
        Field {
            name: "MemPerc",
            header: "MEM %",
            value: |row| row.or_dashes("--", |f| percent(f.memory_percent)),
        },
        Field {
            name: "MemUsage",
            header: "MEM USAGE / LIMIT",
            value: |row| {
                row.or_dashes("-- / --", |f| {
                    format!("{} / {}", size::binary(f.memory), size::binary(f.memory_limit))
                })
            },
        },
        Field {
            name: "Name",
            header: "NAME",
            value: |row| {
                let name = &row.figures.name;
                if name.is_empty() { "--".to_owned() } else { name.clone() }
            },
        },
        Field {
            name: "NetIO",
            header: "NET I/O",
            value: |row| row.pair(|f| (f.received, f.sent)),
        },
        Field {
            name: "PIDs",
            header: "PIDS",
            value: |row| row.or_dashes("--", |f| f.tasks.to_string()),
        },
    ],
    labels: None,
};

impl Row {
    /// A figure; dashes where the container is gone.
    fn or_dashes(&self, dashes: &str, text: impl Fn(&Figures) -> String) -> String {
        if self.figures.gone {
            dashes.to_owned()
        } else {
            text(&self.figures)
        }
    }

    fn pair(&self, bytes: impl Fn(&Figures) -> (u64, u64)) -> String {
        self.or_dashes("--", |figures| {
            let (a, b) = bytes(figures);
            format!("{} / {}", size::short(a), size::short(b))
        })
    }
}

fn percent(value: f64) -> String {
    format!("{value:.2}%")
}

/// Failures about several names, as one.
fn all_of(failures: &[hull_engine::Error]) -> Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = failures.iter().map(ToString::to_string).collect();
    Err(Failure::new(lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(gone: bool) -> Figures {
        Figures {
            asked: "web".to_owned(),
            id: "0123456789abcdef".repeat(4),
            name: "web".to_owned(),
            gone,
            cpu: 12.345,
            memory: 572 << 10,
            memory_limit: 25_276_514_304,
            memory_percent: 0.0023,
            received: 486,
            sent: 70_000,
            read: 0,
            written: 1_200_000,
            tasks: 2,
        }
    }

    #[test]
    fn the_table_is_dockers() {
        let render = |gone, source: &str, trunc| {
            let columns = vec![
                "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs",
            ];
            let rows = [Row {
                figures: figures(gone),
                trunc,
            }];
            LISTING.render(&rows, &Format::read(source, columns).unwrap()).unwrap()
        };
        insta::assert_snapshot!(render(false, "", true), @r"
        CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O       BLOCK I/O    PIDS
        0123456789ab   web       12.35%    572KiB / 23.54GiB   0.00%     486B / 70kB   0B / 1.2MB   2
        ");
        insta::assert_snapshot!(render(true, "", true), @r"
        CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O   PIDS
        0123456789ab   web       --        -- / --             --        --        --          --
        ");
        insta::assert_snapshot!(
            render(false, "json", true),
            @r#"{"BlockIO":"0B / 1.2MB","CPUPerc":"12.35%","Container":"web","ID":"0123456789ab","MemPerc":"0.00%","MemUsage":"572KiB / 23.54GiB","Name":"web","NetIO":"486B / 70kB","PIDs":"2"}"#
        );
        assert_eq!(render(false, "{{.ID}}", false), "0123456789abcdef".repeat(4) + "\n");
    }

    #[test]
    fn a_repainted_table_clears_what_was_longer() {
        assert_eq!(painted("a\nb\n", false), "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
        assert!(painted("", true).starts_with("\u{1b}[2J\u{1b}[H"));
    }
}
