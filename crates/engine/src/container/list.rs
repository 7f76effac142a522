//! `ps`: the containers, newest first.

mod gather;

use std::collections::{BTreeMap, HashMap};

use hull_spec::ErrorKind;
use hull_spec::container::{EndpointSettings, LastExit, LiveState, MountPoint, Record, Status};
use hull_store::Access;
use jiff::Timestamp;
use serde::Serialize;

use super::port::{self, Port};
use super::size::Sizes;
use super::status::Look;
use super::{find_id, load, size};
use crate::elapsed;
use crate::filter::Filters;
use crate::{Engine, Error, Result, image, pod};
use gather::{Found, Seen};

/// Which containers to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Also those that do not run.
    pub all: bool,
    /// Only so many of the newest, running or not.
    pub last: Option<usize>,
    /// What they have to match.
    pub filters: Filters,
    /// Whether to measure their files.
    pub size: bool,
}

/// A container in a list: Docker's JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    /// The whole ID.
    pub id: String,
    /// Names, with Docker's leading slash.
    pub names: Vec<String>,
    /// The image's name as it was given.
    pub image: String,
    /// The image's ID.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// Path and arguments.
    pub command: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Bytes of its own layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    /// Bytes of all of its layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What it is doing, in a word.
    pub state: Status,
    /// What it is doing and for how long.
    pub status: String,
    /// Its network mode.
    pub host_config: SummaryHostConfig,
    /// Its networks.
    pub network_settings: SummaryNetworks,
    /// Its mounts.
    pub mounts: Vec<MountPoint>,
    /// The ID of its pod, which Docker has none of.
    #[serde(skip)]
    pub pod: String,
}

/// The part of `HostConfig` that a list shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SummaryHostConfig {
    /// `bridge`, `host`, ..
    pub network_mode: String,
}

/// The part of `NetworkSettings` that a list shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SummaryNetworks {
    /// By name.
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// Lists containers, newest first.
///
/// # Errors
/// If a filter is unknown or malformed, or names a container or an image that is not there; if a record cannot be read.
pub fn list(engine: &Engine, request: &ListRequest) -> Result<Vec<Summary>> {
    let matcher = Matcher::new(engine, request)?;
    let mut found = gather::matching(engine, &matcher, Timestamp::now())?;
    found.sort_by(|a, b| (b.created, &b.summary.id).cmp(&(a.created, &a.summary.id)));
    if let Some(last) = request.last {
        found.truncate(last);
    }
    let mut layers = size::Layers::default();
    let mut images = HashMap::new();
    let shown = |found: Found| {
        let mut out = found.summary;
        // The name may have gone to another image, or away.
        let means = match images.get(&out.image) {
            Some(means) => means,
            None => images
                .entry(out.image.clone())
                .or_insert_with_key(|name| meaning(engine, name)),
        };
        if found.of_image && means.as_ref().is_some_and(|id| *id != out.image_id) {
            out.image.clone_from(&out.image_id);
        }
        if request.size {
            let sizes = match load(engine, &out.id) {
                Ok(record) => layers.container(engine, &record)?,
                // Removed since it was found.
                Err(Error::NoSuchContainer { .. }) => Sizes::default(),
                Err(e) => return Err(e),
            };
            out.size_rw = Some(sizes.rw);
            out.size_root_fs = Some(sizes.root_fs);
        }
        Ok(out)
    };
    found.into_iter().map(shown).collect()
}

/// The ID of the image that a name means now, empty where it means none; `None` where that cannot be told.
fn meaning(engine: &Engine, name: &str) -> Option<String> {
    let store = engine.store(Access::Read).ok()?;
    match hull_store::image::resolve(store, name) {
        Ok(image) => Some(image.id.to_string()),
        Err(e) if e.kind() == ErrorKind::NotFound => Some(String::new()),
        Err(_) => None,
    }
}

/// The filters, checked and made ready.
struct Matcher<'a> {
    all: bool,
    filters: &'a Filters,
    ids: Option<Vec<regex_lite::Regex>>,
    names: Option<Vec<regex_lite::Regex>>,
    exited: Vec<i32>,
    before: Option<(Timestamp, String)>,
    since: Option<(Timestamp, String)>,
    ancestors: Option<Vec<String>>,
    /// Names and IDs of pods.
    pods: Option<Vec<String>>,
    publish: Vec<Span>,
    expose: Vec<Span>,
    none: bool,
}

