//! What a server is told: plain values, filled by the command line and by a file in TOML.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::Error;

mod units;

pub use units::{parse_duration, parse_size};

/// The most that is read of a settings file.
const FILE_MAX: u64 = 1 << 20;

/// Everything that a registry server can be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens, `address:port`.
    pub listen: String,
    /// Where it keeps everything.
    pub storage: PathBuf,
    /// Whether nothing may be pushed or deleted.
    pub read_only: bool,
    /// Whether tags, manifests and blobs may be deleted.
    pub delete: bool,
    /// Whether a line is logged for each request.
    pub access_log: bool,
    /// Certificate and key, in PEM form. Read again when they change.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How clients show who they are.
    pub auth: Auth,
    /// Who may do what. Without a rule, whoever is let in may do everything.
    pub access: Vec<Access>,
    /// The registry that this one is a cache of.
    pub mirror: Option<Mirror>,
    /// How much may be kept.
    pub quota: Quota,
    /// When what is garbage.
    pub gc: Gc,
    /// What one client may use up.
    pub limits: Limits,
}

/// How clients show who they are.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// By name and password, from a file of bcrypt hashes as `htpasswd -B` makes it. Read again when it changes.
    Htpasswd {
        /// The file.
        file: PathBuf,
        /// What the client is told that the password is for.
        realm: String,
    },
    /// By a token that another server has signed.
    Token(TokenAuth),
}

/// The tokens that are believed.
#[derive(Clone, Debug, Default)]
pub struct TokenAuth {
    /// The URL of the server that gives tokens.
    pub realm: String,
    /// This registry's name in tokens.
    pub service: String,
    /// Who has to have issued them.
    pub issuer: String,
    /// Public keys: a JSON Web Key Set, or certificates or public keys in PEM form.
    pub keys: PathBuf,
}

/// A rule: what users may do with repositories. What no rule allows is refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Access {
    /// Patterns of repositories: `*` is within one component, `**` is any number of them.
    pub repositories: Vec<String>,
    /// Names of users; `*` is everybody who is logged in, `anonymous` is everybody.
    pub users: Vec<String>,
    /// What they may do.
    pub actions: Vec<Action>,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Read a repository, and see it in the catalogue.
    Pull,
    /// Add to it.
    Push,
    /// Delete from it.
    Delete,
    /// Read the metrics, whose sums tell of all repositories.
    Metrics,
}

/// A registry to be a cache of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The registry: `docker.io`, `host[:port]`.
    pub upstream: String,
    /// How long a tag is believed without asking.
    pub ttl: Duration,
    /// What the upstream registry knows this one by.
    pub credentials: Option<(String, String)>,
}

/// How much may be kept, in bytes. A blob counts in every repository that has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// By all repositories together.
    pub total: Option<u64>,
    /// By each repository.
    pub repository: Option<u64>,
    /// By each repository that a pattern fits; the first that does decides.
    pub by_pattern: Vec<(String, u64)>,
}

/// When what is garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gc {
    /// Between two collections; `None`: none.
    pub interval: Option<Duration>,
    /// How long a blob stays though no manifest refers to it.
    pub grace: Duration,
    /// How long an upload that was broken off is waited for.
    pub uploads: Duration,
    /// Whether manifests without a tag go, unless an index or a kept subject keeps them.
    pub untagged: bool,
}

