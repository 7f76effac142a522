//! Every rule: what breaks it, what does not, and where it is told.

use std::collections::BTreeMap;

use hull_dockerfile::lint::{BaseConfig, Facts, Rule, check};
use hull_dockerfile::{IgnoreFile, Parameters, parse};

/// `line:column Rule: message` of each warning, with a base that has only a path.
fn warnings(text: &str, ignore: Option<&str>) -> Vec<String> {
    let file = parse(text.as_bytes()).unwrap();
    let ignore = ignore.map(|ignore| IgnoreFile::parse(ignore.as_bytes()).unwrap());
    let config = BaseConfig {
        env: vec!["PATH=/bin".to_owned(), "VERSION=1".to_owned()],
        shell: false,
    };
    let facts = Facts {
        bases: (0..file.stages.len()).map(|stage| (stage, config.clone())).collect(),
        ignore: ignore.as_ref(),
        ..Facts::default()
    };
    let report = check(&file, &facts);
    assert_eq!(report.error, None, "{text}");
    let shown = report.warnings.iter().map(|warning| {
        let at = file.source.position(warning.span.start);
        format!("{}:{} {}: {}", at.line, at.column, warning.rule.name(), warning.message)
    });
    shown.collect()
}

fn expect(text: &str, expected: &[&str]) {
    assert_eq!(warnings(text, None), expected, "{text}");
}

#[test]
fn stage_names() {
    expect(
        "FROM a AS Base\n",
        &["1:11 StageNameCasing: Stage name 'Base' should be lowercase"],
    );
    expect(
        "FROM a AS b\nFROM c AS b\n",
        &["2:11 DuplicateStageName: Duplicate stage name \"b\", stage names should be unique"],
    );
    expect(
        "FROM a AS context\nFROM a AS scratch\n",
        &[
            "1:11 ReservedStageName: Stage name should not use the same name as reserved stage \"context\"",
            "2:11 ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"",
        ],
    );
}

#[test]
fn casing() {
    expect(
        "FROM a as b\n",
        &["1:8 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"],
    );
    expect(
        "from a AS b\n",
        &["1:8 FromAsCasing: 'AS' and 'from' keywords' casing do not match"],
    );
    expect(
        "FROM a\nRUN b\nrun c\nRun d\n",
        &[
            "3:1 ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase)",
            "4:1 ConsistentInstructionCasing: Command 'Run' should match the case of the command majority (uppercase)",
        ],
    );
    expect(
        "from a\nrun b\nRUN c\n",
        &["3:1 ConsistentInstructionCasing: Command 'RUN' should match the case of the command majority (lowercase)"],
    );
    expect("from a as b\nrun c\n", &[]);
}

#[test]
fn lines_and_old_forms() {
    expect(
        "FROM a\nRUN b \\\n\n c\n",
        &["3:1 NoEmptyContinuation: Empty continuation line"],
    );
    expect(
        "FROM a\nMAINTAINER me\n",
        &["2:1 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"],
    );
    expect(
        "FROM a\nENV b c\nLABEL d e\n",
        &[
            "2:5 LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
            "3:7 LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
        ],
    );
}

#[test]
fn commands() {
    let json = "to prevent unintended behavior related to OS signals";
    expect(
        "FROM a\nENTRYPOINT b\nCMD c\n",
        &[
            &format!("2:1 JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT {json}"),
            &format!("3:1 JSONArgsRecommended: JSON arguments recommended for CMD {json}"),
        ],
    );
    expect("FROM a\nSHELL [\"bash\"]\nCMD b\n", &[]);
    let multiple = "instructions should not be used in the same stage because only the last one will be used";
    expect(
        "FROM a\nCMD [\"b\"]\nCMD [\"c\"]\nENTRYPOINT []\nENTRYPOINT []\nHEALTHCHECK NONE\nHEALTHCHECK CMD x\n",
        &[
            &format!("2:1 MultipleInstructionsDisallowed: Multiple CMD {multiple}"),
            &format!("4:1 MultipleInstructionsDisallowed: Multiple ENTRYPOINT {multiple}"),
            &format!("6:1 MultipleInstructionsDisallowed: Multiple HEALTHCHECK {multiple}"),
        ],
    );
    expect("FROM a AS b\nCMD [\"c\"]\nFROM b\nCMD [\"d\"]\n", &[]);
}

