//! The errors of starting a daemon and of a cluster.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use spread_wire::NameError;

use crate::settings::MAX_BUSY_POLL;

/// Why a daemon did not start, or took over no settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The daemon cannot have this name.
    #[error(
        "{name:?} cannot be the name of a daemon, which has 1 to 19 characters of \
         printable ASCII except space, `!`, `\"` and `#`"
    )]
    IllegalName {
        /// The name.
        name: String,
        /// The cause.
        source: NameError,
    },
    /// A cluster has 1 to 128 daemons, each with a name of its own.
    #[error("a cluster of {count} daemons with {names} names: it needs 1 to 128 different ones")]
    Daemons {
        /// The number of names given.
        count: usize,
        /// The number of different names.
        names: usize,
    },
    /// The daemon is to be one of several hosts, and is not one of those that are named.
    #[error("{name:?} is not one of the daemons: {names}")]
    NotNamed {
        /// Its name.
        name: String,
        /// The names of the daemons.
        names: String,
    },
    /// [`SlowReceivers::Backpressure`](crate::SlowReceivers::Backpressure) is not possible for
    /// a daemon of several hosts. A sender at another host could be paused only by taking
    /// nothing more from Corosync. That would hold up all clients of this host and, on all
    /// hosts, safe messages and the next configuration, while Corosync's memory grows.
    #[error(
        "backpressure is not possible with several hosts: to pause senders on other hosts, this \
         daemon would have to stop taking messages from Corosync, which would stop safe messages \
         and views on all hosts and let Corosync's memory grow; slow clients are to be \
         disconnected"
    )]
    Backpressure,
    /// The daemons of the other hosts cannot be joined.
    #[error("cannot join the daemons of the other hosts")]
    Group {
        /// The cause: what the group communication lacks.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon was to poll for too long before it sleeps.
    #[error("cannot busy-poll for {time:?}, but for {:?} at most", MAX_BUSY_POLL)]
    BusyPoll {
        /// The time.
        time: Duration,
    },
    /// Another program listens at the TCP address, maybe another daemon.
    #[error("another program, maybe another daemon, listens at {address}")]
    PortTaken {
        /// The address.
        address: SocketAddr,
    },
    /// Another daemon holds the lock of the socket file, or a program listens at it.
    #[error("another daemon has the socket file {}", path.display())]
    SocketInUse {
        /// The file.
        path: PathBuf,
    },
    /// Another program holds the lock of the socket file, and no daemon listens at that; it can be
    /// a daemon that starts at the same time.
    #[error("another program holds the lock {}, and no daemon answers at its socket", path.display())]
    Locked {
        /// The file that is locked.
        path: PathBuf,
    },
    /// The daemon of a [`ReloadHandle`](crate::ReloadHandle) has ended, or the call comes from
    /// its own [`AccessPolicy`](crate::AccessPolicy), where it cannot answer.
    #[error("the daemon takes no settings: it has ended, or its own thread asks")]
    Stopped,
    /// The operating system refused something else.
    #[error("cannot {what}")]
    Io {
        /// The action that failed, as in "listen at 192.0.2.1:4803".
        what: String,
        /// The cause.
        source: io::Error,
    },
}

impl StartError {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> StartError {
        StartError::Io { what: what.into(), source }
    }
}

/// Why something could not be done to a [`Cluster`](crate::Cluster).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The cluster has no daemon of that name.
    #[error("the cluster has no daemon {name:?}")]
    NoSuchDaemon {
        /// The name.
        name: String,
    },
    /// No client with that private group is connected.
    #[error("no client {name:?} is connected")]
    NoSuchClient {
        /// The private group.
        name: String,
    },
    /// A daemon can be in one part only.
    #[error("daemon {name:?} is named twice")]
    NamedTwice {
        /// The daemon.
        name: String,
    },
    /// The daemon has crashed.
    #[error("daemon {name:?} has crashed already")]
    Down {
        /// The daemon.
        name: String,
    },
    /// The daemon has not crashed.
    #[error("daemon {name:?} has not crashed")]
    Up {
        /// The daemon.
        name: String,
    },
    /// The operating system does not let the daemon listen at its port again.
    #[error("daemon {name:?} cannot listen at its port again")]
    Io {
        /// The daemon.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// The call comes from the cluster's own thread, for example from a subscriber of
    /// its log, so that the cluster cannot serve it.
    #[error("the cluster's own thread cannot wait for the cluster")]
    OwnThread,
    /// The cluster has failed and serves nobody any more.
    #[error("the cluster has stopped")]
    Stopped,
}
