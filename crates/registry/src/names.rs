//! Host names to addresses: `/etc/hosts`, then the name servers of `/etc/resolv.conf` (RFC 1035).
//!
//! The C library's own resolver is not used: in a static binary it loads the host's NSS modules, which must then come
//! from the very same glibc; on Alpine, or on a root with nothing installed, there are none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use self::packet::Answer;

mod packet;

/// Resolves as the files say at the time of the call.
#[derive(Debug)]
pub(crate) struct Names {
    hosts: &'static str,
    resolv: &'static str,
    timeout: Duration,
}

/// No name server could say whether there is such a host.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask a name server for `{host}`")]
pub(crate) struct Unresolved {
    host: String,
    source: std::io::Error,
}

/// Addresses that ureq takes at the most.
const ADDRESSES_MAX: usize = 16;

/// The addresses of a host.
///
/// # Errors
/// If there is no such host, or nobody says whether there is.
pub fn lookup(host: &str) -> std::io::Result<Vec<IpAddr>> {
    let found = Names::system(Duration::from_secs(10)).lookup(host);
    found.map_err(|e| match e {
        ureq::Error::HostNotFound => std::io::Error::new(std::io::ErrorKind::NotFound, "no such host"),
        other => std::io::Error::other(other),
    })
}

impl Names {
    pub(crate) fn system(timeout: Duration) -> Self {
        Self {
            hosts: "/etc/hosts",
            resolv: "/etc/resolv.conf",
            timeout,
        }
    }

    fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, ureq::Error> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        // RFC 6761, 6.3: never asked of a server.
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let hosts = std::fs::read_to_string(self.hosts).unwrap_or_default();
        let found = in_hosts(&hosts, &host);
        if !found.is_empty() {
            return Ok(found);
        }
        let conf = ResolvConf::parse(&std::fs::read_to_string(self.resolv).unwrap_or_default());
        let deadline = Instant::now() + self.timeout;
        let mut failed = None;
        for name in conf.names(&host) {
            match conf.ask(&name, deadline) {
                Ok(found) if !found.is_empty() => return Ok(found),
                Ok(_) => {}
                Err(err) => failed = Some(err),
            }
        }
        // Silence is not the same as "there is no such name": only the latter is final.
        Err(match failed {
            Some(source) => ureq::Error::Other(Box::new(Unresolved { host, source })),
            None => ureq::Error::HostNotFound,
        })
    }
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let bad = || ureq::Error::BadUri(uri.host().unwrap_or_default().to_owned());
        let host = uri.host().ok_or_else(bad)?;
        let port = uri
            .port_u16()
            .unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = match bare.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) => self.lookup(host)?,
        };
        let mut out = self.empty();
        for ip in found.into_iter().take(ADDRESSES_MAX) {
            out.push(SocketAddr::new(ip, port));
        }
        Ok(out)
    }
}

/// The addresses that a hosts file gives a name, in its order.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let mut out = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("");
        let mut words = line.split_ascii_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse) else {
            continue;
        };
        if words.any(|name| name.trim_end_matches('.').eq_ignore_ascii_case(host)) && !out.contains(&ip) {
            out.push(ip);
        }
    }
    out
}

/// What resolv.conf(5) says.
#[derive(Debug, PartialEq)]
struct ResolvConf {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    dots: usize,
    timeout: Duration,
    attempts: u32,
}

impl ResolvConf {
    fn parse(text: &str) -> Self {
        let mut out = Self {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A zone (`fe80::1%eth0`) cannot be used without the interface's index; such servers are rare.
                    if let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) {
                        out.servers.push(SocketAddr::new(ip, 53));
                    }
                }
                Some("search" | "domain") => out.search = words.map(str::to_ascii_lowercase).take(6).collect(),
                Some("options") => {
                    for word in words {
                        match word
                            .split_once(':')
                            .and_then(|(k, v)| Some((k, v.parse::<u64>().ok()?)))
                        {
                            Some(("ndots", n)) => out.dots = usize::try_from(n).unwrap_or(15).min(15),
                            Some(("timeout", n)) => out.timeout = Duration::from_secs(n.clamp(1, 30)),
                            Some(("attempts", n)) => out.attempts = u32::try_from(n.clamp(1, 5)).unwrap_or(5),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        out.servers.truncate(3);
        if out.servers.is_empty() {
            out.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
        }
        out
    }

    /// The full names to ask for, in order.
    fn names(&self, host: &str) -> Vec<String> {
        let mut out: Vec<String> = self
            .search
            .iter()
            .filter(|domain| *domain != ".")
            .map(|domain| format!("{host}.{}", domain.trim_end_matches('.')))
            .collect();
        let enough = host.matches('.').count() >= self.dots;
        out.insert(if enough { 0 } else { out.len() }, host.to_owned());
        out
    }

    /// Both families of one name, IPv4 first: most networks that are broken are broken for IPv6.
    fn ask(&self, name: &str, deadline: Instant) -> std::io::Result<Vec<IpAddr>> {
        let mut last = std::io::Error::new(std::io::ErrorKind::TimedOut, "no name server answers");
        for _ in 0..self.attempts {
            for server in &self.servers {
                match self.ask_server(*server, name, deadline) {
                    Ok(found) => return Ok(found),
                    Err(err) => last = err,
                }
                if Instant::now() >= deadline {
                    return Err(last);
                }
            }
        }
        Err(last)
    }

    fn ask_server(&self, server: SocketAddr, name: &str, deadline: Instant) -> std::io::Result<Vec<IpAddr>> {
        let mut out = Vec::new();
        for kind in [packet::A, packet::AAAA] {
            let Some(query) = packet::query(random_id(), name, kind) else {
                return Ok(Vec::new());
            };
            let end = deadline.min(Instant::now() + self.timeout);
            match over_udp(server, &query, end) {
                Ok(Answer::Found(found)) => out.extend(found),
                Ok(Answer::Truncated) => {
                    if let Answer::Found(found) = over_tcp(server, &query, end)? {
                        out.extend(found);
                    }
                }
                Ok(Answer::NoSuchName) => return Ok(Vec::new()),
                // One family is enough: some servers drop queries for AAAA.
                Ok(Answer::Failed) | Err(_) if !out.is_empty() => {}
                Ok(Answer::Failed) => return Err(std::io::Error::other("the name server failed")),
                Err(err) => return Err(err),
            }
        }
        Ok(out)
    }
}

fn random_id() -> u16 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(Instant::now()) as u16
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1))
}