#[test]
fn variables() {
    expect("ARG V\nFROM a:${V:-1}\n", &[]);
    expect(
        "ARG VERSOIN=1\nFROM a:${VERSION:-1}\n",
        &["2:6 UndefinedArgInFrom: FROM argument 'VERSION' is not declared (did you mean VERSOIN?)"],
    );
    expect(
        "FROM a\nENV other=$c\nWORKDIR /$VERSIOM\nRUN $d\nCOPY $e $PATH /\n",
        &[
            "2:11 UndefinedVar: Usage of undefined variable '$c'",
            "3:9 UndefinedVar: Usage of undefined variable '$VERSIOM' (did you mean $VERSION?)",
            "5:6 UndefinedVar: Usage of undefined variable '$e'",
        ],
    );
    expect("FROM a AS b\nENV c=1\nFROM b\nWORKDIR /$c\n", &[]);
    expect("FROM a\nARG b\nWORKDIR /$b\n", &[]);
    expect(
        "FROM scratch\nUSER $a\n",
        &["2:6 UndefinedVar: Usage of undefined variable '$a'"],
    );
}

#[test]
fn a_base_needs_a_name_without_arguments_too() {
    let file = parse(b"ARG V\nARG W=1\nFROM a:$V\nFROM b:$W\n").unwrap();
    let mut facts = Facts::default();
    facts.parameters.arguments.insert("V".to_owned(), "1".to_owned());
    let report = check(&file, &facts);
    assert_eq!(report.error, None);
    let shown: Vec<_> = report
        .warnings
        .iter()
        .map(|w| format!(" {}: {}", w.rule.name(), w.message))
        .collect();
    let expected = " InvalidDefaultArgInFrom: Default value for ARG a:$V results in empty or invalid base image name";
    assert_eq!(shown, [expected]);
}

#[test]
fn without_the_base_no_variable_is_called_undefined() {
    let file = parse(b"FROM a\nUSER $b\n").unwrap();
    assert_eq!(check(&file, &Facts::default()).warnings, []);
}

#[test]
fn secrets() {
    let warning = |at: &str, keyword: &str, name: &str| {
        format!(
            "{at} SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})"
        )
    };
    let text = "FROM a\nARG API_KEY\nENV my_password=x PUBLIC_KEY=y TOKEN_FILE=z monkey=1 AUTH=2 key_version=3\n";
    let expected = [
        warning("2:5", "ARG", "API_KEY"),
        warning("3:5", "ENV", "my_password"),
        warning("3:54", "ENV", "AUTH"),
    ];
    assert_eq!(warnings(text, None), expected);
}

#[test]
fn platforms() {
    expect(
        "FROM --platform=$TARGETPLATFORM a\n",
        &[
            "1:17 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is \
             the default behavior",
        ],
    );
    expect(
        "FROM --platform=linux/amd64 a\n",
        &["1:17 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\""],
    );
    expect(
        "FROM --platform=linux/amd64 a AS b-amd64\nFROM --platform=$BUILDPLATFORM c\n",
        &[],
    );
}

#[test]
fn folders_and_ports() {
    expect(
        "FROM a\nWORKDIR b\nWORKDIR c\n",
        &["2:9 WorkdirRelativePath: Relative workdir \"b\" can have unexpected results if the base image changes"],
    );
    expect("FROM a AS x\nWORKDIR /b\nFROM x\nWORKDIR c\n", &[]);
    expect(
        "FROM a\nEXPOSE 80/TCP\nEXPOSE 127.0.0.1:80:80\n",
        &[
            "2:8 ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
            "3:8 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found \
             '127.0.0.1:80:80'",
        ],
    );
}

