//! `logs`.

use std::io::{self, BufWriter, Write};

use hull_engine::container::{self, LogsRequest, logs::Stream};
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
    let follow = args.on("follow");
    let request = LogsRequest {
        follow,
        // Docker reads anything that is no number as `all`.
        tail: args.value("tail").and_then(|text| text.parse().ok()),
        since: time(args, "since")?,
        until: time(args, "until")?,
        stdout: true,
        stderr: true,
    };
    let (timestamps, details) = (args.on("timestamps"), args.on("details"));
    let mut printer = Printer::new(io::stdout().lock(), io::stderr().lock(), follow);
    let mut failed = None;
    container::logs(&ctx.engine(), args.arg(), &request, &mut |entry| {
        let printed = printer.print(entry.stream, &entry.text(timestamps, details));
        failed = printed.err();
        failed.is_none()
    })?;
    match failed {
        Some(e) => Err(e.into()),
        None => {
            printer.out.flush()?;
            Ok(0)
        }
    }
}

fn time(args: &Matches, flag: &str) -> Result<Option<Timestamp>> {
    let Some(text) = args.value(flag).filter(|text| !text.is_empty()) else {
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

/// Writes each stream to where it belongs. Standard output is buffered; it is written before anything goes to standard
/// error, so that both keep their order where they are the same file.
struct Printer<O: Write, E> {
    out: BufWriter<O>,
    err: E,
    at_once: bool,
}

impl<O: Write, E: Write> Printer<O, E> {
    fn new(out: O, err: E, at_once: bool) -> Self {
        Self {
            out: BufWriter::with_capacity(64 << 10, out),
            err,
            at_once,
        }
    }

    fn print(&mut self, stream: Stream, text: &str) -> io::Result<()> {
        match stream {
            Stream::Stdout => {
                self.out.write_all(text.as_bytes())?;
                if self.at_once { self.out.flush() } else { Ok(()) }
            }
            Stream::Stderr => {
                self.out.flush()?;
                self.err.write_all(text.as_bytes())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

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
        for (at_once, expected) in [(false, "oabecodd"), (true, "oaobecodod")] {
            let all = Rc::new(RefCell::new(String::new()));
            let mut printer = Printer::new(Both(all.clone(), 'o'), Both(all.clone(), 'e'), at_once);
            for (stream, text) in [
                (Stream::Stdout, "a"),
                (Stream::Stdout, "b"),
                (Stream::Stderr, "c"),
                (Stream::Stdout, "d"),
                (Stream::Stdout, "d"),
            ] {
                printer.print(stream, text).unwrap();
            }
            printer.out.flush().unwrap();
            assert_eq!(all.borrow().as_str(), expected);
        }
    }
}
