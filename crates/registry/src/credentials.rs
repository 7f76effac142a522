//! Credentials: Docker's `config.json`, and the helper programs that it names
//! (docker/cli `cli/config`, docker/docker-credential-helpers).

mod keep;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::Error;
use crate::settings::Settings;

pub use keep::{Kept, erase, keep};

/// How Docker Hub's credentials are named, in the file and to helpers.
pub(crate) const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The most that is read of `config.json`, and of what a helper prints.
const FILE_MAX: u64 = 4 << 20;
/// A helper may ask a person; it is not waited for longer than this.
const HELPER_PATIENCE: Duration = Duration::from_secs(120);
/// With or without padding, as both are found in files.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What one registry knows its user by. Its secrets are not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// A user name and a password.
    Password {
        /// The user.
        user: String,
        /// The password, or a token that stands for it.
        password: String,
    },
    /// A refresh token, to be traded for access tokens (`identitytoken`).
    Identity(String),
    /// An access token, sent as it is (`registrytoken`).
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user})"),
            Self::Identity(_) => f.write_str("Identity"),
            Self::Token(_) => f.write_str("Token"),
        }
    }
}

impl Credentials {
    /// The header of basic authentication, where these are a name and a password.
    pub(crate) fn basic(&self) -> Option<String> {
        match self {
            Self::Password { user, password } => Some(format!("Basic {}", BASE64.encode(format!("{user}:{password}")))),
            _ => None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    creds_store: String,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default, rename = "identitytoken")]
    identity: String,
    #[serde(default, rename = "registrytoken")]
    token: String,
}

#[derive(Deserialize)]
struct Printed {
    #[serde(default, rename = "Username")]
    user: String,
    #[serde(default, rename = "Secret")]
    secret: String,
}

/// What is known for the registry `authority` (`docker.io`, `host[:port]`), if anything. A helper named for the registry
/// is asked first, then the one for all registries, then the file itself is searched.
///
/// # Errors
/// If the file or a helper's answer cannot be used. That a helper knows nothing is no error.
pub fn find(settings: &Settings, authority: &str) -> Result<Option<Credentials>, Error> {
    let Some(path) = &settings.credentials else {
        return Ok(None);
    };
    let Some(file) = read(path)? else {
        return Ok(None);
    };
    let key = if authority == "docker.io" { HUB_KEY } else { authority };
    let named = file
        .cred_helpers
        .iter()
        .find(|(name, _)| hostname(name) == hostname(key))
        .map(|(name, helper)| (name.as_str(), helper.as_str()));
    let general = Some((key, file.creds_store.as_str())).filter(|(_, helper)| !helper.is_empty());
    for (server, helper) in [named, general].into_iter().flatten() {
        if let Some(found) = ask(settings, helper, server)? {
            return Ok(Some(found));
        }
    }
    let fail = |reason: String| Error::Credentials {
        path: path.clone(),
        reason,
    };
    let entry = file.auths.get(key).or_else(|| {
        file.auths
            .iter()
            .find(|(name, _)| hostname(name) == hostname(key))
            .map(|(_, e)| e)
    });
    match entry {
        Some(entry) => entry.credentials().map_err(|reason| fail(format!("`{key}`: {reason}"))),
        None => Ok(None),
    }
}

/// `https://host:port/v1/` and `host:port` name the same registry.
fn hostname(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let host = key.split('/').next().unwrap_or(key);
    match host {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        host => host,
    }
}

fn read(path: &Path) -> Result<Option<File>, Error> {
    let fail = |reason: String| Error::Credentials {
        path: path.to_owned(),
        reason,
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(err)
            if matches!(
                err.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(err) => return Err(fail(err.to_string())),
    };
    let mut text = Vec::new();
    file.take(FILE_MAX)
        .read_to_end(&mut text)
        .map_err(|err| fail(err.to_string()))?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    // The parser's message may quote what it stumbled over, which may be a secret: only the place is told.
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|err| fail(format!("no valid JSON at line {} column {}", err.line(), err.column())))
}

