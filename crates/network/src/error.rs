//! What can fail in the network of a container.

use std::{io, net::IpAddr, path::PathBuf};

use hull_spec::ErrorKind;

/// A failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of ours could not be read, written, locked or removed.
    #[error("cannot {act} `{}`", path.display())]
    File {
        /// `read`, `write`, `lock`, ..
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of ours does not hold what we wrote there.
    #[error("`{}` is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A netlink socket could not be opened or read.
    #[error("cannot {act}")]
    Socket {
        /// What it was for.
        act: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused a change of the network.
    #[error("cannot {act}")]
    Link {
        /// The change.
        act: String,
        /// Why, with the kernel's own words.
        source: io::Error,
    },
    /// The kernel refused a change of the firewall.
    #[error("cannot {act} in the nftables table `{table}`")]
    Firewall {
        /// The change.
        act: String,
        /// The table.
        table: String,
        /// Why, with the kernel's own words.
        source: io::Error,
    },
    /// A namespace could not be entered.
    #[error("cannot enter the network namespace of the container")]
    Enter {
        /// Why.
        source: io::Error,
    },
    /// Every subnet of the pool overlaps a route of the host.
    #[error(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network `{network}`"
    )]
    NoSubnet {
        /// The network.
        network: String,
    },
    /// Every address of the network is leased to a running container.
    #[error("no available IPv4 addresses on network `{network}`: all {leases} of `{subnet}` are in use")]
    NoAddress {
        /// The network.
        network: String,
        /// Its subnet.
        subnet: String,
        /// How many are leased.
        leases: usize,
    },
    /// The bridge has as many ports as the kernel allows.
    #[error("bridge `{bridge}` is full: it has 1023 ports at the most")]
    BridgeFull {
        /// The bridge.
        bridge: String,
    },
    /// The address asked for belongs to another container.
    #[error("Address already in use: `{address}` on network `{network}` belongs to container `{container}`")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// The network.
        network: String,
        /// Who has it.
        container: String,
    },
    /// The address asked for is not one that a container of this network can have.
    #[error("no configured subnet contains IP address `{address}` (network `{network}`, subnet `{subnet}`)")]
    AddressOutside {
        /// The address.
        address: IpAddr,
        /// The network.
        network: String,
        /// Its subnet.
        subnet: String,
    },
    /// A port is published by another container. Docker's words.
    #[error(
        "driver failed programming external connectivity: Bind for {address}:{port} failed: port is already allocated"
    )]
    PortAllocated {
        /// Host address.
        address: IpAddr,
        /// Host port.
        port: u16,
        /// The container that has it.
        container: String,
    },
    /// A port cannot be taken on the host. Docker's words.
    #[error("driver failed programming external connectivity: failed to bind port {address}:{port}/{protocol}")]
    PortTaken {
        /// Host address.
        address: IpAddr,
        /// Host port.
        port: u16,
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// Why: in use, no such address, no privilege, too many open files.
        source: io::Error,
    },
    /// A published port is malformed.
    #[error("invalid publish specification `{spec}`: {reason}")]
    Publish {
        /// The text as given.
        spec: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A network mode is malformed.
    #[error("invalid network mode `{mode}`: {reason}")]
    Mode {
        /// The text as given.
        mode: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry for /etc/hosts or resolv.conf is malformed.
    #[error("{reason}: `{value}`")]
    Name {
        /// The text as given.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// This host or this version cannot do it.
    #[error("{what}")]
    Unsupported {
        /// What cannot be done.
        what: String,
        /// What can be done instead.
        hint: String,
    },
    /// Something failed, and taking back what had been done before it failed as well.
    #[error("{first}; taking it back failed too: {}", undo.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Undo {
        /// The first failure.
        #[source]
        first: Box<Error>,
        /// The failures after it.
        undo: Vec<Error>,
    },
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. }
            | Self::Socket { source, .. }
            | Self::Link { source, .. }
            | Self::Firewall { source, .. }
            | Self::Enter { source } => of_io(source),
            Self::Damaged { .. } => ErrorKind::Internal,
            Self::NoSubnet { .. } | Self::NoAddress { .. } | Self::BridgeFull { .. } => ErrorKind::Exhausted,
            Self::AddressTaken { .. } | Self::PortAllocated { .. } | Self::PortTaken { .. } => ErrorKind::Conflict,
            Self::AddressOutside { .. } | Self::Publish { .. } | Self::Mode { .. } | Self::Name { .. } => {
                ErrorKind::Invalid
            }
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Undo { first, .. } => first.kind(),
        }
    }

    /// What to do next, where we know.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { hint, .. } => Some(hint.clone()),
            Self::PortAllocated { container, .. } => Some(format!(
                "container `{}` publishes it",
                container.get(..12).unwrap_or(container)
            )),
            Self::PortTaken { source, .. }
                if source.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) =>
            {
                Some("each published port holds a file: raise the limit `ulimit -n`, or publish a smaller range".into())
            }
            Self::NoSubnet { .. } => Some("set `network.subnets` in /etc/hull/config.toml to a free one".into()),
            Self::Undo { first, .. } => first.hint(),
            _ => None,
        }
    }

    pub(crate) fn file(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { act, path, source }
    }

    /// Adds what went wrong while taking back.
    pub(crate) fn with_undo(self, undo: Vec<Error>) -> Self {
        if undo.is_empty() {
            self
        } else {
            Self::Undo {
                first: Box::new(self),
                undo,
            }
        }
    }
}

fn of_io(source: &io::Error) -> ErrorKind {
    match source.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::AlreadyExists | io::ErrorKind::AddrInUse => ErrorKind::Conflict,
        io::ErrorKind::StorageFull | io::ErrorKind::OutOfMemory => ErrorKind::Exhausted,
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Internal,
    }
}
