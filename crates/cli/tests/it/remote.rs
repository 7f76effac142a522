//! What is done with registries, from the command line: pushes, copies, lists, artifacts, other hosts.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use hull_testkit::{Host, Image, Layer, until};
use serde_json::Value;

use crate::{HULL, machine};

#[test]
fn privileged_pushes_to_the_reference_registry() {
    let Some((host, image)) = machine() else { return };
    let registry = host.registry().unwrap();
    host.ok([
        "run",
        "--name",
        "made",
        "--network",
        "none",
        &image,
        "sh",
        "-c",
        "echo new > /mark",
    ]);
    let name = format!("{registry}/made:1");
    host.ok(["commit", "made", &name]);
    host.ok(["rm", "made"]);
    let file = host.path("digest");
    let first = host
        .hull(["push", "--digestfile", file.to_str().unwrap(), &name])
        .ok()
        .stdout;
    assert!(
        first.starts_with(&format!("The push refers to repository [{registry}/made]\n")),
        "{first}"
    );
    // The base was pulled from another repository of the same registry.
    assert!(
        first.contains(": Mounted from busybox\n") && first.contains(": Pushed\n"),
        "{first}"
    );
    let digest = std::fs::read_to_string(file).unwrap();
    assert!(first.contains(&format!("\n1: digest: {digest} size: ")), "{first}");
    let again = host.hull(["push", &name]).ok().stdout;
    assert!(
        !again.contains("Pushed") && again.contains(": Layer already exists\n"),
        "{again}"
    );
    assert_eq!(host.ok(["push", "-q", &name]), name);
    host.hull(["push", &format!("{registry}/made:2")])
        .fails(1)
        .says(&format!("tag does not exist: {registry}/made:2"));
    host.hull(["push", &format!("{registry}/none")]).fails(1).says(&format!(
        "An image does not exist locally with the tag: {registry}/none"
    ));
    host.hull(["push", "-a", &name])
        .fails(1)
        .says("tag can't be used with --all-tags/-a");
    // What was pushed is what runs elsewhere.
    host.ok(["rmi", &name]);
    assert_eq!(
        host.ok(["run", "--rm", "--network", "none", &name, "cat", "/mark"]),
        "new"
    );
    let zstd = host
        .hull(["push", "--compression", "zstd", "--level", "4", &name])
        .ok()
        .stdout;
    assert!(zstd.contains(": Pushed\n"), "{zstd}");
    assert_ne!(host.ok(["image", "digest", &name]), digest);
    assert_eq!(host.ok(["image", "tags", &format!("{registry}/made")]), "1");
    host.ok(["image", "delete", &name]);
    host.hull(["image", "digest", &name]).fails(1).says("not found");
}

