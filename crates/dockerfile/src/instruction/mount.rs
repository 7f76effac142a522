//! `RUN --mount` and `RUN --device`.

use hull_spec::value::{parse_bool, parse_bytes};

use crate::error::{Located, MountProblem, Near, Problem};
use crate::source::{Span, Word};
use crate::suggest::nearest;
use crate::token::part;

/// What is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MountType {
    /// Files of the build context, a stage, an image or a named context.
    #[default]
    Bind,
    /// A folder that stays from build to build.
    Cache,
    /// A file system in memory.
    Tmpfs,
    /// A secret of the person who builds.
    Secret,
    /// An SSH agent of the person who builds.
    Ssh,
}

impl MountType {
    const ALL: [Self; 5] = [Self::Bind, Self::Cache, Self::Tmpfs, Self::Secret, Self::Ssh];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// How builds at the same time use one cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// All at once.
    #[default]
    Shared,
    /// Each further one gets a new one.
    Private,
    /// One after the other.
    Locked,
}

impl Sharing {
    const ALL: [Self; 3] = [Self::Shared, Self::Private, Self::Locked];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
            Self::Locked => "locked",
        }
    }
}

/// `--mount` as written: its fields, with variables still in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// The fields, `key=value` or a key alone.
    pub fields: Vec<Word>,
    /// The value of `from`, in which there are no variables.
    pub from: Option<Word>,
    /// The flag's value.
    pub span: Span,
}

/// A mount whose variables are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// What.
    pub kind: MountType,
    /// A stage, an image or a named context.
    pub from: Option<String>,
    /// The path in what is mounted, or the secret's name.
    pub source: String,
    /// The path in the step's files, or nothing.
    pub target: String,
    /// Whether the step cannot write.
    pub read_only: bool,
    /// The size of a tmpfs in bytes; 0 where there is no limit.
    pub size: i64,
    /// The name of the cache, the secret or the agent.
    pub id: Option<String>,
    /// How a cache is shared, where that is said.
    pub sharing: Option<Sharing>,
    /// Whether the build fails where the secret or the agent is not there.
    pub required: bool,
    /// The variable that a secret is put into; empty where it has the secret's name.
    pub variable: Option<String>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The flag's value.
    pub span: Span,
}

impl Mount {
    /// The secret's or the agent's name.
    #[must_use]
    pub fn identity(&self) -> &str {
        let last = |path: &str| path.trim_end_matches('/').rfind('/').map_or(0, |at| at + 1);
        match (self.kind, &self.id) {
            (MountType::Ssh, None) => "default",
            (MountType::Secret, _) if !self.source.is_empty() => &self.source,
            (_, Some(id)) if !id.is_empty() => id,
            (MountType::Ssh, _) => "default",
            _ => self.target[last(&self.target)..].trim_end_matches('/'),
        }
    }
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// Takes the value of `--mount` apart.
pub(crate) fn split(word: &Word) -> Result<MountFlag, Located> {
    let fields = fields(word, "mounts")?;
    let mut from = None;
    for field in &fields {
        let Some((key, value)) = field.text.split_once('=') else {
            continue;
        };
        if !key.eq_ignore_ascii_case("from") {
            continue;
        }
        // A `$` at the very end is only a `$`.
        if value.find('$').is_some_and(|at| at + 1 != value.len()) {
            return Err((MountProblem::VariableInFrom.into(), field.span));
        }
        from = Some(part(field, key.len() + 1, value)).filter(|from| !from.text.is_empty());
    }
    Ok(MountFlag {
        fields,
        from,
        span: word.span,
    })
}

impl MountFlag {
    /// The type, where no variable is in it.
    #[must_use]
    pub fn kind(&self) -> Option<MountType> {
        match self.last("type") {
            None => Some(MountType::Bind),
            // A type that nobody knows is refused when the mount is resolved.
            Some(value) => MountType::ALL
                .into_iter()
                .find(|known| known.as_str().eq_ignore_ascii_case(value)),
        }
    }

    /// The target as written.
    #[must_use]
    pub fn target(&self) -> &str {
        let names = ["target", "dst", "destination"];
        names.into_iter().find_map(|name| self.last(name)).unwrap_or_default()
    }

    fn last(&self, key: &str) -> Option<&str> {
        let mut pairs = self.fields.iter().rev().filter_map(|field| field.text.split_once('='));
        pairs
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
    }

