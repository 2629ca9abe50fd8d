//! Who a daemon is among those of several hosts, and why it cannot be one of them.

use spread_wire::Name;

use super::view::{Fnv, MemberId};
use crate::cluster::{DaemonId, DaemonSet};

/// The format of the packets, a part of the configuration that all daemons must share.
const FORMAT: u8 = 1;

/// Who a daemon is among those of several hosts.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Its place in the configuration file.
    pub(crate) daemon: DaemonId,
    pub(crate) name: Name,
    /// Its process, as the group communication tells it.
    pub(crate) member: MemberId,
    /// See [`digest`].
    pub(crate) digest: u64,
    /// All daemons of the configuration file.
    pub(crate) all: DaemonSet,
    /// A random number, another one at each start.
    pub(crate) incarnation: u64,
    pub(crate) proc_id: i32,
    /// A time in seconds that is above those of its earlier views.
    pub(crate) time: i32,
}

/// Returns a number that daemons have in common if their configuration files name the
/// same daemons in the same order.
pub(crate) fn digest(names: &[&str]) -> u64 {
    let mut hash = Fnv::default();
    hash.write(&[FORMAT]);
    for name in names {
        hash.write(name.as_bytes());
        hash.write(b"\n");
    }
    hash.finish()
}

/// Why a daemon cannot be one of those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "the configuration file differs from that of daemon {name} ({member}): all daemons must \
         have the same names in the same order"
    )]
    Configuration { name: Name, member: MemberId },
    #[error("another daemon runs as {name} already ({member})")]
    Duplicate { name: Name, member: MemberId },
    #[error(
        "{member} is in the group of the daemons and speaks another protocol: all daemons must be \
         of versions that go together"
    )]
    Foreign { member: MemberId },
}
