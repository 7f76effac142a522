//! Where variables come from, and where they are replaced.

use std::collections::BTreeMap;

use hull_dockerfile::instruction::MountType;
use hull_dockerfile::{Command, Dockerfile, Globals, Parameters, Resolved, Scope, parse, unused_arguments};

fn given(arguments: &[(&str, &str)]) -> Parameters {
    Parameters {
        arguments: arguments
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        build: "linux/amd64".parse().unwrap(),
        platform: "linux/arm64".parse().unwrap(),
        target: None,
    }
}

fn file(text: &str) -> Dockerfile {
    parse(text.as_bytes()).unwrap()
}

/// Walks through the last stage on a base with `BASE=b`.
fn walk(text: &str, arguments: &[(&str, &str)]) -> (Vec<Resolved>, Vec<String>, Vec<String>) {
    let file = file(text);
    let globals = Globals::new(&file, &given(arguments)).unwrap();
    let mut scope = Scope::new(&globals, ["PATH=/bin", "BASE=b"]).unwrap();
    let stage = file.stages.last().unwrap();
    let resolved = stage
        .instructions
        .iter()
        .map(|instruction| scope.resolve(instruction).unwrap());
    let resolved = resolved.collect();
    (resolved, scope.config().lines(), scope.variables().lines())
}

#[test]
fn from_sees_platforms_and_what_is_above_it() {
    let check = |text: &str, arguments: &[(&str, &str)], name: &str, platform: Option<&str>| {
        let file = file(text);
        let globals = Globals::new(&file, &given(arguments)).unwrap();
        let base = globals.base(file.stages.last().unwrap()).unwrap();
        let found = base.platform.map(|platform| platform.to_string());
        assert_eq!((base.name.text.as_str(), found.as_deref()), (name, platform), "{text}");
    };
    check("FROM a", &[], "a", None);
    check("ARG v=1\nFROM a:$v", &[], "a:1", None);
    check("ARG v=1\nFROM a:$v", &[("v", "2")], "a:2", None);
    check("ARG v=1\nARG w=$v.2\nFROM a:${w%.*}-$w", &[], "a:1-1.2", None);
    check("ARG v\nFROM a:${v:-3}", &[], "a:3", None);
    check("FROM a:${v:-3}", &[("v", "2")], "a:3", None);
    check(
        "FROM --platform=$BUILDPLATFORM a-$TARGETARCH",
        &[],
        "a-arm64",
        Some("linux/amd64"),
    );
    check("FROM a AS one\nARG v=1\nFROM b:${v:-none}", &[], "b:none", None);
    check(
        "FROM a-$TARGETOS-$TARGETPLATFORM-$TARGETVARIANT-$BUILDARCH-$TARGETSTAGE AS z",
        &[],
        "a-linux-linux/arm64--amd64-z",
        None,
    );
}

#[test]
fn wrong_bases_are_told() {
    let check = |text: &str, column: usize, expected: &str| {
        let file = file(text);
        let globals = Globals::new(&file, &given(&[])).unwrap();
        let (problem, span) = globals.base(&file.stages[0]).unwrap_err();
        assert_eq!(
            (problem.to_string().as_str(), file.source.position(span.start).column),
            (expected, column),
            "{text}"
        );
    };
    check("FROM $x", 6, "base name ($x) should not be blank");
    check("FROM ${x", 6, "failed to process \"${x\": syntax error: missing '}'");
    check("FROM --platform=$x a", 17, "empty platform value from expression $x");
    check(
        "FROM --platform=$TARGETPLATFROM a",
        17,
        "empty platform value from expression $TARGETPLATFROM (did you mean TARGETPLATFORM?)",
    );
    let file = file("ARG v=${w:?needed}\nFROM a");
    let error = Globals::new(&file, &given(&[])).unwrap_err();
    assert_eq!(error.to_string(), "failed to process \"${w:?needed}\": w: needed");
    assert_eq!((error.at.line, error.at.column), (1, 7));
}

#[test]
fn arg_and_env_in_a_stage() {
    let text = "ARG g=1\nARG h=2\nFROM a\nARG g\nARG h=3\nARG i\nARG j=$g$h\nENV k=$j l=$BASE\nARG k=5\nENV m=$k\nARG TARGETARCH\n";
    let (_, config, variables) = walk(text, &[("j", "given"), ("z", "1")]);
    assert_eq!(config, ["PATH=/bin", "BASE=b", "k=given", "l=b", "m=5"]);
    assert_eq!(
        variables,
        [
            "PATH=/bin",
            "BASE=b",
            "g=1",
            "h=3",
            "j=given",
            "k=5",
            "l=b",
            "m=5",
            "TARGETARCH=arm64"
        ]
    );
}

#[test]
fn one_env_does_not_see_itself() {
    let (_, config, _) = walk("FROM a\nENV x=1\nENV x=2 y=$x\nENV z=$y", &[]);
    assert_eq!(config[2..], ["x=2", "y=1", "z=1"]);
}

#[test]
fn the_history_of_run_names_its_arguments() {
    let file = file("FROM a\nARG b=1 c\nARG b=2\nENV c=3");
    let globals = Globals::new(&file, &given(&[])).unwrap();
    let mut scope = Scope::new(&globals, []).unwrap();
    for instruction in &file.stages[0].instructions {
        scope.resolve(instruction).unwrap();
    }
    assert_eq!(scope.arguments(), [("b", "2"), ("c", "3")]);
    assert_eq!(scope.config().get("PATH"), Some(hull_dockerfile::DEFAULT_PATH));
}

