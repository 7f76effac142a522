//! `volume ..`.

mod create;
mod inspect;
mod ls;
mod prune;
mod rm;
mod update;

pub(super) use create::COMMAND as CREATE;
pub(super) use inspect::COMMAND as INSPECT;
pub(super) use ls::COMMAND as LS;
pub(super) use prune::COMMAND as PRUNE;
pub(super) use rm::COMMAND as RM;
pub(super) use update::COMMAND as UPDATE;

/// Why flags of Docker's cluster volumes are refused.
const CLUSTER: &str = "cluster volumes are Swarm's, which hull does not have";