#[test]
fn privileged_a_push_that_is_killed_is_done_by_the_next() {
    let Some((host, _)) = machine() else { return };
    let registry = host.registry().unwrap();
    let mut image = Image::busybox();
    for n in 0..6_u8 {
        let bytes: Vec<u8> = (0..400_000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ n)
            .collect();
        image = image.layer(Layer::build().file(&format!("f{n}"), 0o644, bytes).gzip());
    }
    let held = host.provide("big", &image).unwrap();
    let folder = host.path("layout");
    host.ok(["image", "copy", "-q", &held, &format!("oci:{}:1", folder.display())]);
    for n in 0..8 {
        // Another registry's worth of repositories: nothing is mounted from what has no name here.
        let name = format!("{registry}/copy{n}:1");
        let from = format!("oci:{}:1", folder.display());
        let mut copy = host.spawn(["image", "copy", &from, &format!("docker://{name}")]);
        std::thread::sleep(std::time::Duration::from_millis(3 * n));
        copy.kill().unwrap();
        copy.wait().unwrap();
        host.ok(["image", "copy", "-q", &from, &format!("docker://{name}")]);
        host.ok(["run", "--rm", "--network", "none", &name, "test", "-e", "/f5"]);
        host.ok(["rmi", &name]);
    }
    let left: Vec<_> = std::fs::read_dir(host.data().join("ingest")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn privileged_lists_are_made_and_pushed() {
    let Some((host, image)) = machine() else { return };
    let registry = host.registry().unwrap();
    let other = host
        .within(|| {
            let image = Image::busybox().set_top("architecture", serde_json::json!("riscv64"));
            hull_testkit::distribution::push(registry, "other", "1", &image)
        })
        .unwrap();
    let (list, foreign) = (format!("{registry}/list:1"), format!("{registry}/other:1"));
    assert_eq!(
        host.ok(["manifest", "create", &list, &image, &foreign]),
        format!("Created manifest list {list}")
    );
    host.hull(["manifest", "create", &list, &image])
        .fails(1)
        .says("refusing to amend an existing manifest list with no --amend flag");
    host.ok(["manifest", "annotate", "--variant", "v9", &list, &foreign]);
    host.hull(["manifest", "annotate", "--os", "x", &list, &format!("{registry}/none")])
        .fails(1)
        .says("does not exist in");
    let seen: Value = serde_json::from_str(&host.ok(["manifest", "inspect", &list])).unwrap();
    assert_eq!(seen["manifests"][1]["platform"]["variant"], "v9");
    assert_eq!(seen["manifests"][1]["digest"], other.as_str());
    let pushed = host.ok(["manifest", "push", "--purge", &list]);
    let digest = pushed.lines().last().unwrap().to_owned();
    assert_eq!(pushed.matches("Pushed ref ").count(), 2, "{pushed}");
    assert_eq!(host.ok(["image", "digest", &list]), digest);
    host.hull(["manifest", "rm", &list]).fails(1).says("No such manifest: ");
    host.hull(["manifest", "push", &list]).fails(1).says("not found");
    assert_eq!(
        host.ok(["run", "--rm", "--network", "none", &list, "echo", "runs"]),
        "runs"
    );
    let text = host.ok(["manifest", "inspect", &list]);
    assert!(
        text.starts_with("{\n   \"schemaVersion\": 2,\n   \"mediaType\": "),
        "{text}"
    );
    let one = host.ok(["manifest", "inspect", &image]);
    assert!(one.starts_with("{\n\t\"config\": {\n\t\t\""), "{one}");
    let all: Value = serde_json::from_str(&host.ok(["manifest", "inspect", "-v", &list])).unwrap();
    assert_eq!(all[1]["Descriptor"]["platform"]["architecture"], "riscv64");
}

#[test]
fn privileged_repositories_are_synchronised_and_artifacts_attached() {
    let Some((host, image)) = machine() else { return };
    let registry = host.registry().unwrap();
    let folder = host.path("mirror");
    let to = format!("dir:{}", folder.display());
    let said = host.ok(["image", "sync", "--dry-run", &format!("docker://{registry}"), &to]);
    assert_eq!(said, format!("{image} -> {to}/busybox:latest"));
    host.ok(["image", "sync", &format!("docker://{registry}/busybox"), &to]);
    assert!(folder.join("busybox:latest/manifest.json").exists());
    let list = host.path("list.yml");
    std::fs::write(
        &list,
        format!("\"{registry}\":\n  images:\n    busybox: [latest]\n    none: []\n"),
    )
    .unwrap();
    let below = format!("docker://{registry}/mirror");
    let from = format!("yaml:{}", list.display());
    host.hull(["image", "sync", &from, &below]).fails(1).says("none");
    host.hull(["image", "sync", "--keep-going", &from, &below]).fails(1);
    let mirrored = format!("{registry}/mirror/busybox:latest");
    assert_eq!(
        host.ok(["image", "digest", &mirrored]),
        host.ok(["image", "digest", &image])
    );

    let file = host.path("sbom.json");
    std::fs::write(&file, "{\"a\":1}").unwrap();
    let named = format!("{}:application/json", file.display());
    let repository = format!("{registry}/busybox");
    let push = [
        "artifact",
        "push",
        "-q",
        "--type",
        "application/spdx+json",
        "--subject",
        &image,
        &repository,
        &named,
    ];
    let digest = host.ok(push);
    assert_eq!(host.ok(push), digest, "the same files give the same digest");
    let listed = host.ok(["image", "referrers", &image]);
    assert!(
        listed.contains(&digest) && listed.contains("application/spdx+json"),
        "{listed}"
    );
    let there = host.path("there");
    std::fs::create_dir(&there).unwrap();
    let pull = format!("{repository}@{digest}");
    host.ok(["artifact", "pull", "-o", there.to_str().unwrap(), &pull]);
    assert_eq!(std::fs::read_to_string(there.join("sbom.json")).unwrap(), "{\"a\":1}");
    host.hull(["artifact", "pull", "-o", there.to_str().unwrap(), &pull])
        .fails(1)
        .says("cannot create");
    let copy = format!("docker://{registry}/copied:1");
    host.ok([
        "image",
        "copy",
        "-q",
        "--referrers",
        &format!("docker://{image}"),
        &copy,
    ]);
    let copied = host.ok(["image", "referrers", &format!("{registry}/copied:1")]);
    assert!(copied.contains(&digest), "{copied}");
}

/// A server of ssh on a free port of loopback, for root with a key of its own. It ends with this value.
struct Sshd {
    process: Child,
    options: String,
    port: u16,
}

impl Sshd {
    /// Starts one whose sessions have `path` as their PATH and `data` as hull's data root.
    fn start(host: &Host, path: &Path, data: &Path) -> Option<Self> {
        let program = hull_testkit::require_program("sshd")?;
        let folder = host.path("sshd");
        std::fs::create_dir_all(&folder).unwrap();
        // What sshd confines itself to before anybody is let in.
        std::fs::create_dir_all("/run/sshd").unwrap();
        for key in ["host", "user"] {
            if folder.join(key).exists() {
                continue;
            }
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.join(key))
                .status()
                .unwrap();
            assert!(made.success());
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let at = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n\
             SetEnv PATH={} HULL_ROOT={} HULL_RUN_ROOT={}\n",
            at("host"),
            at("user.pub"),
            path.display(),
            data.display(),
            host.run_root().display(),
        );
        std::fs::write(at("config"), config).unwrap();
        let mut command = host.command(&program);
        command.args(["-D", "-e", "-f"]).arg(at("config"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(at("log")).unwrap());
        let process = command.spawn().unwrap();
        until("sshd to listen", || {
            let said = std::fs::read_to_string(at("log")).ok()?;
            said.contains("Server listening").then_some(())
        });
        let options = format!(
            "ssh -F none -i {} -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR -o BatchMode=yes",
            at("user")
        );
        Some(Self { process, options, port })
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder for PATH with `name`, a shell script.
fn bin(host: &Host, folder: &str, name: &str, script: &str) -> std::path::PathBuf {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let bin = host.path(folder);
    std::fs::create_dir_all(&bin).unwrap();
    for tool in ["sh", "cat"] {
        let _ = symlink(format!("/bin/{tool}"), bin.join(tool));
    }
    let path = bin.join(name);
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    bin
}

#[test]
fn privileged_an_image_goes_to_another_host_over_ssh() {
    let Some((host, image)) = machine() else { return };
    let registry = host.registry().unwrap();
    let upper = Image::busybox().layer(Layer::build().file("mark", 0o644, "upper").gzip());
    let upper = host.provide("upper", &upper).unwrap();
    let there = host.path("there");
    let path = bin(
        &host,
        "with-hull",
        "hull",
        &format!("#!/bin/sh\necho hello\nexec {HULL} \"$@\"\n"),
    );
    let Some(sshd) = Sshd::start(&host, &path, &there) else {
        return;
    };
    let to = format!("ssh://root@127.0.0.1:{}", sshd.port);
    let send = |name: &str| host.hull(["image", "copy", "--ssh", &sshd.options, name, &to]);
    let first = send(&image).ok();
    assert_eq!(first.stdout.trim(), host.ok(["image", "digest", &image]));
    // Of the second only the upper layer is sent.
    let second = send(&upper).ok().stderr;
    assert!(
        second.contains(": Layer already exists") && second.contains(": Pushed"),
        "{second}"
    );
    let root = there.to_str().unwrap();
    let seen = host.ok([
        "--root",
        root,
        "run",
        "--rm",
        "--network",
        "none",
        &upper,
        "cat",
        "/mark",
    ]);
    assert_eq!(seen, "upper");
    assert!(!send(&upper).ok().stderr.contains(": Pushed"));
    send(&format!("{registry}/none")).fails(1).says("No such image");
    drop(sshd);

    // Only Docker is there: it is told from its own images what need not be sent.
    let archive = host.path("loaded.tar");
    let layers = host.ok(["inspect", "-f", "{{json .RootFS.Layers}}", &image]);
    let script = format!(
        "#!/bin/sh\ncase \"$1 $2\" in\n'image ls') echo one;;\n'image inspect') echo '{layers}';;\n\
         'load -q') cat > {};;\n*) exit 3;;\nesac\n",
        archive.display()
    );
    let path = bin(&host, "with-docker", "docker", &script);
    let sshd = Sshd::start(&host, &path, &there).unwrap();
    let to = format!("ssh://root@127.0.0.1:{}", sshd.port);
    host.hull(["image", "copy", "--ssh", &sshd.options, &upper, &to]).ok();
    let sent = std::fs::metadata(&archive).unwrap().len();
    assert!(sent < 100_000, "{sent} bytes: busybox was sent again");
    drop(sshd);
    let path = bin(&host, "with-none", "true", "#!/bin/sh\n");
    let sshd = Sshd::start(&host, &path, &there).unwrap();
    let to = format!("ssh://root@127.0.0.1:{}", sshd.port);
    host.hull(["image", "copy", "--ssh", &sshd.options, &upper, &to])
        .fails(1)
        .says("neither hull nor docker is there");
}
