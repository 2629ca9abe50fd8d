//! The state with which daemons start, and the ids that tell their views from those
//! of other daemons.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cluster::{Configuration, DaemonId, MAX_DAEMONS, State};
use crate::error::StartError;

/// Returns the daemons of these names, if they can be those of a cluster.
pub(crate) fn daemon_ids(names: &[String]) -> Result<Vec<DaemonId>, StartError> {
    let different = names.iter().collect::<BTreeSet<_>>().len();
    match names.len() {
        count @ 1..=MAX_DAEMONS if different == count => Ok((0..count).map(DaemonId).collect()),
        count => Err(StartError::Daemons { count, names: different }),
    }
}

/// Returns the groups of the named daemons, without any member yet.
///
/// The ids of their views differ from those of daemons that run beside them, or ran
/// at their addresses before.
pub(crate) fn state(names: &[&str], addresses: &[SocketAddr]) -> Result<State, StartError> {
    let mut hasher = DefaultHasher::new();
    (names, addresses, std::process::id()).hash(&mut hasher);
    let identity = Configuration { proc_id: hasher.finish() as i32, time: unix_time() };
    State::new(names, identity).map_err(|(name, source)| StartError::IllegalName { name, source })
}

/// Returns the time in seconds, as the ids of views carry it.
pub(crate) fn unix_time() -> i32 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i32
}
