//! Any bytes are read or refused: no panic, every place inside the text, and no time that grows faster than the text.

use std::time::{Duration, Instant};

use hull_dockerfile::{Dockerfile, Globals, Parameters, Scope, Source, parse};
use proptest::prelude::*;

/// Reads, and where that works replaces the variables of every stage. All places must be in the text.
fn drive(bytes: &[u8]) {
    let source = Source::new(bytes);
    let size = source.text().len();
    match parse(bytes) {
        Err(error) => {
            assert!(
                error.span.start <= error.span.end && error.span.end <= size,
                "{error:?}"
            );
            assert!(source.text().is_char_boundary(error.span.start), "{error:?}");
            let _ = (error.to_string(), source.excerpt("Dockerfile", error.span));
        }
        Ok(file) => walk(&file),
    }
}

fn walk(file: &Dockerfile) {
    let size = file.source.text().len();
    for instruction in file.instructions() {
        assert!(instruction.span.end <= size, "{instruction:?}");
        assert!(
            file.source
                .slice(instruction.name.span)
                .eq_ignore_ascii_case(&instruction.name.text)
                || instruction.name.text.is_empty()
                || file.source.slice(instruction.name.span).contains(file.escape()),
            "{instruction:?}"
        );
    }
    let facts = hull_dockerfile::lint::Facts::default();
    for warning in hull_dockerfile::lint::check(file, &facts).warnings {
        assert!(warning.span.end <= size, "{warning:?}");
    }
    let Ok(globals) = Globals::new(file, &Parameters::default()) else {
        return;
    };
    for stage in &file.stages {
        let _ = globals.base(stage);
        let Ok(mut scope) = Scope::new(&globals, ["HOME=/root"]) else {
            continue;
        };
        for instruction in &stage.instructions {
            if let Err((problem, span)) = scope.resolve(instruction) {
                assert!(span.end <= size, "{problem} {span:?}");
                break;
            }
        }
    }
}

/// Pieces that Dockerfiles are made of.
fn pieces() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "FROM ",
        "RUN ",
        "COPY ",
        "ADD ",
        "ENV ",
        "ARG ",
        "LABEL ",
        "CMD ",
        "ENTRYPOINT ",
        "EXPOSE ",
        "VOLUME ",
        "USER ",
        "WORKDIR ",
        "ONBUILD ",
        "STOPSIGNAL ",
        "HEALTHCHECK ",
        "SHELL ",
        "MAINTAINER ",
        "AS ",
        "a",
        "b ",
        "\n",
        "\n",
        "\n",
        "\r\n",
        "\\\n",
        "\\",
        "`",
        "# escape=`\n",
        "# check=",
        "#",
        "\"",
        "'",
        "[",
        "]",
        "[\"a\"]",
        ",",
        "=",
        "$",
        "${",
        "}",
        "${a:-",
        "${a#",
        "${a/",
        "/",
        "*",
        "?",
        "<<",
        "<<EOF",
        "<<-'E'",
        "EOF\n",
        "--",
        "--from=",
        "--mount=type=cache,",
        "--chmod=",
        " ",
        "\t",
        "\u{a0}",
        "\u{e9}",
        "\u{feff}",
        "\0",
        "80/udp",
        "CMD",
        "NONE",
    ]);
    let text = prop_oneof![4 => fixed.prop_map(str::to_owned), 1 => "\\PC{0,4}"];
    prop::collection::vec(text, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        drive(&bytes);
    }

    #[test]
    fn any_pieces_end(text in pieces()) {
        drive(text.as_bytes());
        drive(format!("FROM a\n{text}").as_bytes());
    }

    #[test]
    fn what_follows_an_instruction_ends(name in "[A-Z]{3,11}", text in pieces()) {
        drive(format!("FROM a\n{name} {text}\n").as_bytes());
    }

    #[test]
    fn any_triggers_end(text in pieces()) {
        let _ = hull_dockerfile::parse_trigger(&text);
    }

    #[test]
    fn any_ignore_files_end(file in "[a!*?/\\\\\\[\\]^\\-. \n#]{0,40}", path in "[a/.\\-]{1,20}") {
        if let Ok(file) = hull_dockerfile::IgnoreFile::parse(file.as_bytes()) {
            let _ = file.ignores(&path);
            let _ = file.may_except_below(&path);
        }
    }
}

