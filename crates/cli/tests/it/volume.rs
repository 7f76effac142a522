//! Volumes and mounts.

mod fault;
mod owner;
mod share;

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use hull_testkit::layer::Layer;
use hull_testkit::{Host, Image};
use serde_json::{Value, json};

use crate::{machine, shell, words};

fn data(host: &Host, volume: &str) -> PathBuf {
    host.data().join("volumes").join(volume).join("_data")
}

#[test]
fn privileged_a_volume_from_create_to_prune() {
    let Some((host, image)) = machine() else { return };
    assert_eq!(host.ok(words("volume create --label a=b --label c vol2")), "vol2");
    assert_eq!(host.ok(["volume", "create", "vol10"]), "vol10");
    // One that is there is left as it is.
    assert_eq!(host.ok(words("volume create --label x=y vol2")), "vol2");
    let nameless = host.ok(["volume", "create"]);
    assert_eq!(nameless.len(), 64);
    assert_eq!(
        host.ok(words("volume ls -q --filter name=vol")),
        "vol2\nvol10",
        "digits count as numbers"
    );
    assert_eq!(
        host.ok(words("volume ls --filter label=a=b")),
        "DRIVER    VOLUME NAME\nlocal     vol2"
    );
    let seen: Value = serde_json::from_str(&host.ok(["volume", "inspect", "vol2"])).unwrap();
    let created = seen[0]["CreatedAt"].as_str().unwrap();
    assert!(created.len() == 20 && created.ends_with('Z'), "{created}");
    assert_eq!(
        seen[0],
        json!({
            "CreatedAt": created, "Driver": "local", "Labels": {"a": "b", "c": ""},
            "Mountpoint": data(&host, "vol2"), "Name": "vol2", "Options": null, "Scope": "local",
        })
    );
    host.ok(words(&format!("create --name cc -v vol2:/v {image} true")));
    let id = host.ok(words("inspect -f {{.Id}} cc"));
    let in_use = format!("remove vol2: volume is in use - [{id}]");
    host.hull(words("volume rm vol2 vol10")).fails(1).says(&in_use);
    host.hull(words("volume rm -f vol2")).fails(1).says(&in_use);
    assert_eq!(host.ok(words("volume ls -q -f dangling=false")), "vol2");
    host.hull(words("volume rm vol10"))
        .fails(1)
        .says("get vol10: no such volume");
    assert_eq!(host.ok(words("volume rm -f vol10")), "vol10");
    // Not asked for by name, so not removed without -a; in use, so not removed at all.
    assert_eq!(host.ok(["volume", "create", "vol3"]), "vol3");
    let said = host.hull_with_input(["volume", "prune"], b"y\n").ok().stdout;
    assert!(
        said.starts_with("WARNING! This will remove anonymous local volumes not used by at least one container.\n"),
        "{said}"
    );
    assert!(
        said.ends_with(&format!("Deleted Volumes:\n{nameless}\n\nTotal reclaimed space: 0B\n")),
        "{said}"
    );
    host.hull_with_input(words("volume prune -a"), b"").ok();
    assert_eq!(host.ok(words("volume ls -q")), "vol2\nvol3", "no answer is no");
    host.ok(["rm", "cc"]);
    assert_eq!(
        host.ok(words("volume prune -af --filter label!=a")),
        "Deleted Volumes:\nvol3\n\nTotal reclaimed space: 0B"
    );
    assert_eq!(host.ok(words("volume ls -q")), "vol2");
    host.hull(words("volume update vol2"))
        .fails(1)
        .says("Can only update cluster volumes");
    host.hull(words("volume ls -f dangling=maybe"))
        .fails(1)
        .says("invalid filter 'dangling=[maybe]'");
    host.hull(words("volume prune -f --filter name=x"))
        .fails(1)
        .says("invalid filter 'name'");
}

#[test]
fn privileged_hostile_names_are_no_paths() {
    let Some((host, image)) = machine() else { return };
    std::fs::create_dir_all(host.data().join("victim/_data")).unwrap();
    let long = "a".repeat(300);
    for name in [
        "../victim",
        ".",
        "..",
        "a",
        "/etc",
        "a/b",
        "a b",
        "-x",
        "a\u{e9}",
        "a\nb",
        &long,
    ] {
        host.hull(["volume", "create", "--", name]).fails(1).says("create ");
        host.hull(["volume", "rm", "--", name]).fails(1).says("no such volume");
        host.hull(["volume", "inspect", "--", name])
            .fails(1)
            .says("no such volume");
        assert_eq!(host.hull(["volume", "rm", "-f", "--", name]).code(), 0);
    }
    let mount = "type=volume,src=../victim,dst=/v";
    host.hull(["create", "--mount", mount, &image, "true"]).fails(1);
    assert!(host.data().join("victim/_data").is_dir());
    assert_eq!(host.ok(words("volume ls -q")), "");
}

