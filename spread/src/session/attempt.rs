//! An attempt to connect, in a thread of its own: connects cannot be interrupted.

use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use spread_core::Ready;

use super::blocking::Shared;
use super::common::{ended, not_connected};
use super::state::{Change, Joining};
use crate::{Error, Mailbox, Receiver, Sender};

/// What comes of an attempt: the half of the new mailbox that receives.
type Outcome = Result<Receiver, Error>;

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Attempt {
    /// In a mutex only so that it can be shared, and never locked.
    outcome: Mutex<mpsc::Receiver<Outcome>>,
    thread: JoinHandle<()>,
}

impl Attempt {
    /// Starts a thread that connects, joins the groups of the session, and then raises its
    /// news. If nobody takes the outcome, the connection ends with the session.
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Attempt> {
        let (tell, outcome) = mpsc::sync_channel(1);
        let shared = Arc::clone(shared);
        let connect = move || {
            let shared = Told(shared);
            // Dropped before the news, also by a panic of an authenticator.
            let tell = tell;
            let _ = tell.send(connect(&shared.0));
        };
        let thread = thread::Builder::new().name("spread-session".to_owned()).spawn(connect)?;
        Ok(Attempt { outcome: Mutex::new(outcome), thread })
    }

    /// The outcome, once there is one.
    pub(super) fn outcome(&mut self) -> Option<Outcome> {
        let outcome = self.outcome.get_mut().unwrap_or_else(PoisonError::into_inner);
        match outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            // What panics is an attempt in vain.
            Err(TryRecvError::Disconnected) => Some(Err(not_connected())),
        }
    }

    /// Waits until the thread, whose outcome has been taken, has raised its news.
    pub(super) fn join(self) {
        let _ = self.thread.join();
    }

    /// Waits for the outcome.
    pub(super) fn finish(self) {
        let _ = self.outcome.into_inner().unwrap_or_else(PoisonError::into_inner).recv();
    }
}

/// Raises the news of a session in the end.
struct Told(Arc<Shared>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.news.wake();
    }
}

/// Makes a connection that is in all groups of the session, and its connection.
pub(super) fn connect(shared: &Shared) -> Outcome {
    let connection = shared.common.builder().open()?.woken_by(Arc::clone(&shared.wake));
    shared.common.connected();
    let (sender, receiver) = Mailbox::new(connection).split();
    shared.watch.add(receiver.as_fd()).map_err(Error::Resource)?;
    let joined = join_groups(shared, &sender, &receiver);
    if joined.is_err() {
        shared.watch.remove(receiver.as_fd());
        // The daemon is to forget this client before the next attempt.
        sender.shut_down();
    }
    joined.map(|()| receiver)
}

/// Joins the groups within the time of a connect: nobody else sends on the connection, so
/// none of it waits for more than room.
fn join_groups(shared: &Shared, sender: &Sender, receiver: &Receiver) -> Result<(), Error> {
    let deadline = Some(shared.common.builder().joined_by());
    loop {
        let change = match shared.common.next_change(sender) {
            Joining::Send(change) => change,
            Joining::Done => return Ok(()),
            Joining::Ended => return Err(ended()),
        };
        let has_room = spread_core::wait(receiver.as_fd(), Ready::ToWrite, deadline);
        if !has_room.map_err(Error::Resource)? {
            return Err(not_connected());
        }
        match change {
            Change::Join(group) => sender.join(group.as_str())?,
            Change::Leave(group) => sender.leave(group.as_str())?,
        }
    }
}
