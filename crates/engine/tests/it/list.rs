use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::time::Instant;

use hull_engine::container::{self, ListRequest, list};
use hull_engine::filter::Filters;
use hull_spec::container::{Empty, EndpointSettings, MountPoint, PortBinding};

use crate::fixture::Host;

/// Five containers, created one second after the other: `made`, `done` (exit 7), `web` (runs), `frozen`, `failed`.
fn five() -> (Host, Vec<crate::fixture::Running>) {
    let host = Host::new();
    let at = |second: u32| format!("2024-05-01T10:00:0{second}.5Z");
    host.create("made", |record| {
        record.created = at(1);
        // As `create` leaves it: the default network under its old name.
        record.host_config.network_mode = "default".to_owned();
        record.networking_config.endpoints_config = BTreeMap::from([("default".to_owned(), None)]);
    });
    let done = host.create("done", |record| {
        record.created = at(2);
        record.config.labels = BTreeMap::from([("tier".to_owned(), "back".to_owned())]);
    });
    host.write_exit(&done, |exit| exit.exit_code = 7);
    let web = host.create("web", |record| {
        record.created = at(3);
        record.config.labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
        record.config.exposed_ports =
            BTreeMap::from([("80/tcp".to_owned(), Empty {}), ("90/udp".to_owned(), Empty {})]);
        record.mounts = vec![MountPoint {
            kind: "volume".to_owned(),
            name: "vol1".to_owned(),
            destination: "/data".to_owned(),
            ..MountPoint::default()
        }];
    });
    let frozen = host.create("frozen", |record| {
        record.created = at(4);
        record.host_config.network_mode = "host".to_owned();
    });
    let failed = host.create("failed", |record| record.created = at(5));
    host.write_exit(&failed, |exit| {
        exit.error = "no".to_owned();
        exit.started_at = String::new();
    });
    let binding = PortBinding {
        host_ip: "127.0.0.1".to_owned(),
        host_port: "8080".to_owned(),
    };
    let running = vec![
        host.start(&web, |live| {
            live.ports = BTreeMap::from([("80/tcp".to_owned(), Some(vec![binding]))]);
            let endpoint = EndpointSettings {
                network_id: "feed".repeat(16),
                ..EndpointSettings::default()
            };
            live.networks = BTreeMap::from([("bridge".to_owned(), endpoint)]);
        }),
        host.start(&frozen, |live| live.cgroups = vec![host.freezer(&frozen, "FROZEN")]),
    ];
    (host, running)
}

fn names(host: &Host, request: &ListRequest) -> Result<String, String> {
    let list = list(&host.engine, request).map_err(|e| e.to_string())?;
    let names: Vec<&str> = list.iter().map(|c| c.names[0].trim_start_matches('/')).collect();
    Ok(names.join(" "))
}

#[test]
fn lists_are_newest_first_and_filtered() {
    let (host, _running) = five();
    let check = |all: bool, last: Option<usize>, filters: &[(&str, &str)], expected: Result<&str, &str>| {
        let mut request = ListRequest {
            all,
            last,
            ..ListRequest::default()
        };
        for (name, value) in filters {
            request.filters.add(name, value);
        }
        let found = names(&host, &request);
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{filters:?}");
    };
    check(false, None, &[], Ok("frozen web"));
    check(true, None, &[], Ok("failed frozen web done made"));
    check(false, Some(1), &[], Ok("failed"));
    check(false, Some(9), &[], Ok("failed frozen web done made"));
    check(false, None, &[("status", "exited")], Ok("done"));
    check(
        false,
        None,
        &[("status", "exited"), ("status", "created")],
        Ok("failed done made"),
    );
    check(true, None, &[("exited", "7")], Ok("done"));
    check(true, None, &[("exited", "0")], Ok(""));
    check(true, None, &[("name", "^/?we")], Ok("web"));
    check(true, None, &[("name", "e")], Ok("failed frozen web done made"));
    check(true, None, &[("label", "tier")], Ok("web done"));
    check(true, None, &[("label", "tier"), ("label", "tier=back")], Ok("done"));
    check(true, None, &[("before", "web")], Ok("done made"));
    check(true, None, &[("since", "web")], Ok("failed frozen"));
    check(true, None, &[("volume", "vol1")], Ok("web"));
    check(true, None, &[("volume", "/data")], Ok("web"));
    check(true, None, &[("network", "host")], Ok("frozen"));
    check(true, None, &[("network", "feedfeed")], Ok("web"));
    check(true, None, &[("network", "bridge")], Ok("failed web done made"));
    check(true, None, &[("network", "default")], Ok(""));
    check(true, None, &[("publish", "8080")], Ok("web"));
    check(true, None, &[("publish", "80")], Ok(""));
    check(true, None, &[("expose", "85-95/udp")], Ok("web"));
    check(true, None, &[("health", "none")], Ok("failed frozen web done made"));
    check(true, None, &[("health", "healthy")], Ok(""));
    check(true, None, &[("is-task", "true")], Ok(""));
    check(true, None, &[("ancestor", "nothing")], Ok(""));
    check(true, None, &[("foo", "x")], Err("invalid filter 'foo'"));
    check(true, None, &[("status", "x")], Err("invalid filter 'status=x'"));
    check(
        true,
        None,
        &[("exited", "x")],
        Err("invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax"),
    );
    check(true, None, &[("before", "x")], Err("No such container: x"));
    check(
        true,
        None,
        &[("publish", "x")],
        Err("error while looking up for publish x: strconv.ParseUint: parsing \"x\": invalid syntax"),
    );
    check(true, None, &[("name", "(")], Ok(""));
}

