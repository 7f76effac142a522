//! Whole files as people write them: each is read, planned and looked at, and what comes out is a snapshot.

use std::fmt::Write as _;

use hull_dockerfile::graph::{Graph, NodeKind, Request};
use hull_dockerfile::lint::{Facts, check};
use hull_dockerfile::{Globals, Parameters, parse};

/// Steps that the last stage needs, what they need from outside, and the warnings.
fn summary(text: &str) -> String {
    let file = parse(text.as_bytes()).unwrap();
    let parameters = Parameters {
        build: "linux/amd64".parse().unwrap(),
        platform: "linux/amd64".parse().unwrap(),
        ..Parameters::default()
    };
    let globals = Globals::new(&file, &parameters).unwrap();
    let graph = Graph::new(&file, &globals, &Request::default()).unwrap();
    let mut out = String::new();
    for node in graph.needed(&file).unwrap() {
        match &graph.node(node).kind {
            NodeKind::Image(image) => drop(writeln!(out, "image {}", image.name)),
            NodeKind::Step { stage, .. } => {
                let code = &graph.step(node).unwrap().instruction.code;
                let code: String = code
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
                    .chars()
                    .take(90)
                    .collect();
                let _ = writeln!(out, "{}: {code}", graph.stages()[*stage].name);
            }
            other => drop(writeln!(out, "{other:?}")),
        }
    }
    let facts = Facts {
        parameters,
        ..Facts::default()
    };
    let report = check(&file, &facts);
    assert_eq!(report.error, None);
    for warning in report.warnings {
        let at = file.source.position(warning.span.start);
        let _ = writeln!(out, "! {}:{} {}", at.line, at.column, warning.rule.name());
    }
    out
}

macro_rules! corpus {
    ($($name:ident),* $(,)?) => { $(
        #[test]
        fn $name() {
            let text = include_str!(concat!("../corpus/", stringify!($name), ".Dockerfile"));
            insta::assert_snapshot!(summary(text));
        }
    )* };
}

corpus!(
    go_service,
    node_app,
    python_web,
    rust_cache,
    debian_nginx,
    old_style,
    scripts,
    windows_escape,
    cross,
    everything
);
