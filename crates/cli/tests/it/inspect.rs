//! Docker's JSON of networks, and what a container's says of them.

use serde_json::{Value, json};

use crate::{machine, words};

#[test]
fn privileged_networks_are_listed_and_inspected() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run -d --name on-bridge {image} sleep 1000")));
    host.ok(words(&format!(
        "run -d --name on-host --network host {image} sleep 1000"
    )));
    host.ok(words(&format!("run --name on-none --network none {image} true")));
    let table = host.ok(["network", "ls"]);
    let names: Vec<Vec<&str>> = table.lines().skip(1).map(|line| words(line)[1..].to_vec()).collect();
    assert_eq!(
        names,
        [
            ["bridge", "bridge", "local"],
            ["host", "host", "local"],
            ["none", "null", "local"]
        ]
    );
    assert!(
        table.starts_with("NETWORK ID     NAME      DRIVER    SCOPE\n"),
        "{table}"
    );
    let ids = host.ok(["network", "ls", "-q", "--no-trunc"]);
    assert_eq!(ids.lines().map(str::len).collect::<Vec<_>>(), [64; 3]);
    let seen: Vec<Value> = serde_json::from_str(&host.ok(["network", "inspect", "bridge", "host", "none"])).unwrap();
    for (network, id) in seen.iter().zip(ids.lines()) {
        assert_eq!(network["Id"], id);
        let any: Vec<Value> = serde_json::from_str(&host.ok(["inspect", &id[..12]])).unwrap();
        assert_eq!(any[0], *network);
    }
    // The container tells of the same networks.
    for (container, network) in [("on-bridge", 0), ("on-host", 1), ("on-none", 2)] {
        let name = seen[network]["Name"].as_str().unwrap();
        let format = format!("{{{{.NetworkSettings.Networks.{name}.NetworkID}}}}");
        assert_eq!(
            host.ok(["inspect", "-f", &format, container]),
            seen[network]["Id"].as_str().unwrap()
        );
    }
    let on = |network: usize| {
        let containers = seen[network]["Containers"].as_object().unwrap();
        containers
            .values()
            .map(|c| c["Name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!([on(0), on(1), on(2)], [vec!["on-bridge"], vec!["on-host"], vec![]]);
    let address = host.ok([
        "inspect",
        "-f",
        "{{.NetworkSettings.IPAddress}}/{{.NetworkSettings.IPPrefixLen}}",
        "on-bridge",
    ]);
    let endpoint = seen[0]["Containers"].as_object().unwrap().values().next().unwrap();
    assert_eq!(endpoint["IPv4Address"], address);
    assert_eq!(
        seen[0]["IPAM"]["Config"][0]["Gateway"]
            .as_str()
            .map(|g| g.ends_with(".1")),
        Some(true)
    );
    assert_eq!(
        seen[1]["IPAM"],
        json!({"Driver": "default", "Options": null, "Config": null})
    );
    host.ok(["rm", "-f", "on-bridge", "on-host", "on-none"]);
}

#[test]
fn privileged_what_is_not_there_is_named_by_its_kind() {
    let Some((host, _)) = machine() else { return };
    let check = |args: &str, text: &str| {
        let run = host.hull(words(&format!("inspect {args}"))).fails(1);
        assert_eq!(
            (run.stdout.as_str(), run.stderr.as_str()),
            ("[]\n", format!("error: {text}\n").as_str())
        );
    };
    check("nosuch", "No such object: nosuch");
    check("--type network nosuch", "network nosuch not found");
    check("--type plugin nosuch", "plugin \"nosuch\" not found");
    host.hull(words("inspect --type service x")).fails(1).says("no swarm");
    host.hull(words("network inspect nosuch"))
        .fails(1)
        .says("network nosuch not found");
    host.hull(words("network create x")).fails(1).says("network create");
}

#[test]
fn privileged_a_containers_json_is_dockers() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("create --name aa {image} true")));
    let seen: Vec<Value> = serde_json::from_str(&host.ok(["inspect", "aa"])).unwrap();
    let container = &seen[0];
    // As Docker 26 has them, with empty values told from missing ones.
    for (pointer, expected) in [
        ("/HostConfig/DeviceRequests", json!(null)),
        ("/HostConfig/CpuCount", json!(0)),
        ("/HostConfig/CpuPercent", json!(0)),
        ("/HostConfig/IOMaximumIOps", json!(0)),
        ("/HostConfig/IOMaximumBandwidth", json!(0)),
        ("/HostConfig/Devices", json!([])),
        ("/Config/Labels", json!({})),
        ("/Config/Volumes", json!(null)),
        ("/NetworkSettings/Networks/bridge/NetworkID", json!("")),
        ("/RestartCount", json!(0)),
        ("/State/StartedAt", json!("0001-01-01T00:00:00Z")),
    ] {
        assert_eq!(container.pointer(pointer), Some(&expected), "{pointer}");
    }
    let lower = container["GraphDriver"]["Data"]["LowerDir"].as_str().unwrap();
    assert!(lower.ends_with("/layers/base"), "{lower}");
    let info: Value = serde_json::from_str(&host.ok(["info", "--format", "json"])).unwrap();
    assert_eq!(info["RegistryConfig"]["Mirrors"], json!(null));
    assert!(
        info["RegistryConfig"]
            .as_object()
            .unwrap()
            .contains_key("AllowNondistributableArtifactsCIDRs")
    );
    host.ok(["rm", "aa"]);
}
