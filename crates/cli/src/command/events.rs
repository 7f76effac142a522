//! `events`: what happens on this host.

use std::io::Write as _;
use std::ops::ControlFlow;

use hull_engine::event::{self, EventsRequest};
use hull_engine::moment;
use hull_spec::event::Event;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::TimeZone;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result};
use crate::output;
use crate::output::data::Data;
use crate::output::json::Json;
use crate::output::template::Template;

pub(crate) const COMMAND: Command = Command {
    names: &["events", "system events"],
    synopsis: "[OPTIONS]",
    about: "Get real time events",
    flags: &[
        output::filter::FLAG,
        Flag::string("format").help(
            "Format output using a custom template: 'json' prints in JSON format, and 'TEMPLATE' prints using the given Go template",
        ),
        Flag::string("since").help("Show all events created since timestamp"),
        Flag::string("until").help("Stream events until this timestamp"),
    ],
    count: Count::None,
    interspersed: true,
    run,
};

/// Docker's exit code for a malformed template.
const TEMPLATE: u8 = 64;

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let format = Format::read(args.value("format").unwrap_or_default())?;
    let now = Timestamp::now();
    let (since, until) = (moment(args, "since", now)?, moment(args, "until", now)?);
    if let (Some(since), Some(until)) = (&since, &until)
        && until.at < since.at
    {
        return Err(Failure::new(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            since.text, until.text
        )));
    }
    let request = EventsRequest {
        since: since.map(|moment| moment.at),
        until: until.map(|moment| moment.at),
        filters: output::filter::read(args),
    };
    let mut failed = None;
    let mut out = std::io::stdout().lock();
    event::listen(&ctx.engine(), &request, &mut |event| {
        let written = format.line(event).and_then(|line| {
            out.write_all(line.as_bytes())?;
            Ok(out.flush()?)
        });
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failed = Some(e);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(0), Err)
}

/// A moment, and how Docker's client writes it.
struct Moment {
    at: Timestamp,
    text: String,
}

fn moment(args: &Matches, flag: &str, now: Timestamp) -> Result<Option<Moment>> {
    let Some(text) = args.value(flag).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let at = moment::parse(text, now, &TimeZone::system())
        .ok_or_else(|| Failure::new(format!("failed to parse value as time or duration: {text:?}")))?;
    let text = if moment::duration(text).is_some() {
        at.as_second().to_string()
    } else if text.contains('-') {
        format!("{}.{:09}", at.as_second(), at.subsec_nanosecond())
    } else {
        text.to_owned()
    };
    Ok(Some(Moment { at, text }))
}

/// How an event is printed.
enum Format {
    Text(TimeZone),
    Json,
    Template(Box<Template>),
}

impl Format {
    fn read(source: &str) -> Result<Self> {
        Ok(match source {
            "" => Self::Text(TimeZone::system()),
            "json" => Self::Json,
            source => Self::Template(Box::new(Template::parse(source).map_err(malformed)?)),
        })
    }

    fn line(&self, event: &Event) -> Result<String> {
        Ok(match self {
            Self::Text(zone) => text(event, zone),
            Self::Json => serde_json::to_string(event)? + "\n",
            Self::Template(template) => template.execute(&data(event)?).map_err(malformed)? + "\n",
        })
    }
}

fn malformed(e: String) -> Failure {
    Failure::new(format!("Error parsing format: {e}")).code(TEMPLATE)
}

/// The event by the names that Go's templates know.
fn data(event: &Event) -> Result<Data> {
    let text = || Json::Text(String::new());
    let aliases = [
        ("Status", "status", text()),
        ("ID", "id", text()),
        ("From", "from", text()),
        ("Scope", "scope", text()),
        ("Time", "time", Json::Int(0)),
        ("TimeNano", "timeNano", Json::Int(0)),
    ];
    Ok(Data::aliased(&Json::of(event)?, &aliases))
}

/// Docker's line: `TIME TYPE ACTION ID (NAME=VALUE, ..)`.
fn text(event: &Event, zone: &TimeZone) -> String {
    let mut line = String::new();
    if event.time_nano != 0 {
        let at = Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or_default();
        line = time(at, zone) + " ";
    }
    line += &format!("{} {} {}", event.kind, event.action, event.actor.id);
    let attributes = &event.actor.attributes;
    if !attributes.is_empty() {
        let pairs: Vec<String> = attributes
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        line += &format!(" ({})", pairs.join(", "));
    }
    line + "\n"
}

/// RFC 3339 with nine digits of a second, as this host's clocks show it.
fn time(at: Timestamp, zone: &TimeZone) -> String {
    let offset = zone.to_offset(at);
    let printer = DateTimePrinter::new().precision(Some(9));
    if offset.is_zero() {
        printer.timestamp_to_string(&at)
    } else {
        printer.timestamp_with_offset_to_string(&at, offset)
    }
}

#[cfg(test)]
mod tests {
    use hull_spec::event::Kind;
    use jiff::tz::Offset;

    use super::*;

    fn event() -> Event {
        Event::new(Kind::Container, "start", "c0ffee", 1_795_526_750_781_386_940)
            .with("name", "n")
            .with("a", "b")
    }

    #[test]
    fn lines_are_dockers() {
        let check = |event: &Event, seconds: i32, expected: &str| {
            let zone = TimeZone::fixed(Offset::from_seconds(seconds).unwrap());
            assert_eq!(text(event, &zone), expected);
        };
        check(
            &event(),
            0,
            "2026-11-24T13:25:50.781386940Z container start c0ffee (a=b, name=n)\n",
        );
        check(
            &event(),
            -12600,
            "2026-11-24T09:55:50.781386940-03:30 container start c0ffee (a=b, name=n)\n",
        );
        check(
            &Event::new(Kind::Image, "prune", "", 1_795_526_761_000_000_000).with("reclaimed", "0"),
            0,
            "2026-11-24T13:26:01.000000000Z image prune  (reclaimed=0)\n",
        );
    }

    #[test]
    fn templates_know_gos_names() {
        let volume = Event::new(Kind::Volume, "create", "v", 1_000_000_002).with("driver", "local");
        let check = |source: &str, event: &Event, expected: &str| {
            let line = Format::read(source).and_then(|f| f.line(event));
            assert_eq!(line.ok().as_deref(), Some(expected), "{source}");
        };
        let all =
            "{{.Status}}|{{.ID}}|{{.From}}|{{.Type}}|{{.Action}}|{{.Actor.ID}}|{{.Scope}}|{{.Time}}|{{.TimeNano}}";
        check(all, &volume, "|||volume|create|v|local|1|1000000002\n");
        check("{{.Status}} {{.Actor.Attributes.name}}", &event(), "start n\n");
        check("{{index .Actor.Attributes \"x\"}}", &event(), "\n");
        check(
            "{{json .Actor}}",
            &volume,
            "{\"ID\":\"v\",\"Attributes\":{\"driver\":\"local\"}}\n",
        );
        for same in ["json", "{{json .}}"] {
            check(
                same,
                &volume,
                "{\"Type\":\"volume\",\"Action\":\"create\",\"Actor\":{\"ID\":\"v\",\"Attributes\":{\"driver\":\"local\"}},\"scope\":\"local\",\"time\":1,\"timeNano\":1000000002}\n",
            );
        }
        assert!(Format::read("{{").is_err());
        assert!(Format::read("{{.Foo}}").and_then(|f| f.line(&volume)).is_err());
    }
}
