//! Staying connected.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use spread_core::{Ready, wait_any};
use spread_wire::{GroupName, PrivateGroup};

use crate::connection::Connection;
use crate::interrupt::Wake;
use crate::{Builder, Error, Interrupter, Mailbox, Message, SendOptions, ToGroups, multicast};

/// A mailbox that connects again when its connection is lost, to the next daemon
/// that it was given, and joins its groups again.
///
/// It does not hide the loss, because messages and views in between are missed
/// for good: [`receive`](Session::receive) tells of it, and of the return.
///
/// ```no_run
/// use spread::{Backoff, Mailbox, SessionEvent};
///
/// let mut session = Mailbox::builder("4803@host1")
///     .or_address("4803@host2")
///     .private_name("alice")
///     .session(Backoff::default())?;
/// session.join("chat")?;
/// loop {
///     match session.receive()? {
///         SessionEvent::Message(message) => println!("{message:?}"),
///         SessionEvent::Lost(error) => println!("alone: {error}"),
///         SessionEvent::Restored(me) => println!("back as {me}; messages were missed"),
///     }
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), spread::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    builder: Builder,
    backoff: Backoff,
    groups: BTreeSet<GroupName>,
    wake: Arc<Wake>,
    state: State,
}

#[derive(Debug)]
enum State {
    Connected {
        mailbox: Mailbox,
        since: Instant,
        /// What the connection has to outlast, and how long to wait if it does not.
        wait: Duration,
    },
    Lost {
        /// When to try next, and how long to wait after that.
        next: Instant,
        wait: Duration,
        attempt: Option<Attempt>,
    },
}

/// A connect under way in a thread of its own, since none can be interrupted.
#[derive(Debug)]
struct Attempt {
    /// If nobody joins it, the connection ends with it.
    thread: JoinHandle<Result<Connection, Error>>,
    /// Readable at its end.
    end: UnixStream,
    /// How long it is until the next one.
    wait: Duration,
}

impl Attempt {
    fn start(builder: Builder, wait: Duration) -> io::Result<Attempt> {
        let (end, other) = UnixStream::pair()?;
        let connect = move || {
            let _other = other;
            builder.open()
        };
        let thread = thread::Builder::new().name("spread-session".to_owned()).spawn(connect)?;
        Ok(Attempt { thread, end, wait })
    }
}

/// No wait between attempts is longer, whatever a [`Backoff`] says.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long to wait between attempts to connect: at first not at all, then for
/// `first`, then twice as long each time, up to `longest` or a day.
///
/// It begins anew once a connection has lasted for longer than the wait that would
/// follow. So a daemon that takes a client in and drops it at once is not asked all the
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before the second attempt.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// The wait that follows one of `delay`.
    fn after(self, delay: Duration) -> Duration {
        delay.saturating_mul(2).min(self.longest).min(DAY)
    }
}

impl Default for Backoff {
    /// From 100 ms to 10 s.
    fn default() -> Backoff {
        Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(10) }
    }
}

/// What a [`Session`] receives.
#[derive(Debug)]
pub enum SessionEvent {
    /// A message.
    Message(Message),
    /// The connection is lost: this client is in no group any more, and what it
    /// sent last may not have been delivered.
    Lost(Error),
    /// There is a connection again, under this name, and the groups are being
    /// joined: their views follow. What was sent to them in between is missed.
    Restored(PrivateGroup),
}

impl Builder {
    /// Connects, as [`connect`](Builder::connect) does, for a [`Session`] that
    /// connects again when the connection is lost.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Builder::connect): the first connection is not tried
    /// again.
    pub fn session(self, backoff: Backoff) -> Result<Session, Error> {
        let wake = Arc::new(Wake::new().map_err(Error::Resource)?);
        let mailbox = Mailbox::new(self.open()?.woken_by(Arc::clone(&wake)));
        // It was asked for, so nothing is to be proven.
        let state = State::Connected { mailbox, since: Instant::now(), wait: Duration::ZERO };
        Ok(Session { builder: self, backoff, groups: BTreeSet::new(), wake, state })
    }
}

impl Session {
    /// The name of this client, if it is connected. It may change with the daemon.
    pub fn private_group(&self) -> Option<PrivateGroup> {
        self.mailbox().map(Mailbox::private_group)
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.mailbox().is_some()
    }

    /// Joins a group, now and whenever the connection is restored.
    ///
    /// # Errors
    ///
    /// [`IllegalGroup`](Error::IllegalGroup). A lost connection is not an error here.
    pub fn join(&mut self, group: impl AsRef<[u8]>) -> Result<(), Error> {
        let group = multicast::group_name(group)?;
        self.groups.insert(group);
        self.unless_lost(|mailbox| mailbox.join(group.as_str()))
    }

    /// Leaves a group, and does not join it again.
    ///
    /// # Errors
    ///
    /// [`IllegalGroup`](Error::IllegalGroup). A lost connection is not an error here.
    pub fn leave(&mut self, group: impl AsRef<[u8]>) -> Result<(), Error> {
        let group = multicast::group_name(group)?;
        self.groups.remove(&group);
        self.unless_lost(|mailbox| mailbox.leave(group.as_str()))
    }

