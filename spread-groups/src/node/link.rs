//! The connection of a node, a session that reconnects: its receiving half, and what the node's
//! thread sends through the [`Outlet`].

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use spread::{
    Backoff, Builder, Error, Interrupter, Message, Name, SessionEvent, SessionOptions,
    SessionReceiver,
};

use super::outlet::{ConnectionId, Outlet, Unsendable};

/// How long the session waits after a failed attempt to connect, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// What comes of the connection.
#[derive(Debug)]
pub(super) enum News {
    Message(Message),
    Lost,
    /// There is a connection again; the groups of the session are being joined.
    Restored(Name),
}

#[derive(Debug)]
pub(super) struct Link {
    receiver: SessionReceiver,
    outlet: Outlet,
    /// The present connection, or the next one.
    connection: ConnectionId,
    /// The private group, while there is a connection.
    name: Option<Name>,
    /// When the last wait ended.
    received_at: SystemTime,
}

impl Link {
    /// Connects; waits for as long as the builder says. A connection that is lost later is
    /// made anew without end.
    pub(super) fn connect(builder: Builder) -> Result<Link, Error> {
        let backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let options = SessionOptions::new().backoff(backoff).retry_if(|_, _| true);
        let (sender, mut receiver) = builder.membership(true).session(options)?.split();
        receiver.take_all();
        let name = sender.private_group().map(Name::from);
        let outlet = Outlet::start(sender)?;
        let (connection, received_at) = (ConnectionId::default(), SystemTime::now());
        Ok(Link { receiver, outlet, connection, name, received_at })
    }

    /// Returns what sends from any thread.
    pub(super) fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// Returns the number of the present connection, or of the next one.
    pub(super) fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Returns when what came last was received, at most a turn of the node's thread ago.
    pub(super) fn received_at(&self) -> SystemTime {
        self.received_at
    }

    /// Returns the private group, while there is a connection.
    pub(super) fn name(&self) -> Option<Name> {
        self.name
    }

    /// Returns what ends a [`Link::receive`] from another thread.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`].
    pub(super) fn interrupter(&self) -> Result<Interrupter, Error> {
        self.receiver.interrupter()
    }

    /// Waits for the next news until the deadline, or an interrupt.
    pub(super) fn receive(&mut self, deadline: Option<Instant>) -> Option<News> {
        let received = match deadline {
            Some(deadline) => self.receiver.receive_deadline(deadline),
            None => self.receiver.receive().map(Some),
        };
        self.received_at = SystemTime::now();
        self.received(received)
    }

    /// Receives what has come already.
    pub(super) fn try_receive(&mut self) -> Option<News> {
        let received = self.receiver.try_receive();
        self.received(received)
    }

    fn received(&mut self, received: Result<Option<SessionEvent>, Error>) -> Option<News> {
        match received {
            Ok(event) => self.news(event?),
            Err(Error::Interrupted) => None,
            Err(_) => {
                // The system has not even what a wait takes.
                thread::sleep(BACKOFF.0);
                None
            }
        }
    }

    fn news(&mut self, event: SessionEvent) -> Option<News> {
        match event {
            SessionEvent::Message(message) => Some(News::Message(message)),
            SessionEvent::Lost { .. } => {
                self.name = None;
                self.connection = self.outlet.lost();
                Some(News::Lost)
            }
            SessionEvent::Restored { private_group, .. } => {
                let name = Name::from(private_group);
                self.name = Some(name);
                Some(News::Restored(name))
            }
            _ => None,
        }
    }

    pub(super) fn join(&self, group: Name) {
        self.outlet.join(group);
    }

    pub(super) fn leave(&self, group: Name) {
        self.outlet.leave(group);
    }

    /// Queues a message, which is sent by [`Link::flush`] at the latest; never waits. Without a
    /// connection nobody gets it.
    ///
    /// # Errors
    ///
    /// [`Unsendable`].
    pub(super) fn multicast(&self, to: Name, bytes: &Bytes) -> Result<(), Unsendable> {
        match self.name {
            Some(_) => self.outlet.push(self.connection, to, bytes),
            None => Ok(()),
        }
    }

    /// Sends what the node has to send; never waits.
    pub(super) fn flush(&self) {
        self.outlet.flush();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.outlet.close();
    }
}
