//! When something was written.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// A moment of the host's clock, which may jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Nanoseconds since 1970.
    pub(crate) nanos: i64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let nanos = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
        };
        Self { nanos }
    }

    pub(crate) fn timestamp(self) -> Timestamp {
        Timestamp::from_nanosecond(self.nanos.into()).unwrap_or_default()
    }

    /// As Go writes a time in JSON: RFC 3339 in UTC, as many digits of the second as are needed.
    pub(crate) fn rfc3339(self) -> String {
        self.timestamp().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_go_writes_them() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_500_000_000, "1970-01-01T00:00:01.5Z"),
            (1_767_322_984_657_664_400, "2026-01-02T03:03:04.6576644Z"),
            (1_767_322_984_000_000_006, "2026-01-02T03:03:04.000000006Z"),
            (-500_000_000, "1969-12-31T23:59:59.5Z"),
        ] {
            assert_eq!(Moment { nanos }.rfc3339(), expected);
        }
    }
}
