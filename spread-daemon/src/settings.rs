//! The settings of a daemon.

use std::time::Duration;

use crate::session::access::Policy;
use crate::session::authentication::Authentication;
use crate::session::flow_control::SlowReceivers;

/// The longest time for busy polling.
pub(crate) const MAX_BUSY_POLL: Duration = Duration::from_millis(10);

/// The settings of a daemon: limits, policies and times.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Sessions, those included that are in their handshake.
    pub(crate) sessions: usize,
    /// Messages that may wait for one session.
    pub(crate) session_messages: usize,
    /// Groups that one session may join.
    pub(crate) session_groups: usize,
    /// Bytes of messages that may wait, of all sessions together.
    pub(crate) queued_bytes: usize,
    pub(crate) slow_receivers: SlowReceivers,
    /// How long a handshake may take.
    pub(crate) handshake: Duration,
    /// The authentication of clients.
    pub(crate) authentication: Authentication,
    /// The access policy; `None` allows everything.
    pub(crate) policy: Option<Policy>,
    /// How long the loop polls before it sleeps.
    pub(crate) busy_poll: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            sessions: 1000,
            session_messages: 1000,
            session_groups: 10_000,
            queued_bytes: 512 << 20,
            slow_receivers: SlowReceivers::default(),
            handshake: Duration::from_secs(10),
            authentication: Authentication::default(),
            policy: None,
            busy_poll: Duration::ZERO,
        }
    }
}
