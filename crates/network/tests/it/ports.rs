//! Who reaches what, with real packets.

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use hull_network::{Error, endpoint};

use crate::lab::{HOST, HOST_TOO, Lab, OUTSIDE};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ANSWER: Duration = Duration::from_secs(5);

#[test]
fn privileged_outbound_has_the_hosts_address() {
    let Some(lab) = Lab::new() else { return };
    let container = lab.start("a", &[]);
    lab.outside.serve("0.0.0.0:9000");
    assert_eq!(container.space.ask((OUTSIDE, 9000)), Some(HOST.to_string()));
    lab.outside.serve_udp("0.0.0.0:9000");
    assert_eq!(container.space.ask_udp((OUTSIDE, 9000), ANSWER), Some(HOST.to_string()));
}

#[test]
fn privileged_containers_of_a_bridge_talk() {
    let Some(lab) = Lab::new() else { return };
    let (a, b) = (lab.start("a", &[]), lab.start("b", &[]));
    b.space.serve("0.0.0.0:80");
    assert_eq!(a.space.ask((b.address(), 80)), Some(a.address().to_string()));
    a.space.serve("127.0.0.1:81");
    assert!(a.space.ask((LOCALHOST, 81)).is_some(), "lo is up");
    assert_eq!(lab.host.ask((b.address(), 80)), Some("172.17.0.1".into()));
}

#[test]
fn privileged_published_tcp_is_reached_from_everywhere() {
    let Some(lab) = Lab::new() else { return };
    let web = lab.start("web", &["8080:80"]);
    let other = lab.start("other", &[]);
    web.space.serve("0.0.0.0:80");
    assert_eq!(
        lab.outside.ask((HOST, 8080)),
        Some(OUTSIDE.to_string()),
        "the source is kept"
    );
    assert_eq!(lab.outside.ask((HOST_TOO, 8080)), Some(OUTSIDE.to_string()));
    assert_eq!(lab.host.ask((HOST, 8080)), Some(HOST.to_string()));
    assert_eq!(lab.host.ask((LOCALHOST, 8080)), Some("172.17.0.1".into()));
    assert_eq!(other.space.ask((HOST, 8080)), Some("172.17.0.1".into()));
    assert_eq!(web.space.ask((HOST, 8080)), Some("172.17.0.1".into()), "hairpin");
    assert_eq!(
        other.space.ask((Ipv4Addr::new(172, 17, 0, 1), 8080)),
        Some("172.17.0.1".into())
    );
}

#[test]
fn privileged_hairpin_works_without_the_bridges_filter() {
    let Some(lab) = Lab::new() else { return };
    if !std::path::Path::new("/proc/sys/net/bridge").exists() {
        return;
    }
    for filter in [0, 1] {
        lab.host
            .sh(&format!("sysctl -qw net.bridge.bridge-nf-call-iptables={filter}"));
        let (web, other) = (lab.start("web", &["8080:80"]), lab.start("other", &[]));
        web.space.serve("0.0.0.0:80");
        assert!(web.space.ask((HOST, 8080)).is_some(), "itself, {filter}");
        assert!(other.space.ask((HOST, 8080)).is_some(), "another, {filter}");
        assert!(other.space.ask((web.address(), 80)).is_some(), "directly, {filter}");
        lab.release(&web);
        lab.release(&other);
    }
}

#[test]
fn privileged_published_udp_and_ranges() {
    let Some(lab) = Lab::new() else { return };
    let dns = lab.start("dns", &["5300:53/udp", "7000-7002:70-72"]);
    dns.space.serve_udp("0.0.0.0:53");
    assert_eq!(lab.outside.ask_udp((HOST, 5300), ANSWER), Some(OUTSIDE.to_string()));
    assert!(lab.host.ask_udp((LOCALHOST, 5300), ANSWER).is_some());
    assert!(dns.space.ask_udp((HOST, 5300), ANSWER).is_some(), "hairpin");
    for n in 0..3 {
        dns.space.serve(&format!("0.0.0.0:{}", 70 + n));
        assert!(lab.outside.ask((HOST, 7000 + n)).is_some(), "{n}");
    }
    assert!(lab.outside.silent((HOST, 5300)), "TCP is not published");
    assert!(lab.outside.silent((HOST, 7003)));
}

