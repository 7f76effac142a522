//! What is wrong is told with BuildKit's words, at its line and column.

use hull_dockerfile::parse;

fn check(text: &str, line: usize, column: usize, expected: &str) {
    let error = parse(text.as_bytes()).expect_err(text);
    assert_eq!(
        (error.at.line, error.at.column, error.to_string().as_str()),
        (line, column, expected),
        "{text}"
    );
}

/// A failure of reading an instruction names the line.
fn check_reading(text: &str, line: usize, column: usize, expected: &str) {
    check(
        text,
        line,
        column,
        &format!("dockerfile parse error on line {line}: {expected}"),
    );
}

#[test]
fn files_without_anything_to_build() {
    check("", 1, 1, "the Dockerfile cannot be empty");
    check("\n# x\n", 3, 1, "file with no instructions");
    check("ARG a=1\n", 2, 1, "dockerfile contains no stages to build");
    check("RUN a\nFROM b\n", 1, 1, "no build stage in current context");
}

#[test]
fn unknown_instructions() {
    check_reading("FROM a\nRUM x\n", 2, 1, "unknown instruction: RUM (did you mean RUN?)");
    check_reading(
        "FROM a\ncpoy x y\n",
        2,
        1,
        "unknown instruction: cpoy (did you mean copy?)",
    );
    check_reading("FORM a\n", 1, 1, "unknown instruction: FORM (did you mean FROM?)");
    check_reading("FROM a\n\n  xyzzy \\\n b\n", 3, 3, "unknown instruction: xyzzy");
    check_reading("FROM a\nRUN a &&\n  b\n", 3, 3, "unknown instruction: b");
}

#[test]
fn flags() {
    check_reading(
        "FROM a\nCOPY --chwon=1 a b\n",
        2,
        8,
        "unknown flag: --chwon (did you mean chown?)",
    );
    check_reading("FROM --plat=x a\n", 1, 8, "unknown flag: --plat");
    check_reading("FROM a\nRUN --mount a\n", 2, 7, "missing a value on flag: --mount");
    check_reading("FROM a\nCOPY --link= a b\n", 2, 8, "missing a value on flag: --link");
    check_reading(
        "FROM a\nCOPY --link=x a b\n",
        2,
        13,
        "expecting boolean value for flag --link, not: x",
    );
    check_reading(
        "FROM a\nCOPY --from=a --from=b a b\n",
        2,
        17,
        "duplicate flag specified: --from",
    );
    check_reading("FROM a\nUSER --x a\n", 2, 8, "unknown flag: --x");
    check_reading("FROM a\nRUN --network=x a\n", 2, 15, "invalid network mode \"x\"");
    check_reading("FROM a\nRUN --network= a\n", 2, 15, "invalid network mode \"\"");
    check_reading("FROM a\nRUN --security=x a\n", 2, 16, "security \"x\" is not valid");
    check_reading(
        "FROM a\nRUN --mount=from=$x,target=/a b\n",
        2,
        13,
        "'from' doesn't support variable expansion, define alias stage instead",
    );
}

