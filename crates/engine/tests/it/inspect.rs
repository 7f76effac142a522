use std::collections::BTreeMap;

use hull_engine::container::inspect;
use hull_spec::container::{EndpointSettings, PortBinding};

use crate::fixture::Host;

/// The JSON without what differs from run to run.
fn json(host: &Host, id: &str, pid: Option<i32>) -> String {
    let inspect = inspect(&host.engine, id, false).unwrap();
    let mut text = serde_json::to_string_pretty(&inspect).unwrap();
    let started = inspect.state.started_at.clone();
    let base = host.engine.data.parent().unwrap().display().to_string();
    for (from, to) in [(base.as_str(), "BASE"), (id, "ID"), (&inspect.created, "CREATED")] {
        text = text.replace(from, to);
    }
    if let Some(pid) = pid {
        text = text
            .replace(&started, "STARTED")
            .replace(&format!("/proc/{pid}/"), "/proc/PID/");
        text = text.replace(&format!("\"Pid\": {pid}"), "\"Pid\": PID");
    }
    text
}

#[test]
fn a_running_container_is_dockers_json() {
    let host = Host::new();
    let id = host.create("web", |record| {
        record.config.env = vec!["A=b".to_owned()];
        record.host_config.network_mode = "bridge".to_owned();
    });
    let binding = PortBinding {
        host_ip: "0.0.0.0".to_owned(),
        host_port: "8080".to_owned(),
    };
    let running = host.start(&id, |live| {
        live.ports = BTreeMap::from([("80/tcp".to_owned(), Some(vec![binding]))]);
        let endpoint = EndpointSettings {
            network_id: "feed".repeat(16),
            endpoint_id: "beef".repeat(16),
            gateway: "172.17.0.1".to_owned(),
            ip_address: "172.17.0.2".to_owned(),
            ip_prefix_len: 16,
            mac_address: "02:42:ac:11:00:02".to_owned(),
            ..EndpointSettings::default()
        };
        live.networks = BTreeMap::from([("bridge".to_owned(), endpoint)]);
    });
    insta::assert_snapshot!(json(&host, &id, Some(running.live.pid)));
}

#[test]
fn an_ended_container_tells_how() {
    let host = Host::new();
    let id = host.create("done", |_| {});
    host.write_exit(&id, |exit| {
        exit.exit_code = 137;
        exit.oom_killed = true;
    });
    let state = inspect(&host.engine, "done", false).unwrap().state;
    insta::assert_snapshot!(serde_json::to_string(&state).unwrap(), @r#"{"Status":"exited","Running":false,"Paused":false,"Restarting":false,"OOMKilled":true,"Dead":false,"Pid":0,"ExitCode":137,"Error":"","StartedAt":"2024-05-01T10:00:00.5Z","FinishedAt":"2024-05-01T10:00:01.25Z"}"#);
    // While it runs again, its last end is told by its time alone.
    let running = host.start(&id, |_| {});
    let state = inspect(&host.engine, "done", false).unwrap().state;
    assert_eq!(
        (state.pid, state.exit_code, state.oom_killed),
        (running.live.pid, 0, false)
    );
    assert_eq!(state.finished_at, "2024-05-01T10:00:01.25Z");
}

#[test]
fn a_created_container_has_never_run() {
    let host = Host::new();
    host.create("made", |_| {});
    let inspect = inspect(&host.engine, "/made", false).unwrap();
    assert_eq!(inspect.state.started_at, "0001-01-01T00:00:00Z");
    assert_eq!((inspect.log_path.as_str(), inspect.hosts_path.as_str()), ("", ""));
    assert_eq!(
        (inspect.path.as_str(), inspect.args.as_slice()),
        ("sleep", &["1000".to_owned()][..])
    );
}
