//! `logs`.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

use hull_engine::container::logs::{Entry, Flaws, Stream, Told};
use hull_engine::container::{self, LogsRequest};
use hull_engine::moment;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result};

pub(crate) const COMMAND: Command = Command {
    names: &["logs", "container logs"],
    synopsis: "[OPTIONS] CONTAINER",
    about: "Fetch the logs of a container",
    flags: &[
        Flag::switch("details").help("Show extra details provided to logs"),
        Flag::switch("follow").short('f').help("Follow log output"),
        Flag::string("since").help(
            "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
        ),
        Flag::string("tail")
            .short('n')
            .default("\"all\"")
            .help("Number of lines to show from the end of the logs"),
        Flag::switch("timestamps").short('t').help("Show timestamps"),
        Flag::string("until").help(
            "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
        ),
    ],
    count: Count::Exactly(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let request = LogsRequest {
        follow: args.on("follow"),
        // Docker reads anything that is no number as `all`.
        tail: args.value("tail").and_then(|text| text.parse().ok()),
        since: time(args, "since")?,
        until: time(args, "until")?,
        stdout: true,
        stderr: true,
    };
    let mut printer = Printer::new(io::stdout().lock(), io::stderr().lock());
    printer.timestamps = args.on("timestamps");
    printer.details = args.on("details");
    widen(io::stdout().as_fd());
    let mut failed = None;
    let flaws = container::logs(&ctx.engine(), args.arg(), &request, &mut |told| {
        let printed = match told {
            Told::Entry(entry) => printer.print(entry),
            Told::Pause => printer.flush(),
        };
        failed = printed.err();
        match failed {
            None => ControlFlow::Continue(()),
            Some(_) => ControlFlow::Break(()),
        }
    });
    // What there was before an error is worth showing.
    let flushed = printer.flush();
    let flaws = flaws?;
    match failed.map_or(flushed, Err) {
        // Docker's client, too, falls silent when nobody reads any more.
        Err(e) => Err(e.into()),
        Ok(()) => {
            printer.warn(flaws)?;
            Ok(0)
        }
    }
}

/// Makes a pipe take more at once: whoever reads it is woken less often. A pipe that cannot be made larger is as good.
fn widen(out: BorrowedFd<'_>) {
    let _ = rustix::pipe::fcntl_setpipe_size(out, 1 << 20);
}

fn time(args: &Matches, flag: &str) -> Result<Option<Timestamp>> {
    // For Docker's daemon 0 is no time at all.
    let Some(text) = args.value(flag).filter(|text| !matches!(*text, "" | "0")) else {
        return Ok(None);
    };
    moment::parse(text, Timestamp::now(), &TimeZone::system())
        .map(Some)
        .ok_or_else(|| {
            Failure::new(format!(
                "invalid value for {flag:?}: failed to parse value as time or duration: {text:?}"
            ))
        })
}

/// Bytes that are written at once.
const BATCH: usize = 128 << 10;

/// Writes each stream to where it belongs. What is of one stream is written together, before anything goes to the other,
/// so that both keep their order where they are the same file.
struct Printer<O, E> {
    out: O,
    err: E,
    timestamps: bool,
    details: bool,
    /// What is not written yet, and whose it is.
    pending: Vec<u8>,
    stream: Stream,
}

impl<O: Write, E: Write> Printer<O, E> {
    fn new(out: O, err: E) -> Self {
        Self {
            out,
            err,
            timestamps: false,
            details: false,
            pending: Vec::new(),
            stream: Stream::Stdout,
        }
    }

    #[inline]
    fn print(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        if self.stream != entry.stream || self.pending.len() >= BATCH {
            self.flush()?;
            self.stream = entry.stream;
        }
        entry.write(self.timestamps, self.details, &mut self.pending);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let pending = &self.pending;
        let written = match self.stream {
            Stream::Stdout => self.out.write_all(pending).and_then(|()| self.out.flush()),
            Stream::Stderr => self.err.write_all(pending),
        };
        self.pending.clear();
        written
    }

    /// Says what was wrong with the log.
    fn warn(&mut self, flaws: Flaws) -> io::Result<()> {
        if flaws.damaged > 0 {
            let places = if flaws.damaged == 1 { "place" } else { "places" };
            writeln!(
                self.err,
                "warning: the log is damaged in {} {places}: what was there is left out",
                flaws.damaged
            )?;
        }
        if flaws.overtaken {
            writeln!(
                self.err,
                "warning: lines were rotated away before they could be read: the log grows faster than it is read"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use hull_engine::container::logs::Time;

    use super::*;

    struct Both(Rc<RefCell<String>>, char);

    impl Write for Both {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut all = self.0.borrow_mut();
            all.push(self.1);
            all.push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn streams_keep_their_order() {
        let all = Rc::new(RefCell::new(String::new()));
        let mut printer = Printer::new(Both(all.clone(), 'o'), Both(all.clone(), 'e'));
        for (stream, text) in [
            (Stream::Stdout, "a"),
            (Stream::Stdout, "b"),
            (Stream::Stderr, "c"),
            (Stream::Stdout, "d"),
            (Stream::Stdout, "d"),
        ] {
            printer
                .print(&Entry::new(stream, text.as_bytes(), Time::Digits(b"0")))
                .unwrap();
        }
        assert_eq!(all.borrow().as_str(), "oabec");
        printer.flush().unwrap();
        printer.warn(Flaws::default()).unwrap();
        assert_eq!(all.borrow().as_str(), "oabecodd");
    }
}
