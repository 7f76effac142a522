//! What happened, in the shape of Docker Engine API's `GET /events`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::container::{Record, is_zero};

/// What kind of thing something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// A pod.
    Pod,
    /// The build cache.
    Builder,
}

impl Kind {
    /// Docker's word for it; `pod` is Podman's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Pod => "pod",
            Self::Builder => "builder",
        }
    }
}

/// One event. The order of the fields is that of Docker's JSON, the duplicates among them included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The action again, of containers and images.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// The actor's ID again, of containers and images.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// A container's image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// A [`Kind`]'s name, or one that a later hull has written.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What happened: `start`, `exec_create: CMD`, `health_status: healthy`.
    #[serde(rename = "Action")]
    pub action: String,
    /// To whom.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`: there is no swarm.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(default, rename = "timeNano", skip_serializing_if = "is_zero")]
    pub time_nano: i64,
}

/// Whom an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Actor {
    /// A container's or network's ID, a volume's name, an image's ID or name; empty for what is about many.
    #[serde(rename = "ID")]
    pub id: String,
    /// What else is known: of containers the image, the name and all labels.
    #[serde(default, deserialize_with = "crate::container::null_default")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// An event at `nanos`, in nanoseconds since 1970.
    #[must_use]
    pub fn new(kind: Kind, action: &str, id: &str, nanos: i64) -> Self {
        let doubled = matches!(kind, Kind::Container | Kind::Image);
        let double = |text: &str| if doubled { text.to_owned() } else { String::new() };
        Self {
            status: double(action),
            id: double(id),
            from: String::new(),
            kind: kind.name().to_owned(),
            action: action.to_owned(),
            actor: Actor {
                id: id.to_owned(),
                attributes: BTreeMap::new(),
            },
            scope: "local".to_owned(),
            time: nanos.div_euclid(1_000_000_000),
            time_nano: nanos,
        }
    }

    /// An event of a container: its labels, its image and its name are the attributes. A label called `image` or `name`
    /// gives way.
    #[must_use]
    pub fn container(record: &Record, action: &str, nanos: i64) -> Self {
        let mut event = Self::new(Kind::Container, action, &record.id, nanos);
        event.from.clone_from(&record.config.image);
        event.actor.attributes = container_attributes(record);
        event
    }

    /// The event with a further attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.actor.attributes.insert(name.to_owned(), value.into());
        self
    }
}

/// The attributes that each event of a container has.
#[must_use]
pub fn container_attributes(record: &Record) -> BTreeMap<String, String> {
    let mut attributes = record.config.labels.clone();
    if !record.config.image.is_empty() {
        attributes.insert("image".to_owned(), record.config.image.clone());
    }
    attributes.insert("name".to_owned(), record.name.clone());
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_dockers_json() {
        let check = |event: Event, expected: &str| {
            assert_eq!(serde_json::to_string(&event).unwrap(), expected);
            assert_eq!(serde_json::from_str::<Event>(expected).unwrap(), event);
        };
        // As `docker events --format json` of Docker 26 prints them.
        check(
            Event::new(Kind::Volume, "create", "v", 1_795_526_750_781_386_946).with("driver", "local"),
            r#"{"Type":"volume","Action":"create","Actor":{"ID":"v","Attributes":{"driver":"local"}},"scope":"local","time":1795526750,"timeNano":1795526750781386946}"#,
        );
        check(
            Event::new(Kind::Image, "prune", "", 1_795_526_761_651_083_690).with("reclaimed", "0"),
            r#"{"status":"prune","Type":"image","Action":"prune","Actor":{"ID":"","Attributes":{"reclaimed":"0"}},"scope":"local","time":1795526761,"timeNano":1795526761651083690}"#,
        );
    }

    #[test]
    fn labels_do_not_hide_the_name() {
        let text = r#"{"Id":"c","Name":"n","Created":"","ImageId":"sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "Manifest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","Layers":[],"Platform":"linux/amd64",
            "Config":{"Image":"busybox","Labels":{"a":"b","name":"x","image":"y"}},"HostConfig":{},"NetworkingConfig":{},"Mounts":[]}"#;
        let record: Record = serde_json::from_str(text).unwrap();
        let event = Event::container(&record, "start", -1).with("signal", "9");
        let pairs: Vec<_> = event.actor.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(pairs, ["a=b", "image=busybox", "name=n", "signal=9"]);
        assert_eq!(
            (event.from.as_str(), event.status.as_str(), event.time),
            ("busybox", "start", -1)
        );
    }
}
