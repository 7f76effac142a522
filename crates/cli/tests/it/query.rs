//! What the commands that only look say of containers that really run.

use crate::{machine, shell, words};

#[test]
fn privileged_a_container_is_shown_as_docker_shows_it() {
    let Some((host, image)) = machine() else { return };
    let create =
        format!("run -d --name web -p 127.0.0.1:0:80 --expose 90/udp --label a=b --log-opt max-size=1m {image}");
    host.hull(shell(&create, "echo one; echo two >&2; exec sleep 1000"))
        .ok();
    host.hull(words(&format!("create --name made {image} echo a-long-argument-here")))
        .ok();

    let published = host.ok([
        "inspect",
        "-f",
        "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}",
        "web",
    ]);
    let table = host.ok([
        "ps",
        "-a",
        "--format",
        "table {{.Names}}\t{{.State}}\t{{.Ports}}\t{{.Command}}\t{{.Label \"a\"}}",
    ]);
    let expected = [
        "NAMES     STATE     PORTS                               COMMAND                  a".to_owned(),
        "made      created                                       \"echo a-long-argumen\u{2026}\"   ".to_owned(),
        format!(
            "web       running   {:<33}   \"sh -c 'echo one; ec\u{2026}\"   b",
            format!("90/udp, 127.0.0.1:{published}->80/tcp")
        ),
    ];
    let without_padding = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        table.lines().map(without_padding).collect::<Vec<_>>(),
        expected.iter().map(|line| without_padding(line)).collect::<Vec<_>>()
    );

    let fields = "{{.State.Status}} {{.HostConfig.NetworkMode}} {{.Config.Labels}} {{json .Args}}";
    assert_eq!(
        host.ok(["inspect", "-f", fields, "web"]),
        r#"running bridge map[a:b] ["-c","echo one; echo two \u003e\u00262; exec sleep 1000"]"#
            .replace("\\u003e\\u0026", ">&")
    );
    let address = host.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]);
    assert_eq!(
        host.ok([
            "inspect",
            "-f",
            "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
            "web"
        ]),
        address
    );
    assert!(address.parse::<std::net::Ipv4Addr>().is_ok(), "{address}");

    assert_eq!(host.ok(["ps", "-q", "--filter", "publish=80"]), "");
    assert_eq!(
        host.ok(["ps", "-q", "--filter", &format!("publish={published}")]).len(),
        12
    );
    assert_eq!(
        host.ok(["ps", "-a", "--format", "{{.Names}}", "-f", "ancestor=nothing"]),
        ""
    );
    assert_eq!(
        host.ok(["ps", "-a", "--format", "{{.Names}}", "-f", &format!("ancestor={image}")]),
        "made\nweb"
    );
    let counts = "{{.Containers}} {{.ContainersRunning}} {{.ContainersStopped}} {{.Images}}";
    assert_eq!(host.ok(["info", "-f", counts]), "2 1 1 1");
}

#[test]
fn privileged_a_followed_log_loses_nothing_to_rotation() {
    let Some((host, image)) = machine() else { return };
    let script = "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); usleep 2000; done";
    host.hull(shell(
        &format!("run -d --name chatty --log-opt max-size=4k --log-opt max-file=3 {image}"),
        script,
    ))
    .ok();
    // It ends by itself, with the container.
    let followed = host.ok(["logs", "-f", "chatty"]);
    let expected: Vec<String> = (0..400).map(|n| format!("line {n}")).collect();
    assert_eq!(followed.lines().collect::<Vec<_>>(), expected);
    assert_eq!(host.ok(["logs", "--tail", "2", "chatty"]), "line 398\nline 399");
    assert_eq!(host.ok(["logs", "--since", "1h", "--until", "1h", "chatty"]), "");
}

#[test]
fn privileged_a_thousand_stopped_containers_hide_none_that_runs() {
    let Some((host, image)) = machine() else { return };
    let made = host.ok(words(&format!("create --name made {image} true")));
    host.ok(words(&format!("run -d --name web {image} sleep 1000")));
    host.ok(words(&format!("run --name ended {image} true")));
    let crowd = host.multiply(&made, 1000);
    assert_eq!(host.ok(["ps", "--format", "{{.Names}} {{.State}}"]), "web running");
    let all = host.ok(["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    assert_eq!(all.lines().count(), 1003);
    for line in ["web running", "made created", "made-0 exited", "made-999 exited"] {
        assert!(all.lines().any(|shown| shown == line), "{line}");
    }
    assert_eq!(
        host.ok(["ps", "-a", "--format", "{{.Names}}", "-f", "name=made-77"])
            .lines()
            .count(),
        11
    );
    assert_eq!(
        host.ok(["ps", "-aq", "--no-trunc", "-f", &format!("id={}", crowd[5])]),
        crowd[5]
    );
    host.ok(["start", "made-5"]);
    assert_eq!(host.ok(["wait", "made-5"]), "0");
    assert_eq!(host.ok(["rm", "made-5"]), "made-5");
    assert_eq!(host.ok(["ps", "-aq"]).lines().count(), 1002);
    host.ok(["container", "prune", "-f"]);
    assert_eq!(host.ok(["ps", "-a", "--format", "{{.Names}}"]), "web");
}
