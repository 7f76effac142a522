//! A normal user, without any set-up.

use hull_testkit::host::User;
use hull_testkit::{Host, Image, require_root, until};

use crate::{HULL, shell, words};

fn check(subordinate: bool) {
    if !require_root() {
        return;
    }
    let host = Host::rootless(HULL, User { id: 12345, subordinate });
    let Some(image) = host.provide("busybox", &Image::busybox()) else {
        return;
    };
    host.ok(words(&format!("run --rm --network none {image} true")));
    let before = host.traces();
    let seen = host.ok(shell(
        &format!("run --rm --network none {image}"),
        "id -u; cat /proc/self/uid_map; ls /sys/class/net; echo $$",
    ));
    let seen: Vec<_> = seen
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!((seen[0].as_str(), seen[1].as_str()), ("0", "0 12345 1"));
    assert_eq!(seen.contains(&"1 200000 65536".to_owned()), subordinate, "{seen:?}");
    assert!(seen.ends_with(&["lo".into(), "1".into()]), "{seen:?}");
    host.ok(words(&format!(
        "run --rm --network host {image} nc 127.0.0.1 {} -e true",
        host.registry().unwrap().port()
    )));
    host.hull(words(&format!("run --rm --network none {image} no-such-program")))
        .fails(127);
    host.ok(shell(
        &format!("run -d --name cc --network none {image}"),
        "echo started; sleep 1000",
    ));
    until("the log", || {
        (host.hull(["logs", "cc"]).stdout == "started\n").then_some(())
    });
    assert!(
        host.ok(["ps", "--format", "{{.Names}} {{.Status}}"])
            .starts_with("cc Up ")
    );
    assert_eq!(host.ok(["exec", "cc", "cat", "/proc/1/comm"]), "sleep");
    host.ok(shell("exec cc", "mkdir /made && echo x > /made/file && rm /etc/passwd"));
    host.ok(["stop", "-t", "0", "cc"]);
    host.ok(["rm", "cc"]);
    host.assert_clean(&before);
}

#[test]
fn privileged_with_subordinate_ids() {
    check(true);
}

#[test]
fn privileged_with_a_single_id() {
    check(false);
}
