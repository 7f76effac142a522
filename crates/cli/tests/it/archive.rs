//! `save`, `load`, `import`, `tag` and `history`: images out of the store and into it again, under kills, on full disks,
//! and beside others.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hull_testkit::{Host, Image, Layer, Run, require_root};

use crate::{HULL, machine, words};

/// A small generator (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn kill_after(mut command: Child, after: Duration) {
    // The fault is injected at a time, not at a state: this is no wait.
    std::thread::sleep(after);
    let _ = command.kill();
    command.wait().unwrap();
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Busybox and a layer of some megabytes, so that there is something to interrupt.
fn large(host: &Host) -> Option<String> {
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise.to_le_bytes()[3]
    })
    .take(6_000_000)
    .collect();
    let layer = Layer::build().file("noise", 0o644, bytes).gzip();
    host.provide("large", &Image::busybox().layer(layer))
}

#[test]
fn privileged_what_was_saved_is_loaded_and_runs() {
    let Some((host, image)) = machine() else { return };
    let archive = text(&host.path("a.tar"));
    host.ok(["tag", &image, "kept:1"]);
    let id = host.ok(["inspect", "-f", "{{.Id}}", "kept:1"]);
    let manifest = |host: &Host| host.ok(["history", "--no-trunc", "-q", "kept:1"]);
    let before = manifest(&host);
    host.ok(["save", "-o", &archive, "kept:1", &image]);
    assert_eq!(
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&archive).unwrap()) & 0o777,
        0o600
    );
    let piped = host.hull_command(["save", "kept:1", &image]).output().unwrap().stdout;
    assert!(
        piped == std::fs::read(&archive).unwrap(),
        "a file and a pipe get the same bytes"
    );
    host.ok(["rmi", "kept:1", &image]);
    let said = host.ok(["load", "-i", &archive]);
    assert_eq!(said, format!("Loaded image: kept:1\nLoaded image: {image}"));
    assert_eq!(
        (host.ok(["inspect", "-f", "{{.Id}}", "kept:1"]), manifest(&host)),
        (id.clone(), before)
    );
    assert_eq!(host.ok(words("run --rm --network none kept:1 echo runs")), "runs");
    // Again, through a pipe, onto what is there.
    let again = host.hull_with_input(["load"], &piped).ok();
    assert_eq!(again.stdout, format!("Loaded image: kept:1\nLoaded image: {image}\n"));
    // Without a name it is loaded by its ID.
    host.ok(["save", "-o", &archive, &id]);
    assert_eq!(host.ok(["load", "-i", &archive]), format!("Loaded image ID: {id}"));
    // As a folder, too.
    let layout = host.path("layout");
    std::fs::create_dir(&layout).unwrap();
    Run::of(Command::new("tar").arg("-C").arg(&layout).args(["-xf", &archive])).ok();
    std::fs::remove_file(layout.join("manifest.json")).unwrap();
    assert_eq!(
        host.ok(["load", "-i", &text(&layout)]),
        format!("Loaded image ID: {id}")
    );
    let other = if hull_testkit::image::architecture() == "amd64" {
        "arm64"
    } else {
        "amd64"
    };
    let other = format!("linux/{other}");
    host.hull(["load", "-i", &archive, "--platform", &other])
        .fails(1)
        .says("not for the one that was asked for");
    host.hull(["save", "--platform", &other, "kept:1"])
        .fails(1)
        .says("does not provide the specified platform");
    host.hull(["history", "--platform", &other, "kept:1"])
        .fails(1)
        .says("does not provide the specified platform");
    host.ok(["history", "--platform", "linux", "kept:1"]);
}