#[test]
fn ignored_files() {
    let of = |text: &str, ignore: &str| warnings(text, Some(ignore));
    let text = "FROM a AS b\nFROM a\nCOPY x/y ok https /d/\nADD ./x/ /d/\nCOPY --from=b x /d\nADD https://h/x /d\n";
    assert_eq!(
        of(text, "x\n"),
        [
            "3:6 CopyIgnoredFile: Attempting to Copy file \"x/y\" that is excluded by .dockerignore",
            "4:5 CopyIgnoredFile: Attempting to Add file \"x\" that is excluded by .dockerignore",
        ]
    );
    assert_eq!(of(text, "x\n!x/y\n"), [""; 0]);
    assert_eq!(of("FROM a\nCOPY . /d\n", "x\n"), [""; 0]);
    assert_eq!(
        of("FROM a\nCOPY . /d\n", "**\n"),
        ["2:6 CopyIgnoredFile: Attempting to Copy file \".\" that is excluded by .dockerignore"]
    );
}

#[test]
fn descriptions_are_looked_at_where_asked() {
    let head = "# check=experimental=InvalidDefinitionDescription\n";
    expect("# what b is\nFROM a AS b\n", &[]);
    expect(
        &format!("{head}# what b is\nFROM a AS b\n# v is it\nARG v=1\n# no\nARG w=1 x=2\n# y\n#\nARG z=1\n"),
        &[
            "2:3 InvalidDefinitionDescription: Comment for FROM should follow the format: `# b <description>`",
            "6:3 InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`",
        ],
    );
}

#[test]
fn rules_can_be_skipped() {
    expect("# check=skip=StageNameCasing, FromAsCasing\nFROM a as B\n", &[]);
    expect("# check=skip=all\nFROM a as B\nMAINTAINER c\n", &[]);
    expect(
        "FROM a\n# check=skip=JSONArgsRecommended for a reason\nCMD b\nENTRYPOINT c\n",
        &[
            "4:1 JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to \
             OS signals",
        ],
    );
}

#[test]
fn warnings_can_be_errors() {
    let of = |text: &str| check(&parse(text.as_bytes()).unwrap(), &Facts::default()).error;
    let error = of("# check=error=true\nFROM a AS B\nMAINTAINER c\n").unwrap();
    assert_eq!(
        error.to_string(),
        "lint violation found for rules: MaintainerDeprecated, StageNameCasing"
    );
    assert_eq!(error.at.line, 2);
    assert_eq!(of("# check=error=true\nFROM a AS b\n"), None);
    let wrong = of("# check=eror=true\nFROM a\n").unwrap();
    assert_eq!(
        wrong.to_string(),
        "failed to parse check options: invalid check option \"eror\""
    );
    assert_eq!((wrong.at.line, wrong.at.column), (1, 9));
    let failure = of("FROM a AS B\nCOPY --from=9 a b\n").unwrap();
    assert_eq!(failure.to_string(), "invalid stage index 9");
}

#[test]
fn only_what_the_target_needs_is_looked_at() {
    let file = parse(b"FROM a AS b\nCMD x\nFROM c AS d\nCMD y\nFROM d\n").unwrap();
    let lines = |target: Option<&str>| {
        let parameters = Parameters {
            target: target.map(str::to_owned),
            ..Parameters::default()
        };
        let facts = Facts {
            parameters,
            bases: BTreeMap::new(),
            ..Facts::default()
        };
        let report = check(&file, &facts);
        let lines = report
            .warnings
            .iter()
            .map(|warning| file.source.position(warning.span.start).line);
        lines.collect::<Vec<_>>()
    };
    assert_eq!(lines(None), [2, 4]);
    assert_eq!(lines(Some("b")), [2]);
    assert_eq!(lines(Some("2")), [4]);
}

#[test]
fn each_rule_is_broken_by_some_test() {
    // The names that the expectations above begin with.
    let tests = include_str!("lint.rs");
    for rule in Rule::all() {
        assert!(tests.contains(&format!(" {}: ", rule.name())), "{rule:?}");
    }
}
