//! Every instruction in its forms, as snapshots: each word with the line and the column where it stands.

use std::fmt::Write as _;

use hull_dockerfile::instruction::{CommandLine, Files, Form, Healthcheck};
use hull_dockerfile::{Command, Dockerfile, Instruction, Word, parse, parse_trigger};

/// `text@line:column`.
fn place(file: &Dockerfile, word: &Word) -> String {
    let at = file.source.position(word.span.start);
    format!("{:?}@{}:{}", word.text, at.line, at.column)
}

fn list<'a>(file: &Dockerfile, words: impl IntoIterator<Item = &'a Word>) -> String {
    words
        .into_iter()
        .map(|word| place(file, word))
        .collect::<Vec<_>>()
        .join(" ")
}

fn line(file: &Dockerfile, command: &CommandLine) -> String {
    let form = match command.form {
        Form::Exec => "exec",
        Form::Shell => "shell",
    };
    format!("{form} {}", list(file, &command.words))
}

fn files(file: &Dockerfile, files: &Files) -> String {
    let mut out = format!("{} -> {}", list(file, &files.sources), place(file, &files.destination));
    for content in &files.contents {
        let _ = write!(
            out,
            "; {} = {:?} expand {}",
            place(file, &content.name),
            content.data,
            content.expand
        );
    }
    for (name, word) in [("chown", &files.chown), ("chmod", &files.chmod)] {
        if let Some(word) = word {
            let _ = write!(out, "; {name} {}", place(file, word));
        }
    }
    if files.link {
        out.push_str("; link");
    }
    if !files.excludes.is_empty() {
        let _ = write!(out, "; without {}", list(file, &files.excludes));
    }
    out
}

fn show(file: &Dockerfile, instruction: &Instruction) -> String {
    let says = match &instruction.command {
        Command::Add(add) => format!(
            "{}; checksum {:?}, keep git {:?}, unpack {:?}",
            files(file, &add.files),
            add.checksum.as_ref().map(|word| place(file, word)),
            add.keep_git_dir,
            add.unpack
        ),
        Command::Copy(copy) => format!(
            "{}; from {:?}, parents {}",
            files(file, &copy.files),
            copy.from.as_ref().map(|word| place(file, word)),
            copy.parents
        ),
        Command::Arg(arguments) => {
            let shown = arguments.iter().map(|argument| {
                let value = argument.value.as_ref().map(|value| place(file, value));
                format!("{} {value:?} {:?}", place(file, &argument.name), argument.description)
            });
            shown.collect::<Vec<_>>().join(", ")
        }
        Command::Cmd(command) | Command::Entrypoint(command) => line(file, command),
        Command::Env(pairs) | Command::Label(pairs) => {
            let shown = pairs.iter().map(|pair| {
                let old = if pair.legacy { " (old form)" } else { "" };
                format!("{} {}{old}", place(file, &pair.name), place(file, &pair.value))
            });
            shown.collect::<Vec<_>>().join(", ")
        }
        Command::Expose(words) | Command::Shell(words) | Command::Volume(words) => list(file, words),
        Command::From(from) => format!(
            "{} as {:?} platform {:?}",
            place(file, &from.base),
            from.name.as_ref().map(|word| place(file, word)),
            from.platform.as_ref().map(|word| place(file, word))
        ),
        Command::Healthcheck(check) => match check {
            Healthcheck::None => format!("{:?}", check.test()),
            Healthcheck::Probe(probe) => format!(
                "{:?} {} {} {} {} {}",
                check.test(),
                probe.interval,
                probe.timeout,
                probe.start_period,
                probe.start_interval,
                probe.retries
            ),
        },
        Command::Maintainer(word) | Command::Stopsignal(word) | Command::User(word) | Command::Workdir(word) => {
            place(file, word)
        }
        Command::Onbuild(onbuild) => format!("{} {:?}", place(file, &onbuild.trigger), onbuild.expression),
        Command::Run(run) => {
            let mut out = line(file, &run.command);
            for doc in &run.heredocs {
                let _ = write!(
                    out,
                    "; <<{} {:?} expand {} chomp {}",
                    doc.name, doc.content, doc.expand, doc.chomp
                );
            }
            for mount in &run.mounts {
                let _ = write!(out, "; mount {}", list(file, &mount.fields));
            }
            for device in &run.devices {
                let _ = write!(out, "; device {} {}", device.name, device.required);
            }
            let _ = write!(out, "; {:?} {:?}", run.network, run.security);
            out
        }
    };
    let lines = file.source.lines(instruction.span);
    format!("{}-{} {}: {says}\n", lines.start(), lines.end(), instruction.keyword())
}