#[test]
fn privileged_a_name_moves_to_what_is_loaded() {
    let Some((host, image)) = machine() else { return };
    let archive = text(&host.path("a.tar"));
    host.ok(["tag", &image, "x:1"]);
    host.ok(["tag", &image, "x:2"]);
    host.ok(["save", "-o", &archive, "x"]);
    let old = {
        std::fs::write(host.path("f"), "f").unwrap();
        Run::of(
            Command::new("tar")
                .arg("-C")
                .arg(host.path(""))
                .args(["-cf", &text(&host.path("f.tar")), "f"]),
        )
        .ok();
        host.ok(["import", &text(&host.path("f.tar")), "x:1"])
    };
    let said = host.ok(["load", "-i", &archive]);
    assert_eq!(
        said,
        format!(
            "The image x:1 already exists, renaming the old one with ID {old} to empty string\n\
             Loaded image: x:1\nLoaded image: x:2"
        )
    );
    let list = host.ok([
        "images",
        "--no-trunc",
        "--format",
        "{{.Repository}}:{{.Tag}} {{.ID}}",
        "-f",
        "dangling=true",
    ]);
    assert_eq!(list, format!("<none>:<none> {old}"));
}

#[test]
fn privileged_hostile_archives_change_nothing() {
    let Some((host, image)) = machine() else { return };
    let archive = text(&host.path("a.tar"));
    host.ok(["tag", &image, "x:1"]);
    host.ok(["save", "-o", &archive, "x:1"]);
    host.ok(["rmi", "x:1", &image]);
    let before = host.traces();
    let good = std::fs::read(&archive).unwrap();
    let bent = host.path("bent.tar");
    // Anywhere in the layer, the config, the manifest or the lists.
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut refused = 0;
    for _ in 0..40 {
        let mut bytes = good.clone();
        let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
        bytes[at] ^= 0x55;
        std::fs::write(&bent, &bytes).unwrap();
        let run = host.hull(["load", "-i", &text(&bent)]);
        if run.code() == 0 {
            // Padding, a time, or a name: what is loaded is the image that its digests name.
            let id = run
                .stdout
                .trim_end()
                .rsplit(' ')
                .next()
                .unwrap()
                .trim_start_matches("ID: ")
                .to_owned();
            assert_eq!(
                host.ok(["run", "--rm", "--network", "none", &id, "echo", "whole"]),
                "whole"
            );
            host.ok(["rmi", "-f", &id]);
        } else {
            refused += 1;
            assert_eq!(run.code(), 1, "{run:?}");
        }
        assert_eq!(host.ok(["images", "-aq"]), "", "byte {at}");
    }
    assert!(refused > 30, "{refused}");
    for cut in 1..10 {
        std::fs::write(&bent, &good[..good.len() * cut / 10]).unwrap();
        host.hull(["load", "-i", &text(&bent)]).fails(1);
        let through = host.hull_with_input(["load"], &good[..good.len() * cut / 10]);
        assert_eq!(through.code(), 1, "{through:?}");
    }
    std::fs::remove_file(&bent).unwrap();
    host.ok(["load", "-i", &archive]);
    host.ok(["rmi", "x:1"]);
    host.assert_clean(&before);
}