const KNOWN: [&str; 16] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "pod",
    "publish",
    "since",
    "status",
    "volume",
];

impl<'a> Matcher<'a> {
    fn new(engine: &Engine, request: &'a ListRequest) -> Result<Self> {
        let filters = &request.filters;
        filters.only(&KNOWN)?;
        for status in filters.values("status") {
            let known = [
                "created",
                "restarting",
                "running",
                "removing",
                "paused",
                "exited",
                "dead",
            ];
            if !known.contains(&status.as_str()) {
                return Err(filters.bad("status", status));
            }
        }
        for health in filters.values("health") {
            if !["starting", "healthy", "unhealthy", "none"].contains(&health.as_str()) {
                return Err(Error::Invalid(format!(
                    "unrecognized filter value for health: {health}"
                )));
            }
        }
        let exited = filters
            .values("exited")
            .iter()
            .map(|code| {
                let bad = |_| {
                    Error::Invalid(format!(
                        "invalid filter 'exited={code}': strconv.Atoi: parsing \"{code}\": invalid syntax"
                    ))
                };
                code.parse().map_err(bad)
            })
            .collect::<Result<_>>()?;
        let spans = |name: &str| -> Result<Vec<Span>> {
            let bad = |value: &String| {
                Error::Invalid(format!(
                    "error while looking up for {name} {value}: strconv.ParseUint: parsing \"{value}\": invalid syntax"
                ))
            };
            let read = |value: &String| Span::read(value).ok_or_else(|| bad(value));
            filters.values(name).iter().map(read).collect()
        };
        Ok(Self {
            all: request.all || request.last.is_some() || filters.has("status"),
            filters,
            ids: filters.patterns("id"),
            names: filters.patterns("name"),
            exited,
            before: mark(engine, filters, "before")?,
            since: mark(engine, filters, "since")?,
            ancestors: ancestors(engine, filters)?,
            pods: pods(engine, filters)?,
            publish: spans("publish")?,
            expose: spans("expose")?,
            // No container is a swarm's task, and none has Windows' isolation.
            none: filters.flag("is-task")? == Some(true) || filters.has("isolation"),
        })
    }

    fn matches(&self, seen: &Seen) -> bool {
        let (record, look, filters) = (&seen.record, &seen.look, self.filters);
        let name_matches =
            |re: &regex_lite::Regex| re.is_match(&record.name) || re.is_match(&format!("/{}", record.name));
        let at = (seen.created, record.id.clone());
        !self.none
            && self.names.as_ref().is_none_or(|names| names.iter().any(name_matches))
            && filters.labels(&record.config.labels)
            && filters.is("status", look.status.name())
            && (self.exited.is_empty() || ended_with(look, &self.exited))
            && filters.is(
                "health",
                look.health.as_ref().map_or("none", |health| health.status.as_str()),
            )
            && self.before.as_ref().is_none_or(|mark| at < *mark)
            && self.since.as_ref().is_none_or(|mark| at > *mark)
            && self
                .ancestors
                .as_ref()
                .is_none_or(|images| images.iter().any(|id| id == record.image_id.as_str()))
            && self.pods.as_ref().is_none_or(|pods| in_pod(record, pods))
            && any(filters.values("volume"), |value| has_volume(record, value))
            && any(filters.values("network"), |value| on_network(seen, value))
            && (self.publish.is_empty() || self.publish.iter().any(|span| publishes(record, look, span)))
            && (self.expose.is_empty() || self.expose.iter().any(|span| exposes(record, span)))
    }
}

/// The IDs of the pods that are asked for.
fn pods(engine: &Engine, filters: &Filters) -> Result<Option<Vec<String>>> {
    let names = filters.values("pod");
    if names.is_empty() {
        return Ok(None);
    }
    let id = |name: &String| pod::find(engine, name).map(|pod| pod.id);
    names.iter().map(id).collect::<Result<_>>().map(Some)
}

/// Whether the container is in one of the pods of these IDs.
fn in_pod(record: &Record, pods: &[String]) -> bool {
    record.pod.as_ref().is_some_and(|pod| pods.contains(pod))
}

fn any(values: &[String], test: impl Fn(&str) -> bool) -> bool {
    values.is_empty() || values.iter().any(|value| test(value))
}