/// What one client may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Until the head of a request is there, and TLS before it.
    pub head: Duration,
    /// A silent client is waited for so long.
    pub stall: Duration,
    /// The largest blob, in bytes.
    pub blob: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:5000".to_owned(),
            storage: PathBuf::new(),
            read_only: false,
            delete: true,
            access_log: false,
            tls: None,
            auth: Auth::None,
            access: Vec::new(),
            mirror: None,
            quota: Quota::default(),
            gc: Gc {
                interval: Some(Duration::from_secs(6 * 3600)),
                grace: Duration::from_secs(24 * 3600),
                uploads: Duration::from_secs(24 * 3600),
                untagged: false,
            },
            limits: Limits {
                connections: 1024,
                head: Duration::from_secs(30),
                stall: Duration::from_secs(60),
                blob: None,
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    listen: Option<String>,
    storage: Option<PathBuf>,
    read_only: Option<bool>,
    delete: Option<bool>,
    access_log: Option<bool>,
    tls: Option<TlsPart>,
    auth: Option<AuthPart>,
    #[serde(default)]
    access: Vec<Access>,
    mirror: Option<MirrorPart>,
    quota: Option<QuotaPart>,
    gc: Option<GcPart>,
    limits: Option<LimitsPart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsPart {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthPart {
    htpasswd: Option<PathBuf>,
    realm: Option<String>,
    token: Option<TokenPart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenPart {
    realm: String,
    service: String,
    issuer: String,
    keys: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MirrorPart {
    upstream: String,
    ttl: Option<String>,
    user: Option<String>,
    password: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaPart {
    total: Option<String>,
    repository: Option<String>,
    #[serde(default)]
    rule: Vec<QuotaRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaRule {
    repositories: String,
    size: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GcPart {
    interval: Option<String>,
    grace: Option<String>,
    uploads: Option<String>,
    untagged: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsPart {
    connections: Option<usize>,
    head: Option<String>,
    stall: Option<String>,
    blob: Option<String>,
}

impl Settings {
    /// Applies the file at `path`. Relative paths in it start at its folder.
    ///
    /// # Errors
    /// If it cannot be read, or says something that is not understood.
    pub fn read_file(&mut self, path: &Path) -> Result<(), Error> {
        use std::io::Read as _;
        let fail = |reason: String| Error::Config {
            path: path.to_owned(),
            reason,
        };
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_MAX).read_to_string(&mut text))
            .map_err(|err| fail(err.to_string()))?;
        let base = path.parent().unwrap_or(Path::new("."));
        self.apply(&text, base).map_err(fail)
    }

    /// Applies the text of a settings file.
    ///
    /// # Errors
    /// What is wrong with the text, for a person.
    pub fn apply(&mut self, text: &str, base: &Path) -> Result<(), String> {
        let file: File = toml::from_str(text).map_err(|err| err.to_string().trim_end().to_owned())?;
        set(&mut self.listen, file.listen);
        set(&mut self.storage, file.storage.map(|path| base.join(path)));
        set(&mut self.read_only, file.read_only);
        set(&mut self.delete, file.delete);
        set(&mut self.access_log, file.access_log);
        if let Some(tls) = file.tls {
            self.tls = Some((base.join(tls.certificate), base.join(tls.key)));
        }
        if let Some(auth) = file.auth {
            self.auth = auth.read(base)?;
        }
        self.access.extend(file.access);
        if let Some(mirror) = file.mirror {
            self.mirror = Some(mirror.read()?);
        }
        if let Some(quota) = file.quota {
            self.quota = quota.read()?;
        }
        if let Some(gc) = file.gc {
            self.gc.apply(gc)?;
        }
        if let Some(limits) = file.limits {
            self.limits.apply(limits)?;
        }
        Ok(())
    }

    /// Checks that the settings do not contradict each other.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn check(&self) -> Result<(), String> {
        if self.storage.as_os_str().is_empty() {
            return Err("no storage is given".to_owned());
        }
        if !self.access.is_empty() && matches!(self.auth, Auth::None) {
            return Err("rules of access need users: give [auth] htpasswd or token".to_owned());
        }
        if self.limits.connections == 0 {
            return Err("limits.connections: not 1 or more".to_owned());
        }
        Ok(())
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn size(key: &str, text: Option<String>) -> Result<Option<u64>, String> {
    text.map(|text| parse_size(&text).ok_or_else(|| format!("{key}: `{text}` is no size, such as 10GB")))
        .transpose()
}

fn duration(key: &str, text: Option<String>) -> Result<Option<Duration>, String> {
    text.map(|text| parse_duration(&text).ok_or_else(|| format!("{key}: `{text}` is no duration, such as 24h")))
        .transpose()
}

impl AuthPart {
    fn read(self, base: &Path) -> Result<Auth, String> {
        match (self.htpasswd, self.token) {
            (Some(file), None) => Ok(Auth::Htpasswd {
                file: base.join(file),
                realm: self.realm.unwrap_or_else(|| "registry".to_owned()),
            }),
            (None, Some(_)) if self.realm.is_some() => {
                Err("auth.realm: with tokens it is auth.token.realm that counts".to_owned())
            }
            (None, Some(token)) => Ok(Auth::Token(TokenAuth {
                realm: token.realm,
                service: token.service,
                issuer: token.issuer,
                keys: base.join(token.keys),
            })),
            (Some(_), Some(_)) => Err("auth: either htpasswd or token".to_owned()),
            (None, None) => Err("auth: neither htpasswd nor token is given".to_owned()),
        }
    }
}

impl MirrorPart {
    fn read(self) -> Result<Mirror, String> {
        let credentials = match (self.user, self.password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            _ => return Err("mirror: user and password go together".to_owned()),
        };
        Ok(Mirror {
            upstream: self.upstream,
            ttl: duration("mirror.ttl", self.ttl)?.unwrap_or(Mirror::TTL),
            credentials,
        })
    }
}

impl Mirror {
    /// How long a tag is believed where nothing else is said.
    pub const TTL: Duration = Duration::from_secs(60);
}

impl QuotaPart {
    fn read(self) -> Result<Quota, String> {
        let mut by_pattern = Vec::new();
        for rule in self.rule {
            let bytes = parse_size(&rule.size).ok_or_else(|| format!("quota.rule: `{}` is no size", rule.size))?;
            by_pattern.push((rule.repositories, bytes));
        }
        Ok(Quota {
            total: size("quota.total", self.total)?,
            repository: size("quota.repository", self.repository)?,
            by_pattern,
        })
    }
}

impl Quota {
    /// The limit of one repository.
    pub(super) fn of(&self, name: &str) -> Option<u64> {
        let rule = self.by_pattern.iter().find(|(pattern, _)| fits(pattern, name));
        rule.map(|(_, size)| *size).or(self.repository)
    }
}

impl Gc {
    fn apply(&mut self, part: GcPart) -> Result<(), String> {
        if let Some(interval) = duration("gc.interval", part.interval)? {
            self.interval = (!interval.is_zero()).then_some(interval);
        }
        set(&mut self.grace, duration("gc.grace", part.grace)?);
        set(&mut self.uploads, duration("gc.uploads", part.uploads)?);
        set(&mut self.untagged, part.untagged);
        Ok(())
    }
}

impl Limits {
    fn apply(&mut self, part: LimitsPart) -> Result<(), String> {
        set(&mut self.connections, part.connections);
        set(&mut self.head, duration("limits.head", part.head)?);
        set(&mut self.stall, duration("limits.stall", part.stall)?);
        if let Some(blob) = size("limits.blob", part.blob)? {
            self.blob = Some(blob);
        }
        Ok(())
    }
}

/// Whether a repository's name fits a pattern: `*` stands for anything within one component, a component `**` for any
/// number of components.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    fn components(pattern: &[&str], name: &[&str]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((&"**", rest)) => (0..=name.len()).any(|skip| components(rest, &name[skip..])),
            Some((first, rest)) => name
                .split_first()
                .is_some_and(|(head, tail)| within(first.as_bytes(), head.as_bytes()) && components(rest, tail)),
        }
    }
    fn within(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| within(rest, &text[skip..])),
            Some((first, rest)) => text
                .split_first()
                .is_some_and(|(head, tail)| head == first && within(rest, tail)),
        }
    }
    let pattern: Vec<&str> = pattern.split('/').collect();
    let name: Vec<&str> = name.split('/').collect();
    components(&pattern, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_components() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        };
        check("a/b", "a/b", true);
        check("a/*", "a/b", true);
        check("a/*", "a/b/c", false);
        check("a/**", "a/b/c", true);
        check("a/**", "a", true);
        check("**", "x/y", true);
        check("*", "x/y", false);
        check("a/**/z", "a/b/c/z", true);
        check("te*m/x", "team/x", true);
        check("te*m/x", "teams/x", false);
        check("a", "ab", false);
    }

    #[test]
    fn a_file_is_applied_whole_or_refused_by_its_key() {
        let mut settings = Settings::default();
        let text = r#"
            listen = "0.0.0.0:443"
            storage = "data"
            delete = false
            [tls]
            certificate = "/etc/cert.pem"
            key = "key.pem"
            [auth]
            htpasswd = "users"
            [[access]]
            repositories = ["team/**"]
            users = ["*"]
            actions = ["pull", "push"]
            [mirror]
            upstream = "docker.io"
            ttl = "5m"
            [quota]
            total = "1TB"
            [[quota.rule]]
            repositories = "big/*"
            size = "100GB"
            [gc]
            interval = "1h"
            untagged = true
            [limits]
            connections = 10
            blob = "5GB"
        "#;
        settings.apply(text, Path::new("/srv")).unwrap();
        assert_eq!(settings.storage, Path::new("/srv/data"));
        assert_eq!(settings.tls, Some(("/etc/cert.pem".into(), "/srv/key.pem".into())));
        assert!(matches!(&settings.auth, Auth::Htpasswd { file, .. } if file == Path::new("/srv/users")));
        assert_eq!(settings.access[0].actions, [Action::Pull, Action::Push]);
        assert_eq!(settings.mirror.as_ref().unwrap().ttl, Duration::from_secs(300));
        assert_eq!(settings.quota.of("big/x"), Some(100_000_000_000));
        assert_eq!(settings.gc.interval, Some(Duration::from_secs(3600)));
        assert_eq!(
            (settings.limits.connections, settings.limits.blob),
            (10, Some(5_000_000_000))
        );
        settings.check().unwrap();
        let refuse = |text: &str, expected: &str| {
            let err = Settings::default().apply(text, Path::new("/")).unwrap_err();
            assert!(err.contains(expected), "{text}: {err}");
        };
        refuse("lisen = \"x\"", "lisen");
        refuse("[gc]\ninterval = \"soon\"", "gc.interval");
        refuse("[auth]\n", "neither");
        refuse("[quota]\ntotal = \"much\"", "quota.total");
        refuse("[mirror]\nupstream = \"x\"\nuser = \"u\"", "go together");
        refuse("[[access]]\nrepositories = []\nusers = []\nactions = [\"fly\"]", "fly");
        let lonely = Settings {
            storage: "/x".into(),
            access: settings.access.clone(),
            ..Settings::default()
        };
        assert!(lonely.check().is_err());
    }
}
