//! The network of containers: bridges, addresses, veth pairs, masquerade and published ports, names.
//!
//! A straight walk: [`bridge::ensure`] makes the network there; [`endpoint::allocate`] takes the host's ports and an
//! address for one container; [`endpoint::attach`] puts a veth pair between the bridge and the container's namespace and
//! publishes the ports; [`endpoint::configure`] (from outside) or [`endpoint::configure_inside`] (by the container's
//! init) gives the container's end its address and route; [`endpoint::release`] takes all of it back, and
//! [`endpoint::reap`] does so for containers that died without anyone to release them.
//!
//! Invariants
//! - A change of links or of the firewall is planned as data ([`link::LinkOp`], [`firewall::FirewallOp`]) by pure
//!   functions. What fails half-way is undone, and the undo's own failures are reported.
//! - Every port map element names an address that is leased: elements go before the lease does.
//! - A lease is believed only while its container lives; who lives is the caller's knowledge (`alive`).
//! - Nothing of ours accepts what a rule of the host drops. No table but our own is ever written.
//! - No thread is started, no program is run.
//!
//! ```text
//! RUN/networks/NAME/
//!   network.json     the network: bridge, subnet, gateway; decided once
//!   lock             flock of whoever makes the bridge, leases or frees; holds the address last given
//!   leases/ADDRESS   JSON: container, link, published ports
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::too_many_lines))]

pub mod bridge;
mod conntrack;
pub mod doctor;
pub mod endpoint;
mod error;
pub mod firewall;
pub mod lease;
pub mod link;
pub mod mode;
pub mod names;
mod netlink;
pub mod network;
pub mod publish;
pub mod reserve;
mod state;

pub use doctor::{Finding, doctor};
pub use endpoint::{Endpoint, EndpointPlan, EndpointRequest, Netns};
pub use error::{Error, Result};
pub use mode::Mode;
pub use network::{Mac, Network, Settings, Subnet};