impl Entry {
    fn credentials(&self) -> Result<Option<Credentials>, &'static str> {
        if !self.token.is_empty() {
            return Ok(Some(Credentials::Token(self.token.clone())));
        }
        if !self.identity.is_empty() {
            return Ok(Some(Credentials::Identity(self.identity.clone())));
        }
        let (user, password) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            let text = BASE64
                .decode(self.auth.trim())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or("`auth` is no base64")?;
            let (user, password) = text.split_once(':').ok_or("`auth` holds no colon")?;
            (user.to_owned(), password.trim_end_matches('\0').to_owned())
        };
        if user.is_empty() {
            return Ok(None);
        }
        Ok(Some(Credentials::Password { user, password }))
    }
}

/// Asks `docker-credential-HELPER get` about `server`.
fn ask(settings: &Settings, helper: &str, server: &str) -> Result<Option<Credentials>, Error> {
    let Some(printed) = call(settings, helper, "get", server)? else {
        return Ok(None);
    };
    let printed: Printed = serde_json::from_slice(&printed).map_err(|_| Error::Helper {
        helper: program(helper),
        reason: "its answer is no valid JSON".to_owned(),
    })?;
    Ok(match printed {
        Printed { secret, .. } if secret.is_empty() => None,
        Printed { user, secret } if user == "<token>" => Some(Credentials::Identity(secret)),
        Printed { user, secret } => Some(Credentials::Password { user, password: secret }),
    })
}

fn program(helper: &str) -> String {
    format!("docker-credential-{helper}")
}

/// Where a helper is.
fn located(settings: &Settings, name: &str) -> Option<PathBuf> {
    settings
        .helper_path
        .iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Runs `docker-credential-HELPER VERB` with `input`, and returns what it prints; `None` where it says that it knows
/// nothing of what it is asked for.
fn call(settings: &Settings, helper: &str, verb: &str, input: &str) -> Result<Option<Vec<u8>>, Error> {
    let program = program(helper);
    let fail = |reason: String| Error::Helper {
        helper: program.clone(),
        reason,
    };
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if helper.is_empty() || !helper.bytes().all(ok) {
        return Err(fail("its name is malformed".to_owned()));
    }
    let path = located(settings, &program).unwrap_or_else(|| PathBuf::from(&program));
    let mut child = Command::new(path)
        .arg(verb)
        .stdin(in_memory(input).map_err(|err| fail(err.to_string()))?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|err| fail(err.to_string()))?;
    let printed = converse(&mut child);
    // Also reaps it where the conversation broke off; after a regular end there is nothing left to kill.
    if printed.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|err| fail(err.to_string()))?;
    let printed = printed.map_err(|err| fail(err.to_string()))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&printed);
        // The protocol has no code for it, only these words.
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let said: String = said.trim().chars().filter(|c| !c.is_control()).take(200).collect();
        return Err(fail(if said.is_empty() { status.to_string() } else { said }));
    }
    Ok(Some(printed))
}

/// A line as the standard input of a helper. No pipe: a helper that ends without reading one would end this process, too,
/// where SIGPIPE does what it does to other programs.
fn in_memory(line: &str) -> std::io::Result<std::fs::File> {
    use std::io::Seek as _;
    let mut file: std::fs::File = rustix::fs::memfd_create("hull-credentials", rustix::fs::MemfdFlags::CLOEXEC)?.into();
    writeln!(file, "{line}")?;
    file.rewind()?;
    Ok(file)
}