#[test]
fn instructions_replace_what_is_theirs() {
    let text = concat!(
        "FROM a\nARG v=x w='q r' p='80 81'\n",
        "LABEL $v.l=\"$w\" m='$v'\n",
        "COPY --chown=$v --chmod=${m:-u+x} --exclude=$v --from=stage $v-a '$v' /$v/\n",
        "COPY <<$v <<\"t\" /\n\"$v\" \\$v\n$v\n$v\nt\n",
        "ADD --checksum=$v https://h/$v /\n",
        "WORKDIR /$v\nUSER $v:${v}\nSTOPSIGNAL $v\nVOLUME [\"/$v\"]\n",
        "EXPOSE $p/udp 9$n\n",
        "RUN --mount=type=${t:-cache},target=/$v,id=$v echo $v\n",
        "CMD echo $v\nENTRYPOINT [\"$v\"]\nSHELL [\"$v\"]\nHEALTHCHECK CMD $v\nMAINTAINER $v\nONBUILD RUN $v\n",
    );
    let (resolved, ..) = walk(text, &[]);
    let Command::Label(pairs) = &resolved[1].command else {
        panic!()
    };
    let shown: Vec<_> = pairs
        .iter()
        .map(|p| (p.name.text.as_str(), p.value.text.as_str()))
        .collect();
    assert_eq!(shown, [("x.l", "q r"), ("m", "$v")]);
    let Command::Copy(copy) = &resolved[2].command else {
        panic!()
    };
    let sources: Vec<_> = copy.files.sources.iter().map(|word| word.text.as_str()).collect();
    assert_eq!(sources, ["x-a", "$v"]);
    assert_eq!(copy.files.destination.text, "/x/");
    assert_eq!(copy.files.chown.as_ref().unwrap().text, "x");
    assert_eq!(copy.files.chmod.as_ref().unwrap().text, "u+x");
    assert_eq!(copy.files.excludes[0].text, "$v");
    let Command::Copy(copy) = &resolved[3].command else {
        panic!()
    };
    let data: Vec<_> = copy
        .files
        .contents
        .iter()
        .map(|content| content.data.as_str())
        .collect();
    assert_eq!(data, ["\"x\" $v\n", "$v\n"]);
    let Command::Add(add) = &resolved[4].command else {
        panic!()
    };
    assert_eq!(
        (
            add.files.sources[0].text.as_str(),
            add.checksum.as_ref().unwrap().text.as_str()
        ),
        ("https://h/x", "x")
    );
    assert!(matches!(&resolved[5].command, Command::Workdir(word) if word.text == "/x"));
    assert!(matches!(&resolved[6].command, Command::User(word) if word.text == "x:x"));
    assert!(matches!(&resolved[7].command, Command::Stopsignal(word) if word.text == "x"));
    assert!(matches!(&resolved[8].command, Command::Volume(words) if words[0].text == "/x"));
    assert_eq!(resolved[9].ports, ["80/tcp", "81/udp", "9/tcp"]);
    let mount = &resolved[10].mounts[0];
    assert_eq!(
        (mount.kind, mount.target.as_str(), mount.id.as_deref()),
        (MountType::Cache, "/x", Some("x"))
    );
    assert!(matches!(&resolved[10].command, Command::Run(run) if run.command.words[0].text == "echo $v"));
    // What the shell replaces, what the container does, and what a later build does stays.
    for (place, instruction) in file(text).stages[0].instructions.iter().enumerate().skip(11) {
        assert_eq!(resolved[place].command, instruction.command);
    }
    let missing: Vec<_> = resolved
        .iter()
        .flat_map(|r| &r.missing)
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(missing, ["m", "t"]);
}

#[test]
fn wrong_values_have_their_place() {
    let check = |text: &str, column: usize, expected: &str| {
        let file = file(&format!("FROM a\n{text}"));
        let globals = Globals::new(&file, &given(&[])).unwrap();
        let mut scope = Scope::new(&globals, ["u=https://h/x", "g=git@h:x"]).unwrap();
        let (problem, span) = scope.resolve(&file.stages[0].instructions[0]).unwrap_err();
        let at = file.source.position(span.start);
        assert_eq!(
            (problem.to_string().as_str(), at.line, at.column),
            (expected, 2, column),
            "{text}"
        );
    };
    check("WORKDIR /${x:?gone}", 9, "failed to process \"/${x:?gone}\": x: gone");
    check(
        "ENV a=1 b=\"$",
        11,
        "failed to process \"\\\"$\": unexpected end of statement while looking for matching double-quote",
    );
    check("VOLUME /a $x", 11, "VOLUME specified can not be an empty string");
    check("EXPOSE 80 ${x:-y}", 11, "invalid containerPort: y");
    check("RUN --mount=type=$x a", 13, "unsupported mount type \"\"");
    check(
        "COPY --chmod=9 a b",
        14,
        "invalid chmod parameter: '9'. it should be octal string and between 0 and 07777",
    );
    check("COPY $u /", 6, "source can't be a URL for COPY");
    check("COPY $g /", 6, "source can't be a git ref for COPY");
    check("ADD --checksum=a b c", 16, "checksum requires HTTP(S) or Git sources");
    check(
        "ADD --checksum=a $u $u c",
        16,
        "checksum can't be specified for multiple sources",
    );
}

#[test]
fn arguments_that_nobody_asks_for_are_known() {
    let file = file("ARG a\nFROM x\nARG b=1\n");
    let names = [
        "a",
        "b",
        "c",
        "http_proxy",
        "BUILDKIT_INLINE_CACHE",
        "SOURCE_DATE_EPOCH",
    ];
    let arguments: BTreeMap<_, _> = names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
    assert_eq!(unused_arguments(&file, &arguments), ["c"]);
    let globals = Globals::new(&file, &given(&[("http_proxy", "p"), ("a", "1")])).unwrap();
    assert_eq!(globals.proxies().collect::<Vec<_>>(), [("http_proxy", "p")]);
}