#[test]
fn privileged_kill_loop_over_load_save_and_import() {
    if !require_root() {
        return;
    }
    let host = Host::new(HULL);
    let Some(image) = large(&host) else { return };
    host.ok(["run", "--rm", "--network", "none", &image, "true"]);
    let archive = text(&host.path("a.tar"));
    let files = text(&host.path("f.tar"));
    host.ok(["save", "-o", &archive, &image]);
    std::fs::write(
        &files,
        host.hull_command(["export", &host.ok(["create", &image])])
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    host.ok(["rm", &host.ok(["ps", "-aq"])]);
    host.ok(["rmi", &image]);
    let before = host.traces();
    let mut random = Random(u64::from(std::process::id()) | 1);
    for round in 0..24 {
        let after = Duration::from_micros(random.below(120_000));
        let input = std::fs::File::open(&archive).unwrap();
        match round % 4 {
            0 => kill_after(host.spawn(["load", "-i", &archive]), after),
            1 => kill_after(
                host.hull_command(["load"])
                    .stdin(input)
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap(),
                after,
            ),
            2 => kill_after(host.spawn(["import", &files, "imported:1"]), after),
            _ => {
                host.ok(["load", "-i", &archive]);
                let out = text(&host.path("out/saved.tar"));
                std::fs::create_dir_all(host.path("out")).unwrap();
                kill_after(host.spawn(["save", "-o", &out, &image]), after);
                // There is no archive, or a whole one.
                if Path::new(&out).exists() {
                    host.ok(["load", "-i", &out]);
                }
                std::fs::remove_dir_all(host.path("out")).unwrap();
            }
        }
        // What is listed runs.
        for id in host.ok(["images", "-q"]).lines() {
            assert_eq!(
                host.ok(["run", "--rm", "--network", "none", id, "/bin/echo", "whole"]),
                "whole"
            );
            host.ok(["rmi", "-f", id]);
        }
    }
    host.ok(["load", "-i", &archive]);
    assert_eq!(
        host.ok(["run", "--rm", "--network", "none", &image, "echo", "whole"]),
        "whole"
    );
    host.ok(["rmi", &image]);
    // What kills have left is no image's; by itself it would go in a day.
    host.ok(["image", "prune", "-f"]);
    host.assert_clean(&before);
}

#[test]
fn privileged_a_full_disk_is_told_and_leaves_nothing() {
    if !require_root() {
        return;
    }
    let host = Host::new(HULL);
    let Some(image) = large(&host) else { return };
    let archive = text(&host.path("a.tar"));
    host.ok(["save", "-o", &archive, &image]);
    let files = text(&host.path("f.tar"));
    std::fs::write(
        &files,
        host.hull_command(["export", &host.ok(["create", &image])])
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    // A data root and a folder on a file system of a few megabytes, in mounts of the command's own.
    let small = text(&host.path("small"));
    std::fs::create_dir(&small).unwrap();
    let script = "mount -t tmpfs -o size=5m none \"$1\" && shift && \"$@\"; code=$?; \
                  \"$HULL\" --root \"$SMALL\" image prune -f >/dev/null; \
                  find \"$SMALL/blobs/sha256\" \"$SMALL/ingest\" \"$SMALL/leases\" -mindepth 1 2>/dev/null; \
                  HULL_ROOT=$SMALL \"$HULL\" images -q; ls \"$SMALL\" | grep -F .tar; exit $code";
    let on_small = |arguments: &[&str]| {
        let mut command = host.command("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
            &small,
            HULL,
        ]);
        command
            .args(arguments)
            .env("SMALL", &small)
            .env("HULL", HULL)
            .stdin(Stdio::null());
        Run::of(&mut command)
    };
    let full = |run: Run| {
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(
            said.contains("No space left") || said.contains("does not fit"),
            "{said}"
        );
        assert_eq!(run.stdout, "", "{said}");
        run.fails(1);
    };
    full(on_small(&["--root", &small, "load", "-i", &archive]));
    full(on_small(&["--root", &small, "import", &files, "x"]));
    full(on_small(&["save", "-o", &format!("{small}/out.tar"), &image]));
    host.ok(["rm", &host.ok(["ps", "-aq"])]);
}

#[test]
fn privileged_load_remove_prune_and_run_of_one_image_at_once() {
    let Some((host, image)) = machine() else { return };
    let archive = text(&host.path("a.tar"));
    host.ok(["save", "-o", &archive, &image]);
    let expected = [
        "No such image",
        "image is being used by",
        "must force",
        "manifest unknown",
    ];
    let lines: [Vec<&str>; 5] = [
        vec!["load", "-q", "-i", &archive],
        vec!["rmi", &image],
        vec!["image", "prune", "-af"],
        vec![
            "run",
            "--rm",
            "--pull",
            "never",
            "--network",
            "none",
            &image,
            "echo",
            "whole",
        ],
        vec!["save", "-o", "/dev/shm/hull-test-never", "nothing"],
    ];
    std::thread::scope(|scope| {
        for line in &lines {
            let (host, expected) = (&host, &expected);
            scope.spawn(move || {
                for _ in 0..8 {
                    let run = host.hull(line);
                    match run.code() {
                        0 if line[0] == "run" => assert_eq!(run.stdout, "whole\n"),
                        0 => {}
                        _ => assert!(expected.iter().any(|why| run.stderr.contains(why)), "{run:?}"),
                    }
                }
            });
        }
    });
    host.ok(["load", "-i", &archive]);
    assert_eq!(
        host.ok(["run", "--rm", "--network", "none", &image, "echo", "whole"]),
        "whole"
    );
}

#[test]
fn privileged_files_are_imported_from_the_network() {
    let Some((host, _)) = machine() else { return };
    std::fs::create_dir_all(host.path("www/d")).unwrap();
    std::fs::write(host.path("www/d/f"), "from far").unwrap();
    let tar = host.path("www/f.tar.gz");
    Run::of(
        Command::new("tar")
            .arg("-C")
            .arg(host.path("www/d"))
            .arg("-czf")
            .arg(&tar)
            .arg("f"),
    )
    .ok();
    let mut server = host.command(hull_testkit::image::busybox_path());
    server
        .args(["httpd", "-f", "-p", "127.0.0.1:8099", "-h"])
        .arg(host.path("www"));
    let mut server = server.spawn().unwrap();
    let import = || host.hull(["import", "http://127.0.0.1:8099/f.tar.gz", "far:1"]);
    let run = hull_testkit::until("the server", || Some(import()).filter(|run| run.code() == 0));
    assert!(
        run.stderr.contains("Downloading from http://127.0.0.1:8099/f.tar.gz"),
        "{run:?}"
    );
    assert_eq!(
        host.ok(["history", "--format", "{{.Comment}} {{.Size}}", "far:1"]),
        "Imported from http://127.0.0.1:8099/f.tar.gz 8B"
    );
    host.hull(["import", "http://127.0.0.1:8099/nowhere", "far:2"]).fails(1);
    host.hull(["import", "http://127.0.0.1:1/nowhere", "far:2"]).fails(1);
    server.kill().unwrap();
    server.wait().unwrap();
}

/// The most memory that a command had, in kilobytes.
fn peak(command: &mut Command) -> i64 {
    let mut child = command.spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok());
        peak = peak.max(now.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(child.wait().unwrap().success());
    peak
}

#[test]
fn privileged_memory_does_not_grow_with_the_image() {
    if !require_root() {
        return;
    }
    let host = Host::new(HULL);
    let files = host.path("f.tar");
    let folder = host.path("f");
    std::fs::create_dir(&folder).unwrap();
    for n in 0..4 {
        std::fs::write(folder.join(n.to_string()), vec![n; 60 << 20]).unwrap();
    }
    Run::of(
        Command::new("tar")
            .arg("-C")
            .arg(&folder)
            .arg("-cf")
            .arg(&files)
            .arg("."),
    )
    .ok();
    let archive = text(&host.path("a.tar"));
    let limit = 64 << 10;
    let import = peak(
        host.hull_command(["import", &text(&files), "big:1"])
            .stdout(Stdio::null()),
    );
    let save = peak(&mut host.hull_command(["save", "-o", &archive, "big:1"]));
    host.ok(["rmi", "big:1"]);
    let piped = std::fs::File::open(&archive).unwrap();
    let mut cat = Command::new("cat").stdin(piped).stdout(Stdio::piped()).spawn().unwrap();
    let mut load = host.hull_command(["load"]);
    load.stdin(cat.stdout.take().unwrap()).stdout(Stdio::null());
    let load = peak(&mut load);
    cat.wait().unwrap();
    assert!(
        import < limit && save < limit && load < limit,
        "import {import} kB, save {save} kB, load {load} kB"
    );
}