    /// Sends a message, as [`Mailbox::multicast`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::multicast`];
    /// [`ConnectionClosed`](Error::ConnectionClosed) while there is no connection:
    /// nothing is kept to be sent later.
    pub fn multicast(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let mailbox = self.mailbox().ok_or(Error::ConnectionClosed)?;
        mailbox.multicast(options, groups, payload)
    }

    /// Waits for the next message, or for news of the connection.
    ///
    /// # Errors
    ///
    /// An error that another attempt cannot mend, such as
    /// [`NotAuthorized`](Error::NotAuthorized);
    /// [`Interrupted`](Error::Interrupted) by an [`Interrupter`].
    pub fn receive(&mut self) -> Result<SessionEvent, Error> {
        loop {
            if let Some(event) = self.receive_by(None)? {
                return Ok(event);
            }
        }
    }

    /// As [`receive`](Session::receive), but for as long as `timeout`; `None` if
    /// nothing came. An attempt to connect goes on meanwhile.
    ///
    /// # Errors
    ///
    /// Those of [`receive`](Session::receive).
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<SessionEvent>, Error> {
        // A time that is out of reach is no deadline at all.
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let event = self.receive_by(deadline)?;
            if event.is_some() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(event);
            }
        }
    }

    /// What ends a receive that waits, connected or not. An attempt to connect goes on
    /// in a thread of its own, for the next receive, up to the
    /// [`timeout`](Builder::timeout); so it does when the session is dropped, and then
    /// ends its connection, if any, at once.
    pub fn interrupter(&self) -> Interrupter {
        self.wake.interrupter()
    }

    /// Ends the session; see [`Mailbox::disconnect`].
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::disconnect`].
    pub fn disconnect(self) -> Result<(), Error> {
        match self.state {
            State::Connected { mailbox, .. } => mailbox.disconnect(),
            State::Lost { .. } => Ok(()),
        }
    }

    fn mailbox(&self) -> Option<&Mailbox> {
        match &self.state {
            State::Connected { mailbox, .. } => Some(mailbox),
            State::Lost { .. } => None,
        }
    }

    /// Calls if there is a connection; that it is lost is for the receive to tell.
    fn unless_lost(&self, call: impl FnOnce(&Mailbox) -> Result<(), Error>) -> Result<(), Error> {
        match self.mailbox().map(call) {
            Some(Err(error)) if !error.is_closed() => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits for an event; `None` at the deadline, or before it after an attempt to
    /// connect in vain.
    fn receive_by(&mut self, deadline: Option<Instant>) -> Result<Option<SessionEvent>, Error> {
        match &mut self.state {
            State::Connected { mailbox, since, wait } => match mailbox.receive_by(deadline) {
                Ok(message) => Ok(message.map(SessionEvent::Message)),
                Err(error) if error.is_closed() => {
                    // The daemon is to forget this client before it comes back.
                    mailbox.shut_down();
                    let now = Instant::now();
                    let (next, wait) = match since.elapsed() >= *wait {
                        true => (now, self.backoff.first.min(DAY)),
                        false => (now + *wait, self.backoff.after(*wait)),
                    };
                    self.state = State::Lost { next, wait, attempt: None };
                    Ok(Some(SessionEvent::Lost(error)))
                }
                Err(error) => Err(error),
            },
            State::Lost { next, wait, attempt } => {
                let Some(under_way) = attempt else {
                    let until = deadline.map_or(*next, |deadline| deadline.min(*next));
                    let wake = [(self.wake.as_fd(), Ready::ToRead)];
                    let [woken] = wait_any(wake, Some(until)).map_err(Error::Resource)?;
                    if woken && self.wake.take() {
                        return Err(Error::Interrupted);
                    }
                    let now = Instant::now();
                    if now >= *next {
                        // Without a descriptor or a thread it is an attempt in vain.
                        *attempt = Attempt::start(self.builder.clone(), *wait).ok();
                        *next = now + *wait;
                        *wait = self.backoff.after(*wait);
                    }
                    return Ok(None);
                };
                let fds =
                    [(self.wake.as_fd(), Ready::ToRead), (under_way.end.as_fd(), Ready::ToRead)];
                let [woken, ended] = wait_any(fds, deadline).map_err(Error::Resource)?;
                if woken && self.wake.take() {
                    return Err(Error::Interrupted);
                }
                match attempt.take_if(|_| ended) {
                    Some(Attempt { thread, wait, .. }) => {
                        // What panics is counted as an attempt in vain.
                        let result = thread.join().unwrap_or(Err(Error::ConnectionClosed));
                        self.connected(result, wait)
                    }
                    None => Ok(None),
                }
            }
        }
    }

    /// Takes note of what came of an attempt.
    fn connected(
        &mut self,
        result: Result<Connection, Error>,
        wait: Duration,
    ) -> Result<Option<SessionEvent>, Error> {
        let mailbox = match result {
            Ok(connection) => Mailbox::new(connection.woken_by(Arc::clone(&self.wake))),
            // A daemon that has not noticed yet that this client is gone still
            // has its name in use.
            Err(error) if error.is_retryable() || matches!(error, Error::NameInUse { .. }) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let private_group = mailbox.private_group();
        let joined = self.groups.iter().try_for_each(|group| mailbox.join(group.as_str()));
        match joined {
            Ok(()) => {
                self.state = State::Connected { mailbox, since: Instant::now(), wait };
                Ok(Some(SessionEvent::Restored(private_group)))
            }
            Err(error) if error.is_closed() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
