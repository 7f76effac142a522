//! pflag's reading of a command line, with its words for what is wrong.

use super::{Arity, Flag, Matches, value};

/// What a command line asks for.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// `--help`.
    Help,
    /// The command, with these flags and arguments.
    Matches(Matches),
}

/// Reads `args` by `flags`. With `interspersed`, flags may follow arguments; without, everything from the first argument
/// on belongs to the container's command.
///
/// # Errors
/// pflag's message.
pub(crate) fn parse(
    flags: &'static [Flag],
    interspersed: bool,
    args: impl IntoIterator<Item = String>,
) -> Result<Parsed, String> {
    let mut matches = Matches::new(flags);
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if let Some(name) = arg.strip_prefix("--") {
            if name.is_empty() {
                args.by_ref().for_each(|arg| matches.push_arg(arg));
            } else if read_long(flags, name, &mut args, &mut matches)? {
                return Ok(Parsed::Help);
            }
        } else if arg.len() > 1 && arg.starts_with('-') {
            if read_shorts(flags, &arg[1..], &mut args, &mut matches)? {
                return Ok(Parsed::Help);
            }
        } else {
            matches.push_arg(arg);
            if !interspersed {
                args.by_ref().for_each(|arg| matches.push_arg(arg));
            }
        }
    }
    Ok(Parsed::Matches(matches))
}

/// Reads what follows `--`. Returns whether it asks for help.
fn read_long(
    flags: &'static [Flag],
    text: &str,
    args: &mut impl Iterator<Item = String>,
    matches: &mut Matches,
) -> Result<bool, String> {
    if text.starts_with(['-', '=']) {
        return Err(format!("bad flag syntax: --{text}"));
    }
    let (name, given) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let Some(flag) = flags.iter().find(|flag| flag.long == name) else {
        if name == "help" {
            return help_switch(given.as_deref());
        }
        return Err(format!("unknown flag: --{name}"));
    };
    let value = match given {
        Some(value) => value,
        None if flag.arity == Arity::Switch => "true".to_owned(),
        None => args.next().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
    };
    set(flag, value, matches)?;
    Ok(false)
}

/// `--help=false` is a switch like any other.
fn help_switch(given: Option<&str>) -> Result<bool, String> {
    let text = given.unwrap_or("true");
    value::parse_bool(text).ok_or_else(|| {
        format!(
            "invalid argument \"{text}\" for \"--help\" flag: {}",
            value::bool_error(text)
        )
    })
}

/// Reads the letters after `-`. Returns whether they ask for help.
fn read_shorts(
    flags: &'static [Flag],
    group: &str,
    args: &mut impl Iterator<Item = String>,
    matches: &mut Matches,
) -> Result<bool, String> {
    let mut rest = group;
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        let Some(flag) = flags.iter().find(|flag| flag.short == Some(letter)) else {
            if letter == 'h' {
                return Ok(true);
            }
            return Err(format!("unknown shorthand flag: '{letter}' in -{rest}"));
        };
        if let Some(value) = after.strip_prefix('=').filter(|_| rest.len() > 2) {
            set(flag, value.to_owned(), matches)?;
            return Ok(false);
        }
        if flag.arity == Arity::Switch {
            set(flag, "true".to_owned(), matches)?;
            rest = after;
            continue;
        }
        let value = if after.is_empty() {
            args.next()
                .ok_or_else(|| format!("flag needs an argument: '{letter}' in -{rest}"))?
        } else {
            after.to_owned()
        };
        set(flag, value, matches)?;
        return Ok(false);
    }
    Ok(false)
}