#[test]
fn a_summary_is_dockers_json() {
    let (host, _running) = five();
    let mut request = ListRequest::default();
    request.filters.add("name", "web");
    let list = list(&host.engine, &request).unwrap();
    let mut json = serde_json::to_value(&list[0]).unwrap();
    json["Id"] = "ID".into();
    json["NetworkSettings"]["Networks"]["bridge"] = "..".into();
    insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap());
}

#[test]
fn what_is_half_there_is_left_out() {
    let host = Host::new();
    // A folder whose record is not written yet, and one that is no container.
    fs::create_dir_all(host.dir(&"a".repeat(64))).unwrap();
    fs::create_dir_all(host.dir("lost+found")).unwrap();
    fs::write(host.engine.data.join("containers").join("b".repeat(64)), "").unwrap();
    let request = ListRequest {
        all: true,
        filters: Filters::new(),
        ..ListRequest::default()
    };
    assert_eq!(names(&host, &request).unwrap(), "");
    // No data root at all.
    fs::remove_dir_all(&host.engine.data).unwrap();
    assert_eq!(names(&host, &request).unwrap(), "");
}

/// So many that several threads look at them, where the machine has several cores.
#[test]
fn a_long_list_is_as_true_as_a_short_one() {
    let host = Host::new();
    let mut running = Vec::new();
    let mut expected = Vec::new();
    for at in 0..1000u32 {
        let id = host.create(&format!("c{at}"), |record| {
            record.created = format!("2024-05-01T{:02}:{:02}:{:02}Z", at / 3600, at / 60 % 60, at % 60);
            record.config.labels = BTreeMap::from([("at".to_owned(), at.to_string())]);
        });
        let state = match at % 4 {
            _ if at % 250 == 7 => {
                running.push(host.start(&id, |_| {}));
                "running"
            }
            // Started, and the host went down.
            0 => {
                fs::create_dir_all(host.dir(&id).join("work/work")).unwrap();
                "exited"
            }
            1 => "created",
            _ => {
                host.write_exit(&id, |exit| exit.exit_code = i32::try_from(at % 250).unwrap());
                "exited"
            }
        };
        expected.push((format!("/c{at}"), state));
    }
    expected.reverse();
    let seen = |all: bool| {
        let request = ListRequest {
            all,
            ..ListRequest::default()
        };
        let found = list(&host.engine, &request).map_err(|e| e.to_string())?;
        let line = |c: hull_engine::container::Summary| (c.names[0].clone(), c.state.name());
        Ok::<Vec<_>, String>(found.into_iter().map(line).collect())
    };
    assert_eq!(seen(true).unwrap(), expected);
    expected.retain(|(_, state)| *state == "running");
    assert_eq!(expected.len(), 4);
    assert_eq!(seen(false).unwrap(), expected);
    // One that cannot be read is told of, whichever thread finds it.
    let damaged = container::find_id(&host.engine, "c998").unwrap();
    fs::write(host.dir(&damaged).join("config.json"), "{").unwrap();
    assert!(seen(true).unwrap_err().contains(&damaged));
    assert_eq!(seen(false).unwrap(), expected);
}

/// What a killed command left in the folder of names goes with the next list, and only that.
#[test]
fn names_of_no_container_are_swept() {
    let host = Host::new();
    let ids: Vec<String> = ["one", "two"].map(|name| host.create(name, |_| {})).into();
    let link = |name: &str, id: &str| std::os::unix::fs::symlink(id, host.engine.names().join(name)).unwrap();
    let names = || {
        let entries = fs::read_dir(host.engine.names()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    link("gone", &"a".repeat(64));
    container::recover(&host.engine).unwrap();
    assert_eq!(names(), ["one", "two"]);
    // A killed rename's: the container goes by its other name.
    link("renamed", &ids[0]);
    link("gone", "nonsense");
    container::recover(&host.engine).unwrap();
    assert!(names().contains(&"one".into()) && !names().contains(&"gone".into()));
}

/// Prints how long a list of 200 containers takes; a machine that is busy must not fail the test.
#[test]
fn two_hundred_containers_are_listed() {
    let host = Host::new();
    let mut running = Vec::new();
    for at in 0..200 {
        let id = host.create(&format!("c{at}"), |_| {});
        if at % 2 == 0 {
            running.push(host.start(&id, |_| {}));
        } else {
            host.write_exit(&id, |_| {});
        }
    }
    for all in [true, false] {
        let request = ListRequest {
            all,
            ..ListRequest::default()
        };
        let started = Instant::now();
        let found = list(&host.engine, &request).unwrap();
        let took = started.elapsed();
        assert_eq!(found.len(), if all { 200 } else { 100 });
        let _ = writeln!(std::io::stderr(), "200 containers, all={all}: {took:?}");
    }
}