#[test]
fn privileged_anonymous_volumes_go_with_their_container() {
    let Some((host, image)) = machine() else { return };
    let list = || host.ok(words("volume ls -q"));
    host.ok(words(&format!("run --rm -v /anon -v kept:/k {image} true")));
    assert_eq!(list(), "kept");
    // One that cannot be started leaves none, and no trace of its use.
    host.hull(words(&format!("run --rm -v /anon -v kept:/k {image} no-such-program")))
        .fails(127);
    assert_eq!(list(), "kept");
    let users = host.data().join("volumes/kept/users");
    assert_eq!(std::fs::read_dir(users).unwrap().count(), 0);
    host.ok(words(&format!("create --name aa -v /anon -v kept:/k {image} true")));
    let anonymous = list().lines().find(|name| *name != "kept").unwrap().to_owned();
    // Another container takes it over, by name or whole.
    host.ok(words(&format!(
        "create --name bb --volumes-from aa:ro {image} touch /anon/x"
    )));
    host.ok(words("rm -v aa"));
    assert!(list().contains(&anonymous), "{}", list());
    assert_eq!(host.hull(words("start -a bb")).code(), 1, "it is read-only");
    host.ok(words(&format!("create --name dd -v {anonymous}:/x {image} true")));
    host.ok(words("rm -v bb"));
    host.ok(words("rm -v dd"));
    // It was asked for by its name at the end, so it stays.
    assert_eq!(list().lines().count(), 2);
    assert_eq!(
        host.ok(words("volume prune -f")).lines().nth(1),
        Some(anonymous.as_str())
    );
    assert_eq!(list(), "kept");
    // A container that cannot be created leaves none.
    host.hull(words(&format!(
        "create -v /anon --mount type=bind,src=/no-such,dst=/y {image} true"
    )))
    .fails(1);
    assert_eq!(list(), "kept");
}

#[test]
fn privileged_a_volume_goes_with_the_last_run_that_has_it() {
    let Some((host, image)) = machine() else { return };
    host.ok(shell(&format!("run -d --rm --name aa -v /anon {image}"), "sleep 1000"));
    let anonymous = host.ok(words("volume ls -q"));
    host.ok(shell(
        &format!("run -d --rm --name bb --volumes-from aa {image}"),
        "sleep 1000",
    ));
    host.ok(words("rm -f aa"));
    assert_eq!(host.ok(words("volume ls -q")), anonymous);
    host.ok(words("rm -f bb"));
    assert_eq!(host.ok(words("volume ls -q")), "");
}

#[test]
fn privileged_removals_and_creations_race() {
    let Some((host, image)) = machine() else { return };
    for round in 0..5 {
        let name = format!("vol{round}");
        host.ok(["volume", "create", &name]);
        let (created, removed) = std::thread::scope(|scope| {
            let bind = format!("{name}:/v");
            let image = image.as_str();
            let host = &host;
            let create = scope.spawn(move || host.hull(["create", "-v", &bind, image, "true"]));
            let remove = scope.spawn(|| host.hull(["volume", "rm", &name]));
            (create.join().unwrap(), remove.join().unwrap())
        });
        // Whoever was first: a container that is there has its volume.
        let id = created.ok().stdout.trim().to_owned();
        assert!(data(&host, &name).is_dir(), "removal: {}", removed.stderr);
        assert_eq!(host.ok(words("volume ls -q -f dangling=false")), name);
        host.ok(["rm", &id]);
        host.ok(["volume", "rm", &name]);
    }
}

/// An image with files of several kinds at `/data`, which is a volume.
fn filled() -> Image {
    let owned = |path: &str, mode: u32, uid: u64, bytes: &[u8]| {
        let mut header = hull_testkit::layer::Header::new_gnu();
        header.set_path(path).unwrap();
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(uid + 1);
        header.set_mtime(1_000_000_000);
        header.set_size(bytes.len() as u64);
        header.set_entry_type(match path.ends_with('/') {
            true => hull_testkit::layer::EntryType::Directory,
            false => hull_testkit::layer::EntryType::Regular,
        });
        header
    };
    let layer = Layer::build()
        .raw(owned("data/", 0o2750, 100, b""), b"")
        .raw(owned("data/sub/", 0o700, 200, b""), b"")
        .raw(owned("data/sub/file", 0o4751, 300, b"content"), b"content")
        .symlink("data/link", "/etc/passwd")
        .hard_link("data/second", "data/sub/file")
        .device("data/null", hull_testkit::layer::EntryType::Char, 1, 3)
        .finish(hull_testkit::layer::Compression::Gzip);
    Image::busybox().layer(layer).set("Volumes", json!({ "/data": {} }))
}

