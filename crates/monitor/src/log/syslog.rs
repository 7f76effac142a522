//! Messages for a syslog server, in the forms that Docker's driver writes.

use jiff::ZonedDateTime;
use jiff::tz::TimeZone;

use super::plan::{SyslogFormat, SyslogPlan};
use super::{Moment, Piece, Stream};

#[derive(Debug)]
pub(super) struct Encoder {
    plan: SyslogPlan,
    zone: TimeZone,
    process: i32,
    /// What comes before the text, of each stream: the same for all that is written at one time.
    heads: [Vec<u8>; 2],
    time: Option<Moment>,
}

impl Encoder {
    pub(super) fn new(plan: &SyslogPlan) -> Self {
        Self {
            plan: plan.clone(),
            zone: TimeZone::system(),
            process: rustix::process::getpid().as_raw_nonzero().get(),
            heads: [Vec::new(), Vec::new()],
            time: None,
        }
    }

    /// Appends one message, with a line feed at its end.
    pub(super) fn entry(&mut self, out: &mut Vec<u8>, piece: &Piece<'_>) {
        if self.time != Some(piece.time) {
            let time = piece.time.timestamp().to_zoned_datetime(self.zone.clone());
            self.heads = [Stream::Stdout, Stream::Stderr].map(|stream| self.head(stream, &time).into_bytes());
            self.time = Some(piece.time);
        }
        out.extend_from_slice(&self.heads[piece.stream as usize]);
        out.extend_from_slice(piece.text);
        if piece.text.last() != Some(&b'\n') {
            out.push(b'\n');
        }
    }

    fn head(&self, stream: Stream, time: &ZonedDateTime) -> String {
        let SyslogPlan { tag, hostname, .. } = &self.plan;
        let severity = if stream == Stream::Stderr { 3 } else { 6 };
        let priority = u32::from(self.plan.facility) * 8 + severity;
        let process = self.process;
        let iso = |seconds: &str| {
            let zone = if time.offset().is_zero() { "Z" } else { "%:z" };
            time.strftime(&format!("%Y-%m-%dT{seconds}{zone}")).to_string()
        };
        match self.plan.format {
            SyslogFormat::Local => format!("<{priority}>{} {tag}[{process}]: ", time.strftime("%b %e %H:%M:%S")),
            SyslogFormat::Rfc3164 => {
                let time = time.strftime("%b %e %H:%M:%S");
                format!("<{priority}>{time} {hostname} {tag}[{process}]: ")
            }
            SyslogFormat::Rfc5424 => {
                format!("<{priority}>1 {} {hostname} {tag} {process} {tag} - ", iso("%H:%M:%S"))
            }
            SyslogFormat::Rfc5424Micro => {
                format!(
                    "<{priority}>1 {} {hostname} {tag} {process} {tag} - ",
                    iso("%H:%M:%S.%6f")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_docker_writes_them() {
        let nanos = 1_767_603_184_657_664_400;
        for (format, zone, expected) in [
            (SyslogFormat::Local, "UTC", "<27>Jan  5 08:53:04 web[7]: a\n"),
            (SyslogFormat::Rfc3164, "UTC", "<27>Jan  5 08:53:04 vm web[7]: a\n"),
            (
                SyslogFormat::Rfc5424,
                "UTC",
                "<27>1 2026-01-05T08:53:04Z vm web 7 web - a\n",
            ),
            (
                SyslogFormat::Rfc5424Micro,
                "+02",
                "<27>1 2026-01-05T10:53:04.657664+02:00 vm web 7 web - a\n",
            ),
        ] {
            let plan = SyslogPlan {
                addresses: Vec::new(),
                facility: 3,
                format,
                tag: "web".to_owned(),
                hostname: "vm".to_owned(),
            };
            let mut encoder = Encoder::new(&plan);
            encoder.process = 7;
            encoder.zone = match zone {
                "UTC" => TimeZone::UTC,
                _ => TimeZone::fixed(jiff::tz::Offset::from_seconds(7200).unwrap()),
            };
            for text in [&b"a\n"[..], b"a"] {
                let mut out = Vec::new();
                encoder.entry(&mut out, &Piece::whole(Stream::Stderr, text, Moment { nanos }));
                assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
    }
}
