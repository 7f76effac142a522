//! Very many containers at once.

use crate::machine;

#[test]
fn privileged_flood_of_200_containers() {
    let Some((host, image)) = machine() else { return };
    host.ok(["run", "--rm", &image, "true"]);
    let before = host.traces();
    let commands: Vec<_> = (0..200)
        .map(|_| host.spawn(["run", "-d", &image, "sleep", "10000"]))
        .collect();
    let failed = commands
        .into_iter()
        .filter_map(|mut c| c.wait().unwrap().code().filter(|code| *code != 0))
        .count();
    assert_eq!(failed, 0, "commands that failed");
    let ids = host.ok(["ps", "-q"]);
    let ids: Vec<_> = ids.lines().collect();
    assert_eq!(ids.len(), 200);
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let addresses = host.ok(["inspect", "-f", format].into_iter().chain(ids.iter().copied()));
    let mut addresses: Vec<_> = addresses.lines().collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 200, "each has an address of its own");
    host.ok(["stop", "-t", "0"].into_iter().chain(ids.iter().copied()));
    assert_eq!(host.ok(["ps", "-q"]), "");
    host.ok(["rm"].into_iter().chain(ids.iter().copied()));
    host.assert_clean(&before);
}
