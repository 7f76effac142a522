//! Pods: containers that share namespaces, as Podman has them.
//!
//! A pod is a name, an ID and a list of what is shared. The namespaces are held by its *infra container*, a container
//! like any other whose program is a few hundred bytes of our own ([`hull_sys::pause`]); it has the pod's network, ports
//! and host name. The other containers, its *members*, join them by `container:ID`, and every verb of containers works on
//! them. A pod's state is what its containers' states make it.
//!
//! ```text
//! DATA/pods/NAME/pod.json      Pod; making the folder claims the name
//! DATA/pods/NAME/members/ID    the containers of the pod, the infra container among them
//! DATA/pods/.new-ID            a pod that is being made; locked by whoever makes it
//! DATA/pods/.removed-ID        a pod that is being removed
//! ```
//! A member is one whose own record names the pod, too: an entry without is a leftover. Whoever adds a member holds the
//! pod's folder shared, whoever removes the pod exclusively.

mod create;
mod list;
mod member;
mod record;
mod verb;

pub use create::{CreateRequest, create};
pub use list::{Inspect, InspectContainer, InspectInfra, ListRequest, Summary, SummaryContainer, inspect, list};
pub use member::{adopt, members};
pub use record::{Namespace, Pod, exists, find, pods};
pub use verb::{RemoveRequest, kill, pause, prune, remove, restart, start, stop, unpause};

pub(crate) use member::{before_start, enlist, refuse_infra};
