//! From the words of the command line to one command.

use std::ffi::OsString;

use crate::args::{Matches, Parsed, parse};
use crate::command::{self, Command, GROUPS, MISSING};
use crate::context::{Context, GLOBAL_FLAGS};
use crate::error::{FAILED, Failure, Outcome, Result, USAGE, print_line};
use crate::{complete, help, rootless};

/// Commands whose arguments go into containers' records and processes, and their flags that are files of the caller's.
const RECORDED: [&str; 4] = ["run", "create", "exec", "rename"];
const FILES: [&str; 3] = ["--cidfile", "--env-file", "--label-file"];

/// Arguments as text. Records are JSON, which cannot hold everything: what is no text becomes U+FFFD there, as with Docker,
/// whose client says everything in JSON.
///
/// # Errors
/// If one is not UTF-8 that is, or may be, the name of a file.
pub(crate) fn words(args: impl Iterator<Item = OsString>) -> Result<Vec<String>> {
    let args: Vec<OsString> = args.collect();
    let texts = || args.iter().filter_map(|arg| arg.to_str());
    let recorded = texts()
        .find(|word| command::find(word).is_some())
        .is_some_and(|word| RECORDED.contains(&word));
    let mut words = Vec::with_capacity(args.len());
    let mut names_a_file = false;
    for arg in &args {
        let lossy = arg.to_string_lossy();
        let is_file = names_a_file
            || FILES
                .iter()
                .any(|flag| lossy.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')));
        names_a_file = FILES.contains(&lossy.as_ref());
        if arg.to_str().is_none() && (is_file || !recorded) {
            return Err(Failure::new(format!("the argument {arg:?} is not UTF-8")).code(USAGE));
        }
        words.push(lossy.into_owned());
    }
    Ok(words)
}

/// Runs the command that `words` name.
pub(crate) fn dispatch(words: Vec<String>) -> Outcome {
    let globals = match parse(GLOBAL_FLAGS, false, words) {
        Ok(Parsed::Help) => return help::top(),
        Ok(Parsed::Matches(globals)) => globals,
        Err(text) => {
            return Err(Failure::new(text)
                .hint("run 'hull --help' for the flags and commands")
                .code(USAGE));
        }
    };
    if globals.on("version") {
        print_line(&format!("hull version {}", env!("CARGO_PKG_VERSION")))?;
        return Ok(0);
    }
    refuse(&globals, "")?;
    let words = globals.args();
    let Some(first) = words.first() else {
        return help::top();
    };
    match first.as_str() {
        "help" => return help::topic(&words[1..]),
        "completion" => return complete::completion(&words[1..]),
        "__man" => return complete::man_pages(&words[1..]),
        _ => {}
    }
    if let Some(group) = GROUPS.iter().find(|group| group.name == first) {
        let Some(second) = words.get(1).filter(|word| !matches!(word.as_str(), "--help" | "-h")) else {
            return help::group(group);
        };
        let command = find(&format!("{first} {second}"))?;
        return run(command, &words[2..], &globals);
    }
    run(find(first)?, &words[1..], &globals)
}

fn find(name: &str) -> Result<&'static Command> {
    if let Some(command) = command::find(name) {
        return Ok(command);
    }
    if MISSING.contains(&name) {
        return Err(Failure::new(format!("'hull {name}' is not there yet")).code(FAILED));
    }
    let failure = Failure::new(format!("unknown command: hull {name}")).code(FAILED);
    Err(match command::nearest(name) {
        Some(nearest) => failure.hint(format!("did you mean 'hull {nearest}'?")),
        None => failure.hint("run 'hull --help' for the commands"),
    })
}

fn run(command: &'static Command, words: &[String], globals: &Matches) -> Outcome {
    let parsed = parse(command.flags, command.interspersed, words.iter().cloned())
        .map_err(|text| Failure::usage(command, text))?;
    let args = match parsed {
        Parsed::Help => return help::command(command),
        Parsed::Matches(args) => args,
    };
    if let Some(complaint) = command
        .count
        .complaint(&format!("hull {}", command.name()), args.args().len())
    {
        return Err(Failure::usage(command, complaint).code(FAILED));
    }
    refuse(&args, command.name())?;
    let context = Context::resolve(globals)?;
    context.debug(|| format!("{command:?} with {:?}", context.settings));
    if context.settings.rootless && acts(command, &args) {
        rootless::enter(&context.settings.run_root)?;
    }
    let outcome = (command.run)(&args, &context);
    context.debug(|| match &outcome {
        Ok(code) => format!("exit code {code}"),
        Err(failure) => format!("failed with {:?}", failure.kind()),
    });
    outcome
}

