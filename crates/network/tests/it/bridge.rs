//! The bridge: made once, made again, by whoever comes.

use std::thread;

use hull_network::{Error, bridge};

use crate::lab::{HOST, Lab, OUTSIDE};

#[test]
fn privileged_racing_commands_make_one_bridge() {
    let Some(lab) = Lab::new() else { return };
    let networks: Vec<_> = lab.host.run(|| {
        thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| bridge::ensure(&lab.settings).unwrap()))
                .collect();
            racers.into_iter().map(|r| r.join().unwrap()).collect()
        })
    });
    assert!(networks.iter().all(|n| n == &networks[0]), "{networks:?}");
    assert_eq!(networks[0].subnet.to_string(), "172.17.0.0/16");
    assert_eq!(lab.host.sh("ip -o link show type bridge | wc -l").trim(), "1");
    assert!(
        lab.host
            .sh("ip -o addr show hull0")
            .contains("172.17.0.1/16 brd 172.17.255.255")
    );
    assert!(!lab.host.sh("ip -o -6 addr show hull0").contains("inet6"));
}

#[test]
fn privileged_subnets_of_the_host_are_avoided() {
    let Some(lab) = Lab::new() else { return };
    lab.host.sh("ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip route add 172.18.4.0/24 via 198.51.100.2");
    assert_eq!(lab.ensure().subnet.to_string(), "172.19.0.0/16");
    // Decided once: it stays when the reason is gone.
    lab.host.sh("ip link del docker0; ip link del hull0");
    assert_eq!(lab.ensure().subnet.to_string(), "172.19.0.0/16");
}

#[test]
fn privileged_no_subnet_left_is_told() {
    let Some(mut lab) = Lab::new() else { return };
    lab.settings.subnets = vec!["198.51.0.0/16".parse().unwrap()];
    let error = lab.host.run(|| bridge::ensure(&lab.settings)).unwrap_err();
    assert!(matches!(error, Error::NoSubnet { .. }), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn privileged_a_removed_bridge_and_a_flushed_table_come_back_with_their_containers() {
    let Some(lab) = Lab::new() else { return };
    let web = lab.start("web", &["8080:80"]);
    web.space.serve("0.0.0.0:80");
    let before = lab.ensure();
    for harm in [
        "nft flush ruleset",
        "ip link del hull0",
        "ip link del hull0; nft flush ruleset",
    ] {
        lab.host.sh(harm);
        assert!(lab.outside.silent((HOST, 8080)), "{harm}");
        let after = lab.ensure();
        assert_eq!((after.subnet, &after.id), (before.subnet, &before.id));
        assert_eq!(lab.outside.ask((HOST, 8080)), Some(OUTSIDE.to_string()), "{harm}");
    }
}

#[test]
fn privileged_a_lost_record_finds_its_bridge_again() {
    let Some(lab) = Lab::new() else { return };
    let before = lab.ensure();
    std::fs::remove_dir_all(&lab.settings.run).unwrap();
    let after = lab.ensure();
    assert_eq!((after.subnet, after.index), (before.subnet, before.index));
}

#[test]
fn privileged_the_link_goes_with_its_namespace() {
    let Some(lab) = Lab::new() else { return };
    let container = lab.start("c", &[]);
    let link = container.endpoint.plan.link.clone();
    assert!(lab.host.sh("ip -o link").contains(&link));
    drop(container);
    // The kernel takes namespaces apart on its own time.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while lab.host.sh("ip -o link").contains(&link) {
        assert!(std::time::Instant::now() < end, "{link} is still there");
    }
}

#[test]
fn privileged_removal_leaves_the_host_as_it_was() {
    let Some(lab) = Lab::new() else { return };
    lab.host.sh("sysctl -qw net.ipv4.ip_forward=0");
    lab.settle();
    let before = lab
        .host
        .sh("ip -o link; ip -o addr; nft list ruleset; sysctl net.ipv4.ip_forward");
    lab.ensure();
    assert_ne!(
        lab.host
            .sh("ip -o link; ip -o addr; nft list ruleset; sysctl net.ipv4.ip_forward"),
        before
    );
    lab.host.run(|| bridge::remove(&lab.settings)).unwrap();
    assert_eq!(
        lab.host
            .sh("ip -o link; ip -o addr; nft list ruleset; sysctl net.ipv4.ip_forward"),
        before
    );
    lab.ensure();
}

#[test]
fn privileged_a_half_made_bridge_is_undone() {
    let Some(mut lab) = Lab::new() else { return };
    lab.host.sh("sysctl -qw net.ipv4.ip_forward=0");
    lab.settle();
    let before = lab.host.sh("ip -o link; ip -o addr; sysctl net.ipv4.ip_forward");
    // No table has a name of this length: the kernel refuses the rules when the bridge stands.
    let table = std::mem::replace(&mut lab.settings.table, "x".repeat(300));
    let error = lab.host.run(|| bridge::ensure(&lab.settings)).unwrap_err();
    assert!(matches!(error, Error::Firewall { .. }), "{error}");
    assert_eq!(
        lab.host.sh("ip -o link; ip -o addr; sysctl net.ipv4.ip_forward"),
        before
    );
    lab.settings.table = table;
    lab.ensure();
}
