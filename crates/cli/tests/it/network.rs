//! The bridge, published ports and the other network modes.

use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};

use hull_testkit::{Host, until};

use crate::{machine, shell, words};

/// What a TCP port of the host answers.
fn ask(host: &Host, port: u16) -> Option<String> {
    host.within(|| {
        let mut answer = String::new();
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).ok()?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(2))).ok()?;
        stream.read_to_string(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    })
}

/// Flags and command of a container that answers `text` on its port 80.
fn server(image: &str, flags: &str, text: &str) -> Vec<String> {
    let line = format!("run -d {flags} {image} nc -ll -p 80 -e echo {text}");
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn privileged_published_ports_answer_and_are_freed() {
    let Some((host, image)) = machine() else { return };
    host.ok(server(&image, "--name aa -p 8080:80", "one"));
    assert_eq!(until("an answer", || ask(&host, 8080)), "one\n");
    host.hull(server(&image, "--name bb -p 8080:80", "two"))
        .fails(125)
        .says("8080");
    assert_eq!(ask(&host, 8080).as_deref(), Some("one\n"), "the first keeps it");
    host.ok(["rm", "-f", "aa"]);
    assert_eq!(ask(&host, 8080), None);
    host.ok(["rm", "-f", "bb"]);
    host.ok(server(&image, "--name cc -p 127.0.0.1:8080:80", "three"));
    assert_eq!(until("an answer", || ask(&host, 8080)), "three\n");
    assert!(
        host.ok(["ps", "--format", "{{.Ports}}"])
            .contains("127.0.0.1:8080->80/tcp")
    );
}

#[test]
fn privileged_a_port_of_the_host_itself_is_in_use() {
    let Some((host, image)) = machine() else { return };
    let listener = host.within(|| std::net::TcpListener::bind("0.0.0.0:8080").unwrap());
    host.hull(server(&image, "-p 8080:80", "x")).fails(125).says("8080");
    drop(listener);
    host.ok(server(&image, "-p 8080:80", "x"));
}

#[test]
fn privileged_ranges_and_udp() {
    let Some((host, image)) = machine() else { return };
    host.ok(words(&format!("run -d --name udp -p 5353:53/udp {image} sleep 1000")));
    let pid = host.ok(["inspect", "-f", "{{.State.Pid}}", "udp"]);
    // busybox serves no UDP, so the test does, inside the container's network.
    let network = std::path::PathBuf::from(format!("/proc/{pid}/ns/net"));
    let echo = hull_testkit::host::in_network(&network, || UdpSocket::bind("0.0.0.0:53").unwrap());
    let client = host.within(|| UdpSocket::bind("127.0.0.1:0").unwrap());
    for socket in [&echo, &client] {
        socket
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
    }
    let mut buffer = [0; 16];
    client.send_to(b"ping", "127.0.0.1:5353").unwrap();
    let (length, from) = echo.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"ping");
    echo.send_to(b"pong", from).unwrap();
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..length], from.port()),
        (b"pong".as_slice(), 5353),
        "the answer comes from the published port"
    );
    host.ok(server(&image, "--name range -p 9000-9002:80-82", "r"));
    assert_eq!(until("an answer", || ask(&host, 9000)), "r\n");
    host.hull(server(&image, "-p 9000-9002:80-81", "r")).fails(125);
    host.hull(server(&image, "-p 99999:80", "r")).fails(125).says("99999");
}

#[test]
fn privileged_containers_reach_each_other_and_the_host() {
    let Some((host, image)) = machine() else { return };
    host.ok(server(&image, "--name aa -p 8080:80", "one"));
    until("an answer", || ask(&host, 8080));
    let address = host.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "aa"]);
    let gateway = host.ok(["inspect", "-f", "{{.NetworkSettings.Gateway}}", "aa"]);
    assert_eq!(host.ok(["run", "--rm", &image, "nc", &address, "80"]), "one");
    assert_eq!(
        host.ok(["run", "--rm", &image, "nc", &gateway, "8080"]),
        "one",
        "through the published port"
    );
    assert_eq!(
        host.ok(["exec", "aa", "nc", &gateway, "8080"]),
        "one",
        "hairpin: its own published port"
    );
    assert_eq!(
        host.ok([
            "run",
            "--rm",
            "--network",
            "container:aa",
            &image,
            "nc",
            "127.0.0.1",
            "80"
        ]),
        "one"
    );
}

#[test]
fn privileged_other_modes() {
    let Some((host, image)) = machine() else { return };
    let links = |flags: &str| {
        host.ok(shell(
            &format!("run --rm {flags} {image}"),
            "ls /sys/class/net | tr '\\n' ' '",
        ))
    };
    assert_eq!(links("--network none").trim(), "lo");
    assert!(links("").contains("eth0"));
    let listener = host.within(|| std::net::TcpListener::bind("127.0.0.1:7777").unwrap());
    let connect = "nc 127.0.0.1 7777 -e true";
    host.ok(words(&format!("run --rm --network host {image} {connect}")));
    host.hull(words(&format!("run --rm {image} {connect}"))).fails(1);
    drop(listener);
    let hosts = host.ok(words(&format!(
        "run --rm --add-host other:10.1.2.3 -h me {image} cat /etc/hosts"
    )));
    assert!(hosts.contains("10.1.2.3\tother") && hosts.contains("\tme"), "{hosts}");
    let resolv = host.ok(words(&format!("run --rm --dns 10.9.9.9 {image} cat /etc/resolv.conf")));
    assert!(resolv.contains("nameserver 10.9.9.9"), "{resolv}");
}
