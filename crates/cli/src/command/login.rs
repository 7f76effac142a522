//! `login` and `logout`.

use std::io::{BufRead as _, Read as _, Write as _};

use hull_registry::credentials::{self, Kept};
use hull_registry::{Client, Credentials, Settings};

use super::{Command, pull};
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result, note, print_line};
use crate::terminal;

pub(crate) const LOGIN: Command = Command {
    names: &["login"],
    synopsis: "[OPTIONS] [SERVER]",
    about: "Let hull into a registry, Docker Hub unless another one is named",
    flags: &[
        Flag::string("password")
            .short('p')
            .help("Password or access token; other users of this host can see it here"),
        Flag::switch("password-stdin").help("Read the password or access token from standard input"),
        Flag::string("username").short('u').help("User name"),
    ],
    count: Count::AtMost(1),
    interspersed: true,
    run: login,
};

pub(crate) const LOGOUT: Command = Command {
    names: &["logout"],
    synopsis: "[SERVER]",
    about: "Give up what hull is let into a registry with",
    flags: &[],
    count: Count::AtMost(1),
    interspersed: true,
    run: logout,
};

/// The longest user name or password that is read, in bytes.
const LINE_MAX: u64 = 64 << 10;

fn login(args: &Matches, ctx: &Context) -> Outcome {
    let given = given(args)?;
    let (registry, shown) = hull_registry::server(args.arg())?;
    let settings = pull::settings(ctx)?;
    let credentials = match given {
        Some(credentials) => credentials,
        None => {
            if known(&settings, &registry)? {
                return succeeded();
            }
            ask(args, &settings, &registry)?
        }
    };
    check(&settings, &registry, credentials.clone())?;
    if let Kept::Plain(path) = credentials::keep(&settings, &registry, &credentials)? {
        note(&format!(
            "WARNING! Your password will be stored unencrypted in {}.\n\
             A credential helper, named by credsStore in that file, keeps it better.\n",
            path.display()
        ));
    }
    ctx.debug(|| format!("logged in to {shown}"));
    succeeded()
}

fn succeeded() -> Outcome {
    print_line("Login Succeeded")?;
    Ok(0)
}

/// Who somebody is by the flags alone; `None` where a part is missing and may be asked for.
fn given(args: &Matches) -> Result<Option<Credentials>> {
    let user = args.text("username");
    let stdin = args.on("password-stdin");
    let password = args.value("password").unwrap_or_default();
    if !password.is_empty() {
        note("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        if stdin {
            return Err(Failure::new("--password and --password-stdin are mutually exclusive"));
        }
    }
    if !stdin {
        let whole = !user.is_empty() && !password.is_empty();
        return Ok(whole.then(|| Credentials::Password {
            user,
            password: password.to_owned(),
        }));
    }
    if user.is_empty() {
        return Err(Failure::new("Must provide --username with --password-stdin"));
    }
    let mut text = String::new();
    std::io::stdin().lock().take(LINE_MAX).read_to_string(&mut text)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password).to_owned();
    if password.is_empty() {
        return Err(Failure::new("Error: Password Required"));
    }
    Ok(Some(Credentials::Password { user, password }))
}

/// Whether what is kept already is still good.
fn known(settings: &Settings, registry: &str) -> Result<bool> {
    let Some(kept) = credentials::find(settings, registry)? else {
        return Ok(false);
    };
    note("Authenticating with existing credentials...");
    match check(settings, registry, kept) {
        Ok(()) => Ok(true),
        Err(failure) => {
            note(&format!("Login did not succeed, error: {}", failure.message()));
            Ok(false)
        }
    }
}

fn check(settings: &Settings, registry: &str, credentials: Credentials) -> Result<()> {
    let client = Client::new(settings.clone()).with_credentials(credentials);
    Ok(hull_registry::login(&client, registry)?)
}

/// Asks a person at a terminal.
fn ask(args: &Matches, settings: &Settings, registry: &str) -> Result<Credentials> {
    if !terminal::stdin_is_terminal() {
        return Err(Failure::new(
            "Error: Cannot perform an interactive login from a non TTY device",
        ));
    }
    let mut user = args.text("username");
    let before = match credentials::find(settings, registry) {
        Ok(Some(Credentials::Password { user, .. })) => user,
        _ => String::new(),
    };
    if user.is_empty() {
        let default = if before.is_empty() {
            String::new()
        } else {
            format!(" ({before})")
        };
        user = line(&format!("Username{default}: "))?;
        if user.is_empty() {
            user = before;
        }
    }
    if user.is_empty() {
        return Err(Failure::new("Error: Non-null Username Required"));
    }
    let mut password = args.text("password");
    if password.is_empty() {
        let silence = terminal::Silence::begin()?;
        password = line("Password: ")?;
        drop(silence);
        note("");
    }
    if password.is_empty() {
        return Err(Failure::new("Error: Password Required"));
    }
    Ok(Credentials::Password { user, password })
}

fn line(prompt: &str) -> Result<String> {
    let mut err = std::io::stderr().lock();
    err.write_all(prompt.as_bytes())?;
    err.flush()?;
    let mut text = String::new();
    std::io::stdin().lock().take(LINE_MAX).read_line(&mut text)?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn logout(args: &Matches, ctx: &Context) -> Outcome {
    let (registry, shown) = hull_registry::server(args.arg())?;
    print_line(&format!("Removing login credentials for {shown}"))?;
    // As Docker does: told, and no failure.
    if let Err(error) = credentials::erase(&pull::settings(ctx)?, &registry) {
        ctx.warn(&format!("could not erase credentials:\n{shown}: {error}"));
    }
    Ok(0)
}