/// Long texts, each of them a way to make a reader look at the same again and again.
#[test]
fn long_texts_take_no_more_than_their_time() {
    const SIZE: usize = 1 << 16;
    let repeat = |head: &str, piece: &str| format!("{head}{}\n", piece.repeat(SIZE / piece.len()));
    let cases = [
        repeat("", "x"),
        repeat("FROM ", "x"),
        repeat("FROM a\nRUN ", "x "),
        repeat("FROM a\nRUN ", "\\\n"),
        repeat("FROM a\nRUN x", "\\\n\n"),
        repeat("FROM a\nRUN x", "\\\n#\n"),
        repeat("FROM a\nENV ", "a=b "),
        repeat("FROM a\nENV ", "a=$a "),
        repeat("FROM a\nENV a=", "$a"),
        repeat("FROM a\nENV a=", "${a:-"),
        repeat("FROM a\nENV a=", "${HOME#?}"),
        repeat("FROM a\nENV a=", "${HOME//o/oo}"),
        repeat("FROM a\n", "ENV a=x$a\n"),
        repeat("FROM a\nENV a=xx\n", "ENV a=$a$a\n"),
        format!(
            "FROM a\nENV a={}\n{}",
            "x".repeat(SIZE / 2),
            "ENV b=$a\n".repeat(SIZE / 18)
        ),
        format!(
            "ARG a={}\n{}FROM a\n",
            "x".repeat(SIZE / 2),
            "ARG b=$a\n".repeat(SIZE / 18)
        ),
        format!(
            "FROM a\n{}{}",
            "ARG a\n".repeat(SIZE / 12),
            "ENV b=$c\n".repeat(SIZE / 18)
        ),
        repeat("FROM a\nENV a=", "\""),
        repeat("FROM a\nENV a=", "'"),
        repeat("FROM a\nARG ", "a "),
        repeat("FROM a\n", "ARG a\n"),
        repeat("FROM a\nCMD [", "["),
        repeat("FROM a\nCMD [\"a\", ", "[\"b\"],"),
        repeat("FROM a\nCMD [", "\"a\","),
        repeat("FROM a\nCOPY ", "a "),
        repeat("FROM a\nCOPY ", "<<a "),
        repeat("FROM a\nRUN ", "<< "),
        repeat("FROM a\nRUN ", "<<a\na\n"),
        repeat("FROM a\nRUN <<EOF\n", "x\n"),
        repeat("FROM a\nRUN ", "--mount=type=cache "),
        repeat("FROM a\nRUN --mount=", "a=b,"),
        repeat("FROM a\nCOPY ", "--exclude=a "),
        repeat("FROM a\nCOPY ", "--chown=a "),
        repeat("FROM a\nEXPOSE ", "0-65535 "),
        repeat("FROM a\nLABEL ", "a "),
        repeat("FROM a\n", "ONBUILD "),
        repeat("", "FROM a\n"),
        repeat("", "FROM a AS b\n"),
        (0..SIZE / 24)
            .map(|n| format!("FROM i{n} AS s{n}\nCOPY --from=s{} a b\n", n / 2))
            .collect(),
        (0..SIZE / 12)
            .map(|n| format!("ENV a{n}=$b{n}\n"))
            .fold("FROM scratch\n".to_owned(), |all, line| all + &line),
        format!("{}FROM ${{x{}", "# a\n".repeat(SIZE / 8), "}$x${y".repeat(SIZE / 12)),
        repeat("", "# check=skip=all\n"),
        repeat("", "\n"),
        repeat("", "#\n"),
        repeat("FROM a\n", "# x\n"),
        repeat("FROM a\nVOLUME ", "\t"),
        repeat("FROM a\n", "\u{a0}"),
    ];
    for text in cases {
        let start = Instant::now();
        drive(text.as_bytes());
        let took = start.elapsed();
        let shown: String = text.chars().take(40).collect();
        // Without optimisation, on a machine that does other things: what is quadratic takes minutes.
        assert!(took < Duration::from_secs(20), "{took:?} for {shown:?}");
    }
}

#[test]
fn a_line_of_a_megabyte_is_read() {
    for head in ["FROM a\nRUN ", "FROM a\nENV a=", "FROM a\nCOPY a ", "FROM a\n", "# "] {
        drive(format!("{head}{}\n", "x".repeat(1 << 20)).as_bytes());
    }
}