#[test]
fn arguments() {
    check_reading("FROM\n", 1, 1, "FROM requires either one or three arguments");
    check_reading("FROM a b\n", 1, 1, "FROM requires either one or three arguments");
    check_reading("FROM a AS b c\n", 1, 1, "FROM requires either one or three arguments");
    check_reading(
        "FROM a AS 1b\n",
        1,
        11,
        "invalid name for build stage: \"1b\", name can't start with a number or contain symbols",
    );
    check_reading(
        "FROM a AS b/c\n",
        1,
        11,
        "invalid name for build stage: \"b/c\", name can't start with a number or contain symbols",
    );
    let no_destination =
        "requires at least two arguments, but only one was provided. Destination could not be determined";
    check_reading("FROM a\nCOPY a\n", 2, 1, &format!("COPY {no_destination}"));
    check_reading("FROM a\nADD [\"a\"]\n", 2, 1, &format!("ADD {no_destination}"));
    check_reading(
        "FROM a\nCOPY a <<b\nb\n",
        2,
        8,
        "COPY cannot accept a heredoc as a destination",
    );
    for name in [
        "EXPOSE",
        "VOLUME",
        "SHELL",
        "ARG",
        "HEALTHCHECK",
        "ONBUILD",
        "ENV",
        "LABEL",
    ] {
        check_reading(
            &format!("FROM a\n{name}\n"),
            2,
            1,
            &format!("{name} requires at least one argument"),
        );
    }
    for name in ["MAINTAINER", "USER", "WORKDIR", "STOPSIGNAL"] {
        check_reading(
            &format!("FROM a\n{name}\n"),
            2,
            1,
            &format!("{name} requires exactly one argument"),
        );
    }
    check("FROM a\nENV a\n", 2, 5, "ENV must have two arguments");
    check(
        "FROM a\nENV a=1 b\n",
        2,
        9,
        "Syntax error - can't find = in \"b\". Must be of the form: name=value",
    );
    check_reading("FROM a\nENV a=1 =2\n", 2, 9, "ENV names can not be blank");
    check_reading("FROM a\nARG =2\n", 2, 5, "ARG names can not be blank");
    check(
        "FROM a\nCMD [\"a\", 1]\n",
        2,
        5,
        "when using JSON array syntax, arrays must be comprised of strings only",
    );
    check_reading(
        "FROM a\nSHELL sh -c\n",
        2,
        1,
        "SHELL requires the arguments to be in JSON form",
    );
    check_reading(
        "FROM a\nVOLUME [\" \"]\n",
        2,
        9,
        "VOLUME specified can not be an empty string",
    );
}

#[test]
fn health_checks() {
    check_reading(
        "FROM a\nHEALTHCHECK NONE x\n",
        2,
        1,
        "HEALTHCHECK NONE takes no arguments",
    );
    check_reading(
        "FROM a\nHEALTHCHECK CMD\n",
        2,
        1,
        "Missing command after HEALTHCHECK CMD",
    );
    check_reading(
        "FROM a\nHEALTHCHECK curl x\n",
        2,
        13,
        "Unknown type \"CURL\" in HEALTHCHECK (try CMD)",
    );
    let flag = |flag: &str, column: usize, expected: &str| {
        check_reading(&format!("FROM a\nHEALTHCHECK --{flag} CMD a\n"), 2, column, expected);
    };
    flag("interval=5", 24, "time: missing unit in duration \"5\"");
    flag("timeout=1us", 23, "Interval \"timeout\" cannot be less than 1ms");
    flag("retries=-1", 23, "--retries cannot be negative (-1)");
    flag("retries=x", 23, "strconv.ParseInt: parsing \"x\": invalid syntax");
    flag(
        "retries=9999999999",
        23,
        "strconv.ParseInt: parsing \"9999999999\": value out of range",
    );
    flag("intervall=5s", 15, "unknown flag: --intervall (did you mean interval?)");
}

#[test]
fn triggers() {
    check_reading(
        "FROM a\nONBUILD ONBUILD RUN a\n",
        2,
        9,
        "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
    );
    check_reading(
        "FROM a\nONBUILD from b\n",
        2,
        9,
        "FROM isn't allowed as an ONBUILD trigger",
    );
    check_reading(
        "FROM a\nONBUILD MAINTAINER b\n",
        2,
        9,
        "MAINTAINER isn't allowed as an ONBUILD trigger",
    );
}

#[test]
fn what_has_no_end_is_told_first() {
    check("FROM a\nRUM x\nRUN <<EOF\na\n", 3, 1, "unterminated heredoc");
    check("FROM a\nCOPY <<a <<b /\na\nc", 2, 1, "unterminated heredoc");
    check(
        "# escape=x\nFROM a\n",
        1,
        10,
        "invalid escape token 'x' does not match ` or \\",
    );
}

#[test]
fn an_error_shows_its_lines() {
    let text = "FROM alpine AS base\nRUN true\n\nCOPY --form=base a b\nRUN x\n";
    let error = parse(text.as_bytes()).unwrap_err();
    let source = hull_dockerfile::Source::new(text.as_bytes());
    insta::assert_snapshot!(format!("{}{error}", source.excerpt("Dockerfile", error.span)), @r"
    Dockerfile:4
    --------------------
       2 |     RUN true
       3 |     
       4 | >>> COPY --form=base a b
       5 |     RUN x
       6 |     
    --------------------
    dockerfile parse error on line 4: unknown flag: --form (did you mean from?)
    ");
}