fn over_udp(server: SocketAddr, query: &[u8], end: Instant) -> std::io::Result<Answer> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    // Connected: the kernel drops what comes from anyone else, and reports a closed port.
    socket.connect(server)?;
    socket.send(query)?;
    let mut buffer = [0; 4096];
    loop {
        if Instant::now() >= end {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left(end)))?;
        let n = socket.recv(&mut buffer)?;
        if let Some(answer) = packet::answer(query, &buffer[..n]) {
            return Ok(answer);
        }
    }
}

fn over_tcp(server: SocketAddr, query: &[u8], end: Instant) -> std::io::Result<Answer> {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect_timeout(&server, left(end))?;
    stream.set_read_timeout(Some(left(end)))?;
    stream.set_write_timeout(Some(left(end)))?;
    let length = u16::try_from(query.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut buffer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut buffer)?;
    packet::answer(query, &buffer).ok_or_else(|| std::io::Error::other("the name server's answer is malformed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_come_first_and_localhost_is_never_asked() {
        let text = "127.0.0.1 localhost\n# x\n10.0.0.1 reg.lan reg # old\nfd00::1 REG.lan.\nbad line\n";
        assert_eq!(
            in_hosts(text, "reg.lan"),
            ["10.0.0.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]
        );
        assert!(in_hosts(text, "old").is_empty());
        let nowhere = Names {
            hosts: "/nonexistent",
            resolv: "/nonexistent",
            timeout: Duration::from_millis(1),
        };
        assert_eq!(nowhere.lookup("LOCALHOST.").unwrap().len(), 2);
    }

    #[test]
    fn resolv_conf_is_understood() {
        let conf = ResolvConf::parse(
            "nameserver 10.0.0.2\nnameserver fe80::1%eth0\nsearch A.lan b.lan\noptions ndots:2 timeout:1 attempts:9 rotate\n",
        );
        assert_eq!(conf.servers, ["10.0.0.2:53".parse().unwrap()]);
        assert_eq!((conf.dots, conf.attempts), (2, 5));
        assert_eq!(conf.names("x.y"), ["x.y.a.lan", "x.y.b.lan", "x.y"]);
        assert_eq!(conf.names("x.y.z"), ["x.y.z", "x.y.z.a.lan", "x.y.z.b.lan"]);
        assert_eq!(ResolvConf::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn a_server_is_asked_over_udp_and_then_tcp() {
        // One port for both: answers over UDP are cut off, those over TCP are whole.
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(server).unwrap();
        let serve = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            for _ in 0..2 {
                let mut buffer = [0; 512];
                let (n, peer) = udp.recv_from(&mut buffer).unwrap();
                udp.send_to(&packet::tests::reply(&buffer[..n], &[], true), peer)
                    .unwrap();
                let (mut stream, _) = tcp.accept().unwrap();
                let mut query = vec![0; n + 2];
                stream.read_exact(&mut query).unwrap();
                let reply = packet::tests::reply(&query[2..], &[Ipv4Addr::new(192, 0, 2, 7)], false);
                stream
                    .write_all(&u16::try_from(reply.len()).unwrap().to_be_bytes())
                    .unwrap();
                stream.write_all(&reply).unwrap();
            }
        });
        let conf = ResolvConf {
            servers: vec![server],
            ..ResolvConf::parse("")
        };
        let found = conf
            .ask("reg.example", Instant::now() + Duration::from_secs(10))
            .unwrap();
        assert_eq!(found, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        serve.join().unwrap();
    }

    #[test]
    fn a_silent_server_is_not_waited_for_forever() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let conf = ResolvConf {
            servers: vec![udp.local_addr().unwrap()],
            ..ResolvConf::parse("")
        };
        let start = Instant::now();
        assert!(conf.ask("reg.example", start + Duration::from_millis(50)).is_err());
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