#[test]
fn privileged_one_address_is_not_the_others() {
    let Some(lab) = Lab::new() else { return };
    let web = lab.start("web", &[&format!("{HOST_TOO}:8080:80")]);
    web.space.serve("0.0.0.0:80");
    assert!(lab.outside.ask((HOST_TOO, 8080)).is_some());
    assert!(lab.outside.silent((HOST, 8080)));
    assert!(lab.host.silent((LOCALHOST, 8080)));
    // The port is free on the other address.
    let too = lab.start("too", &[&format!("{HOST}:8080:80")]);
    too.space.serve("0.0.0.0:80");
    assert!(lab.outside.ask((HOST, 8080)).is_some());
}

#[test]
fn privileged_any_free_port_is_published() {
    let Some(lab) = Lab::new() else { return };
    let web = lab.start("web", &["80"]);
    web.space.serve("0.0.0.0:80");
    let port = web.endpoint.plan.ports[0].host_port;
    assert!(port >= 1024);
    assert!(lab.outside.ask((HOST, port)).is_some());
}

#[test]
fn privileged_localhost_stays_the_hosts() {
    let Some(lab) = Lab::new() else { return };
    let web = lab.start("web", &["127.0.0.1:8080:80"]);
    web.space.serve("0.0.0.0:80");
    assert!(lab.host.ask((LOCALHOST, 8080)).is_some());
    assert!(lab.outside.silent((HOST, 8080)));
    // A neighbour sends to 127.0.0.1 by way of the host, and the host is as careless as it can be.
    lab.outside.sh(&format!(
        "ip addr flush dev lo; sysctl -qw net.ipv4.conf.all.route_localnet=1; ip route add 127.0.0.0/8 via {HOST}"
    ));
    lab.host.sh("sysctl -qw net.ipv4.conf.up0.route_localnet=1");
    lab.host.serve("127.0.0.1:7777");
    assert!(lab.outside.ask((LOCALHOST, 7777)).is_some(), "the way is open");
    assert!(
        lab.outside.silent((LOCALHOST, 8080)),
        "and yet no published port is reached by it"
    );
}

/// CVE-2020-8558: `route_localnet` opens the services on the host's 127.0.0.1 to whoever is on the link.
#[test]
fn privileged_containers_do_not_reach_the_hosts_localhost() {
    let Some(lab) = Lab::new() else { return };
    let evil = lab.start("evil", &[]);
    lab.host.serve("127.0.0.1:7777");
    evil.space.sh(
        "ip addr flush dev lo; sysctl -qw net.ipv4.conf.all.route_localnet=1; ip route add 127.0.0.0/8 via 172.17.0.1",
    );
    assert!(lab.host.ask((LOCALHOST, 7777)).is_some());
    assert!(evil.space.silent((LOCALHOST, 7777)));
    // Without the guard it would get through: this test tests something.
    lab.host.sh("nft flush chain inet hull guard");
    assert!(evil.space.ask((LOCALHOST, 7777)).is_some());
}

#[test]
fn privileged_unpublished_is_not_reached_from_outside() {
    let Some(lab) = Lab::new() else { return };
    let web = lab.start("web", &["8080:80"]);
    web.space.serve("0.0.0.0:80");
    web.space.serve("0.0.0.0:81");
    assert!(lab.outside.silent((web.address(), 81)));
    assert!(
        lab.outside.silent((web.address(), 80)),
        "published on the host's address, not on its own"
    );
    assert!(lab.outside.silent((HOST, 81)));
    lab.host.sh("nft flush chain inet hull forward");
    assert!(
        lab.outside.ask((web.address(), 81)).is_some(),
        "only the chain keeps it out"
    );
}

#[test]
fn privileged_a_taken_port_is_told_in_dockers_words() {
    let Some(lab) = Lab::new() else { return };
    let _web = lab.start("web", &["8080:80"]);
    let error = lab.allocate("two", &["8080:80"], &|_| true).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("Bind for 0.0.0.0:8080 failed: port is already allocated"),
        "{error}"
    );
    assert_eq!(lab.leases(), 1);
    lab.host.serve("0.0.0.0:9090");
    let error = lab.allocate("two", &["9090:80"], &|_| true).unwrap_err();
    assert!(
        error.to_string().contains("failed to bind port 0.0.0.0:9090/tcp"),
        "{error}"
    );
    assert_eq!(error.kind(), hull_spec::ErrorKind::Conflict);
    let error = lab.allocate("two", &["203.0.113.7:9091:80"], &|_| true).unwrap_err();
    assert!(matches!(error, Error::PortTaken { .. }), "{error}");
}

