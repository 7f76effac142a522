//! Docker's filters of events.

use hull_spec::Reference;
use hull_spec::event::Event;

use crate::Result;
use crate::filter::Filters;

/// All filters. Those of a swarm, of plugins and of a daemon find what bears such a name, which here is nothing of their
/// kind. `pod` is Podman's.
const KNOWN: [&str; 15] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "pod",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Filters that compare the beginning of the actor's ID or name, whatever kind the actor is of.
const BY_NAME: [&str; 10] = [
    "config",
    "container",
    "daemon",
    "network",
    "node",
    "plugin",
    "pod",
    "secret",
    "service",
    "volume",
];

/// Actions that are followed by a command line or a state: asked for by their names they are found with it.
const OPEN: [&str; 3] = ["health_status", "exec_create", "exec_start"];

/// Refuses a filter that does not exist.
pub(super) fn check(filters: &Filters) -> Result<()> {
    filters.only(&KNOWN)
}

/// Whether an event is one of those that are asked for.
pub(super) fn matches(filters: &Filters, event: &Event) -> bool {
    let name = event.actor.attributes.get("name").map_or("", String::as_str);
    let named = |filter: &&str| begins(filters, filter, &event.actor.id) || begins(filters, filter, name);
    let open = filters
        .values("event")
        .iter()
        .any(|value| OPEN.contains(&value.as_str()));
    let action = if open {
        begins(filters, "event", &event.action)
    } else {
        filters.is("event", &event.action)
    };
    action
        && filters.is("type", &event.kind)
        && filters.is("scope", &event.scope)
        && BY_NAME.iter().all(named)
        && image(filters, event)
        && filters.labels(&event.actor.attributes)
}

/// Whether a value of `filter` is the beginning of `text`, or there are none.
fn begins(filters: &Filters, filter: &str, text: &str) -> bool {
    let values = filters.values(filter);
    values.is_empty() || values.iter().any(|value| text.starts_with(value.as_str()))
}

/// An image's own events and those of its containers, by ID or name, with or without the tag.
fn image(filters: &Filters, event: &Event) -> bool {
    if !filters.has("image") {
        return true;
    }
    let attribute = if event.kind == "image" { "name" } else { "image" };
    let name = event.actor.attributes.get(attribute).map_or("", String::as_str);
    [event.actor.id.as_str(), name].into_iter().any(|text| {
        let bare = text.parse::<Reference>().map(|reference| reference.familiar_name());
        filters.is("image", text) || bare.is_ok_and(|bare| filters.is("image", &bare))
    })
}

#[cfg(test)]
mod tests {
    use hull_spec::event::Kind;

    use super::*;

    #[test]
    fn filters_are_dockers() {
        let container = Event::new(Kind::Container, "exec_create: ls -l", "c0ffee", 1)
            .with("name", "web")
            .with("image", "busybox:1")
            .with("tier", "front");
        let network = Event::new(Kind::Network, "connect", "feed", 1)
            .with("name", "bridge")
            .with("container", "c0ffee");
        let image = Event::new(Kind::Image, "pull", "busybox:1", 1).with("name", "busybox");
        let check = |given: &[&str], expected: [bool; 3]| {
            let mut filters = Filters::new();
            for (name, value) in given.iter().filter_map(|g| g.split_once('=')) {
                filters.add(name, value);
            }
            super::check(&filters).unwrap();
            let found = [&container, &network, &image].map(|event| matches(&filters, event));
            assert_eq!(found, expected, "{given:?}");
        };
        check(&[], [true, true, true]);
        check(&["type=container"], [true, false, false]);
        check(&["type=container", "type=image"], [true, false, true]);
        check(&["event=exec_create"], [true, false, false]);
        check(&["event=exec_create: ls -l"], [true, false, false]);
        check(&["event=conn"], [false, false, false]);
        check(&["event=conn", "event=exec_start"], [false, true, false]);
        check(&["container=web"], [true, false, false]);
        check(&["container=c0"], [true, false, false]);
        check(&["container=eb"], [false, false, false]);
        check(&["network=bri"], [false, true, false]);
        check(&["volume=web"], [true, false, false]);
        check(&["image=busybox"], [true, false, true]);
        check(&["image=busybox:1"], [true, false, true]);
        check(&["image=busy"], [false, false, false]);
        check(&["label=tier"], [true, false, false]);
        check(&["label=tier=front", "label=x"], [false, false, false]);
        check(&["scope=local"], [true, true, true]);
        check(&["scope=swarm"], [false, false, false]);
        check(&["node=n"], [false, false, false]);
        check(
            &["daemon=d", "secret=s", "service=v", "config=c", "plugin=p"],
            [false; 3],
        );
        let mut unknown = Filters::new();
        unknown.add("nosuch", "x");
        assert!(super::check(&unknown).is_err());
    }
}
