//! What needs what, and what a target needs.

use std::fmt::Write as _;

use hull_dockerfile::graph::{Graph, NodeId, NodeKind, Request, Role, similar_stage};
use hull_dockerfile::{Dockerfile, Globals, Parameters, parse};

fn globals(file: &Dockerfile) -> Globals {
    let platform = "linux/amd64".parse().unwrap();
    let parameters = Parameters {
        build: "linux/arm64".parse().unwrap(),
        platform,
        ..Parameters::default()
    };
    Globals::new(file, &parameters).unwrap()
}

fn name(graph: &Graph, node: NodeId) -> String {
    match &graph.node(node).kind {
        NodeKind::Scratch => "scratch".to_owned(),
        NodeKind::Context => "context".to_owned(),
        NodeKind::NamedContext(name) => format!("context {name}"),
        NodeKind::Image(image) => {
            let platform = image.platform.as_ref().map(|platform| format!(" for {platform}"));
            format!("image {}{}", image.name, platform.unwrap_or_default())
        }
        NodeKind::Step { stage, step, linked } => {
            let stage = &graph.stages()[*stage];
            let linked = if *linked { " (linked)" } else { "" };
            let trigger = if stage.steps[*step].trigger { " (trigger)" } else { "" };
            format!(
                "{} {}{linked}{trigger}",
                stage.name, stage.steps[*step].instruction.code
            )
        }
    }
}

/// What is needed, a line a node, each with its inputs.
fn show(text: &str, request: &Request<'_>) -> String {
    let file = parse(text.as_bytes()).unwrap();
    let graph = Graph::new(&file, &globals(&file), request).unwrap();
    let needed = graph.needed(&file).unwrap();
    let mut out = String::new();
    for node in &needed {
        let _ = write!(out, "{}", name(&graph, *node));
        for (number, input) in graph.node(*node).inputs.iter().enumerate() {
            let place = needed.iter().position(|other| *other == input.node).unwrap();
            assert!(place < needed.iter().position(|other| other == node).unwrap());
            let role = match input.role {
                Role::Below => "on",
                Role::Source => "from",
                Role::Mount(_) => "with",
            };
            let _ = write!(
                out,
                "{}{role} [{}]",
                if number == 0 { " <- " } else { ", " },
                name(&graph, input.node)
            );
        }
        out.push('\n');
    }
    out
}

fn error(text: &str, request: &Request<'_>) -> (String, usize, usize) {
    let file = parse(text.as_bytes()).unwrap();
    let graph = Graph::new(&file, &globals(&file), request);
    let error = match graph {
        Ok(graph) => graph.needed(&file).expect_err(text),
        Err(error) => error,
    };
    (error.to_string(), error.at.line, error.at.column)
}

const APP: &str = concat!(
    "FROM --platform=$BUILDPLATFORM golang:1 AS build\nCOPY . /src\nRUN make\n",
    "FROM build AS test\nRUN make test\n",
    "FROM alpine AS docs\nRUN --mount=type=bind,from=build,target=/src --mount=type=cache,target=/c doc\n",
    "FROM scratch\nCOPY --from=build --link /src/app /app\nCOPY --from=docs /d /d\nCOPY --from=busybox /bin/sh /\n",
    "ADD https://x/y /y\nENTRYPOINT [\"/app\"]\n",
);

#[test]
fn only_what_the_target_needs_is_planned() {
    insta::assert_snapshot!(show(APP, &Request::default()));
}

#[test]
fn a_target_is_a_name_or_a_number() {
    let of = |target: &'static str| {
        let request = Request {
            target: Some(target),
            ..Request::default()
        };
        show(APP, &request).lines().last().unwrap().to_owned()
    };
    assert_eq!(of("TEST"), "test RUN make test <- on [build RUN make]");
    assert_eq!(of("0"), "build RUN make <- on [build COPY . /src]");
    assert_eq!(of("3"), of(""));
    let check = |target: &'static str, expected: &str| {
        let request = Request {
            target: Some(target),
            ..Request::default()
        };
        assert_eq!(error(APP, &request).0, expected);
    };
    check("tets", "target stage \"tets\" could not be found (did you mean test?)");
    check("4", "target stage \"4\" could not be found");
}

#[test]
fn named_contexts_take_the_place_of_names() {
    let request = Request {
        platform: Some("linux/amd64".parse().unwrap()),
        contexts: [
            "golang:1::linux/arm64",
            "alpine",
            "busybox::linux/arm64",
            "extra",
            "docs",
        ]
        .map(str::to_owned)
        .into(),
        ..Request::default()
    };
    let text = format!("{APP}COPY --from=extra /e /e\nCOPY --from=docker.io/library/alpine:latest /a /a\n");
    insta::assert_snapshot!(show(&text, &request));
}

