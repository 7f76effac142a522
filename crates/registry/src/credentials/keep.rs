//! Keeping credentials and giving them up: `login` and `logout`.
//!
//! Where a helper is named for a registry, or for all of them, secrets go to it and to nothing else: a helper that fails
//! is an error, never a reason to write them down in plain. Everything else in `config.json` stays as it is.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::{BASE64, Credentials, FILE_MAX, HUB_KEY, call, hostname, located, program};
use crate::Error;
use crate::settings::Settings;

/// Where credentials have gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// To this helper.
    Helper(String),
    /// Into this file, as they are.
    Plain(PathBuf),
}

/// Keeps what `authority` (`docker.io`, `host[:port]`) knows its user by.
///
/// # Errors
/// If there is nowhere to keep it; if the helper refuses; if the file cannot be read or written.
pub fn keep(settings: &Settings, authority: &str, credentials: &Credentials) -> Result<Kept, Error> {
    let key = key(authority);
    let config = Config::open(settings)?;
    let mut value = config.read()?;
    let mut helper = helper(&value, key);
    // As Docker does: a host that has a helper uses it, unless somebody has decided otherwise before.
    if helper.is_none() && value.get("auths").and_then(Value::as_object).is_none_or(Map::is_empty) {
        helper = usual(settings);
        if let Some(helper) = &helper {
            value.insert("credsStore".to_owned(), json!(helper));
        }
    }
    let (user, secret) = match credentials {
        Credentials::Password { user, password } => (user.as_str(), password.as_str()),
        Credentials::Identity(token) => ("<token>", token.as_str()),
        Credentials::Token(_) => {
            return Err(config.fail("an access token is not kept: it ends by itself".to_owned()));
        }
    };
    let entry = match &helper {
        Some(helper) => {
            let input = json!({ "ServerURL": key, "Username": user, "Secret": secret }).to_string();
            if call(settings, helper, "store", &input)?.is_none() {
                return Err(Error::Helper {
                    helper: program(helper),
                    reason: "it did not keep the credentials".to_owned(),
                });
            }
            json!({})
        }
        None => match credentials {
            Credentials::Identity(token) => json!({ "identitytoken": token }),
            _ => json!({ "auth": BASE64.encode(format!("{user}:{secret}")) }),
        },
    };
    let auths = value.entry("auths").or_insert_with(|| json!({}));
    let Some(auths) = auths.as_object_mut() else {
        return Err(config.fail("`auths` is no object".to_owned()));
    };
    auths.retain(|name, _| name == key || hostname(name) != hostname(key));
    auths.insert(key.to_owned(), entry);
    config.write(&value)?;
    Ok(match helper {
        Some(helper) => Kept::Helper(helper),
        None => Kept::Plain(config.path.clone()),
    })
}

/// Gives up what is known for `authority`, in the file and with its helper. That nothing was known is no error.
///
/// # Errors
/// If the helper fails; if the file cannot be read or written.
pub fn erase(settings: &Settings, authority: &str) -> Result<(), Error> {
    let key = key(authority);
    let config = Config::open(settings)?;
    let mut value = config.read()?;
    let asked = match helper(&value, key) {
        Some(helper) => call(settings, &helper, "erase", key).map(drop),
        None => Ok(()),
    };
    if let Some(auths) = value.get_mut("auths").and_then(Value::as_object_mut) {
        let before = auths.len();
        auths.retain(|name, _| hostname(name) != hostname(key));
        if auths.len() != before {
            config.write(&value)?;
        }
    }
    asked
}

fn key(authority: &str) -> &str {
    if authority == "docker.io" { HUB_KEY } else { authority }
}

/// The helper that the file names for a registry: its own, or the one for all.
fn helper(value: &Map<String, Value>, key: &str) -> Option<String> {
    let own = value.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
        let found = helpers.iter().find(|(name, _)| hostname(name) == hostname(key));
        found.and_then(|(_, helper)| helper.as_str())
    });
    let general = value.get("credsStore").and_then(Value::as_str);
    own.or(general).filter(|helper| !helper.is_empty()).map(str::to_owned)
}

/// The helper that Docker takes of itself on Linux: `pass` where that program is, else the desktop's secret service.
fn usual(settings: &Settings) -> Option<String> {
    let name = if located(settings, "pass").is_some() {
        "pass"
    } else {
        "secretservice"
    };
    located(settings, &program(name)).map(|_| name.to_owned())
}

/// `config.json`, which nobody else of ours changes while this lives.
struct Config {
    path: PathBuf,
    _lock: File,
}

