//! Quadlet: files that say which containers systemd is to run, made into units of systemd. Pure: text in, text out.
//!
//! The files are Podman's (`podman-systemd.unit(5)`): `.container`, `.pod`, `.volume` and `.image` become services whose
//! commands are hull's own; what hull has no command for yet, `.network`, `.build` and `.kube`, is reported. Every key is
//! mapped or reported with its file and line: a unit that lacks what its file asks for is not written.
//!
//! A container's service runs `hull run` in the foreground, which is its main process: it tells systemd when the
//! container runs, passes output on to the journal and ends with the container's exit code.

mod container;
mod keys;
mod pod;
mod store;
mod unit;
mod words;

use std::collections::BTreeMap;

pub(crate) use unit::Unit;

/// What the files are made into units with.
pub(crate) struct Surroundings<'a> {
    /// The path of hull.
    pub(crate) program: &'a str,
    /// Whether the units are a user's.
    pub(crate) user: bool,
    /// Whether a file of the host is there.
    pub(crate) exists: &'a dyn Fn(&str) -> bool,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its name, such as `web.container`.
    pub(crate) name: String,
    /// Its path, for messages and `SourcePath=`.
    pub(crate) path: String,
    /// Its content, with that of its drop-ins after it.
    pub(crate) unit: Unit,
}

/// A unit for systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// `web.service`.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
    /// Links to it, below the folder of units.
    pub(crate) links: Vec<String>,
}

/// The kinds of files.
const KINDS: [&str; 7] = ["container", "pod", "volume", "image", "network", "build", "kube"];

/// Whether a file of this name is one of ours.
pub(crate) fn is_source(name: &str) -> bool {
    split(name).is_some()
}

/// Name and kind.
fn split(name: &str) -> Option<(&str, &str)> {
    let (stem, kind) = name.rsplit_once('.')?;
    (KINDS.contains(&kind) && !stem.is_empty() && !stem.starts_with('.')).then_some((stem, kind))
}

/// Makes a unit of each file. What is wrong with which file comes second.
pub(crate) fn generate(sources: &[Source], around: &Surroundings<'_>) -> (Vec<Service>, Vec<String>) {
    let all = All::read(sources);
    let mut services = Vec::new();
    let mut errors = Vec::new();
    for source in sources {
        match one(source, &all, around) {
            Ok(service) => services.push(service),
            Err(error) => errors.push(format!("{}: {error}", source.path)),
        }
    }
    (services, errors)
}

fn one(source: &Source, all: &All<'_>, around: &Surroundings<'_>) -> Result<Service, String> {
    let Some((stem, kind)) = split(&source.name) else {
        return Err("its name says no kind".to_owned());
    };
    let mut unit = source.unit.clone();
    let section = section(kind);
    if !unit.has(&section) {
        return Err(format!("it has no section [{section}]"));
    }
    match kind {
        "container" => container::make(&mut unit, source, all, around)?,
        "pod" => pod::make(&mut unit, stem, all, around)?,
        "volume" => store::volume(&mut unit, stem, around)?,
        "image" => store::image(&mut unit, around)?,
        kind => return Err(format!("hull has no command for .{kind} files yet")),
    }
    let unknown = unit
        .sections()
        .find(|name| KINDS.iter().any(|kind| self::section(kind) == *name) && *name != section);
    if let Some(unknown) = unknown {
        return Err(format!("a .{kind} file has no section [{unknown}]"));
    }
    unit.rename(&section, &format!("X-{section}"));
    unit.set("Unit", "SourcePath", &source.path);
    let dependencies = unit.last("Quadlet", "DefaultDependencies").map(str::to_owned);
    if dependencies.as_deref().map_or(Ok(true), keys::boolean)? && !around.user {
        unit.prepend("Unit", "After", "network-online.target");
        unit.prepend("Unit", "Wants", "network-online.target");
    }
    unit.remove("Quadlet");
    let name = service_name(stem, kind, &source.unit);
    Ok(Service {
        links: links(&unit, &name),
        text: unit.text(),
        name,
    })
}

/// `Container` for `container`.
fn section(kind: &str) -> String {
    let mut chars = kind.chars();
    chars
        .next()
        .map(|c| c.to_ascii_uppercase())
        .into_iter()
        .chain(chars)
        .collect()
}

/// The unit's name: containers keep theirs, the others carry their kind.
fn service_name(stem: &str, kind: &str, unit: &Unit) -> String {
    let given = unit.last(&section(kind), "ServiceName").filter(|name| !name.is_empty());
    match (given, kind) {
        (Some(name), _) => format!("{name}.service"),
        (None, "container" | "kube") => format!("{stem}.service"),
        // The kind stands before the instance: `name-volume@.service`.
        (None, kind) => match stem.split_once('@') {
            Some((name, instance)) => format!("{name}-{kind}@{instance}.service"),
            None => format!("{stem}-{kind}.service"),
        },
    }
}

/// The links that `[Install]` asks for: a generator makes them itself.
fn links(unit: &Unit, name: &str) -> Vec<String> {
    let mut out = Vec::new();
    let plain = |word: &String| !word.contains('/') && !word.is_empty();
    for alias in unit.words("Install", "Alias").into_iter().filter(plain) {
        out.push(alias);
    }
    let mut target = name.to_owned();
    if let Some((stem, "")) = name.strip_suffix(".service").and_then(|n| n.split_once('@')) {
        // A template is wanted by nobody, but its default instance is.
        match unit.last("Install", "DefaultInstance") {
            Some(instance) if !instance.contains('/') => target = format!("{stem}@{instance}.service"),
            _ => return out,
        }
    }
    for (key, folder) in [
        ("WantedBy", "wants"),
        ("RequiredBy", "requires"),
        ("UpheldBy", "upholds"),
    ] {
        for other in unit.words("Install", key).into_iter().filter(plain) {
            out.push(format!("{other}.{folder}/{target}"));
        }
    }
    out
}

/// What the files are called, for those that name one another.
struct All<'a>(BTreeMap<&'a str, &'a Source>);

impl<'a> All<'a> {
    fn read(sources: &'a [Source]) -> Self {
        Self(sources.iter().map(|source| (source.name.as_str(), source)).collect())
    }

    /// The file that `name` is, such as `data.volume`, and the unit that is made of it.
    fn find(&self, name: &str) -> Result<(&'a Source, String), String> {
        let found = self
            .0
            .get(name)
            .or_else(|| {
                // An instance comes from its template.
                let (stem, kind) = split(name)?;
                self.0.get(format!("{}@.{kind}", stem.split_once('@')?.0).as_str())
            })
            .ok_or_else(|| format!("requested Quadlet unit {name} was not found"))?;
        let (stem, kind) = split(name).unwrap_or_default();
        Ok((found, service_name(stem, kind, &found.unit)))
    }

    /// What `source` is called in hull: by `key`, or after its file.
    fn resource(source: &Source, key: &str) -> String {
        let (stem, kind) = split(&source.name).unwrap_or_default();
        match source.unit.last(&section(kind), key).filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => format!("systemd-{stem}"),
        }
    }

    /// The `.container` files in pod file `pod`.
    fn members(&self, pod: &str) -> Vec<(&'a Source, String)> {
        let members = self
            .0
            .values()
            .filter(|source| source.unit.last("Container", "Pod") == Some(pod));
        members
            .filter_map(|source| {
                let (stem, kind) = split(&source.name)?;
                Some((*source, service_name(stem, kind, &source.unit)))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
