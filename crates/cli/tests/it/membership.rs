//! A normal user's containers live in one user namespace, so that one command can act on all of them.

use std::collections::BTreeSet;

use hull_testkit::host::User;
use hull_testkit::{Host, Image, require_root};

use crate::{HULL, words};

#[test]
fn privileged_containers_started_at_once_share_a_user_namespace() {
    if !require_root() {
        return;
    }
    let user = User {
        id: 12346,
        subordinate: true,
    };
    let host = Host::rootless(HULL, user);
    let Some(image) = host.provide("busybox", &Image::busybox()) else {
        return;
    };
    let run = format!("run -d --network none {image} sleep 1000");
    let started: Vec<_> = (0..6).map(|_| host.spawn(words(&run))).collect();
    for child in started {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let ids = host.ok(["ps", "-q"]);
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 6);
    let namespace = |id: &&str| host.ok(["exec", *id, "readlink", "/proc/self/ns/user"]);
    let namespaces: BTreeSet<String> = ids.iter().map(namespace).collect();
    assert_eq!(namespaces.len(), 1, "{namespaces:?}");
    // One command signals all of them, which it can only in their own namespace.
    let mut stop = vec!["stop", "-t", "0"];
    stop.extend(&ids);
    assert_eq!(host.ok(stop).lines().count(), 6);
    let mut remove = vec!["rm"];
    remove.extend(&ids);
    host.ok(remove);
}
