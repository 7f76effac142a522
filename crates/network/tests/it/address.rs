//! Addresses: each given once.

use std::{collections::HashSet, thread};

use hull_network::{EndpointRequest, Error, bridge, endpoint};

use crate::lab::Lab;

#[test]
fn privileged_racing_allocations_get_different_addresses() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.ensure();
    // Each takes the lock through its own open file, as processes do.
    let addresses: Vec<_> = lab.host.run(|| {
        thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|n| {
                    let (settings, network) = (&lab.settings, &network);
                    scope.spawn(move || {
                        let request = EndpointRequest {
                            container: format!("c{n}"),
                            ..EndpointRequest::default()
                        };
                        (0..50)
                            .map(|_| {
                                endpoint::allocate(settings, network, &request, &|_| true)
                                    .unwrap()
                                    .plan
                                    .address
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            racers.into_iter().flat_map(|r| r.join().unwrap()).collect()
        })
    });
    assert_eq!(addresses.len(), 400);
    assert_eq!(addresses.iter().collect::<HashSet<_>>().len(), 400);
    assert_eq!(lab.leases(), 400);
}

#[test]
fn privileged_exhaustion_is_told_and_the_dead_make_room() {
    let Some(mut lab) = Lab::new() else { return };
    lab.settings.subnets = vec!["172.30.0.0/29".parse().unwrap()];
    for n in 0..5 {
        lab.allocate(&format!("c{n}"), &[], &|_| true).unwrap();
    }
    let error = lab.allocate("more", &[], &|_| true).unwrap_err();
    assert!(matches!(error, Error::NoAddress { leases: 5, .. }), "{error}");
    assert_eq!(error.kind(), hull_spec::ErrorKind::Exhausted);
    // A writer that was killed while it wrote left an empty lease.
    std::fs::write(lab.settings.run.join("bridge/leases/172.30.0.3"), "").unwrap();
    let got = lab.allocate("more", &[], &|_| true).unwrap();
    assert_eq!(got.plan.address.to_string(), "172.30.0.3");
    let got = lab.allocate("more", &[], &|id| id != "c4").unwrap();
    assert_eq!(got.plan.address.to_string(), "172.30.0.6");
}

#[test]
fn privileged_an_address_can_be_asked_for() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.ensure();
    let ask = |address: &str| {
        let request = EndpointRequest {
            container: "c".into(),
            address: Some(address.parse().unwrap()),
            ..EndpointRequest::default()
        };
        lab.host
            .run(|| endpoint::allocate(&lab.settings, &network, &request, &|_| true))
            .map(|e| e.plan.address.to_string())
    };
    assert_eq!(ask("172.17.9.9").unwrap(), "172.17.9.9");
    assert!(matches!(ask("172.17.9.9"), Err(Error::AddressTaken { .. })));
    assert!(matches!(ask("172.17.0.1"), Err(Error::AddressTaken { .. })));
    assert!(matches!(ask("172.18.0.2"), Err(Error::AddressOutside { .. })));
    assert!(matches!(ask("172.17.255.255"), Err(Error::AddressOutside { .. })));
}

#[test]
fn privileged_a_failed_attach_leaves_nothing() {
    let Some(lab) = Lab::new() else { return };
    let endpoint = lab.allocate("c", &[], &|_| true).unwrap();
    // No namespace: an open file that is something else.
    let file = std::fs::File::open("/dev/null").unwrap();
    let netns = hull_network::Netns::Fd(std::os::fd::AsFd::as_fd(&file));
    let error = lab.host.run(|| endpoint::attach(&endpoint.plan, netns)).unwrap_err();
    assert!(error.to_string().starts_with("cannot add veth"), "{error}");
    assert!(!lab.host.sh("ip -o link").contains("veth"), "{error}");
    // The bridge went away under it.
    lab.host.sh("ip link del hull0");
    let space = crate::lab::Space::new();
    assert!(
        lab.host
            .run(|| endpoint::attach(&endpoint.plan, hull_network::Netns::Fd(space.fd())))
            .is_err()
    );
    assert!(lab.host.run(|| bridge::ensure(&lab.settings)).is_ok());
}

#[test]
fn privileged_configure_from_outside_does_the_same() {
    let Some(lab) = Lab::new() else { return };
    let (inside, outside) = (
        lab.start("inside", &[]),
        lab.allocate("outside", &[], &|_| true).unwrap(),
    );
    let space = crate::lab::Space::new();
    lab.host.run(|| {
        endpoint::attach(&outside.plan, hull_network::Netns::Fd(space.fd())).unwrap();
        endpoint::configure(&outside.plan, space.fd()).unwrap();
        // The thread is back on its host.
        assert!(bridge::find(&lab.settings).unwrap().is_some());
    });
    inside.space.serve("0.0.0.0:80");
    assert_eq!(
        space.ask((inside.address(), 80)),
        Some(outside.plan.address.to_string())
    );
    assert!(lab.host.sh("ip -o link").contains("hull0"));
}

#[test]
fn privileged_a_full_bridge_is_told() {
    let Some(lab) = Lab::new() else { return };
    let first = lab.allocate("c", &[], &|_| true).unwrap().plan;
    // One namespace for all, each with its own interface: only the bridge is looked at.
    let space = crate::lab::Space::new();
    let attach = |n: u32| {
        let plan = hull_network::EndpointPlan {
            link: format!("veth{n}"),
            peer: format!("e{n}"),
            ..first.clone()
        };
        endpoint::attach(&plan, hull_network::Netns::Fd(space.fd()))
    };
    let error = lab
        .host
        .run(|| (0..1100).find_map(|n| attach(n).err().map(|e| (n, e))))
        .unwrap();
    assert_eq!(error.0, 1023);
    assert!(matches!(error.1, Error::BridgeFull { .. }), "{}", error.1);
    assert_eq!(error.1.kind(), hull_spec::ErrorKind::Exhausted);
    assert!(!lab.host.sh("ip -o link").contains("veth1023"));
}

#[test]
fn privileged_a_restart_keeps_address_and_ports() {
    let Some(lab) = Lab::new() else { return };
    let mut first = lab.start("web", &["8080:80"]);
    // The old namespace lives on: this is how it looks while the kernel has not come round to taking it apart.
    let before = first.endpoint.plan.clone();
    endpoint::renew(&lab.settings, &mut first.endpoint).unwrap();
    let after = &first.endpoint.plan;
    assert_eq!((after.address, &after.ports), (before.address, &before.ports));
    assert_ne!(after.link, before.link);
    let space = crate::lab::Space::new();
    lab.host
        .run(|| endpoint::attach(after, hull_network::Netns::Fd(space.fd())))
        .unwrap();
    space.run(|| endpoint::configure_inside(after)).unwrap();
    assert_eq!(lab.leases(), 1);
    // Whoever still has the old plan frees nothing.
    lab.host.run(|| endpoint::release(&lab.settings, &before)).unwrap();
    assert_eq!(lab.leases(), 1);
    lab.release(&first);
    assert_eq!(lab.leases(), 0);
}

#[test]
fn privileged_a_namespace_is_named_by_its_process() {
    let Some(lab) = Lab::new() else { return };
    let endpoint = lab.allocate("c", &[], &|_| true).unwrap();
    // Its own process: this one's namespace is the host's until it has made another.
    let mut child = std::process::Command::new("unshare")
        .args(["-n", "sleep", "60"])
        .spawn()
        .unwrap();
    let link = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let pid = child.id();
    while link(&pid.to_string()) == link("self") {
        thread::yield_now();
    }
    let netns = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
    lab.host.run(|| {
        endpoint::attach(&endpoint.plan, hull_network::Netns::Pid(pid.cast_signed())).unwrap();
        endpoint::configure(&endpoint.plan, std::os::fd::AsFd::as_fd(&netns)).unwrap();
    });
    let show = ["-n", "-t", &pid.to_string(), "ip", "-o", "addr"];
    let shown = std::process::Command::new("nsenter").args(show).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("172.17.0.2/16"));
    child.kill().unwrap();
    child.wait().unwrap();
}
