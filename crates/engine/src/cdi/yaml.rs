//! YAML as JSON, for files that programs wrote: one document, without anchors, aliases and tags, whose expansion could
//! be without bound or mean something else.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Deeper nesting is refused.
const DEPTH: usize = 64;

/// Reads the one document of `text`.
pub(super) fn read(text: &str) -> Result<Value, String> {
    // What is open: a list, or a map and the key that waits for its value.
    let mut open: Vec<(Value, Option<String>)> = Vec::new();
    let mut document = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| e.to_string())?;
        let at = |what: &str| format!("line {}: {what}", span.start.line());
        let value = match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                continue;
            }
            Event::Alias(_) => return Err(at("aliases are not supported")),
            Event::SequenceStart(anchor, tag) => {
                refuse(anchor, tag.is_some()).map_err(at)?;
                open.push((Value::Array(Vec::new()), None));
                None
            }
            Event::MappingStart(anchor, tag) => {
                refuse(anchor, tag.is_some()).map_err(at)?;
                open.push((Value::Object(Map::new()), None));
                None
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse(anchor, tag.is_some()).map_err(at)?;
                if let Some((Value::Object(_), key @ None)) = open.last_mut() {
                    *key = Some(text.into_owned());
                    continue;
                }
                Some(match style {
                    ScalarStyle::Plain => plain(&text),
                    _ => Value::String(text.into_owned()),
                })
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|(value, _)| value),
        };
        if open.len() > DEPTH {
            return Err(at("nested too deeply"));
        }
        let Some(value) = value else { continue };
        match open.last_mut() {
            Some((Value::Array(list), _)) => list.push(value),
            Some((Value::Object(map), key)) => {
                let key = key.take().ok_or_else(|| at("a key that is no text"))?;
                if map.contains_key(&key) {
                    return Err(at(&format!("`{key}` twice")));
                }
                map.insert(key, value);
            }
            _ if document.is_some() => return Err(at("more than one document")),
            _ => document = Some(value),
        }
    }
    document.ok_or_else(|| "no document".to_owned())
}

fn refuse(anchor: usize, tagged: bool) -> Result<(), &'static str> {
    match (anchor, tagged) {
        (0, false) => Ok(()),
        (0, true) => Err("tags are not supported"),
        _ => Err("anchors are not supported"),
    }
}

/// A scalar without quotes (YAML 1.2, core schema).
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let octal = text.strip_prefix("0o").and_then(|n| i64::from_str_radix(n, 8).ok());
    let hexadecimal = text.strip_prefix("0x").and_then(|n| i64::from_str_radix(n, 16).ok());
    // A leading zero is octal to Go's YAML, by which these files are written; file modes come so.
    let old = text
        .strip_prefix('0')
        .filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|n| i64::from_str_radix(n, 8).ok());
    if let Some(number) = octal.or(hexadecimal).or(old).or_else(|| text.parse().ok()) {
        return Value::Number(number.into());
    }
    let number = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    match text.parse::<f64>().ok().filter(|_| number).and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_are_read() {
        let check = |text: &str, expected: Value| assert_eq!(read(text).unwrap(), expected, "{text}");
        check(
            "---\na: 1\nb: [x, 'y', \"true\", true, ~]\nc:\n  - d: 0o17\n    e: 0660\n",
            json!({"a": 1, "b": ["x", "y", "true", true, null], "c": [{"d": 15, "e": 432}]}),
        );
        check("{}", json!({}));
        check(
            "v: \"1.0\"\nw: 1.5\nx: 0.6.0\ny: ''",
            json!({"v": "1.0", "w": 1.5, "x": "0.6.0", "y": ""}),
        );
        check("a: {b: {c: []}}", json!({"a": {"b": {"c": []}}}));
    }

    #[test]
    fn what_could_mean_more_than_it_says_is_refused() {
        for (text, word) in [
            ("a: &x 1\nb: *x", "anchors"),
            ("a: !!binary x", "tags"),
            ("a: 1\na: 2", "twice"),
            ("a: 1\n---\nb: 2", "more than one"),
            ("", "no document"),
            ("[x: 1", ""),
            ("? [a]\n: b", "a key that is no text"),
            (&"[".repeat(100), ""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-a-c:\\[\\]{},&*! \n'\"0-9.]{0,60}") {
            let _ = read(&text);
        }
    }
}
