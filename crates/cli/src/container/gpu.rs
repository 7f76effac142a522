//! `--gpus`, and devices by name.

use std::collections::BTreeMap;

use hull_spec::container::DeviceRequest;

use super::mount::fields;

/// `all`, a number, or fields such as `device=0,driver=nvidia,capabilities=utility`.
pub(super) fn parse(text: &str) -> Result<DeviceRequest, String> {
    let mut out = DeviceRequest::default();
    let mut seen: Vec<String> = Vec::new();
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value)),
            None => (field.clone(), None),
        };
        if seen.contains(&key) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key.clone());
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        match (key.as_str(), value) {
            (_, None) => {
                seen.push("count".to_owned());
                out.count = count(&key)?;
            }
            ("count", Some(value)) => out.count = count(value)?,
            ("driver", Some(value)) => value.clone_into(&mut out.driver),
            ("device", Some(value)) => out.device_ids = Some(list(value)),
            ("capabilities", Some(value)) => {
                let mut all = list(value);
                all.push("gpu".to_owned());
                out.capabilities = Some(vec![all]);
            }
            ("options", Some(value)) => {
                let pair = |field: String| {
                    let (key, value) = field.split_once('=').unwrap_or((&field, ""));
                    (key.to_owned(), value.to_owned())
                };
                out.options = Some(fields(value)?.into_iter().map(pair).collect());
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !seen.iter().any(|key| key == "count") && out.device_ids.is_none() {
        out.count = 1;
    }
    out.options.get_or_insert_with(BTreeMap::new);
    out.capabilities.get_or_insert_with(|| vec![vec!["gpu".to_owned()]]);
    Ok(out)
}

pub(super) fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

fn count(text: &str) -> Result<i64, String> {
    if text == "all" {
        return Ok(-1);
    }
    text.parse()
        .map_err(|_| format!("invalid count ({text}): value must be either \"all\" or an integer: invalid syntax"))
}

/// The request for devices by name, as Docker's client makes it.
pub(super) fn named(names: Vec<String>) -> Option<DeviceRequest> {
    (!names.is_empty()).then(|| DeviceRequest {
        driver: "cdi".to_owned(),
        device_ids: Some(names),
        ..DeviceRequest::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_docker_reads_them() {
        let check = |text: &str, count: i64, ids: Option<&[&str]>, capabilities: &[&str]| {
            let read = parse(text).unwrap();
            let strings = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
            assert_eq!(read.count, count, "{text}");
            assert_eq!(read.device_ids, ids.map(strings), "{text}");
            assert_eq!(read.capabilities, Some(vec![strings(capabilities)]), "{text}");
        };
        check("all", -1, None, &["gpu"]);
        check("2", 2, None, &["gpu"]);
        check("device=0", 0, Some(&["0"]), &["gpu"]);
        check("\"device=0,1\"", 0, Some(&["0", "1"]), &["gpu"]);
        check("count=3,capabilities=utility", 3, None, &["utility", "gpu"]);
        check("driver=nvidia", 1, None, &["gpu"]);
        for (text, says) in [
            (
                "x",
                "invalid count (x): value must be either \"all\" or an integer: invalid syntax",
            ),
            ("all,all", "gpu request key 'all' can be specified only once"),
            ("wat=1", "unexpected key 'wat' in 'wat=1'"),
        ] {
            assert_eq!(parse(text).unwrap_err(), says);
        }
    }
}
