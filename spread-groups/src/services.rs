//! The servers and subscribers of all channels: replicated state, from which
//! [calls](crate::call) choose their servers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Pending;
use crate::codec::{Message, Postcard};
use crate::core::replica::{At, BadState};
use crate::core::roster::Change;
use crate::replicated::{Replicated, StateMachine, Watch};

/// The sessions that serve each channel, in the order in which they said so.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Services {
    servers: BTreeMap<u32, Vec<u32>>,
}

/// The sender serves a channel, or does so no longer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Service {
    Begins(u32),
    Ends(u32),
}

impl Message for Service {
    const NAME: &'static str = "spread.groups.Service";
    type Codec = Postcard;
}

impl Services {
    pub(crate) fn servers(&self, channel: u32) -> &[u32] {
        self.servers.get(&channel).map_or(&[], Vec::as_slice)
    }
}

/// Returns a pending result that ends when a channel has this many servers.
pub(crate) fn at_least(services: &Replicated<Services>, channel: u32, count: usize) -> Pending<()> {
    let (complete, pending) = Pending::new();
    let (is_given_up, pending) = pending.told_when_given_up();
    let mut complete = Some(complete);
    services.watch(move |services| {
        if is_given_up() {
            return Watch::Ends;
        }
        if services.servers(channel).len() < count {
            return Watch::GoesOn;
        }
        if let Some(complete) = complete.take() {
            complete(Ok(()));
        }
        Watch::Ends
    });
    pending
}

impl StateMachine for Services {
    const NAME: &'static str = "spread.groups.Services";
    type Op = Service;
    type Out = ();

    fn apply(&mut self, at: At, op: Service) {
        match op {
            Service::Begins(channel) => {
                let servers = self.servers.entry(channel).or_default();
                if !servers.contains(&at.session) {
                    servers.push(at.session);
                }
            }
            Service::Ends(channel) => {
                if let Some(servers) = self.servers.get_mut(&channel) {
                    servers.retain(|server| *server != at.session);
                }
            }
        }
        self.servers.retain(|_, servers| !servers.is_empty());
    }

    /// A node that reconnects announces its services again.
    fn follow(&mut self, _: At, change: &Change) {
        if let Change::Departed { session, .. } = change {
            self.servers.values_mut().for_each(|servers| servers.retain(|s| s != session));
            self.servers.retain(|_, servers| !servers.is_empty());
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers can be encoded")
    }

    fn restore(state: &[u8]) -> Result<Services, BadState> {
        postcard::from_bytes(state).map_err(|_| BadState)
    }
}