/// When the container that `before` or `since` names was created.
fn mark(engine: &Engine, filters: &Filters, name: &str) -> Result<Option<(Timestamp, String)>> {
    let Some(container) = filters.values(name).last() else {
        return Ok(None);
    };
    let record = load(engine, &find_id(engine, container)?)?;
    Ok(Some((elapsed::moment(&record.created).unwrap_or_default(), record.id)))
}

/// The IDs of the images that `ancestor` names. An unknown image has no containers.
fn ancestors(engine: &Engine, filters: &Filters) -> Result<Option<Vec<String>>> {
    if !filters.has("ancestor") {
        return Ok(None);
    }
    filters
        .values("ancestor")
        .iter()
        .filter_map(|name| image::id(engine, name).transpose())
        .collect::<Result<_>>()
        .map(Some)
}

fn ended_with(look: &Look, codes: &[i32]) -> bool {
    look.status == Status::Exited && look.exit.as_ref().is_some_and(|exit| codes.contains(&exit.exit_code))
}

fn has_volume(record: &Record, value: &str) -> bool {
    record.mounts.iter().any(|mount| {
        let source = if mount.name.is_empty() {
            &mount.source
        } else {
            &mount.name
        };
        source == value || mount.destination == value
    })
}

fn on_network(seen: &Seen, value: &str) -> bool {
    networks(&seen.record, seen.look.live.as_ref())
        .iter()
        .any(|(name, endpoint)| name == value || (!value.is_empty() && endpoint.network_id.starts_with(value)))
}

fn publishes(record: &Record, look: &Look, span: &Span) -> bool {
    if let Some(live) = &look.live {
        return port::ports(record, live)
            .iter()
            .any(|port| port.public_port != 0 && span.holds(port.public_port, &port.protocol));
    }
    record.host_config.port_bindings.iter().any(|(key, bindings)| {
        let protocol = port::parse(key).map_or("tcp", |(_, protocol)| protocol);
        bindings.iter().flatten().any(|binding| {
            binding
                .host_port
                .parse()
                .is_ok_and(|public| span.holds(public, protocol))
        })
    })
}

fn exposes(record: &Record, span: &Span) -> bool {
    record
        .config
        .exposed_ports
        .keys()
        .chain(record.host_config.port_bindings.keys())
        .filter_map(|key| port::parse(key))
        .any(|(private, protocol)| span.holds(private, protocol))
}

/// `port[-port][/protocol]`.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    first: u16,
    last: u16,
    protocol: String,
}

impl Span {
    fn read(text: &str) -> Option<Self> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && ["tcp", "udp", "sctp"].contains(&protocol)).then(|| Self {
            first,
            last,
            protocol: protocol.to_owned(),
        })
    }

    fn holds(&self, port: u16, protocol: &str) -> bool {
        (self.first..=self.last).contains(&port) && self.protocol == protocol
    }
}

/// A container's networks: where it runs as it got them, otherwise as it will.
pub(crate) fn networks(record: &Record, live: Option<&LiveState>) -> BTreeMap<String, EndpointSettings> {
    if let Some(live) = live.filter(|live| !live.networks.is_empty()) {
        return live.networks.clone();
    }
    let mode = network_name(&record.host_config.network_mode);
    if mode.starts_with("container:") {
        return BTreeMap::new();
    }
    let asked = &record.networking_config.endpoints_config;
    let mut out: BTreeMap<_, _> = asked
        .iter()
        .map(|(name, e)| (network_name(name).to_owned(), e.clone().unwrap_or_default()))
        .collect();
    out.entry(mode.to_owned()).or_default();
    out
}

/// The network that a mode means.
pub(crate) fn network_name(mode: &str) -> &str {
    match mode {
        "" | "default" => "bridge",
        mode => mode,
    }
}

fn summary(seen: Seen, now: Timestamp) -> Summary {
    let Seen { record, look, created } = seen;
    let live = look.live.as_ref();
    Summary {
        names: vec![format!("/{}", record.name)],
        image_id: record.image_id.to_string(),
        command: command(&record),
        created: created.as_second(),
        ports: live.map(|live| port::ports(&record, live)).unwrap_or_default(),
        size_rw: None,
        size_root_fs: None,
        state: look.status,
        status: status_text(&look, now),
        host_config: SummaryHostConfig {
            network_mode: network_name(&record.host_config.network_mode).to_owned(),
        },
        network_settings: SummaryNetworks {
            networks: networks(&record, live),
        },
        id: record.id,
        image: record.config.image,
        labels: record.config.labels,
        mounts: record.mounts,
        pod: record.pod.unwrap_or_default(),
    }
}

