//! One line of the table: a workload with its parameters.

use std::fmt::{self, Display};

use clap::ValueEnum;

use super::options::{Options, Role, Workload};

/// Bytes of payload in a batch: more do not stay in the processor's cache until they
/// have arrived, and with fewer TCP has more segments to move.
const BATCH_BYTES: u64 = 96 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) workload: Workload,
    pub(super) size: usize,
    pub(super) groups: u64,
    pub(super) receivers: u64,
}

impl Case {
    pub(super) fn all(options: &Options) -> Vec<Case> {
        let mut cases = Vec::new();
        for workload in Workload::value_variants().iter().copied() {
            if !options.workloads.is_empty() && !options.workloads.contains(&workload) {
                continue;
            }
            let variants = match workload {
                Workload::Flood => options.groups.iter().map(|groups| (*groups, 1)).collect(),
                Workload::Fanout => options.receivers.iter().map(|count| (1, *count)).collect(),
                Workload::PingPong => vec![(1, 1)],
            };
            for (groups, receivers) in variants {
                cases.extend(options.size.iter().map(|size| Case {
                    workload,
                    size: *size,
                    groups,
                    receivers,
                }));
            }
        }
        cases
    }

    /// Messages that are sent in one go.
    pub(super) fn batch(&self, options: &Options) -> u64 {
        options.batch.min((BATCH_BYTES / self.size.max(1) as u64).max(1))
    }

    /// The client that starts first, and those that are told its name.
    pub(super) fn roles(&self) -> (Role, Vec<Role>) {
        match self.workload {
            Workload::Flood => (Role::Flood, Vec::new()),
            Workload::Fanout => (Role::Send, (0..self.receivers).map(|_| Role::Receive).collect()),
            Workload::PingPong => (Role::Pong, vec![Role::Ping]),
        }
    }

    /// Messages that are delivered when so many are sent.
    pub(super) fn deliveries(&self, sent: u64) -> u64 {
        match self.workload {
            Workload::Flood => sent,
            Workload::Fanout => sent * self.receivers,
            Workload::PingPong => 2 * sent,
        }
    }
}

/// The workload with what it has besides the size of its messages.
impl Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.workload, self.groups, self.receivers) {
            (Workload::Flood, 1, _) => f.write_str("flood"),
            (Workload::Flood, groups, _) => write!(f, "flood to {groups} groups"),
            (Workload::Fanout, _, receivers) => write!(f, "fanout to {receivers}"),
            (Workload::PingPong, ..) => f.write_str("pingpong"),
        }
    }
}