    /// The mount, with variables replaced by `expand`.
    pub(crate) fn resolve(&self, expand: &mut dyn FnMut(&Word) -> Result<String, Problem>) -> Result<Mount, Located> {
        let mut mount = Mount {
            span: self.span,
            ..Mount::default()
        };
        let mut read_only = None;
        for field in &self.fields {
            let at = |problem: Problem| (problem, field.span);
            match field.text.split_once('=') {
                None => {
                    let key = field.text.to_lowercase();
                    set_switch(&mut mount, &mut read_only, &key, &field.text).map_err(|problem| at(problem.into()))?;
                }
                Some((name, value)) => {
                    let key = name.to_lowercase();
                    let value = expand(&part(field, name.len() + 1, value)).map_err(at)?;
                    let shown = format!("{name}={value}");
                    set(&mut mount, &mut read_only, &key, value, &shown).map_err(|problem| at(problem.into()))?;
                }
            }
        }
        mount.read_only = read_only.unwrap_or(!matches!(mount.kind, MountType::Cache | MountType::Tmpfs));
        check(&mount).map_err(|problem| (problem.into(), self.span))?;
        Ok(mount)
    }
}

/// A key without a value.
fn set_switch(mount: &mut Mount, read_only: &mut Option<bool>, key: &str, field: &str) -> Result<(), MountProblem> {
    match key {
        "readonly" | "ro" => *read_only = Some(true),
        "readwrite" | "rw" => *read_only = Some(false),
        "required" if matches!(mount.kind, MountType::Secret | MountType::Ssh) => mount.required = true,
        "required" => {
            return Err(MountProblem::KeyOfOtherType {
                key: key.to_owned(),
                mount: mount.kind.as_str(),
            });
        }
        _ => {
            return Err(MountProblem::NoValue {
                field: field.to_owned(),
            });
        }
    }
    Ok(())
}

/// A key with a value. What is allowed depends on the type that was given before it.
fn set(
    mount: &mut Mount,
    read_only: &mut Option<bool>,
    key: &str,
    value: String,
    field: &str,
) -> Result<(), MountProblem> {
    let boolean = |value: &str| {
        parse_bool(value).ok_or_else(|| MountProblem::Value {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    };
    let other_type = |mount: &Mount| MountProblem::KeyOfOtherType {
        key: key.to_owned(),
        mount: mount.kind.as_str(),
    };
    match key {
        "type" => mount.kind = kind(&value)?,
        "from" => mount.from = Some(value).filter(|from| !from.is_empty()),
        "source" | "src" => mount.source = value,
        "target" | "dst" | "destination" => mount.target = value,
        "readonly" | "ro" => *read_only = Some(boolean(&value)?),
        "readwrite" | "rw" => *read_only = Some(!boolean(&value)?),
        "required" if matches!(mount.kind, MountType::Secret | MountType::Ssh) => mount.required = boolean(&value)?,
        "size" if mount.kind == MountType::Tmpfs => {
            mount.size = parse_bytes(&value).map_err(|_| MountProblem::Value {
                key: key.to_owned(),
                value,
            })?;
        }
        "required" | "size" => return Err(other_type(mount)),
        "id" => mount.id = Some(value),
        "sharing" => mount.sharing = Some(sharing(&value)?),
        "mode" => mount.mode = Some(number("mode", &value, 8)?),
        "uid" => mount.uid = Some(number("uid", &value, 10)?),
        "gid" => mount.gid = Some(number("gid", &value, 10)?),
        "env" => mount.variable = Some(value),
        _ => {
            return Err(MountProblem::Key {
                key: key.to_owned(),
                field: field.to_owned(),
                near: Near(nearest(key, KEYS).map(str::to_owned)),
            });
        }
    }
    Ok(())
}

fn kind(value: &str) -> Result<MountType, MountProblem> {
    let found = MountType::ALL
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(value));
    found.ok_or_else(|| MountProblem::Type {
        name: value.to_owned(),
        near: Near(nearest(value, MountType::ALL.map(MountType::as_str)).map(str::to_owned)),
    })
}

fn sharing(value: &str) -> Result<Sharing, MountProblem> {
    let found = Sharing::ALL
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(value));
    found.ok_or_else(|| MountProblem::Sharing {
        name: value.to_owned(),
        near: Near(nearest(value, Sharing::ALL.map(Sharing::as_str)).map(str::to_owned)),
    })
}

fn number(key: &'static str, value: &str, radix: u32) -> Result<u32, MountProblem> {
    // Go takes no sign here.
    let digits = Some(value).filter(|value| !value.starts_with('+'));
    let number = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok());
    number.ok_or_else(|| MountProblem::Number {
        key,
        value: value.to_owned(),
    })
}

