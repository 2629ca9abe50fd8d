//! The state machines that every group has, and what several of them need.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::audit::{self, Audits, Digest};
use crate::barrier::Barriers;
use crate::core::roster::{Change, Incarnation};
use crate::desk::Desk;
use crate::leader::{self, LeaderHandlers, Leaders};
use crate::lock::Locks;
use crate::map::{self, Maps};
use crate::node::GroupBuilder;
use crate::registry::Instances;
use crate::replicated::Replicated;
use crate::retained::Retained;
use crate::sequence::Sequences;
use crate::services::Services;
use crate::{vote, work};

/// The handles of the state machines that every group has.
#[derive(Clone, Debug)]
pub(crate) struct Machines {
    pub(crate) services: Replicated<Services>,
    pub(crate) locks: Replicated<Locks>,
    pub(crate) maps: Replicated<Maps>,
    pub(crate) barriers: Replicated<Barriers>,
    pub(crate) sequences: Replicated<Sequences>,
    pub(crate) retained: Replicated<Retained>,
    pub(crate) leaders: Replicated<Leaders>,
    pub(crate) leader_handlers: LeaderHandlers,
    pub(crate) audits: Replicated<Audits>,
    pub(crate) work: Desk<work::Queues>,
    pub(crate) votes: Desk<vote::Votes>,
    pub(crate) registry: Replicated<Instances>,
}

impl Machines {
    /// Adds the machines to a group.
    pub(crate) fn add_to<K>(group: &mut GroupBuilder<'_, K>) -> Result<Machines, Error> {
        Ok(Machines {
            services: group.replicate(Services::default())?,
            locks: group.replicate(Locks::default())?,
            maps: group.replicate(Maps::default())?,
            barriers: group.replicate(Barriers::default())?,
            sequences: group.replicate(Sequences::default())?,
            retained: group.replicate(Retained::default())?,
            leaders: group.replicate(Leaders::default())?,
            leader_handlers: LeaderHandlers::default(),
            audits: group.replicate(Audits::default())?,
            work: Desk::new(group.replicate(work::Queues::default())?),
            votes: Desk::new(group.replicate(vote::Votes::default())?),
            registry: group.replicate(Instances::default())?,
        })
    }

    /// Begins what a member does by itself, until it leaves the group.
    pub(crate) fn begin(&self, own: Incarnation, digests: BTreeMap<u32, Digest>) {
        map::keep_time(&self.maps);
        audit::take_part(&self.audits, digests, own);
        leader::hand_over(&self.leaders, self.leader_handlers.clone(), own);
    }
}

/// Returns a random number, which names something in the whole group.
pub(crate) fn random() -> Result<u128, Error> {
    let mut number = [0; 16];
    getrandom::fill(&mut number)
        .map_err(|error| Error::System(Arc::new(std::io::Error::other(error))))?;
    Ok(u128::from_be_bytes(number))
}

/// The sessions of the members that take part in the replicated state, by seniority: what a
/// machine knows of the roster at its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Present(Vec<u32>);

impl Present {
    pub(crate) fn follow(&mut self, change: &Change) {
        match change {
            Change::Joined { session, observer: false, .. } => self.0.push(*session),
            Change::Departed { session, .. } => self.0.retain(|present| present != session),
            Change::Joined { .. } | Change::Expired { .. } => {}
        }
    }

    /// Returns the senior member, which does what is to be done once.
    pub(crate) fn senior(&self) -> Option<u32> {
        self.0.first().copied()
    }

    pub(crate) fn sessions(&self) -> &[u32] {
        &self.0
    }
}