#[test]
fn triggers_come_first() {
    let request = Request {
        triggers: [(0, vec!["COPY . /app".to_owned(), "RUN <<EOF\nx\nEOF".to_owned()])].into(),
        ..Request::default()
    };
    let text =
        "FROM node AS one\nONBUILD RUN late\nRUN now\nFROM one AS two\nONBUILD ENV a=b\nRUN more\nFROM two\nCMD x\n";
    insta::assert_snapshot!(show(text, &request));
}

#[test]
fn a_wrong_trigger_is_told_at_its_from() {
    let request = Request {
        triggers: [(1, vec!["FROM x".to_owned()])].into(),
        ..Request::default()
    };
    let found = error("FROM a\nFROM b\n", &request);
    assert_eq!(found, ("FROM isn't allowed as an ONBUILD trigger".to_owned(), 2, 1));
    let request = Request {
        triggers: [(1, vec!["COPY --from=9 a b".to_owned()])].into(),
        ..Request::default()
    };
    assert_eq!(
        error("FROM a\nFROM b\n", &request),
        ("invalid stage index 9".to_owned(), 2, 1)
    );
}

#[test]
fn what_cannot_be_planned_is_refused() {
    let check = |text: &str, line: usize, column: usize, expected: &str| {
        assert_eq!(
            error(text, &Request::default()),
            (expected.to_owned(), line, column),
            "{text}"
        );
    };
    check(
        "FROM a AS x\nCOPY --from=x b c\n",
        2,
        13,
        "circular dependency detected on stage: x",
    );
    check(
        "FROM a\nCOPY --from=0 b c\n",
        2,
        13,
        "circular dependency detected on stage: stage-0",
    );
    check(
        "FROM a AS x\nCOPY --from=y b c\nFROM a AS y\nRUN --mount=from=x,target=/x z\n",
        4,
        18,
        "circular dependency detected on stage: x",
    );
    check(
        "FROM a AS x\nCOPY --from=y b c\nFROM a AS y\nFROM x\n",
        2,
        13,
        "cannot copy from stage \"y\", it needs to be defined before current stage \"x\"",
    );
    check(
        "FROM a AS x\nRUN --mount=target=/t,from=y b\nFROM x AS y\n",
        2,
        28,
        "cannot mount from stage \"y\" to \"/t\", stage needs to be defined before current command",
    );
    check("FROM a\nCOPY --from=7 b c\n", 2, 13, "invalid stage index 7");
    check("FROM a\nCOPY --from=-1 b c\n", 2, 13, "invalid stage index -1");
    check(
        "FROM a\nARG s\nCOPY --from=$s b c\n",
        3,
        13,
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a \
         workaround",
    );
    check(
        "FROM a AS build\nCOPY --from=x/Build b c\n",
        2,
        13,
        "failed to parse stage name \"x/Build\": invalid reference format: repository name (x/Build) must be lowercase",
    );
    check("FROM $a\n", 1, 6, "base name ($a) should not be blank");
}

#[test]
fn a_later_stage_is_no_failure_where_nobody_needs_it() {
    let text = "FROM a AS x\nCOPY --from=y b c\nFROM d AS y\nRUN e\n";
    insta::assert_snapshot!(show(text, &Request::default()));
}

#[test]
fn of_two_stages_with_one_name_the_nearer_is_meant() {
    let text = "FROM a AS x\nRUN one\nFROM x AS x\nRUN two\nFROM x\nCOPY --from=x b c\nCOPY --from=0 d e\n";
    insta::assert_snapshot!(show(text, &Request::default()));
}

#[test]
fn variables_in_sources_and_mounts_may_need_the_context() {
    let text =
        "FROM a\nADD $url /x\nRUN --mount=type=$t,target=/y b\nRUN --mount=type=tmpfs,target=/y c\nCOPY <<E /e\nE\n";
    insta::assert_snapshot!(show(text, &Request::default()));
}

#[test]
fn a_misspelt_stage_is_suggested() {
    let file = parse(b"FROM a AS builder\nFROM bulider\n").unwrap();
    assert_eq!(similar_stage(&file, "bulider").to_string(), " (did you mean builder?)");
    assert_eq!(similar_stage(&file, "alpine").to_string(), "");
}
