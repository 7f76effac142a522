//! The files by which a container knows names: `/etc/resolv.conf`, `/etc/hosts`, `/etc/hostname`. Text in, text out.

mod hosts;
mod resolv;

pub use hosts::{HostsPlan, Record, extra_host, hostname, hosts};
pub use resolv::{ResolvPlan, STUB, UPSTREAM, nameservers, resolv, source};
