//! Requests compared with what Docker's own client sends for the same flags.
//!
//! `docker-28.json` was recorded from Docker 28.2.2's client talking to a stub of the API: for each command line, the
//! body of `POST /containers/create` without its empty values, or the first line of its refusal.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{Surroundings, request};
use crate::args::{Parsed, parse};
use crate::container::flags::CREATE;

const RECORDED: &str = include_str!("docker-28.json");

fn variable(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/root".to_owned())
}

fn ours(words: &[String]) -> Result<Value, String> {
    let around = Surroundings {
        directory: PathBuf::from("/tmp/here"),
        variable: &variable,
        console_size: [0, 0],
    };
    let Parsed::Matches(matches) = parse(CREATE, false, words.iter().cloned())? else {
        return Err("help".to_owned());
    };
    if let Some((flag, reason)) = matches.refused() {
        return Err(format!("--{}: {reason}", flag.long));
    }
    Ok(pruned(
        serde_json::to_value(request(&matches, false, &around).map_err(super::Refusal::text)?).unwrap(),
    ))
}

/// Without what is empty in either: Go writes some empty values as null and some not, and the engine does not care.
fn pruned(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter_map(|(key, value)| {
                let set = matches!(key.as_str(), "ExposedPorts" | "Volumes" | "Labels" | "Tmpfs");
                let mut value = if set { value } else { pruned(value) };
                if let (true, Value::Array(list)) = (matches!(key.as_str(), "Env" | "Binds"), &mut value) {
                    // Docker's client keeps these in a map, in no order.
                    list.sort_by_key(Value::to_string);
                }
                let empty = [json!(null), json!(""), json!(0), json!(false), json!([]), json!({})].contains(&value)
                    || (key == "MemorySwappiness" && value == json!(-1))
                    || (key == "ConsoleSize" && value == json!([0, 0]));
                (!empty).then_some((key, value))
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(list) => list.into_iter().map(pruned).collect(),
        other => other,
    }
}

#[test]
fn requests_are_what_dockers_client_sends() {
    let recorded: Vec<Value> = serde_json::from_str(RECORDED).unwrap();
    assert!(recorded.len() > 80, "the record is whole");
    let mut wrong = Vec::new();
    for case in recorded {
        let words: Vec<String> = serde_json::from_value(case["args"].clone()).unwrap();
        let ours = ours(&words);
        match (&case["body"], &case["error"], ours) {
            (Value::Object(_), _, Ok(body)) => {
                let theirs = pruned(case["body"].clone());
                if theirs != body {
                    wrong.push(format!("{words:?}\n  docker: {theirs}\n  hull:   {body}"));
                }
            }
            (Value::Null, Value::String(theirs), Err(ours)) => {
                let theirs = theirs.strip_prefix("docker: ").unwrap_or(theirs);
                if theirs != ours {
                    wrong.push(format!("{words:?}\n  docker: {theirs}\n  hull:   {ours}"));
                }
            }
            (theirs, error, ours) => wrong.push(format!("{words:?}\n  docker: {theirs} {error}\n  hull: {ours:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    let check = |line: &str, expected: &str| {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let error = ours(&words).unwrap_err();
        assert!(error.contains(expected), "{line}: {error}");
    };
    check(
        "--log-driver none --log-opt max-size=1m x",
        "invalid logging opts for driver none",
    );
    check("--runtime runsc x", "unknown or invalid runtime name: runsc");
    check("--disable-content-trust=false x", "--disable-content-trust=false");
    check("--network mine x", "network 'mine' is not there");
    check("--network host --network none x", "conflicting options");
    check("--link a x", "--link: ");
    check("--ip 1.2.3.4 x", "--ip: ");
    check("--storage-opt size=1g x", "--storage-opt: ");
}

#[test]
fn every_flag_of_docker_is_known() {
    for (command, flags) in [("create", CREATE), ("run", crate::container::flags::RUN)] {
        let lines = include_str!("../../docker-28-flags.txt").lines();
        for line in lines.filter_map(|l| l.strip_prefix(command)?.strip_prefix(' ')) {
            let mut words = line.split(' ');
            let (short, long, value) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            let flag = flags
                .iter()
                .find(|f| f.long == long)
                .unwrap_or_else(|| panic!("{command} --{long}"));
            assert_eq!(flag.short, short.chars().next().filter(|c| *c != '-'), "--{long}");
            assert_eq!(
                if flag.value_name.is_empty() {
                    "-"
                } else {
                    flag.value_name
                },
                value,
                "--{long}"
            );
        }
    }
}