/// Reads all that is printed.
fn converse(child: &mut Child) -> std::io::Result<Vec<u8>> {
    let Some(stdout) = child.stdout.take() else {
        return Ok(Vec::new());
    };
    let reader = std::thread::spawn(move || {
        let mut out = Vec::new();
        stdout.take(FILE_MAX).read_to_end(&mut out).map(|_| out)
    });
    let end = Instant::now() + HELPER_PATIENCE;
    while !reader.is_finished() {
        if Instant::now() > end {
            return Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "it did not answer in time",
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    reader
        .join()
        .unwrap_or_else(|_| Err(std::io::Error::other("its output could not be read")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn settings(dir: &Path, json: &str) -> Settings {
        let path = dir.join("config.json");
        std::fs::write(&path, json).unwrap();
        Settings {
            credentials: Some(path),
            helper_path: vec![dir.to_owned()],
            ..Settings::default()
        }
    }

    fn helper(dir: &Path, name: &str, script: &str) {
        let path = dir.join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    #[test]
    fn the_file_is_searched_by_every_spelling() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(
            dir.path(),
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOnA6dw=="},
                "https://reg.lan:5000/v2/": {"username": "u", "password": "p"},
                "id.lan": {"auth": "", "identitytoken": "refresh"},
                "raw.lan": {"registrytoken": "raw"},
                "unpadded.lan": {"auth": "dTpw"},
                "empty.lan": {},
                "bad.lan": {"auth": "!!"}
            }, "HttpHeaders": {"x": "y"}, "currentContext": "z"}"#,
        );
        let check = |authority: &str, expected: Option<Credentials>| {
            assert_eq!(find(&settings, authority).unwrap(), expected, "{authority}");
        };
        check("docker.io", Some(password("hub", "p:w")));
        check("reg.lan:5000", Some(password("u", "p")));
        check("reg.lan", None);
        check("id.lan", Some(Credentials::Identity("refresh".to_owned())));
        check("raw.lan", Some(Credentials::Token("raw".to_owned())));
        check("unpadded.lan", Some(password("u", "p")));
        check("empty.lan", None);
        check("other.lan", None);
        let err = find(&settings, "bad.lan").unwrap_err().to_string();
        assert!(err.contains("bad.lan") && !err.contains("!!"), "{err}");
    }

    #[test]
    fn helpers_are_asked_over_their_pipes() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(
            dir.path(),
            r#"{"credsStore": "all", "credHelpers": {"gcr.lan": "one", "sick.lan": "sick", "none.lan": "../x"},
                "auths": {"file.lan": {"auth": "dTpw"}}}"#,
        );
        helper(
            dir.path(),
            "all",
            r#"read server; case $server in
               file.lan) echo "credentials not found in native keychain"; exit 1;;
               token.lan) printf '{"ServerURL":"%s","Username":"<token>","Secret":"refresh"}' "$server";;
               *) printf '{"ServerURL":"%s","Username":"%s","Secret":"s"}' "$server" "$server";; esac"#,
        );
        helper(
            dir.path(),
            "one",
            r#"cat >/dev/null; echo "{\"Username\":\"$1\",\"Secret\":\"one\"}""#,
        );
        helper(dir.path(), "sick", "echo the keyring is locked; exit 3");
        let check = |authority: &str, expected: Credentials| {
            assert_eq!(find(&settings, authority).unwrap(), Some(expected), "{authority}");
        };
        check("docker.io", password("https://index.docker.io/v1/", "s"));
        check("gcr.lan", password("get", "one"));
        check("file.lan", password("u", "p"));
        check("token.lan", Credentials::Identity("refresh".to_owned()));
        let err = find(&settings, "sick.lan").unwrap_err().to_string();
        assert!(
            err.contains("docker-credential-sick") && err.contains("locked"),
            "{err}"
        );
        assert!(find(&settings, "none.lan").is_err());
    }

    #[test]
    fn a_broken_file_is_named_without_its_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), r#"{"auths": {"a": {"auth": s3cret}}}"#);
        let err = find(&settings, "a").unwrap_err().to_string();
        assert!(err.contains("config.json") && !err.contains("s3cret"), "{err}");
        std::fs::write(dir.path().join("config.json"), "").unwrap();
        assert_eq!(find(&settings, "a").unwrap(), None);
        std::fs::remove_file(dir.path().join("config.json")).unwrap();
        assert_eq!(find(&settings, "a").unwrap(), None);
    }

    #[test]
    fn secrets_are_not_printed() {
        for credentials in [
            password("u", "s3cret"),
            Credentials::Identity("s3cret".to_owned()),
            Credentials::Token("s3cret".to_owned()),
        ] {
            assert!(!format!("{credentials:?}").contains("s3cret"));
        }
    }
}
