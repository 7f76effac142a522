//! How long something took or how long ago it was, in the round words that Docker uses.

use jiff::Timestamp;

/// `seconds` as a person says it: `About a minute`, `3 hours`, `2 weeks`.
#[must_use]
pub fn words(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Hours are rounded, all else is cut off.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// The time from `then`, an RFC 3339 text, to `now`, as a person says it; empty where there was no such moment.
#[must_use]
pub fn since(then: &str, now: Timestamp) -> String {
    moment(then).map_or_else(String::new, |then| words(now.duration_since(then).as_secs()))
}

/// Reads an RFC 3339 text; `None` for none, and for Go's zero time.
#[must_use]
pub fn moment(text: &str) -> Option<Timestamp> {
    if text.is_empty() || text.starts_with("0001-") {
        return None;
    }
    text.parse().ok()
}

/// The zero time as Go writes it, which stands for "never" in Docker's JSON.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_as_docker_does() {
        let (minute, hour, day) = (60, 3600, 86400);
        for (seconds, expected) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (minute, "About a minute"),
            (2 * minute - 1, "About a minute"),
            (2 * minute, "2 minutes"),
            (hour - 1, "59 minutes"),
            (hour, "About an hour"),
            (90 * minute - 1, "About an hour"),
            (90 * minute, "2 hours"),
            (47 * hour, "47 hours"),
            (48 * hour, "2 days"),
            (13 * day, "13 days"),
            (14 * day, "2 weeks"),
            (59 * day, "8 weeks"),
            (60 * day, "2 months"),
            (729 * day, "24 months"),
            (731 * day, "2 years"),
        ] {
            assert_eq!(words(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn never_is_no_moment() {
        assert_eq!(moment(NEVER), None);
        assert_eq!(moment(""), None);
        let now = "2024-05-01T10:00:05Z".parse().unwrap();
        assert_eq!(since("2024-05-01T10:00:00.25Z", now), "4 seconds");
        assert_eq!(since(NEVER, now), "");
    }
}
