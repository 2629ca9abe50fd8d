//! The state of a cluster as a value, for simulations of programs that run over it.
//!
//! It is the state machine that a [`Cluster`](crate::Cluster) drives, without its loop and
//! its sockets: every call takes effect at once, and what it delivers is returned.

use bytes::{Bytes, BytesMut};
use spread_wire::{Frame, Limits, PrivateGroup, PrivateName};

use crate::cluster::{Configuration, DaemonId, DaemonSet, Deliver, SessionId, State};

/// Daemons, their sessions and groups.
///
/// A daemon is named by its place in the configuration, a session by a number that the
/// caller chooses.
#[derive(Debug)]
pub struct Simulation {
    state: State,
}

/// Whole frames, each with the session that gets it, in the order of delivery.
pub type Delivered = Vec<(usize, Bytes)>;

#[derive(Default)]
struct Collector(Delivered);

impl Deliver for Collector {
    fn deliver(&mut self, to: impl IntoIterator<Item = SessionId>, frame: &[u8]) {
        let frame = Bytes::copy_from_slice(frame);
        self.0.extend(to.into_iter().map(|SessionId(to)| (to, frame.clone())));
    }
}

impl Simulation {
    /// Returns daemons that see each other.
    ///
    /// # Panics
    ///
    /// If a name is not that of a daemon, or there are more than 128.
    pub fn new(daemons: &[&str]) -> Simulation {
        let state = State::new(daemons, Configuration { proc_id: 1, time: 1 });
        Simulation { state: state.expect("names of daemons") }
    }

    /// Opens a session that wants membership messages; returns its private group, or
    /// `None` if the name is in use at the daemon or the daemon is down.
    ///
    /// # Panics
    ///
    /// If the name is not a private name.
    pub fn connect(&mut self, session: usize, daemon: usize, name: &str) -> Option<PrivateGroup> {
        let daemon = DaemonId(daemon);
        let name = PrivateName::new(name).expect("a private name");
        if !self.state.is_up(daemon) {
            return None;
        }
        self.state.connect(SessionId(session), daemon, Some(name), true).ok()
    }

    /// Handles the bytes of one frame of a client.
    ///
    /// # Panics
    ///
    /// If they are not a whole frame, or the daemon would end the session for it.
    pub fn handle(&mut self, session: usize, frame: &[u8]) -> Delivered {
        let frame = Frame::decode(&mut BytesMut::from(frame), Limits::FROM_CLIENT);
        let frame = frame.expect("a frame").expect("a whole frame");
        self.collect(|state, out| state.handle(SessionId(session), (&frame).into(), out))
            .unwrap_or_else(|end| panic!("the session ends: {end}"))
    }

    /// Ends a session.
    pub fn disconnect(&mut self, session: usize) -> Delivered {
        self.change(|state, out| state.disconnect(SessionId(session), out))
    }

    /// Parts the daemons: each gets the number of its part.
    pub fn partition(&mut self, parts: &[u8]) -> Delivered {
        let set = |number| {
            let members = parts.iter().enumerate().filter(move |(_, part)| **part == number);
            members.map(|(daemon, _)| DaemonId(daemon)).collect::<DaemonSet>()
        };
        let numbers: std::collections::BTreeSet<u8> = parts.iter().copied().collect();
        let sets = numbers.into_iter().map(set).collect();
        self.change(|state, out| state.partition(sets, 0, out))
    }

    /// Ends a daemon; returns its sessions, too, of which nothing is known any more.
    pub fn crash(&mut self, daemon: usize) -> (Vec<usize>, Delivered) {
        let mut lost = Vec::new();
        let delivered = self.change(|state, out| lost = state.crash(DaemonId(daemon), 0, out));
        (lost.into_iter().map(|SessionId(session)| session).collect(), delivered)
    }

    /// Starts a daemon again.
    pub fn restart(&mut self, daemon: usize) -> Delivered {
        self.change(|state, out| state.restart(DaemonId(daemon), 0, out))
    }

    /// Returns whether a daemon has not crashed.
    pub fn is_up(&self, daemon: usize) -> bool {
        self.state.is_up(DaemonId(daemon))
    }

    /// Holds the messages from one daemon to another.
    pub fn hold(&mut self, from: usize, to: usize) {
        self.state.hold(DaemonId(from), DaemonId(to));
    }

    /// Hands over the messages that are held from one daemon to another.
    pub fn release(&mut self, from: usize, to: usize) -> Delivered {
        self.change(|state, out| state.release(DaemonId(from), DaemonId(to), out))
    }

    fn change(&mut self, act: impl FnOnce(&mut State, &mut Collector)) -> Delivered {
        let mut out = Collector::default();
        act(&mut self.state, &mut out);
        out.0
    }

    fn collect<E>(
        &mut self,
        act: impl FnOnce(&mut State, &mut Collector) -> Result<(), E>,
    ) -> Result<Delivered, E> {
        let mut out = Collector::default();
        act(&mut self.state, &mut out)?;
        Ok(out.0)
    }
}