#[test]
fn privileged_release_frees_everything() {
    let Some(lab) = Lab::new() else { return };
    let web = lab.start("web", &["8080:80", "127.0.0.1:5300:53/udp"]);
    assert!(lab.ruleset().contains("8080"), "{}", lab.ruleset());
    lab.release(&web);
    lab.release(&web);
    let ruleset = lab.ruleset();
    assert!(!ruleset.contains("8080") && !ruleset.contains("5300"), "{ruleset}");
    assert_eq!(lab.leases(), 0);
    drop(web);
    let again = lab.start("again", &["8080:80"]);
    assert_ne!(
        again.address(),
        Ipv4Addr::new(172, 17, 0, 2),
        "an address rests before it is used again"
    );
}

#[test]
fn privileged_a_late_release_does_not_free_anothers_address() {
    let Some(lab) = Lab::new() else { return };
    let old = lab.start("old", &[]);
    lab.host.run(|| endpoint::reap(&lab.settings, &|_| false)).unwrap();
    let network = lab.ensure();
    let request = hull_network::EndpointRequest {
        container: "new".into(),
        address: Some(old.address()),
        ..hull_network::EndpointRequest::default()
    };
    let new = lab
        .host
        .run(|| endpoint::allocate(&lab.settings, &network, &request, &|_| true))
        .unwrap();
    assert_eq!(new.plan.address, old.address());
    lab.release(&old);
    assert_eq!(lab.leases(), 1);
}

#[test]
fn privileged_what_a_crash_leaves_is_reaped() {
    let Some(lab) = Lab::new() else { return };
    let (dead, live) = (lab.start("dead", &["8080:80"]), lab.start("live", &["8081:80"]));
    // The monitor is killed: its sockets close, and nobody releases.
    drop(dead);
    let freed = lab
        .host
        .run(|| endpoint::reap(&lab.settings, &|id| id == "live"))
        .unwrap();
    assert_eq!(freed, ["dead"]);
    let ruleset = lab.ruleset();
    assert!(!ruleset.contains("8080") && ruleset.contains("8081"), "{ruleset}");
    assert_eq!(lab.leases(), 1);
    live.space.serve("0.0.0.0:80");
    assert!(lab.outside.ask((HOST, 8081)).is_some());
}

#[test]
fn privileged_a_dead_containers_port_is_taken_over() {
    let Some(lab) = Lab::new() else { return };
    let dead = lab.start("dead", &["8080:80"]);
    drop(dead);
    // The container lives on though its monitor is gone: its port is its own.
    let error = lab.allocate("new", &["8080:80"], &|_| true).unwrap_err();
    assert!(matches!(error, Error::PortAllocated { port: 8080, .. }), "{error}");
    // It died: the next command finds that out.
    let new = lab.allocate("new", &["8080:80"], &|id| id != "dead").unwrap();
    assert_eq!(lab.leases(), 1);
    assert!(lab.ruleset().contains(&new.plan.address.to_string()));
}

#[test]
fn privileged_the_dead_take_no_port_with_them_that_is_anothers() {
    let Some(lab) = Lab::new() else { return };
    // Killed between its lease and its entry: it has the one but not the other.
    let dead = lab.start("dead", &["8080:80"]);
    lab.host.sh("nft flush map inet hull ports_any");
    drop(dead);
    let web = lab.start("web", &["8080:80"]);
    web.space.serve("0.0.0.0:80");
    lab.host
        .run(|| endpoint::reap(&lab.settings, &|id| id == "web"))
        .unwrap();
    assert_eq!(lab.leases(), 1);
    assert!(lab.outside.ask((HOST, 8080)).is_some());
    // Without a table there is nothing to take back.
    lab.host.sh("nft flush ruleset");
    lab.release(&web);
    assert_eq!(lab.leases(), 0);
}

/// A client that never pauses: its flow would keep the answer it got before the port was published.
#[test]
fn privileged_udp_flows_follow_their_port() {
    let Some(lab) = Lab::new() else { return };
    // Something must make the kernel remember flows.
    lab.ensure();
    let client = lab.outside.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let ask = || {
        client.send_to(b"?", (HOST, 5300)).unwrap();
        let mut bytes = [0; 64];
        client.recv(&mut bytes).ok()
    };
    let quiet = lab.host.run(|| UdpSocket::bind((HOST, 5300))).unwrap();
    assert_eq!(ask(), None, "the host's socket says nothing");
    drop(quiet);
    for name in ["first", "second"] {
        let dns = lab.start(name, &["5300:53/udp"]);
        dns.space.serve_udp("0.0.0.0:53");
        // Each packet keeps a wrong flow alive, so to go on asking helps only where it was forgotten.
        assert!((0..25).any(|_| ask().is_some()), "{name}");
        lab.release(&dns);
    }
}