fn check(mount: &Mount) -> Result<(), MountProblem> {
    let kind = mount.kind.as_str();
    if matches!(mount.kind, MountType::Bind | MountType::Tmpfs) {
        let owner = [("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)];
        if let Some((key, _)) = owner.into_iter().find(|(_, value)| value.is_some()) {
            return Err(MountProblem::Owner { key, mount: kind });
        }
    }
    if mount.kind == MountType::Secret {
        let unnamed = mount.id.as_ref().is_none_or(String::is_empty);
        if mount.from.is_some() {
            return Err(MountProblem::SecretFrom);
        }
        if mount.sharing.is_some() {
            return Err(MountProblem::SecretSharing);
        }
        if mount.source.is_empty() && mount.target.is_empty() && unnamed {
            return Err(MountProblem::SecretUnnamed);
        }
        if !mount.source.is_empty() && !unnamed {
            return Err(MountProblem::SecretNamedTwice);
        }
    }
    if mount.sharing.is_some() && mount.kind != MountType::Cache {
        return Err(MountProblem::SharingOfOtherType { mount: kind });
    }
    Ok(())
}

/// A device by its CDI name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// `vendor.com/class=name`, or a class alone.
    pub name: String,
    /// Whether the build fails where it is not there.
    pub required: bool,
    /// The flag's value.
    pub span: Span,
}

/// Reads the value of `--device`.
pub(crate) fn device(word: &Word) -> Result<Device, Located> {
    let mut device = Device {
        span: word.span,
        ..Device::default()
    };
    for field in fields(word, "devices")? {
        let at = |problem: MountProblem| (Problem::from(problem), field.span);
        let Some((name, value)) = field.text.split_once('=') else {
            if field.text.eq_ignore_ascii_case("required") {
                device.required = true;
            } else if device.name.is_empty() {
                device.name = field.text;
            } else {
                let field = field.text.clone();
                return Err(at(MountProblem::NoValue { field }));
            }
            continue;
        };
        let key = name.to_lowercase();
        match key.as_str() {
            "name" if !device.name.is_empty() => {
                return Err(at(MountProblem::DeviceNamedTwice { name: device.name }));
            }
            "name" => value.clone_into(&mut device.name),
            "required" => {
                device.required = parse_bool(value).ok_or_else(|| {
                    at(MountProblem::Value {
                        key,
                        value: value.to_owned(),
                    })
                })?;
            }
            // A CDI name has an `=` of its own.
            _ if device.name.is_empty() => device.name = field.text,
            _ => {
                let near = nearest(&key, ["name", "required"]).map(str::to_owned);
                return Err(at(MountProblem::Key {
                    field: field.text.clone(),
                    near: Near(near),
                    key,
                }));
            }
        }
    }
    Ok(device)
}

/// The fields of a line of comma-separated values (RFC 4180).
fn fields(word: &Word, what: &'static str) -> Result<Vec<Word>, Located> {
    let fail = |reason| (MountProblem::Csv { what, reason }.into(), word.span);
    let mut found = Vec::new();
    let text = &word.text;
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut out = String::new();
            let mut inside = quoted;
            let after = loop {
                let end = inside
                    .find('"')
                    .ok_or_else(|| fail("extraneous or missing \" in quoted-field"))?;
                out.push_str(&inside[..end]);
                match inside[end + 1..].strip_prefix('"') {
                    Some(more) => {
                        out.push('"');
                        inside = more;
                    }
                    None => break &inside[end + 1..],
                }
            };
            found.push(word.with(out));
            match after.strip_prefix(',') {
                Some(next) => at = text.len() - next.len(),
                None if after.is_empty() => return Ok(found),
                None => return Err(fail("extraneous or missing \" in quoted-field")),
            }
            continue;
        }
        let end = rest.find(',').unwrap_or(rest.len());
        if rest[..end].contains('"') {
            return Err(fail("bare \" in non-quoted field"));
        }
        found.push(part(word, at, &rest[..end]));
        if end == rest.len() {
            return Ok(found);
        }
        at += end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Word {
        Word {
            text: text.to_owned(),
            span: Span {
                start: 0,
                end: text.len(),
            },
        }
    }

    fn resolve(text: &str) -> Result<Mount, String> {
        let flag = split(&word(text)).map_err(|(problem, _)| problem.to_string())?;
        let out = flag.resolve(&mut |word| Ok(word.text.replace("$x", "cache")));
        out.map_err(|(problem, _)| problem.to_string())
    }

    #[test]
    fn mounts_are_read() {
        let plain = |mount: Mount| Mount {
            span: Span::default(),
            ..mount
        };
        let check = |text: &str, expected: Mount| assert_eq!(resolve(text).map(plain), Ok(expected), "{text}");
        check(
            "target=/a",
            Mount {
                target: "/a".into(),
                read_only: true,
                ..Mount::default()
            },
        );
        check(
            "TYPE=$x,id=npm,dst=/root/.npm,sharing=Locked,uid=1,gid=2,mode=0750,from=base,src=/b",
            Mount {
                kind: MountType::Cache,
                id: Some("npm".into()),
                target: "/root/.npm".into(),
                sharing: Some(Sharing::Locked),
                uid: Some(1),
                gid: Some(2),
                mode: Some(0o750),
                from: Some("base".into()),
                source: "/b".into(),
                ..Mount::default()
            },
        );
        check(
            "type=bind,rw,destination=/a",
            Mount {
                target: "/a".into(),
                ..Mount::default()
            },
        );
        check(
            "type=tmpfs,target=/t,size=10m",
            Mount {
                kind: MountType::Tmpfs,
                target: "/t".into(),
                size: 10 << 20,
                ..Mount::default()
            },
        );
        check(
            "type=secret,id=key,required,env=",
            Mount {
                kind: MountType::Secret,
                id: Some("key".into()),
                required: true,
                variable: Some(String::new()),
                read_only: true,
                ..Mount::default()
            },
        );
        check(
            "\"target=/a,b\",ro=false",
            Mount {
                target: "/a,b".into(),
                ..Mount::default()
            },
        );
    }

    #[test]
    fn secrets_and_agents_have_names() {
        let check = |text: &str, expected: &str| assert_eq!(resolve(text).unwrap().identity(), expected, "{text}");
        check("type=secret,id=a", "a");
        check("type=secret,src=b", "b");
        check("type=secret,target=/run/x/c", "c");
        check("type=secret,target=/run/x/c/", "c");
        check("type=ssh", "default");
        check("type=ssh,id=d", "d");
    }

    #[test]
    fn wrong_mounts_are_refused() {
        let check = |text: &str, expected: &str| assert_eq!(resolve(text).unwrap_err(), expected, "{text}");
        check("type=chace", "unsupported mount type \"chace\" (did you mean cache?)");
        check("type=nfs", "unsupported mount type \"nfs\"");
        check(
            "sharing=lock",
            "unsupported sharing value \"lock\" (did you mean locked?)",
        );
        check(
            "tpye=cache",
            "unexpected key 'tpye' in 'tpye=cache' (did you mean type?)",
        );
        check("target", "invalid field 'target' must be a key=value pair");
        check("", "invalid field '' must be a key=value pair");
        check(
            "from=$x,target=/a",
            "'from' doesn't support variable expansion, define alias stage instead",
        );
        check("type=cache,size=1", "unexpected key 'size' for mount type 'cache'");
        check(
            "type=cache,required",
            "unexpected key 'required' for mount type 'cache'",
        );
        check("type=tmpfs,size=x", "invalid value for size: x");
        check("ro=maybe", "invalid value for ro: maybe");
        check("type=cache,mode=9", "invalid value 9 for mode");
        check("type=cache,uid=-1", "invalid value -1 for uid");
        check("type=cache,gid=99999999999", "invalid value 99999999999 for gid");
        check("uid=1", "uid not allowed for \"bind\" type mounts");
        check("type=tmpfs,mode=700", "mode not allowed for \"tmpfs\" type mounts");
        check("type=secret", "invalid secret mount. one of source, target required");
        check("type=secret,id=a,from=b", "secret mount should not have a from");
        check(
            "type=secret,id=a,sharing=locked",
            "secret mount should not define sharing",
        );
        check("type=secret,id=a,src=b", "both source and id can't be set");
        check("type=ssh,sharing=locked", "invalid cache sharing set for ssh mount");
        check("a\"b=c", "failed to parse csv mounts: bare \" in non-quoted field");
        check(
            "\"a=b",
            "failed to parse csv mounts: extraneous or missing \" in quoted-field",
        );
    }

    #[test]
    fn a_wrong_field_has_its_place() {
        let flag = split(&word("type=cache,uid=x")).unwrap();
        let (_, span) = flag.resolve(&mut |word| Ok(word.text.clone())).unwrap_err();
        assert_eq!((span.start, span.end), (11, 16));
    }

    #[test]
    fn devices_are_read() {
        let check = |text: &str, expected: Result<(&str, bool), &str>| {
            let found = device(&word(text)).map_err(|(problem, _)| problem.to_string());
            let found = found.as_ref().map(|device| (device.name.as_str(), device.required));
            assert_eq!(found.map_err(String::as_str), expected, "{text}");
        };
        check("vendor.com/gpu=all", Ok(("vendor.com/gpu=all", false)));
        check("vendor.com/gpu", Ok(("vendor.com/gpu", false)));
        check("name=vendor.com/gpu=0,required", Ok(("vendor.com/gpu=0", true)));
        check("a/b=c,required=false", Ok(("a/b=c", false)));
        check("a/b=c,name=d", Err("device name already set to a/b=c"));
        check(
            "a/b=c,requird=1",
            Err("unexpected key 'requird' in 'requird=1' (did you mean required?)"),
        );
        check("a/b=c,d", Err("invalid field 'd' must be a key=value pair"));
        check("a/b=c,required=x", Err("invalid value for required: x"));
    }
}
