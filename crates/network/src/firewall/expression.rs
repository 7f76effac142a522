//! The steps of a rule, as the kernel's nftables machine takes them: load into a register, compare, look up, decide.

use std::fmt;

/// One step. Registers are those of `linux/netfilter/nf_tables.h`: 1 to 4 hold 16 bytes each, 8 to 23 hold 4 bytes each and
/// lie in the same memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads the name of the interface that the packet came in by.
    LoadInput(u32),
    /// Loads the name of the interface that it goes out by.
    LoadOutput(u32),
    /// Loads the kind of the interface that it came in by; a physical one has none, and the rule ends there.
    LoadInputKind(u32),
    /// Loads the kind of the interface that it goes out by, as well.
    LoadOutputKind(u32),
    /// Loads the number of its transport protocol.
    LoadProtocol(u32),
    /// Loads the number of its network protocol, 2 for IPv4.
    LoadFamily(u32),
    /// Loads its IPv4 source.
    LoadSource(u32),
    /// Loads its IPv4 destination.
    LoadDestination(u32),
    /// Loads the port it is for.
    LoadPort(u32),
    /// Loads the kind of its destination (`RTN_LOCAL` is 2) by the routing tables.
    LoadDestinationKind(u32),
    /// Loads the kind of its source by the routing tables.
    LoadSourceKind(u32),
    /// Loads its connection's state.
    LoadState(u32),
    /// Loads its connection's status.
    LoadStatus(u32),
    /// Keeps the bits of 4 bytes that are in the mask, given as they lie in memory.
    Mask(u32, [u8; 4]),
    /// Goes on only when the register holds these bytes.
    Equal(u32, Vec<u8>),
    /// Goes on only when it does not.
    Differ(u32, Vec<u8>),
    /// Goes on only when the set has the key that begins in this register.
    In(u32, &'static str),
    /// Goes on only when the set does not have it.
    NotIn(u32, &'static str),
    /// Goes on only when the map has the key; loads its value into the second register.
    Map(u32, &'static str, u32),
    /// Changes the destination to the address and port in these registers.
    DestinationNat(u32, u32),
    /// Changes the source to the address of the interface that it goes out by.
    Masquerade,
    /// Counts packets and bytes.
    Count,
    /// Ends.
    End(Verdict),
}

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This table has nothing against it; others may.
    Accept,
    /// It is gone.
    Drop,
    /// Another chain of ours decides, then the next rule.
    Jump(&'static str),
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        match self {
            Self::LoadInput(r) => write!(f, "r{r} = iifname"),
            Self::LoadOutput(r) => write!(f, "r{r} = oifname"),
            Self::LoadInputKind(r) => write!(f, "r{r} = iifkind"),
            Self::LoadOutputKind(r) => write!(f, "r{r} = oifkind"),
            Self::LoadProtocol(r) => write!(f, "r{r} = l4proto"),
            Self::LoadFamily(r) => write!(f, "r{r} = nfproto"),
            Self::LoadSource(r) => write!(f, "r{r} = ip saddr"),
            Self::LoadDestination(r) => write!(f, "r{r} = ip daddr"),
            Self::LoadPort(r) => write!(f, "r{r} = th dport"),
            Self::LoadDestinationKind(r) => write!(f, "r{r} = fib daddr type"),
            Self::LoadSourceKind(r) => write!(f, "r{r} = fib saddr type"),
            Self::LoadState(r) => write!(f, "r{r} = ct state"),
            Self::LoadStatus(r) => write!(f, "r{r} = ct status"),
            Self::Mask(r, mask) => write!(f, "r{r} &= {}", hex(mask)),
            Self::Equal(r, bytes) => write!(f, "r{r} == {}", hex(bytes)),
            Self::Differ(r, bytes) => write!(f, "r{r} != {}", hex(bytes)),
            Self::In(r, set) => write!(f, "r{r} in @{set}"),
            Self::NotIn(r, set) => write!(f, "r{r} not in @{set}"),
            Self::Map(r, map, to) => write!(f, "r{to} = @{map}[r{r}]"),
            Self::DestinationNat(address, port) => write!(f, "dnat to r{address}:r{port}"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Count => f.write_str("count"),
            Self::End(Verdict::Accept) => f.write_str("accept"),
            Self::End(Verdict::Drop) => f.write_str("drop"),
            Self::End(Verdict::Jump(chain)) => write!(f, "jump {chain}"),
        }
    }
}
