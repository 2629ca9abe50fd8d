//! The handle of several daemons in one process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::faults;
use crate::error::{ClusterError, StartError};
use crate::net::control::{CallError, Running};
use crate::net::event_loop::EventLoop;
use crate::net::identity::{daemon_ids, state};
use crate::net::listener::{Door, Listener};
use crate::settings::Settings;

/// Some daemons in this process that behave as a cluster of Spread does, until
/// they are dropped. Clients connect to each of them by TCP.
///
/// What a client sees is what a real cluster sends: when daemons part, a
/// transitional signal and then a view for every group that loses members; when
/// they merge, a view with a vs_set for each former side.
///
/// # Test your partition handling in ten lines
///
/// The client here is a small one of this example's own. With `spread::Mailbox`, which this
/// crate cannot depend on, the same test is on the front page of the project's README.
///
/// ```
/// use spread_daemon::Cluster;
#[doc = include_str!("example_client.md")]
///
/// let cluster = Cluster::builder().daemons(["d1", "d2"]).start()?;
/// let mut ann = connect(&cluster.address("d1")?, "ann");
/// let mut bob = connect(&cluster.address("d2")?, "bob");
/// ann.join("team");
/// assert_eq!(ann.receive(), Told::View(vec!["#ann#d1".into()]));
/// bob.join("team");
/// assert_eq!(ann.receive(), Told::View(vec!["#ann#d1".into(), "#bob#d2".into()]));
///
/// cluster.partition(&[&["d1"], &["d2"]])?;
/// assert_eq!(ann.receive(), Told::Transitional);
/// assert_eq!(ann.receive(), Told::View(vec!["#ann#d1".into()]));
/// cluster.merge()?;
/// assert_eq!(ann.receive(), Told::View(vec!["#ann#d1".into(), "#bob#d2".into()]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What is in flight
///
/// Each call first handles everything that clients had sent before it, for at most
/// a second, and its deliveries are on their way to the clients when it returns. So a
/// message reaches all daemons before the next partition, unless it waits on a link:
///
/// ```
/// # use spread_daemon::Cluster;
/// # let cluster = Cluster::builder().daemons(["d1", "d2"]).start()?;
/// cluster.hold("d1", "d2")?;
/// // What clients of d1 send now is delivered at d1, but not at d2: not before
/// // cluster.release("d1", "d2"), and never if they part before that. A safe
/// // message is delivered nowhere until all daemons have it.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// When daemons part or merge, those that stay together first exchange the messages that
/// only some of them have, as Spread does. Then they deliver them: before the
/// transitional signal, after it, or not at all, alike at all of them.
#[derive(Debug)]
pub struct Cluster {
    names: Vec<String>,
    addresses: Vec<SocketAddr>,
    running: Running<EventLoop>,
}

/// Starts a [`Cluster`]; returned by [`Cluster::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is started before `start`"]
pub struct ClusterBuilder {
    names: Vec<String>,
    settings: Settings,
}

impl ClusterBuilder {
    /// Sets the names of the daemons, at most 128, in the order of their configuration,
    /// which is the first order of the members of a view.
    pub fn daemons(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> ClusterBuilder {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how many messages may wait for a client that does not read; see
    /// [`Builder::max_session_messages`](crate::Builder::max_session_messages).
    pub fn max_session_messages(mut self, messages: usize) -> ClusterBuilder {
        self.settings.session_messages = messages.max(1);
        self
    }

    /// Starts the daemons, all of which see each other, at free ports of the
    /// loopback address.
    ///
    /// # Errors
    ///
    /// [`StartError::IllegalName`] for a name that a daemon cannot have,
    /// [`StartError::Daemons`] if there are no names, too many, or one of them twice,
    /// [`StartError::Io`] if the operating system refuses a socket or a thread.
    pub fn start(self) -> Result<Cluster, StartError> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for daemon in daemon_ids(&self.names)? {
            let (listener, address) =
                Listener::tcp((Ipv4Addr::LOCALHOST, 0).into(), Door::Clients(daemon))?;
            listeners.push(listener);
            addresses.push(address);
        }
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let cluster = state(&names, &addresses)?;
        let running = EventLoop::start(listeners, cluster, None, &self.settings)
            .map_err(|e| StartError::io("start the cluster", e))?;
        Ok(Cluster { names: self.names, addresses, running })
    }
}

impl Cluster {
    /// Returns a builder without daemons.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// Returns the address of a daemon as clients name it: `PORT@HOST`. It stays the
    /// same through a crash.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoSuchDaemon`].
    pub fn address(&self, daemon: &str) -> Result<String, ClusterError> {
        let address = self.socket_addr(daemon)?;
        Ok(format!("{}@{}", address.port(), address.ip()))
    }

    /// Returns the address of a daemon, for a client with a socket of its own.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoSuchDaemon`].
    pub fn socket_addr(&self, daemon: &str) -> Result<SocketAddr, ClusterError> {
        let place = self.names.iter().position(|name| name == daemon);
        place
            .map(|place| self.addresses[place])
            .ok_or_else(|| ClusterError::NoSuchDaemon { name: daemon.to_owned() })
    }

