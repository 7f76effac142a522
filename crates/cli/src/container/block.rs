//! Weights and limits of block devices.

use hull_spec::container::{ThrottleDevice, WeightDevice};

use crate::args::value::parse_bytes;

/// `PATH:WEIGHT`.
pub(super) fn parse_weight(text: &str) -> Result<WeightDevice, String> {
    let (path, weight) = split(text)?;
    let weight = weight
        .parse()
        .ok()
        .filter(|w| *w == 0 || (10..=1000).contains(w))
        .ok_or_else(|| format!("invalid weight for device: {text}"))?;
    Ok(WeightDevice {
        path: path.to_owned(),
        weight,
    })
}

/// `PATH:BYTES`, with a unit.
pub(super) fn parse_bytes_rate(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = split(text)?;
    let rate = parse_bytes(rate).ok().and_then(|rate| u64::try_from(rate).ok()).ok_or_else(|| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a \
             positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok(ThrottleDevice {
        path: path.to_owned(),
        rate,
    })
}

/// `PATH:OPERATIONS`.
pub(super) fn parse_operations(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = split(text)?;
    let rate = rate.parse().map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive \
             integer"
        )
    })?;
    Ok(ThrottleDevice {
        path: path.to_owned(),
        rate,
    })
}

fn split(text: &str) -> Result<(&str, &str), String> {
    let (path, value) = text
        .split_once(':')
        .filter(|(path, _)| !path.is_empty())
        .ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path, value))
}

pub(super) fn check_weight(text: &str) -> Result<(), String> {
    parse_weight(text).map(drop)
}

pub(super) fn check_bytes(text: &str) -> Result<(), String> {
    parse_bytes_rate(text).map(drop)
}

pub(super) fn check_operations(text: &str) -> Result<(), String> {
    parse_operations(text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_limits_are_refused() {
        for bad in [
            "",
            "x",
            ":1",
            "sda:10",
            "/dev/sda:5",
            "/dev/sda:1001",
            "/dev/sda:-1",
            "/dev/sda:",
        ] {
            assert!(parse_weight(bad).is_err(), "{bad}");
        }
        for bad in ["/dev/sda", "/dev/sda:", "/dev/sda:-1", "/dev/sda:1x", "/tmp/sda:1"] {
            assert!(parse_bytes_rate(bad).is_err(), "{bad}");
        }
        for bad in ["/dev/sda:1m", "/dev/sda:-1", "/dev/sda:"] {
            assert!(parse_operations(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_bytes_rate("/dev/sda:1mb").map(|d| d.rate), Ok(1 << 20));
    }
}