/// All instructions behind a `FROM` in the first line.
fn below(text: &str) -> String {
    let file = parse(format!("FROM a\n{text}").as_bytes()).unwrap();
    let instructions = &file.stages[0].instructions;
    instructions
        .iter()
        .map(|instruction| show(&file, instruction))
        .collect()
}

#[test]
fn from() {
    let text = "ARG v=1\nFROM a:$v\nfrom --platform=$BUILDPLATFORM a:1 as Build\nFROM a AS x-1_2.3\n";
    let file = parse(text.as_bytes()).unwrap();
    let shown: String = file
        .instructions()
        .map(|instruction| show(&file, instruction))
        .collect();
    insta::assert_snapshot!(shown, @r#"
    1-1 ARG: "v"@1:5 Some("\"1\"@1:7") None
    2-2 FROM: "a:$v"@2:6 as None platform None
    3-3 FROM: "a:1"@3:32 as Some("\"Build\"@3:39") platform Some("\"$BUILDPLATFORM\"@3:17")
    4-4 FROM: "a"@4:6 as Some("\"x-1_2.3\"@4:11") platform None
    "#);
    assert_eq!(file.stages[1].name.as_deref(), Some("build"));
    assert_eq!((file.globals.len(), file.stages.len()), (1, 3));
}

#[test]
fn run() {
    insta::assert_snapshot!(below(concat!(
        "RUN a && \\\n  # no\n  b\n",
        "RUN [\"a\", \"b c\"]\n",
        "RUN [ -f x ] && y\n",
        "RUN --mount=type=cache,target=/c --mount=type=secret,id=s --network=none --security=insecure \\\n",
        "    --device=v.com/g=all,required make\n",
        "RUN -- --x\n",
        "RUN\n",
        "RUN a # b\n",
    )));
}

#[test]
fn heredocs() {
    insta::assert_snapshot!(below(concat!(
        "RUN <<EOF\na\n# kept\n\\\n  b\nEOF\n",
        "RUN <<-'A' 3<<\"B\" cat\n\ta\n\tA\nb\nB\n",
        "COPY <<a.txt <<-\"b.txt\" c /x/\n$v\na.txt\n\t$v\n\tb.txt\n",
        "ADD <<EOF /y\r\nz\r\nEOF\r\n",
        "ONBUILD RUN <<EOF\na\nEOF\n",
        "RUN [\"<<EOF\"]\n",
        "CMD <<EOF\n",
    )));
}

#[test]
fn shifts_are_no_heredocs() {
    for text in [
        "RUN echo $((1 << 2))\n",
        "RUN x=$(( a << b ))\nRUN c\n",
        "RUN echo 1 << 2 | bc\n",
    ] {
        let file = parse(format!("FROM a\n{text}").as_bytes()).unwrap();
        let Command::Run(run) = &file.stages[0].instructions[0].command else {
            panic!("{text}")
        };
        assert_eq!(run.heredocs, [], "{text}");
        assert_eq!(file.stages[0].instructions.len(), text.lines().count(), "{text}");
    }
    let file = parse(b"FROM a\nRUN cat << EOF\nb\nEOF\n").unwrap();
    let Command::Run(run) = &file.stages[0].instructions[0].command else {
        panic!()
    };
    assert_eq!(run.heredocs[0].content, "b\n");
}

#[test]
fn copy_and_add() {
    insta::assert_snapshot!(below(concat!(
        "COPY a b /c/\n",
        "COPY --from=x --chown=1:2 --chmod=0644 --link --parents --exclude=*.md --exclude=d a /b\n",
        "COPY [\"a b\", \"c\"]\n",
        "COPY --link=false --parents=TRUE a b\n",
        "ADD --checksum=sha256:00 --keep-git-dir --unpack=false https://x/y /z\n",
        "ADD \\\n  a \\\n  b\n",
    )));
}

#[test]
fn variables() {
    insta::assert_snapshot!(below(concat!(
        "ENV a=1 b=\"x y\" c='z' d=e\\ f\n",
        "ENV a  b c\n",
        "LABEL \"com.example.x\"=\"y\" z=1 \\\n  y=2\n",
        "LABEL a b\n",
        "# v the version\n# other x\n",
        "ARG v=1 w other=\n",
    )));
}

#[test]
fn commands() {
    insta::assert_snapshot!(below(concat!(
        "CMD a b\nCMD [\"a\", \"b\"]\nCMD []\nCMD\nCMD ['a']\n",
        "ENTRYPOINT exec a\nENTRYPOINT [\"a\"]\nENTRYPOINT []\n",
        "SHELL [\"/bin/bash\", \"-c\"]\n",
        "HEALTHCHECK NONE\nHEALTHCHECK none\n",
        "HEALTHCHECK --interval=1m --timeout=2s --start-period=3s --start-interval=4ms --retries=5 CMD a b\n",
        "HEALTHCHECK cmd [\"a\", \"b\"]\n",
    )));
}

#[test]
fn the_rest() {
    insta::assert_snapshot!(below(concat!(
        "EXPOSE 90 80/tcp\t100-110/udp\n",
        "VOLUME /a /b\nVOLUME [\"/a b\"]\n",
        "USER $a\nWORKDIR /a b\nSTOPSIGNAL SIGTERM\nMAINTAINER A B <a@b.c>\n",
        "ONBUILD COPY . /a\nonbuild  run x \\\n  y\n",
    )));
}

#[test]
fn the_escape_can_be_another() {
    let file = parse(b"# escape=`\nFROM a\nRUN dir C:\\ `\n  x\nENV a=b` c d=\\\n").unwrap();
    let shown: String = file.stages[0].instructions.iter().map(|i| show(&file, i)).collect();
    insta::assert_snapshot!(shown, @r#"
    3-4 RUN: shell "dir C:\\   x"@3:5; Default Sandbox
    5-5 ENV: "a"@5:5 "b` c"@5:7, "d"@5:12 "\\"@5:14
    "#);
}

#[test]
fn descriptions_and_gaps_are_kept() {
    let file = parse(b"# build compiles it\nFROM a AS build\nRUN x \\\n\n  y\n").unwrap();
    assert_eq!(file.stages[0].description.as_deref(), Some("compiles it"));
    assert_eq!(file.source.lines(file.gaps[0]), 4..=4);
}

#[test]
fn triggers_are_instructions() {
    let good = parse_trigger("RUN <<EOF\na\nEOF").unwrap();
    assert!(matches!(good.command, Command::Run(run) if run.heredocs[0].content == "a\n"));
    let check = |text: &str, expected: &str| assert_eq!(parse_trigger(text).unwrap_err().to_string(), expected);
    check("RUN a\nRUN b", "onbuild trigger should be a single expression");
    check("", "onbuild trigger should be a single expression");
    check("FROM a", "FROM isn't allowed as an ONBUILD trigger");
    check("ONBUILD RUN a", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    check("RUM a", "unknown instruction: RUM (did you mean RUN?)");
}

#[test]
fn a_run_becomes_a_program() {
    let shell = ["/bin/sh".to_owned(), "-c".to_owned()];
    let check = |text: &str, arguments: &[&str], script: Option<(&str, &str)>| {
        let file = parse(format!("FROM a\n{text}").as_bytes()).unwrap();
        let Command::Run(run) = &file.stages[0].instructions[0].command else {
            panic!("{text}")
        };
        let program = run.program(&shell);
        assert_eq!(program.arguments, arguments, "{text}");
        let found = program
            .script
            .as_ref()
            .map(|script| (script.path.as_str(), script.data.as_str()));
        assert_eq!(found, script, "{text}");
    };
    check("RUN a  b", &["/bin/sh", "-c", "a  b"], None);
    check("RUN [\"a\", \"b\"]", &["a", "b"], None);
    check("RUN <<EOF\na\nb\nEOF\n", &["/bin/sh", "-c", "a\nb\n"], None);
    check("RUN <<-EOF\n\ta\n\tEOF\n", &["/bin/sh", "-c", "a\n"], None);
    check(
        "RUN <<EOF\n#!/usr/bin/env python3\nx\nEOF\n",
        &["/bin/sh", "-c", "/dev/pipes/EOF"],
        Some(("/dev/pipes/EOF", "#!/usr/bin/env python3\nx\n")),
    );
    check(
        "RUN <<../../etc/x\n#!a\n../../etc/x\n",
        &["/bin/sh", "-c", "/dev/pipes/script"],
        Some(("/dev/pipes/script", "#!a\n")),
    );
    check(
        "RUN <<A cat && cat <<-B\na\nA\n\tb\n\tB\n",
        &["/bin/sh", "-c", "<<A cat && cat <<-B\na\nA\n\tb\nB"],
        None,
    );
    check(
        "RUN python3 <<EOF\nx\nEOF\n",
        &["/bin/sh", "-c", "python3 <<EOF\nx\nEOF"],
        None,
    );
}