#[test]
fn privileged_new_volumes_are_filled_from_the_image() {
    let Some((host, _)) = machine() else { return };
    let Some(image) = host.provide("filled", &filled()) else {
        return;
    };
    host.ok(words(&format!("create -v new:/data {image} true")));
    let new = data(&host, "new");
    let look = |path: &str| {
        let meta = std::fs::symlink_metadata(new.join(path)).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime())
    };
    assert_eq!(look(""), (0o2750, 100, 101, 1_000_000_000));
    assert_eq!(look("sub"), (0o700, 200, 201, 1_000_000_000));
    assert_eq!(look("sub/file"), (0o4751, 300, 301, 1_000_000_000));
    assert_eq!(
        std::fs::read_link(new.join("link")).unwrap(),
        PathBuf::from("/etc/passwd")
    );
    let inode = |path: &str| std::fs::metadata(new.join(path)).unwrap().ino();
    assert_eq!(inode("second"), inode("sub/file"));
    assert!(!new.join("null").exists(), "devices stay behind");
    assert!(!new.with_file_name("copying").exists());
    // Only an empty one, and only where that is not refused.
    host.ok(["volume", "create", "mine"]);
    std::fs::write(data(&host, "mine").join("own"), "").unwrap();
    let count = |name: &str| std::fs::read_dir(data(&host, name)).unwrap().count();
    host.ok(words(&format!("create -v mine:/data {image} true")));
    host.ok(words(&format!("create -v bare:/data:nocopy {image} true")));
    host.ok(words(&format!(
        "create --mount src=bare2,dst=/data,volume-nocopy {image} true"
    )));
    assert_eq!((count("mine"), count("bare"), count("bare2")), (1, 0, 0));
    // The image's own volume has a copy, too.
    let list = "ls -n /data | tail -n +2 | wc -l";
    assert_eq!(host.ok(shell(&format!("run --rm {image}"), list)), "3");
    // A part of a volume is filled as a whole one is.
    std::fs::create_dir(data(&host, "mine").join("part")).unwrap();
    let mount = "type=volume,src=mine,dst=/data,volume-subpath=part";
    host.ok(["create", "--mount", mount, &image, "true"]);
    assert!(data(&host, "mine").join("part/sub/file").exists());
}

#[test]
fn privileged_a_copy_that_was_killed_is_completed() {
    let Some((host, _)) = machine() else { return };
    let Some(image) = host.provide("filled", &filled()) else {
        return;
    };
    host.ok(["volume", "create", "vol"]);
    let files = data(&host, "vol");
    // What a copy leaves that is killed in the middle of a file.
    std::fs::write(files.with_file_name("copying"), "").unwrap();
    std::fs::create_dir(files.join("sub")).unwrap();
    std::fs::write(files.join("sub/file"), "con").unwrap();
    host.ok(words(&format!("create -v vol:/data {image} true")));
    assert_eq!(std::fs::read_to_string(files.join("sub/file")).unwrap(), "content");
    assert_eq!(
        std::fs::metadata(files.join("sub/file")).unwrap().mode() & 0o7777,
        0o4751
    );
    assert!(files.join("link").is_symlink() && !files.with_file_name("copying").exists());
}

#[test]
fn privileged_leftovers_of_killed_commands_are_swept() {
    let Some((host, _)) = machine() else { return };
    host.ok(["volume", "create", "vol"]);
    let volumes = host.data().join("volumes");
    for dead in [".new-1-1", ".removed-1-1"] {
        std::fs::create_dir_all(volumes.join(dead).join("_data/x")).unwrap();
    }
    assert_eq!(host.ok(words("volume ls -q")), "vol");
    host.ok(words("volume prune -f"));
    let left = std::fs::read_dir(&volumes).unwrap().count();
    assert_eq!(left, 1);
}