/// Path and arguments; an argument with a space in it is put into quotes, as Docker does.
fn command(record: &Record) -> String {
    let (path, args) = argv(record);
    let mut out = path.to_owned();
    for arg in args {
        out.push(' ');
        if arg.contains(' ') {
            out.push('\'');
            out.push_str(arg);
            out.push('\'');
        } else {
            out.push_str(arg);
        }
    }
    out
}

/// The program and its arguments.
pub(crate) fn argv(record: &Record) -> (&str, Vec<&str>) {
    let all = record
        .config
        .entrypoint
        .iter()
        .flatten()
        .chain(record.config.cmd.iter().flatten());
    let mut all = all.map(String::as_str);
    (all.next().unwrap_or_default(), all.collect())
}

/// What it is doing and for how long, as Docker says it: `Up 2 hours (Paused)`, `Exited (0) 3 minutes ago`.
#[must_use]
pub fn status_text(look: &Look, now: Timestamp) -> String {
    let started = look
        .live
        .as_ref()
        .map(|live| elapsed::since(&live.started_at, now))
        .unwrap_or_default();
    let ended = |exit: &LastExit| (exit.exit_code, elapsed::since(&exit.finished_at, now));
    match (look.status, look.exit.as_ref().map(ended)) {
        (Status::Running, _) => match look.health.as_ref().map(|health| health.status.as_str()) {
            None => format!("Up {started}"),
            Some("starting") => format!("Up {started} (health: starting)"),
            Some(health) => format!("Up {started} ({health})"),
        },
        (Status::Paused, _) => format!("Up {started} (Paused)"),
        (Status::Restarting, Some((code, ago))) => format!("Restarting ({code}) {ago} ago"),
        (Status::Restarting, None) => "Restarting".to_owned(),
        (Status::Removing, _) => "Removal In Progress".to_owned(),
        (Status::Dead, _) => "Dead".to_owned(),
        (Status::Exited, Some((code, ago))) if ago.is_empty() => format!("Exited ({code})"),
        (Status::Exited, Some((code, ago))) => format!("Exited ({code}) {ago} ago"),
        (Status::Created | Status::Exited, _) => "Created".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_read_as_dockers() {
        let live = LiveState {
            pid: 1,
            start_ticks: 1,
            monitor_pid: 1,
            started_at: "2024-05-01T10:00:00.5Z".to_owned(),
            restarting: false,
            restarts: 0,
            streams: [0; 2],
            cgroups: Vec::new(),
            networks: BTreeMap::new(),
            ports: BTreeMap::new(),
        };
        let exit = LastExit {
            exit_code: 137,
            finished_at: "2024-05-01T09:00:00Z".to_owned(),
            ..LastExit::default()
        };
        let now = "2024-05-01T10:00:06Z".parse().unwrap();
        let check = |status, live: Option<&LiveState>, exit: Option<&LastExit>, expected: &str| {
            let look = Look {
                status,
                live: live.cloned(),
                exit: exit.cloned(),
                monitored: false,
                health: None,
            };
            assert_eq!(status_text(&look, now), expected);
        };
        check(Status::Created, None, None, "Created");
        check(Status::Running, Some(&live), None, "Up 5 seconds");
        check(Status::Running, Some(&live), Some(&exit), "Up 5 seconds");
        check(Status::Paused, Some(&live), None, "Up 5 seconds (Paused)");
        check(
            Status::Restarting,
            Some(&live),
            Some(&exit),
            "Restarting (137) About an hour ago",
        );
        check(Status::Exited, None, Some(&exit), "Exited (137) About an hour ago");
        check(Status::Exited, None, Some(&LastExit::default()), "Exited (0)");
        check(Status::Removing, None, None, "Removal In Progress");
    }

    #[test]
    fn spans_of_ports_are_read() {
        let span = |first, last, protocol: &str| {
            Some(Span {
                first,
                last,
                protocol: protocol.to_owned(),
            })
        };
        for (text, expected) in [
            ("80", span(80, 80, "tcp")),
            ("80/udp", span(80, 80, "udp")),
            ("80-90/sctp", span(80, 90, "sctp")),
            ("90-80", None),
            ("80/http", None),
            ("", None),
            ("-", None),
            ("65536", None),
        ] {
            assert_eq!(Span::read(text), expected, "{text}");
        }
    }
}
