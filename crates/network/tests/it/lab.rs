//! A host of its own for each test: a network namespace with a run folder, an outside that is one hop away, containers.

use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    process::Command,
    thread,
    time::Duration,
};

use hull_network::{
    Endpoint, EndpointRequest, Netns, Network, Result, Settings, bridge, endpoint,
    publish::{self, Bindings},
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use tempfile::TempDir;

/// The host's address on its way outside.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Another of the host's addresses.
pub(crate) const HOST_TOO: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);
/// A neighbour of the host.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// Long enough for an answer on this machine.
const ANSWER: Duration = Duration::from_secs(5);
/// Long enough to believe that none will come: the first retransmission of a SYN is after a second.
const SILENCE: Duration = Duration::from_millis(400);

/// A network namespace.
pub(crate) struct Space(OwnedFd);

impl Space {
    #[expect(deprecated, reason = "the safe one; the files table, its danger, is not unshared")]
    pub(crate) fn new() -> Self {
        let make = || {
            rustix::thread::unshare(UnshareFlags::NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        Self(thread::spawn(make).join().unwrap().into())
    }

    /// Runs `act` on a thread inside. A socket belongs to the namespace it was made in, wherever it is used.
    pub(crate) fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = || {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            };
            match scope.spawn(inside).join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs a program inside; it must succeed. Returns what it printed.
    pub(crate) fn sh(&self, line: &str) -> String {
        let out = self.run(|| Command::new("sh").args(["-ec", line]).output().unwrap());
        assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    pub(crate) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Answers every TCP connection with the address it saw it come from.
    pub(crate) fn serve(&self, address: &str) {
        let listener = self.run(|| TcpListener::bind(address)).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let peer = stream.peer_addr().unwrap().ip();
                // The client may be gone.
                let _ = stream.write_all(peer.to_string().as_bytes());
            }
        });
    }

    /// Answers every datagram with the address it came from.
    pub(crate) fn serve_udp(&self, address: &str) {
        let socket = self.run(|| UdpSocket::bind(address)).unwrap();
        thread::spawn(move || {
            while let Ok((_, peer)) = socket.recv_from(&mut [0; 64]) {
                let _ = socket.send_to(peer.ip().to_string().as_bytes(), peer);
            }
        });
    }

    /// What a server at `to` says it saw, or `None` when it cannot be reached.
    pub(crate) fn ask(&self, to: impl Into<SocketAddr>) -> Option<String> {
        self.ask_for(to.into(), ANSWER)
    }

    /// Whether nothing answers at `to`.
    pub(crate) fn silent(&self, to: impl Into<SocketAddr>) -> bool {
        self.ask_for(to.into(), SILENCE).is_none()
    }

    fn ask_for(&self, to: SocketAddr, patience: Duration) -> Option<String> {
        let mut stream = self.run(|| TcpStream::connect_timeout(&to, patience)).ok()?;
        stream.set_read_timeout(Some(patience)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    pub(crate) fn ask_udp(&self, to: impl Into<SocketAddr>, patience: Duration) -> Option<String> {
        let to = to.into();
        let socket = self.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(patience)).unwrap();
        socket.send(b"?").ok()?;
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }
}

/// A host with an outside.
pub(crate) struct Lab {
    pub(crate) host: Space,
    pub(crate) outside: Space,
    pub(crate) settings: Settings,
    _run: TempDir,
}

impl Lab {
    /// `None` when this is not root.
    pub(crate) fn new() -> Option<Self> {
        if !hull_testkit::require_root() {
            return None;
        }
        let (host, outside, run) = (Space::new(), Space::new(), tempfile::tempdir().unwrap());
        let settings = Settings {
            bridge: "hull0".into(),
            table: "hull".into(),
            ..Settings::new(run.path().join("networks"))
        };
        let lab = Self {
            host,
            outside,
            settings,
            _run: run,
        };
        lab.host.run(|| {
            let pair = Command::new("ip")
                .args(["link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns"])
                .arg(format!(
                    "/proc/{}/fd/{}",
                    std::process::id(),
                    std::os::fd::AsRawFd::as_raw_fd(&lab.outside.0)
                ))
                .output()
                .unwrap();
            assert!(pair.status.success(), "{}", String::from_utf8_lossy(&pair.stderr));
        });
        lab.host.sh(&format!(
            "sysctl -qw net.ipv4.ip_forward=1; ip link set lo up; ip addr add {HOST}/24 dev up0; \
             ip addr add {HOST_TOO}/24 dev up0; ip link set up0 up; ip route add default via {OUTSIDE}"
        ));
        // The outside knows the way to the containers: only the firewall keeps it out.
        lab.outside.sh(&format!(
            "ip link set lo up; ip addr add {OUTSIDE}/24 dev up1; ip link set up1 up; ip route add 172.16.0.0/12 via {HOST}"
        ));
        Some(lab)
    }

    /// Waits until the host's way out has come up: the kernel notices its carrier, and that nobody else has its address,
    /// only later, which would look like something that the test has changed.
    pub(crate) fn settle(&self) {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            let seen = self.host.sh("ip -o link show up0; ip -o addr show up0");
            if seen.contains("state UP") && seen.contains("inet6") && !seen.contains("tentative") {
                return;
            }
            assert!(std::time::Instant::now() < end, "up0 does not come up: {seen}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    pub(crate) fn ensure(&self) -> Network {
        self.host.run(|| bridge::ensure(&self.settings)).unwrap()
    }

    pub(crate) fn allocate(
        &self,
        id: &str,
        publish: &[&str],
        alive: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Endpoint> {
        let network = self.ensure();
        let mut bindings = Bindings::new();
        for (port, binding) in publish.iter().flat_map(|spec| publish::parse(spec).unwrap()) {
            bindings.entry(port).or_default().get_or_insert_default().push(binding);
        }
        let ports = publish::wishes(&bindings, &[].into(), false).unwrap();
        let request = EndpointRequest {
            container: id.into(),
            ports,
            ..EndpointRequest::default()
        };
        self.host
            .run(|| endpoint::allocate(&self.settings, &network, &request, alive))
    }

    /// A container with its namespace attached and configured.
    pub(crate) fn start(&self, id: &str, publish: &[&str]) -> Container {
        let endpoint = self.allocate(id, publish, &|_| true).unwrap();
        let space = Space::new();
        self.host
            .run(|| endpoint::attach(&endpoint.plan, Netns::Fd(space.fd())))
            .unwrap();
        space.run(|| endpoint::configure_inside(&endpoint.plan)).unwrap();
        Container { space, endpoint }
    }

    pub(crate) fn release(&self, container: &Container) {
        self.host
            .run(|| endpoint::release(&self.settings, &container.endpoint.plan))
            .unwrap();
    }

    pub(crate) fn ruleset(&self) -> String {
        self.host.sh("nft list ruleset")
    }

    pub(crate) fn leases(&self) -> usize {
        std::fs::read_dir(self.settings.run.join("bridge/leases")).map_or(0, Iterator::count)
    }
}

/// A container's namespace and endpoint.
pub(crate) struct Container {
    pub(crate) space: Space,
    pub(crate) endpoint: Endpoint,
}

impl Container {
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.endpoint.plan.address
    }
}