/// Whether the command does more than read what every user may read of his own containers.
fn acts(command: &Command, args: &Matches) -> bool {
    let reads = matches!(
        command.name(),
        "ps" | "images"
            | "logs"
            | "inspect"
            | "container inspect"
            | "image inspect"
            | "history"
            | "info"
            | "login"
            | "logout"
            | "search"
            | "version"
            | "port"
            | "top"
            | "volume ls"
            | "volume inspect"
            // It has nothing to do with containers.
            | "registry serve"
    );
    // Sizes are of files that belong to the containers' users.
    let sizes = command.flags.iter().any(|flag| flag.long == "size") && args.on("size");
    !reads || sizes
}

/// Refuses the flags that are known and not there.
fn refuse(args: &Matches, command: &str) -> Result<()> {
    let Some((flag, reason)) = args.refused() else {
        return Ok(());
    };
    let of = if command.is_empty() {
        String::new()
    } else {
        format!(" of 'hull {command}'")
    };
    Err(Failure::new(format!("the flag --{}{of} is refused: {reason}", flag.long)).code(USAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_or_refused_by_name() {
        let error = |line: &str| {
            let words = line.split_whitespace().map(str::to_owned).collect();
            dispatch(words).unwrap_err().text()
        };
        insta::assert_snapshot!(error("build ."), @"error: 'hull build' is not there yet");
        insta::assert_snapshot!(error("network create"), @"error: 'hull network create' is not there yet");
        insta::assert_snapshot!(error("rnu x"), @r"
        error: unknown command: hull rnu
        hint: did you mean 'hull run'?
        ");
        insta::assert_snapshot!(error("frobnicate"), @r"
        error: unknown command: hull frobnicate
        hint: run 'hull --help' for the commands
        ");
        insta::assert_snapshot!(error("-H tcp://x ps"), @"error: the flag --host is refused: hull has no daemon to connect to: every command does its own work on this host");
        insta::assert_snapshot!(error("run --use-api-socket x"), @"error: the flag --use-api-socket of 'hull run' is refused: hull has no daemon whose socket could be passed on");
        insta::assert_snapshot!(error("run"), @r"
        error: 'hull run' requires at least 1 argument

        Usage:  hull run [OPTIONS] IMAGE [COMMAND] [ARG...]

        Run 'hull run --help' for more information
        ");
        insta::assert_snapshot!(error("stop -t x a"), @r#"
        error: invalid argument "x" for "-t, --timeout" flag: strconv.ParseInt: parsing "x": invalid syntax

        Usage:  hull stop [OPTIONS] CONTAINER [CONTAINER...]

        Run 'hull stop --help' for more information
        "#);
    }
    #[test]
    fn what_is_no_text_is_replaced_where_it_names_no_file() {
        use std::os::unix::ffi::OsStringExt;
        let check = |line: &[&[u8]], expected: &str| {
            let args = line.iter().map(|arg| OsString::from_vec(arg.to_vec()));
            let found = super::words(args).map(|words| words.join(" "));
            assert_eq!(found.unwrap_or_else(|_| "refused".to_owned()), expected);
        };
        check(&[b"run", b"-e", b"A=\xffx", b"i"], "run -e A=\u{fffd}x i");
        check(
            &[b"container", b"create", b"\xff\xfe"],
            "container create \u{fffd}\u{fffd}",
        );
        check(&[b"cp", b"\xff", b"c:/x"], "refused");
        check(&[b"export", b"-o", b"\xff", b"run"], "refused");
        check(&[b"run", b"--cidfile", b"\xff", b"i"], "refused");
        check(&[b"run", b"--env-file=\xff", b"i"], "refused");
        check(&[b"run", b"--cidfile", b"a", b"\xff"], "run --cidfile a \u{fffd}");
    }
}
