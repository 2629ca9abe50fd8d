//! The groups of a daemon of several hosts: what the others do is done to its replica.

use super::{Action, Presence, Refusal, Remote, Told};
use crate::cluster::replica::Replica;
use crate::cluster::{DaemonId, Deliver, SessionId, State};

impl State {
    /// Makes this the state of one daemon of several hosts, which joins the others; its
    /// replica is empty.
    pub(crate) fn join(&mut self, remote: Remote) {
        let daemon = remote.me.daemon;
        self.me = Some(daemon);
        self.daemons[daemon.0].replica = Replica::default();
        self.daemons[daemon.0].up = true;
        self.remote = Some(Box::new(remote));
    }

    /// Ends what the daemon had with the others; returns its sessions, of which nothing
    /// is known any more.
    pub(crate) fn part_from_others(&mut self) -> Vec<SessionId> {
        self.route.forget();
        self.by_name.clear();
        if let Some(remote) = self.remote.take() {
            let node = &mut self.daemons[remote.me.daemon.0];
            node.replica = Replica::default();
            node.up = false;
        }
        let places = self.sessions.iter_mut().enumerate();
        places.filter_map(|(place, session)| session.take().map(|_| SessionId(place))).collect()
    }

    /// Returns how this daemon sees the others: not at all while it has not joined them.
    pub(crate) fn presence(&self) -> Presence {
        self.remote.as_deref().map(Remote::presence).unwrap_or_default()
    }

    /// Returns the names of the daemons whose clients connect here.
    pub(crate) fn own_names(&self) -> Vec<&str> {
        match self.me {
            Some(me) => vec![&self.daemons[me.0].name],
            None => self.names(),
        }
    }

    pub(crate) fn remote(&self) -> Option<&Remote> {
        self.remote.as_deref()
    }

    pub(crate) fn remote_mut(&mut self) -> Option<&mut Remote> {
        self.remote.as_deref_mut()
    }

    /// Takes what the group communication delivers next, and does what follows from it.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the daemon cannot be one of those that are there.
    pub(crate) fn told(&mut self, told: Told, out: &mut impl Deliver) -> Result<(), Refusal> {
        if let Some(remote) = &mut self.remote {
            remote.told(told)?;
            self.act(out);
        }
        Ok(())
    }

    /// Repeats what may have got lost: see [`Remote::repeat`].
    pub(crate) fn repeat(&mut self, out: &mut impl Deliver) {
        if let Some(remote) = &mut self.remote {
            remote.repeat();
            self.act(out);
        }
    }

    fn act(&mut self, out: &mut impl Deliver) {
        while let Some(remote) = &mut self.remote
            && let Some(action) = remote.next_action()
        {
            let DaemonId(me) = remote.me.daemon;
            match action {
                Action::Apply(event) => self.apply(DaemonId(me), &event, out),
                Action::Bring(end) => {
                    let mut replica = self.daemons[me].replica.clone();
                    for action in end {
                        match action {
                            Action::Apply(event) => replica.apply(&event, None, &mut Nobody),
                            Action::Part { gone, transitional } => {
                                replica.part(gone, transitional, &mut Nobody);
                            }
                            Action::Bring(_) | Action::Form { .. } => {}
                        }
                    }
                    remote.bring(&replica.remaining());
                }
                Action::Part { gone, transitional } => {
                    self.route.forget();
                    self.daemons[me].replica.part(gone, transitional, out);
                }
                Action::Form { configuration, sides, mine } => {
                    self.route.forget();
                    self.daemons[me].replica.form(configuration, &sides, mine, out);
                }
            }
        }
    }
}

/// Takes what a replica delivers that is not that of the clients.
struct Nobody;

impl Deliver for Nobody {
    fn deliver(&mut self, _: impl IntoIterator<Item = SessionId>, _: &[u8]) {}
}
