//! Durations as Go's `time.ParseDuration` reads them, with its words for what is wrong.

pub(crate) use hull_spec::value::parse_duration;

pub(crate) fn check_duration(text: &str) -> Result<(), String> {
    parse_duration(text).map(drop)
}