    /// Parts the daemons: each sees only those that it is named with. Those that
    /// are not named form one more part. A part that existed before does not
    /// notice; any other part is a new configuration, for which parts may shrink, grow
    /// and exchange daemons at once.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoSuchDaemon`], [`ClusterError::NamedTwice`].
    pub fn partition(&self, parts: &[&[&str]]) -> Result<(), ClusterError> {
        let parts: Vec<Vec<String>> =
            parts.iter().map(|part| part.iter().map(|name| name.to_string()).collect()).collect();
        self.call(move |this| faults::partition(this, &parts))
    }

    /// Ends all partitions: all daemons see each other again.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Stopped`].
    pub fn merge(&self) -> Result<(), ClusterError> {
        self.call(|this| {
            faults::merge(this);
            Ok(())
        })
    }

    /// Kills a daemon: its clients lose their connections, and the other daemons
    /// part from it. What its clients sent and no other daemon has is lost.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoSuchDaemon`]; [`ClusterError::Down`] if it has crashed
    /// already.
    pub fn crash(&self, daemon: &str) -> Result<(), ClusterError> {
        let name = daemon.to_owned();
        self.call(move |this| faults::crash(this, &name))
    }

    /// Starts a daemon again that has crashed, at the same address and in the
    /// same part.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoSuchDaemon`]; [`ClusterError::Up`] if it has not crashed;
    /// [`ClusterError::Io`] if its port was lost to another program meanwhile.
    pub fn restart(&self, daemon: &str) -> Result<(), ClusterError> {
        let name = daemon.to_owned();
        self.call(move |this| faults::restart(this, &name))
    }

    /// Holds a link: messages from one daemon to another wait until [`Cluster::release`].
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoSuchDaemon`].
    pub fn hold(&self, from: &str, to: &str) -> Result<(), ClusterError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.call(move |this| faults::hold(this, &from, &to))
    }

    /// Releases a link: hands over the messages that wait on it.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoSuchDaemon`].
    pub fn release(&self, from: &str, to: &str) -> Result<(), ClusterError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.call(move |this| faults::release(this, &from, &to))
    }

    /// Pauses the deliveries to a client, named by its private group, until
    /// [`Cluster::resume`]. Messages that wait count as not read: with too many of them
    /// the client is disconnected.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoSuchClient`].
    pub fn pause(&self, client: &str) -> Result<(), ClusterError> {
        let client = client.to_owned();
        self.call(move |this| faults::set_gate(this, &client, None))
    }

    /// Delays each delivery to a client from now on by this time.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoSuchClient`].
    pub fn delay(&self, client: &str, time: Duration) -> Result<(), ClusterError> {
        let client = client.to_owned();
        self.call(move |this| faults::set_gate(this, &client, Some(time)))
    }

    /// Resumes the deliveries to a client: waiting and further messages go out at once.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoSuchClient`].
    pub fn resume(&self, client: &str) -> Result<(), ClusterError> {
        let client = client.to_owned();
        self.call(move |this| faults::open_gate(this, &client))
    }

    /// Waits until all daemons have delivered everything that clients had sent before
    /// the call, and the clients' sockets have taken it. Messages that wait on a held
    /// link or for a paused client are left out; a client that does not read can make
    /// this wait for good.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Stopped`].
    pub fn settle(&self) -> Result<(), ClusterError> {
        let (done, settled) = sync_channel(1);
        self.call(move |this| {
            this.settle(done);
            Ok(())
        })?;
        settled.recv().map_err(|_| ClusterError::Stopped)
    }

    /// Cuts the connection of a client, named by its private group: all data
    /// from the client or to it is lost, and neither side is told. The daemon keeps
    /// its session, even when the client closes its side, until [`Cluster::disconnect`]
    /// or [`Cluster::crash`].
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoSuchClient`].
    pub fn sever(&self, client: &str) -> Result<(), ClusterError> {
        let client = client.to_owned();
        self.call(move |this| faults::sever(this, &client))
    }

    /// Closes the connection of a client, named by its private group; its session leaves
    /// its groups with the cause disconnect.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoSuchClient`].
    pub fn disconnect(&self, client: &str) -> Result<(), ClusterError> {
        let client = client.to_owned();
        self.call(move |this| faults::disconnect(this, &client))
    }

    /// Calls `act` in the loop, after everything that clients had sent before.
    fn call(
        &self,
        act: impl FnOnce(&mut EventLoop) -> Result<(), ClusterError> + Send + 'static,
    ) -> Result<(), ClusterError> {
        let done = self.running.control().call(|this| {
            this.catch_up();
            act(this)
        });
        done.unwrap_or_else(|error| match error {
            CallError::Stopped => Err(ClusterError::Stopped),
            CallError::OwnThread => Err(ClusterError::OwnThread),
        })
    }
}