impl Config {
    fn open(settings: &Settings) -> Result<Self, Error> {
        let Some(path) = &settings.credentials else {
            return Err(Error::Credentials {
                path: "config.json".into(),
                reason: "there is no home folder to keep it in".to_owned(),
            });
        };
        let fail = |err: std::io::Error| Error::Credentials {
            path: path.clone(),
            reason: err.to_string(),
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(fail)?;
        let lock = File::open(folder).map_err(fail)?;
        lock.lock().map_err(fail)?;
        // A link to a file elsewhere stays one.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        Ok(Self { path, _lock: lock })
    }

    fn fail(&self, reason: String) -> Error {
        Error::Credentials {
            path: self.path.clone(),
            reason,
        }
    }

    /// The whole file; an empty object where there is none.
    fn read(&self) -> Result<Map<String, Value>, Error> {
        use std::io::Read as _;
        let mut text = Vec::new();
        match File::open(&self.path) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
            opened => {
                let file = opened.map_err(|err| self.fail(err.to_string()))?;
                file.take(FILE_MAX)
                    .read_to_end(&mut text)
                    .map_err(|err| self.fail(err.to_string()))?;
            }
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Map::new());
        }
        // The parser's message may quote a secret: only the place is told.
        match serde_json::from_slice(&text) {
            Ok(Value::Object(value)) => Ok(value),
            Ok(_) => Err(self.fail("it is no JSON object".to_owned())),
            Err(err) => Err(self.fail(format!("no valid JSON at line {} column {}", err.line(), err.column()))),
        }
    }

    /// Replaces the file in one step, readable for its owner alone.
    fn write(&self, value: &Map<String, Value>) -> Result<(), Error> {
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        serde::Serialize::serialize(value, &mut serializer).map_err(|err| self.fail(err.to_string()))?;
        let new = self.path.with_file_name(format!(".config.json.{}", std::process::id()));
        let written = (|| {
            // Left by one that was killed, with the same number.
            match std::fs::remove_file(&new) {
                Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        written.map_err(|err| self.fail(err.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::find;
    use super::*;

    fn settings(folder: &Path) -> Settings {
        Settings {
            credentials: Some(folder.join("sub/config.json")),
            helper_path: vec![folder.to_owned()],
            ..Settings::default()
        }
    }

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    fn script(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_file_keeps_what_it_had_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let path = settings.credentials.clone().unwrap();
        let kept = keep(&settings, "reg.lan:5000", &password("u", "p")).unwrap();
        assert_eq!(kept, Kept::Plain(std::fs::canonicalize(&path).unwrap()));
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\n\t\"auths\": {\n\t\t\"reg.lan:5000\": {\n\t\t\t\"auth\": \"dTpw\"\n\t\t}\n\t}\n}"
        );
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text =
            r#"{"HttpHeaders":{"a":"b"},"auths":{"https://reg.lan:5000/v2/":{"auth":"eDp5"},"x":{"auth":"eDp5"}}}"#;
        std::fs::write(&path, text).unwrap();
        keep(&settings, "docker.io", &Credentials::Identity("refresh".to_owned())).unwrap();
        keep(&settings, "reg.lan:5000", &password("u", "p:q")).unwrap();
        assert_eq!(find(&settings, "reg.lan:5000").unwrap(), Some(password("u", "p:q")));
        assert_eq!(
            find(&settings, "docker.io").unwrap(),
            Some(Credentials::Identity("refresh".to_owned()))
        );
        erase(&settings, "reg.lan:5000").unwrap();
        erase(&settings, "nowhere.lan").unwrap();
        assert_eq!(find(&settings, "reg.lan:5000").unwrap(), None);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("HttpHeaders") && text.contains("\"x\"") && !text.contains("reg.lan"),
            "{text}"
        );
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        std::fs::write(&path, "[]").unwrap();
        assert!(keep(&settings, "reg.lan", &password("u", "p")).is_err());
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "[]",
            "what is not understood is not lost"
        );
    }

    #[test]
    fn a_helper_gets_the_secret_and_the_file_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let path = settings.credentials.clone().unwrap();
        let said = folder.path().join("said");
        let note = format!("echo $1 >>{0}; cat >>{0}; echo >>{0}", said.display());
        script(folder.path(), "docker-credential-all", &note);
        script(folder.path(), "docker-credential-sick", "echo locked; exit 1");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(&path, r#"{"credsStore":"all","credHelpers":{"sick.lan":"sick"}}"#).unwrap();
        let kept = keep(&settings, "reg.lan", &password("u", "s3cret")).unwrap();
        assert_eq!(kept, Kept::Helper("all".to_owned()));
        let error = keep(&settings, "sick.lan", &password("u", "s3cret")).unwrap_err();
        assert!(error.to_string().contains("locked"), "{error}");
        assert!(!std::fs::read_to_string(&path).unwrap().contains("sick.lan\": {"));
        erase(&settings, "reg.lan").unwrap();
        let said = std::fs::read_to_string(&said).unwrap();
        assert!(
            said.starts_with("store\n{") && said.contains("s3cret") && said.contains("erase\nreg.lan\n"),
            "{said}"
        );
        assert!(!std::fs::read_to_string(&path).unwrap().contains("s3cret"));
    }

    #[test]
    fn a_host_with_a_helper_uses_it_of_itself() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        script(folder.path(), "docker-credential-secretservice", "cat >/dev/null");
        let kept = keep(&settings, "reg.lan", &password("u", "p")).unwrap();
        assert_eq!(kept, Kept::Helper("secretservice".to_owned()));
        let text = std::fs::read_to_string(settings.credentials.unwrap()).unwrap();
        assert!(text.contains("\"credsStore\": \"secretservice\""), "{text}");
    }
}
