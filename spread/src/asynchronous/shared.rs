//! What the halves of an async mailbox share: the connection as a runtime watches it.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use spread_core::{Closing, Ready};
use spread_os::tokio::Registered;
use tokio::io::Interest;
use tokio::runtime::Handle;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard as Turn, watch};
use tokio::time::timeout;

use crate::Error;
use crate::connection::{Connection, LINGER, late};

/// A connection, watched by a runtime.
#[derive(Debug)]
pub(super) struct Shared {
    io: Registered,
    connection: Arc<Connection>,
    /// Whose message is on its way.
    turns: Arc<Turns<()>>,
    runtime: Handle,
    /// Tells tasks of the end by being dropped; `None` only during the drop.
    end: Option<watch::Sender<()>>,
}

impl Shared {
    pub(super) fn new(connection: Arc<Connection>) -> io::Result<Shared> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let io = Registered::new(Arc::clone(connection.core().socket()), interest)?;
        let (turns, runtime, end) = (Arc::default(), Handle::current(), watch::Sender::new(()));
        Ok(Shared { io, connection, turns, runtime, end: Some(end) })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn io(&self) -> &Registered {
        &self.io
    }

    /// The right to send, in the order in which it was asked for.
    pub(super) async fn turn(&self) -> Turn<()> {
        Arc::clone(&self.turns).lock_owned().await
    }

    /// Repeats `send` whenever there may be room, as long as it says that there is none.
    pub(super) async fn when_writable<T>(
        &self,
        mut send: impl FnMut(&spread_core::Connection) -> Result<T, spread_core::Error>,
        is_full: impl Fn(&T) -> bool,
    ) -> Result<T, Error> {
        self.connection.usable()?;
        poll_fn(|cx| self.poll_writable(cx, &mut send, &is_full)).await
    }

    /// Sends the rest of the message that has begun.
    pub(super) async fn flush(&self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Sends the rest of the message that has begun in a task of the runtime, until the last
    /// half of the mailbox is dropped: then it goes the way of the connection.
    pub(super) fn flush_in_background(self: &Arc<Shared>, turn: Turn<()>) {
        if let Some(end) = &self.end
            && self.connection.is_ours()
        {
            self.runtime.spawn(flush(Arc::downgrade(self), end.subscribe(), turn));
        }
    }

    /// Ends the connection after `pending`, and waits until the daemon has taken everything.
    pub(super) async fn disconnect(
        &self,
        pending: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        if !self.connection.is_ours() {
            return Err(Error::Forked);
        }
        let closing = async {
            pending.await?;
            // What has begun goes first, and nobody else waits for the descriptor.
            let _turn = self.turn().await;
            poll_fn(|cx| self.poll_close(cx)).await
        };
        let closed = timeout(LINGER, closing).await.unwrap_or_else(|_| Err(late()));
        self.connection.closed();
        closed
    }

    fn poll_close(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            let ready = match self.connection.core().try_close() {
                Ok(Closing::Done) => return Poll::Ready(Ok(())),
                Err(_) => return Poll::Ready(Err(Error::ConnectionClosed)),
                Ok(Closing::Again) => {
                    // Others have their turn in between, and so has the clock.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(Closing::Wait(ready)) => ready,
            };
            let mut guard = ready!(match ready {
                Ready::ToWrite => self.io.poll_write_ready(cx),
                _ => self.io.poll_read_ready(cx),
            })
            .map_err(Error::Io)?;
            // What has come since the step above is an event again.
            guard.clear_ready();
        }
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let flush = |core: &spread_core::Connection| core.try_flush();
        self.poll_writable(cx, flush, |is_whole| !is_whole).map_ok(drop)
    }

    fn poll_writable<T>(
        &self,
        cx: &mut Context<'_>,
        mut send: impl FnMut(&spread_core::Connection) -> Result<T, spread_core::Error>,
        is_full: impl Fn(&T) -> bool,
    ) -> Poll<Result<T, Error>> {
        loop {
            let mut ready = ready!(self.io.poll_write_ready(cx)).map_err(Error::Io)?;
            let sent = send(self.connection.core())?;
            if !is_full(&sent) {
                return Poll::Ready(Ok(sent));
            }
            // What has room since is an event again.
            ready.clear_ready();
        }
    }
}

/// Sends the rest of a message until the last half of the mailbox is dropped.
async fn flush(shared: Weak<Shared>, mut end: watch::Receiver<()>, _turn: Turn<()>) {
    let mut ended = pin!(end.changed());
    poll_fn(|cx| match shared.upgrade() {
        Some(shared) if ended.as_mut().poll(cx).is_pending() => {
            // Whoever uses the mailbox next is told what went wrong.
            shared.poll_flush(cx).map(drop)
        }
        _ => Poll::Ready(()),
    })
    .await;
}

impl Drop for Shared {
    fn drop(&mut self) {
        // In the child of a fork, to tell the tasks would be to wake the parent's runtime.
        if !self.connection.is_ours() {
            std::mem::forget(self.end.take());
        }
    }
}
