//! `login`, `logout` and `search`; and what the store gives up by itself.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use hull_testkit::registry::{Login, Registry};
use hull_testkit::{Host, Image, Layer, Run, require_root};

use crate::{HULL, machine};

fn config(host: &Host) -> String {
    std::fs::read_to_string(host.path("home/.docker/config.json")).unwrap_or_default()
}

#[test]
fn privileged_a_login_opens_a_registry_and_a_logout_closes_it() {
    if !require_root() {
        return;
    }
    let host = Host::new(HULL);
    let registry = host.within(Registry::start);
    registry.image("app", "1", &Image::busybox());
    let (server, image) = (registry.address().to_string(), registry.name("app:1"));
    for login in [Login::basic("u", "p"), Login::token("u", "p")] {
        registry.require(login);
        host.hull(["pull", "-q", &image]).fails(1);
        let wrong = host.hull_with_input(["login", "-u", "u", "--password-stdin", &server], b"wrong");
        wrong.fails(1).says("nauthorized");
        assert!(!config(&host).contains("\"auth\""), "what is not accepted is not kept");
        registry.forget();
        let login = host
            .hull_with_input(["login", "-u", "u", "--password-stdin", &server], b"p\n")
            .ok();
        assert_eq!(login.stdout, "Login Succeeded\n");
        assert!(login.stderr.contains("stored unencrypted in"), "{login:?}");
        assert!(registry.seen("/token").iter().all(|seen| !seen.path.contains("scope=")));
        let mode = std::fs::metadata(host.path("home/.docker/config.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        host.ok(["pull", "-q", &image]);
        // What is kept is tried before anybody is asked.
        assert_eq!(host.ok(["login", &server]), "Login Succeeded");
        assert_eq!(
            host.ok(["logout", &server]),
            format!("Removing login credentials for {server}")
        );
        assert!(!config(&host).contains(&server), "{}", config(&host));
        host.ok(["logout", &server]);
        host.ok(["rmi", &image]);
        host.hull(["pull", "-q", &image]).fails(1);
        host.hull(["login", &server]).fails(1).says("non TTY device");
    }
}

#[test]
fn privileged_logins_are_refused_in_dockers_words() {
    if !require_root() {
        return;
    }
    let host = Host::new(HULL);
    let registry = host.within(Registry::start);
    registry.require(Login::basic("u", "p"));
    let server = registry.address().to_string();
    host.hull(["login", "--password-stdin", "x"])
        .fails(1)
        .says("Must provide --username with --password-stdin");
    host.hull(["login", "-u", "u", "-p", "p", "--password-stdin", "x"])
        .fails(1)
        .says("--password and --password-stdin are mutually exclusive");
    let open = host.hull(["login", "-u", "u", "-p", "p", &server]).ok();
    assert!(
        open.stderr.contains("Using --password via the CLI is insecure"),
        "{open:?}"
    );
    host.hull(["login", "-u", "u", "-p", "p", "127.0.0.1:1"]).fails(1);
    // Where there is a helper nothing is written down, also where it fails.
    let helper = host.path("home/docker-credential-sick");
    std::fs::write(&helper, "#!/bin/sh\necho the keyring is locked\nexit 1\n").unwrap();
    std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(host.path("home/.docker/config.json"), r#"{"credsStore":"sick"}"#).unwrap();
    let mut command = host.hull_command(["login", "-u", "u", "-p", "p", &server]);
    command.env("PATH", format!("{}:/usr/bin:/bin", host.path("home").display()));
    Run::of(&mut command).fails(1).says("the keyring is locked");
    assert_eq!(config(&host), r#"{"credsStore":"sick"}"#);
}

#[test]
fn privileged_a_registrys_catalogue_is_searched() {
    if !require_root() {
        return;
    }
    let host = Host::new(HULL);
    for name in ["tools/one", "tools/two", "other"] {
        if host.provide(name, &Image::busybox()).is_none() {
            return;
        }
    }
    let registry = host.registry().unwrap();
    let found = host.ok(["search", "--format", "{{.Name}}", &format!("{registry}/tools")]);
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [format!("{registry}/tools/one"), format!("{registry}/tools/two")]
    );
    assert_eq!(
        host.ok(["search", "--limit", "1", "-f", "stars=0", &format!("{registry}/tools")])
            .lines()
            .count(),
        2
    );
    assert_eq!(
        host.ok(["search", "--filter", "is-official=true", &format!("{registry}/tools")])
            .lines()
            .count(),
        1
    );
    host.hull(["search", "--limit", "200", "x"])
        .fails(1)
        .says("limit 200 is outside the range of [1, 100]");
    host.hull(["search", "--filter", "x=y", "x"])
        .fails(1)
        .says("invalid filter 'x'");
}

/// Sets the time of everything in the store to two days ago, and forgets that it was looked at.
fn age(host: &Host) {
    let then = SystemTime::now() - Duration::from_secs(2 * 24 * 3600);
    for folder in ["layers", "blobs/sha256", "blobs/partial"] {
        for entry in std::fs::read_dir(host.data().join(folder)).unwrap() {
            std::fs::File::open(entry.unwrap().path())
                .unwrap()
                .set_modified(then)
                .unwrap();
        }
    }
    let _ = std::fs::remove_file(host.data().join("gc.stamp"));
}

#[test]
fn privileged_what_nothing_refers_to_goes_by_itself() {
    let Some((host, image)) = machine() else { return };
    let folder = host.path("f");
    std::fs::create_dir(&folder).unwrap();
    let import = |content: usize, settings: &str| {
        std::fs::write(host.path("config.toml"), settings).unwrap();
        std::fs::write(folder.join("f"), vec![b'x'; content]).unwrap();
        let archive = host.path("f.tar");
        Run::of(
            std::process::Command::new("tar")
                .arg("-C")
                .arg(&folder)
                .arg("-cf")
                .arg(&archive)
                .arg("f"),
        )
        .ok();
        let settings = host.path("config.toml").display().to_string();
        let run = host.hull([
            "--config-file",
            &settings,
            "import",
            &archive.display().to_string(),
            "files:1",
        ]);
        run.ok()
    };
    let nameless = || host.ok(["images", "-qf", "dangling=true"]).lines().count();
    import(100_000, "");
    import(1, "");
    assert_eq!(nameless(), 1);
    age(&host);
    // Within the budget it stays; switched off, too.
    assert!(!import(2, "").stderr.contains("Freed"));
    age(&host);
    assert!(
        !import(3, "[gc]\nenabled = false\nkeep = '0'\n")
            .stderr
            .contains("Freed")
    );
    assert_eq!(nameless(), 3);
    age(&host);
    let freed = import(4, "[gc]\nkeep = '0'\n").stderr;
    // What has lost its name a moment ago stays.
    assert!(
        freed.contains("of what nothing referred to: 3 images, 3 layers"),
        "{freed}"
    );
    assert_eq!(nameless(), 1);
    // Looked at a moment ago.
    age(&host);
    std::fs::write(host.data().join("gc.stamp"), "").unwrap();
    assert!(!import(5, "[gc]\nkeep = '0'\n").stderr.contains("Freed"));
    // Below the floor of free space nothing of it may stay, and what has a name or a container does.
    host.ok(["create", "--name", "cc", "files:1", "/f"]);
    let used = host.ok(["images", "-q", "files:1"]);
    import(6, "");
    age(&host);
    let freed = import(7, "[gc]\nfree = '900TB'\n").stderr;
    assert!(freed.contains("Freed"), "{freed}");
    assert!(
        host.ok(["images", "-qf", "dangling=true"]).contains(&used),
        "a container's image stays"
    );
    assert_eq!(
        host.ok(["run", "--rm", "--network", "none", &image, "echo", "whole"]),
        "whole"
    );
    host.ok(["rm", "cc"]);
    let layer = Layer::build().file("x", 0o644, "x").gzip();
    host.provide("last", &Image::busybox().layer(layer)).unwrap();
    let told = [
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "event=prune",
        "--format",
        "{{.Type}}",
    ];
    assert_eq!(host.ok(told), "image\nimage");
}
