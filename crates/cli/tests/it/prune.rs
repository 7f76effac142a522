//! What takes how much of the disk, and getting it back.

use hull_testkit::{Host, Image, Layer, require_root};

use crate::{HULL, machine, shell, words};

#[test]
fn privileged_stopped_containers_go_and_running_ones_stay() {
    let Some((host, image)) = machine() else { return };
    let run = host.ok(words(&format!("run -d --name runs {image} sleep 1000")));
    let made = host.ok(words(&format!("create --name made {image} true")));
    host.ok(shell(
        &format!("run --name ended --label keep=no {image}"),
        "echo hello > /six",
    ));
    let ended = host.ok(["inspect", "-f", "{{.Id}}", "ended"]);
    let asked = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ";
    let no = host.hull_with_input(["container", "prune"], b"n\n");
    assert_eq!((no.code(), no.stdout.as_str()), (0, asked));
    assert_eq!(host.hull_with_input(["container", "prune"], b"").stdout, asked);
    let left = host.ok(["container", "prune", "-f", "--filter", "label=keep=yes"]);
    assert_eq!(left, "Total reclaimed space: 0B");
    let left = host.ok(["container", "prune", "-f", "--filter", "until=1h"]);
    assert_eq!(left, "Total reclaimed space: 0B");
    let yes = host
        .hull_with_input(["container", "prune", "--filter", "label!=keep"], b"y\n")
        .ok();
    let gone = format!("{asked}Deleted Containers:\n{made}\n\nTotal reclaimed space: 0B\n");
    assert_eq!(yes.stdout, gone);
    let gone = host.ok(["container", "prune", "--force"]);
    assert_eq!(
        gone,
        format!("Deleted Containers:\n{ended}\n\nTotal reclaimed space: 6B")
    );
    assert_eq!(host.ok(["ps", "-aq", "--no-trunc"]), run);
    host.hull(["container", "prune", "-f", "--filter", "until=foo"])
        .fails(1)
        .says("failed to parse value as time or duration: \"foo\"");
    host.hull(["container", "prune", "-f", "--filter", "nosuch=x"])
        .fails(1)
        .says("invalid filter 'nosuch'");
    host.ok(["rm", "-f", "runs"]);
}

#[test]
fn privileged_unused_images_go_and_used_ones_stay() {
    if !require_root() {
        return;
    }
    let host = Host::new(HULL);
    let extra = |content: &[u8]| Image::busybox().layer(Layer::build().file("extra", 0o644, content).gzip());
    let (Some(used), Some(unused)) = (
        host.provide("used", &Image::busybox()),
        host.provide("unused", &extra(&[b'x'; 5000])),
    ) else {
        return;
    };
    host.ok(words(&format!("create --name aa {used} true")));
    // Both have tags: none dangles.
    assert_eq!(host.ok(["image", "prune", "-f"]), "Total reclaimed space: 0B");
    let df = host.ok(["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]);
    assert_eq!(df, "Images 2 1\nContainers 1 0\nLocal Volumes 0 0\nBuild Cache 0 0");
    let shared = host.ok([
        "system",
        "df",
        "-v",
        "--format",
        "{{range .Images}}{{.Containers}} {{.UniqueSize}}\n{{end}}",
    ]);
    let mut rows: Vec<&str> = shared.lines().collect();
    rows.sort_unstable();
    assert_eq!(rows, ["0 5kB", "1 0B"]);
    let gone = host.ok(["image", "prune", "-a", "-f"]);
    assert!(
        gone.starts_with(&format!("Deleted Images:\nuntagged: {unused}\n")),
        "{gone}"
    );
    assert!(gone.ends_with("\n\nTotal reclaimed space: 5kB"), "{gone}");
    assert!(gone.contains("\ndeleted: sha256:"), "{gone}");
    assert_eq!(host.ok(["images", "-q"]).lines().count(), 1);
    host.ok(["rm", "aa"]);
    host.ok(["create", "--name", "bb", &used, "true"]);
    host.ok(["rm", "bb"]);
}

#[test]
fn privileged_a_system_prune_takes_all_that_is_unused() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!(
        "create -v /anonymous -v named:/n --name aa {image} true"
    )));
    host.hull(["system", "prune", "--volumes", "--filter", "until=1h"])
        .fails(1)
        .says("The \"until\" filter is not supported with \"--volumes\"");
    let asked = host
        .hull_with_input(["system", "prune", "-a", "--volumes"], b"no\n")
        .ok();
    assert!(
        asked.stdout.starts_with("WARNING! This will remove:\n  - all stopped"),
        "{asked:?}"
    );
    assert_eq!(host.ok(["system", "df", "--format", "{{.TotalCount}}"]), "1\n1\n2\n0");
    let gone = host.ok(["system", "prune", "-a", "-f", "--volumes"]);
    let titles: Vec<&str> = gone.lines().filter(|line| line.starts_with("Deleted")).collect();
    assert_eq!(
        titles,
        ["Deleted Containers:", "Deleted Volumes:", "Deleted Images:"],
        "{gone}"
    );
    // The volume with a name stays.
    assert_eq!(host.ok(["system", "df", "--format", "{{.TotalCount}}"]), "0\n0\n1\n0");
    let told = host.ok([
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "event=prune",
        "--format",
        "{{.Type}}",
    ]);
    assert_eq!(told, "container\nvolume\nimage");
    assert_eq!(host.ok(["system", "prune", "-f"]), "Total reclaimed space: 0B");
}

#[test]
fn privileged_df_counts_on_a_machine_that_has_nothing() {
    if !require_root() {
        return;
    }
    let host = Host::new(HULL);
    let none = host.ok(["system", "df"]);
    assert!(
        none.contains("Images          0         0         0B        0B\n"),
        "{none}"
    );
    assert_eq!(
        host.ok(["system", "prune", "-af", "--volumes"]),
        "Total reclaimed space: 0B"
    );
}
