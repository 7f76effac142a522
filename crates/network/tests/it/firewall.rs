//! The host's own firewall is obeyed, and the host is no router for strangers.

use std::net::Ipv4Addr;

use crate::lab::{HOST, Lab, OUTSIDE, Space};

#[test]
fn privileged_the_hosts_drop_is_obeyed() {
    let Some(lab) = Lab::new() else { return };
    let web = lab.start("web", &["8080:80"]);
    web.space.serve("0.0.0.0:80");
    lab.outside.serve("0.0.0.0:9000");
    for priority in [-10, 0, 20] {
        for (rules, published, outbound) in [
            ("meta l4proto tcp ct original proto-dst 8080 drop", false, true),
            ("tcp dport 80 drop", false, true),
            ("iifname hull0 drop; oifname hull0 ct state new drop", false, false),
        ] {
            lab.host.sh(&format!(
                "nft 'table inet host {{ chain f {{ type filter hook forward priority {priority}; {rules}; }}; }}'"
            ));
            assert_eq!(!lab.outside.silent((HOST, 8080)), published, "{priority} {rules}");
            assert_eq!(!web.space.silent((OUTSIDE, 9000)), outbound, "{priority} {rules}");
            lab.host.sh("nft delete table inet host");
        }
    }
    // Before translation the port is the one that was published.
    lab.host
        .sh("nft 'table inet host { chain p { type filter hook prerouting priority -150; tcp dport 8080 drop; }; }'");
    assert!(lab.outside.silent((HOST, 8080)));
    lab.host.sh("nft delete table inet host");
    assert!(lab.outside.ask((HOST, 8080)).is_some());
}

#[test]
fn privileged_the_hosts_own_translation_wins() {
    let Some(lab) = Lab::new() else { return };
    let web = lab.start("web", &["8080:80"]);
    web.space.serve("0.0.0.0:80");
    lab.host.serve("0.0.0.0:9999");
    lab.host.sh(
        "nft 'table ip host { chain p { type nat hook prerouting priority -100; tcp dport 8080 redirect to 9999; }; }'",
    );
    web.space.sh("true");
    lab.host.sh("nft 'add table inet count; add chain inet count i { type filter hook input priority 0; }; add rule inet count i tcp dport 9999 counter'");
    assert!(lab.outside.ask((HOST, 8080)).is_some());
    assert!(!lab.host.sh("nft list table inet count").contains("packets 0"));
}

#[test]
fn privileged_the_host_becomes_no_router() {
    let Some(lab) = Lab::new() else { return };
    // A second network of the host, which forwards nothing.
    let beyond = Space::new();
    lab.host.sh("sysctl -qw net.ipv4.ip_forward=0");
    lab.host.run(|| {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&beyond.fd());
        let netns = format!("/proc/{}/fd/{fd}", std::process::id());
        let args = [
            "link", "add", "far0", "type", "veth", "peer", "name", "far1", "netns", &netns,
        ];
        assert!(std::process::Command::new("ip").args(args).status().unwrap().success());
    });
    lab.host.sh("ip addr add 203.0.113.1/24 dev far0; ip link set far0 up");
    beyond.sh("ip addr add 203.0.113.2/24 dev far1; ip link set far1 up; ip route add default via 203.0.113.1");
    lab.outside.sh(&format!("ip route add 203.0.113.0/24 via {HOST}"));
    beyond.serve("0.0.0.0:80");
    let far = (Ipv4Addr::new(203, 0, 113, 2), 80);
    assert!(lab.outside.silent(far));
    let container = lab.start("c", &[]);
    assert_eq!(lab.host.sh("sysctl -n net.ipv4.ip_forward").trim(), "1");
    assert!(container.space.ask(far).is_some());
    assert!(lab.outside.silent(far), "we turned forwarding on for containers alone");
    // A host that forwarded before goes on doing so.
    lab.host.sh("ip link del hull0; nft flush ruleset");
    std::fs::remove_dir_all(&lab.settings.run).unwrap();
    lab.ensure();
    assert!(lab.outside.ask(far).is_some());
}

#[test]
fn privileged_the_table_reads_as_documented() {
    let Some(lab) = Lab::new() else { return };
    let _web = lab.start("0123456789abcdef", &["8080:80", "127.0.0.1:5300:53/udp"]);
    insta::assert_snapshot!(lab.ruleset());
}

#[test]
fn privileged_the_doctor_names_what_is_in_the_way() {
    let Some(lab) = Lab::new() else { return };
    let web = lab.start("web", &["8080:80"]);
    web.space.serve("0.0.0.0:80");
    let look = || lab.host.run(|| hull_network::doctor(&lab.settings));
    assert_eq!(look(), []);
    // As Docker leaves it.
    lab.host.sh(
        "nft 'table ip filter { chain DOCKER-USER { }; chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; }; }'",
    );
    assert!(lab.outside.silent((HOST, 8080)), "the host's drop holds");
    let findings = look();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0]
            .problem
            .contains("`FORWARD` of the host's table `ip filter`"),
        "{findings:?}"
    );
    assert!(findings[0].hint.contains("DOCKER-USER"), "{findings:?}");
    // What the hint says helps.
    lab.host
        .sh("nft insert rule ip filter DOCKER-USER iifname hull0 accept; \
         nft insert rule ip filter DOCKER-USER oifname hull0 ct status dnat accept");
    assert!(lab.outside.ask((HOST, 8080)).is_some());
    // Input is another way, which published ports do not take; that is said.
    lab.host.sh(
        "nft 'delete table ip filter; table inet fw { chain i { type filter hook input priority 0; policy drop; }; }'",
    );
    assert!(lab.outside.ask((HOST, 8080)).is_some());
    assert!(look()[0].problem.contains("published ports are open"));
    lab.host.sh("nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0");
    let problems: Vec<_> = look().into_iter().map(|f| f.problem).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
}