#[test]
fn privileged_a_part_of_a_volume_is_mounted_and_nothing_beside_it() {
    let Some((host, image)) = machine() else { return };
    host.ok(["volume", "create", "vol"]);
    let files = data(&host, "vol");
    std::fs::create_dir_all(files.join("a/b")).unwrap();
    std::fs::write(files.join("a/b/file"), "inside").unwrap();
    std::fs::create_dir_all(host.path("secret/b")).unwrap();
    std::fs::write(host.path("secret/b/file"), "SECRET").unwrap();
    symlink("a/b", files.join("within")).unwrap();
    symlink(host.path("secret"), files.join("absolute")).unwrap();
    symlink("../../../../secret", files.join("up")).unwrap();
    let run = |subpath: &str| {
        let mount = format!("type=volume,src=vol,dst=/v,volume-subpath={subpath}");
        host.hull(["run", "--rm", "--mount", &mount, &image, "cat", "/v/file"])
    };
    assert_eq!(run("a/b").ok().stdout, "inside");
    assert_eq!(run("within").ok().stdout, "inside");
    run("a/none").fails(125).says("no such file or directory");
    for evil in ["absolute/b", "up/b"] {
        run(evil).fails(125).says("it leads out of the mount");
    }
    for malformed in ["../x", "/a", "a/../.."] {
        run(malformed)
            .fails(125)
            .says("subpath must be a relative path within the volume");
    }
    // A file is a part, too.
    let mount = "type=volume,src=vol,dst=/v,volume-subpath=a/b/file";
    assert_eq!(
        host.ok(["run", "--rm", "--mount", mount, &image, "cat", "/v"]),
        "inside"
    );
    // A container that has the whole swaps a folder on the way for a link, over and over.
    std::fs::create_dir_all(files.join("good/b")).unwrap();
    std::fs::write(files.join("good/b/file"), "inside").unwrap();
    symlink(host.path("secret"), files.join("evil")).unwrap();
    let swap = "while :; do mv -T /v/good /v/t; mv -T /v/evil /v/good; mv -T /v/good /v/evil; mv -T /v/t /v/good; done";
    host.ok(shell(&format!("run -d --name swapper -v vol:/v {image}"), swap));
    for _ in 0..15 {
        let seen = run("good/b");
        assert!(!seen.stdout.contains("SECRET"), "{}", seen.stdout);
    }
    host.ok(words("rm -f swapper"));
}

#[test]
fn privileged_inspect_shows_mounts_as_docker_does() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!(
        "create --name cc -v named:/a -v /anon -v /tmp:/b:ro,rslave --mount type=volume,src=long,dst=/d,volume-nocopy,ro \
         --tmpfs /e:size=1m --mount type=tmpfs,dst=/f,tmpfs-size=1m,ro --mount type=bind,src=/tmp,dst=/g,bind-recursive=disabled \
         -v named:/z:z,ro --mount type=image,src={image},dst=/i,image-subpath=bin {image} true"
    )));
    let seen: Value = serde_json::from_str(
        &host.ok(words("inspect -f {{json&.Mounts}} cc")
            .iter()
            .map(|w| w.replace('&', " "))),
    )
    .unwrap();
    let anonymous = seen[1]["Name"].as_str().unwrap();
    let volume = |name: &str, place: &str, mode: &str, rw: bool| {
        json!({
            "Type": "volume", "Name": name, "Source": data(&host, name), "Destination": place, "Driver": "local",
            "Mode": mode, "RW": rw, "Propagation": "",
        })
    };
    assert_eq!(
        seen,
        json!([
            volume("named", "/a", "z", true),
            volume(anonymous, "/anon", "", true),
            {"Type": "bind", "Source": "/tmp", "Destination": "/b", "Mode": "ro,rslave", "RW": false, "Propagation": "rslave"},
            volume("long", "/d", "z", false),
            {"Type": "tmpfs", "Source": "", "Destination": "/f", "Mode": "", "RW": false, "Propagation": ""},
            {"Type": "bind", "Source": "/tmp", "Destination": "/g", "Mode": "", "RW": true, "Propagation": "rprivate"},
            {"Type": "image", "Source": image, "Destination": "/i", "Mode": "", "RW": false, "Propagation": ""},
            volume("named", "/z", "z,ro", false),
        ])
    );
    host.ok(words(&format!("create --name dd --volumes-from cc:ro {image} true")));
    let seen = host.ok([
        "inspect",
        "-f",
        "{{range .Mounts}}{{.Destination}}{{.Mode}}{{.RW}} {{end}}",
        "dd",
    ]);
    assert_eq!(seen, "/afalse /anonfalse /bfalse /dfalse /gfalse /ifalse /zfalse");
}

#[test]
fn privileged_volumes_tell_what_happens_to_them() {
    let Some((host, image)) = machine() else { return };
    host.ok(["volume", "create", "vol"]);
    host.ok(words(&format!("run --rm -v vol:/v -v /anon {image} true")));
    host.ok(["volume", "rm", "vol"]);
    let log = std::fs::read_to_string(host.data().join("events/log")).unwrap();
    let told: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["Type"] == "volume")
        .map(|event| {
            let named = event["Actor"]["ID"] == "vol";
            format!(
                "{} {}",
                event["Action"].as_str().unwrap(),
                if named { "vol" } else { "anonymous" }
            )
        })
        .collect();
    let mut told = told.iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!((told.remove(0), told.pop()), ("create vol", Some("destroy vol")));
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "create anonymous",
            "destroy anonymous",
            "mount anonymous",
            "mount vol",
            "unmount anonymous",
            "unmount vol"
        ]
    );
}
