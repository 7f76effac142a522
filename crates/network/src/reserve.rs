//! The host's side of published ports: sockets that hold them.
//!
//! A published port never reaches a socket of the host, for the firewall sends its packets to the container. Without a
//! socket, though, a process of the host could take the port and never hear a thing, and nobody would tell a container
//! that its port is in use. So each is bound, without `SO_REUSEADDR` and without `listen`: every later `bind` of it
//! fails, and a packet that no rule of ours catches is refused as for a closed port. The holder keeps the
//! [`Reservation`] for as long as the port is published.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{self, AddressFamily, SocketFlags, SocketType, sockopt},
};

use crate::{
    Error, Result,
    publish::{Protocol, Published, Wish},
};

/// Ports of the host that are ours until this is dropped.
#[derive(Debug, Default)]
pub struct Reservation {
    /// What each of `sockets` holds.
    pub ports: Vec<Published>,
    sockets: Vec<OwnedFd>,
}

impl Reservation {
    /// The sockets, for a caller that hands them to another process; the ports stay taken while any copy is open.
    #[must_use]
    pub fn into_sockets(self) -> Vec<OwnedFd> {
        self.sockets
    }
}

/// Takes a port of the host for each wish: the one asked for, the first free one of a range, or one that the kernel
/// chooses in `ip_local_port_range`.
///
/// # Errors
/// [`Error::PortTaken`] with why: in use, no such address here, no privilege, too many open files. None is held then.
pub fn take(wishes: &[Wish]) -> Result<Reservation> {
    let mut held = Reservation::default();
    for wish in wishes {
        let (socket, host_port) = one(wish)?;
        held.sockets.push(socket);
        held.ports.push(Published {
            host: wish.host,
            host_port,
            container_port: wish.container_port,
            protocol: wish.protocol,
        });
    }
    Ok(held)
}

fn one(wish: &Wish) -> Result<(OwnedFd, u16)> {
    let (first, last) = wish.host_ports;
    let mut failure = Errno::ADDRINUSE;
    for port in first..=last {
        match bind(wish, port) {
            Ok(bound) => return Ok(bound),
            Err(Errno::ADDRINUSE) => {}
            Err(e) => {
                failure = e;
                break;
            }
        }
    }
    Err(Error::PortTaken {
        address: IpAddr::V4(wish.host),
        port: first,
        protocol: wish.protocol.name(),
        source: failure.into(),
    })
}

fn bind(wish: &Wish, port: u16) -> std::result::Result<(OwnedFd, u16), Errno> {
    let kind = match wish.protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = net::socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    let address = SocketAddrV4::new(wish.host, port);
    match net::bind(&socket, &address) {
        // The port may be held by nothing but connections of a process that is gone, in TIME_WAIT. `SO_REUSEADDR` goes
        // past those, and past a socket that is bound but does not listen, too; it is taken back at once, so that
        // nobody can go past ours.
        Err(Errno::ADDRINUSE) if wish.protocol == Protocol::Tcp && port != 0 => {
            sockopt::set_socket_reuseaddr(&socket, true)?;
            net::bind(&socket, &address)?;
            sockopt::set_socket_reuseaddr(&socket, false)?;
        }
        other => other?,
    }
    if wish.protocol == Protocol::Udp {
        // Nobody reads it: let strays (a broadcast) find no room. The kernel rounds up to its least.
        sockopt::set_socket_recv_buffer_size(&socket, 0)?;
    }
    let port = match SocketAddr::try_from(net::getsockname(&socket)?) {
        Ok(address) => address.port(),
        Err(e) => return Err(e),
    };
    Ok((socket, port))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn wish(host_ports: (u16, u16), protocol: Protocol) -> Wish {
        Wish {
            host: Ipv4Addr::LOCALHOST,
            host_ports,
            container_port: 80,
            protocol,
        }
    }

    #[test]
    fn a_held_port_is_nobody_elses() {
        let held = take(&[wish((0, 0), Protocol::Tcp), wish((0, 0), Protocol::Udp)]).unwrap();
        let (tcp, udp) = (held.ports[0].host_port, held.ports[1].host_port);
        assert!(tcp != 0 && udp != 0);
        // std's listener asks for SO_REUSEADDR, as most servers do.
        assert!(TcpListener::bind(("127.0.0.1", tcp)).is_err());
        assert!(TcpListener::bind(("0.0.0.0", tcp)).is_err());
        assert!(UdpSocket::bind(("127.0.0.1", udp)).is_err());
        assert!(TcpStream::connect(("127.0.0.1", tcp)).is_err(), "nothing listens");
        let error = take(&[wish((tcp, tcp), Protocol::Tcp)]).unwrap_err();
        assert_eq!(error.kind(), hull_spec::ErrorKind::Conflict);
        drop(held);
        TcpListener::bind(("127.0.0.1", tcp)).unwrap();
        UdpSocket::bind(("127.0.0.1", udp)).unwrap();
    }

    #[test]
    fn a_listener_of_the_host_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(matches!(
            take(&[wish((port, port), Protocol::Tcp)]),
            Err(Error::PortTaken { .. })
        ));
    }

    #[test]
    fn a_port_in_time_wait_is_taken_and_then_held() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (server, _) = listener.accept().unwrap();
        // The server closes first, so its side waits; the client's end of file says that it has.
        drop(server);
        std::io::Read::read(&mut &client, &mut [0]).unwrap();
        drop(client);
        drop(listener);
        let held = take(&[wish((port, port), Protocol::Tcp)]).unwrap();
        assert!(TcpListener::bind(("127.0.0.1", port)).is_err(), "{held:?}");
    }

    #[test]
    fn a_range_gives_its_first_free_port() {
        let low = take(&[wish((0, 0), Protocol::Tcp)]).unwrap();
        let port = low.ports[0].host_port;
        let held = take(&[wish((port, port.saturating_add(50)), Protocol::Tcp)]).unwrap();
        assert!(held.ports[0].host_port > port);
    }

    #[test]
    fn an_address_that_is_not_here_is_refused() {
        let foreign = Wish {
            host: Ipv4Addr::new(203, 0, 113, 9),
            ..wish((8080, 8080), Protocol::Tcp)
        };
        let Err(Error::PortTaken { source, .. }) = take(&[foreign]) else {
            panic!("taken")
        };
        assert_eq!(source.kind(), std::io::ErrorKind::AddrNotAvailable);
    }
}