fn set(flag: &'static Flag, value: String, matches: &mut Matches) -> Result<(), String> {
    let checked = match (flag.refused, flag.arity) {
        (_, Arity::Switch) if value::parse_bool(&value).is_none() => Err(value::bool_error(&value)),
        (None, _) => flag.check.map_or(Ok(()), |check| check(&value)),
        (Some(_), _) => Ok(()),
    };
    checked.map_err(|reason| {
        format!(
            "invalid argument {} for \"{}\" flag: {reason}",
            value::quote(&value),
            flag.display()
        )
    })?;
    matches.push(flag, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag::switch("interactive").short('i'),
        Flag::switch("tty").short('t'),
        Flag::switch("rm"),
        Flag::list("publish").short('p'),
        Flag::string("name"),
        Flag::bytes("memory").short('m'),
        Flag::int("stop-timeout"),
        Flag::string("gpus").refused("no GPUs"),
    ];

    fn read(interspersed: bool, line: &str) -> Result<String, String> {
        let args = line.split_whitespace().map(str::to_owned);
        Ok(match parse(FLAGS, interspersed, args)? {
            Parsed::Help => "help".to_owned(),
            Parsed::Matches(m) => {
                let mut out: Vec<String> = FLAGS
                    .iter()
                    .flat_map(|f| m.values(f.long).map(move |v| format!("{}={v}", f.long)))
                    .collect();
                out.push(format!("{:?}", m.args()));
                out.join(" ")
            }
        })
    }

    #[test]
    fn flags_read_as_pflag_reads_them() {
        let check = |line: &str, expected: &str| assert_eq!(read(false, line).as_deref(), Ok(expected), "{line}");
        check("-it img", r#"interactive=true tty=true ["img"]"#);
        check("-itp80:80 img", r#"interactive=true tty=true publish=80:80 ["img"]"#);
        check("-p=80 -p 81 img", r#"publish=80 publish=81 ["img"]"#);
        check("-p -1 img", r#"publish=-1 ["img"]"#);
        check("--name=x --rm=false img", r#"rm=false name=x ["img"]"#);
        check("--rm false", r#"rm=true ["false"]"#);
        check("--name= img", r#"name= ["img"]"#);
        check("--name -- img", r#"name=-- ["img"]"#);
        check(
            "img sh -c x --rm -- y",
            r#"["img", "sh", "-c", "x", "--rm", "--", "y"]"#,
        );
        check("--rm -- --name x", r#"rm=true ["--name", "x"]"#);
        check("- -i", r#"["-", "-i"]"#);
        check("-i=false img", r#"interactive=false ["img"]"#);
        check("--stop-timeout 0x10 img", r#"stop-timeout=0x10 ["img"]"#);
        check("--help", "help");
        check("-ih", "help");
        check("--help=false img", r#"["img"]"#);
        check("--gpus all img", r#"gpus=all ["img"]"#);
        check("", "[]");
    }

    #[test]
    fn flags_may_follow_arguments_where_the_command_says_so() {
        assert_eq!(
            read(true, "a --rm b -- -c").as_deref(),
            Ok(r#"rm=true ["a", "b", "-c"]"#)
        );
    }

    #[test]
    fn mistakes_are_told_in_pflag_words() {
        let check = |line: &str, expected: &str| assert_eq!(read(false, line).unwrap_err(), expected, "{line}");
        check("--foo x", "unknown flag: --foo");
        check("--foo=x", "unknown flag: --foo");
        check("-zz img", "unknown shorthand flag: 'z' in -zz");
        check("-tz img", "unknown shorthand flag: 'z' in -z");
        check("--name", "flag needs an argument: --name");
        check("-p", "flag needs an argument: 'p' in -p");
        check("---x", "bad flag syntax: ---x");
        check("--=x", "bad flag syntax: --=x");
        check(
            "-m x i",
            r#"invalid argument "x" for "-m, --memory" flag: invalid size: 'x'"#,
        );
        check(
            "--rm=maybe i",
            r#"invalid argument "maybe" for "--rm" flag: strconv.ParseBool: parsing "maybe": invalid syntax"#,
        );
        check(
            "--stop-timeout a",
            r#"invalid argument "a" for "--stop-timeout" flag: strconv.ParseInt: parsing "a": invalid syntax"#,
        );
    }
}
