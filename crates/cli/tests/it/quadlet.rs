//! Units that the generator makes of Quadlet's files, and what their commands do.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use hull_testkit::{Host, wait};

use crate::{machine, words};

/// The commands of `key` in a unit, as systemd would run them.
fn commands(text: &str, key: &str, unit: &str) -> Vec<String> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines
        .map(|line| line.trim_start_matches('-').replace("%N", unit))
        .collect()
}

fn shell(host: &Host, line: &str) -> Command {
    let mut command = host.command("sh");
    command.args(["-c", &format!("exec {line}")]).stdin(Stdio::null());
    command
}

#[test]
fn privileged_what_the_generator_writes_runs() {
    let Some((host, image)) = machine() else { return };
    let files = host.path("files");
    let units = host.path("units");
    std::fs::create_dir(&files).unwrap();
    std::fs::create_dir(&units).unwrap();
    std::fs::write(files.join("shop.pod"), "[Pod]\nPublishPort=18081:80\n").unwrap();
    std::fs::write(
        files.join("web.container"),
        format!(
            "[Container]\nImage={image}\nPod=shop.pod\nEnvironment=\"A=b c\"\nVolume=./kept:/kept\n\
             Exec=sh -c \"echo $$A > /kept/out; exec sleep 1000\"\n[Install]\nWantedBy=multi-user.target\n"
        ),
    )
    .unwrap();
    std::fs::write(files.join("bad.container"), "[Container]\nImage=x\nSecret=y\n").unwrap();
    // As systemd calls it: by its own name, a link to hull.
    let generator = host.path("hull-generator");
    std::os::unix::fs::symlink(host.binary(), &generator).unwrap();
    let made = host
        .command(&generator)
        .args([&units, &host.path("early"), &host.path("late")])
        .env("QUADLET_UNIT_DIRS", &files)
        .output()
        .unwrap();
    let said = String::from_utf8(made.stderr).unwrap();
    assert!(said.contains("bad.container: Secret= is not there"), "{said}");
    assert_eq!(made.status.code(), Some(1));
    let web = std::fs::read_to_string(units.join("web.service")).unwrap();
    let pod = std::fs::read_to_string(units.join("shop-pod.service")).unwrap();
    assert!(!units.join("bad.service").exists());
    let link = std::fs::read_link(units.join("multi-user.target.wants/web.service")).unwrap();
    assert_eq!(link.to_str(), Some("../web.service"));

    let before = |text: &str, unit: &str| {
        for line in commands(text, "ExecStartPre", unit) {
            assert!(shell(&host, &line).output().unwrap().status.success(), "{line}");
        }
    };
    before(&pod, "shop-pod");
    let mut holder = shell(&host, &commands(&pod, "ExecStart", "shop-pod")[0])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    before(&web, "web");
    let socket = UnixDatagram::bind(host.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // What systemd makes of `$$`.
    let line = commands(&web, "ExecStart", "web")[0].replace("$$A", "\\$A");
    let mut main = shell(&host, &line)
        .env("NOTIFY_SOCKET", host.path("notify"))
        .spawn()
        .unwrap();
    let mut told = [0; 100];
    let length = socket.recv(&mut told).unwrap();
    assert!(told[..length].starts_with(b"READY=1\n"));
    wait::until("the container has written", || {
        std::fs::read_to_string(files.join("kept/out"))
            .ok()
            .filter(|text| text == "b c\n")
    });
    assert_eq!(
        host.ok(words("pod ps --ctr-names --format {{.Name}}:{{.ContainerNames}}")),
        "systemd-shop:systemd-shop-infra,systemd-web"
    );
    assert!(
        shell(&host, &commands(&web, "ExecStop", "web")[0])
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(
        main.wait().unwrap().code(),
        Some(137),
        "sleep as process 1 ignores TERM"
    );
    for line in commands(&web, "ExecStopPost", "web")
        .into_iter()
        .chain(commands(&pod, "ExecStop", "shop-pod"))
        .chain(commands(&pod, "ExecStopPost", "shop-pod"))
    {
        assert!(shell(&host, &line).output().unwrap().status.success(), "{line}");
    }
    assert!(holder.wait().unwrap().success());
    assert_eq!(host.ok(words("ps -aq")), "");
    assert_eq!(host.ok(words("pod ps -q")), "");
}

#[test]
fn privileged_a_generator_that_is_no_link_says_so() {
    let Some((host, _image)) = machine() else { return };
    let copy = host.path("hull-generator");
    std::fs::copy(host.binary(), &copy).unwrap();
    let done = host.command(&copy).arg(host.path("")).output().unwrap();
    assert!(!done.status.success());
    assert!(String::from_utf8_lossy(&done.stderr).contains("must be a symbolic link to hull"));
    host.hull(words("run --sdnotify healthy x"))
        .fails(125)
        .says("`healthy` is not there");
    host.hull(words("system generator")).fails(1).says("name the folder");
}
