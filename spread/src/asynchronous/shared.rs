//! What the halves of an async mailbox share: the connection as a runtime watches it.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use spread_core::{Buffered, Closing, MEMORY_PAUSE, Ready};
use spread_os::tokio::Registered;
use spread_wire::{Name, ServiceType};
use tokio::io::Interest;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard};
use tokio::task::coop::consume_budget;
use tokio::time::{sleep, timeout};

use super::flusher::{Flusher, Pause};
use crate::Error;
use crate::connection::{Connection, LINGER, not_closed};

/// A connection, watched by a runtime.
#[derive(Debug)]
pub(super) struct Shared {
    io: Registered,
    connection: Arc<Connection>,
    /// Whose message is the next one: of those that wait for room, the first to ask.
    order: AsyncMutex<()>,
    flusher: Flusher,
}

impl Shared {
    pub(super) fn new(connection: Arc<Connection>) -> io::Result<Shared> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let io = Registered::new(Arc::clone(connection.core().socket()), interest)?;
        Ok(Shared { io, connection, order: AsyncMutex::default(), flusher: Flusher::new() })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn io(&self) -> &Registered {
        &self.io
    }

    /// The right to send, in the order in which it was asked for.
    pub(super) async fn turn(&self) -> AsyncMutexGuard<'_, ()> {
        self.order.lock().await
    }

    /// The right to send, if nobody has it.
    pub(super) fn try_turn(&self) -> Option<AsyncMutexGuard<'_, ()>> {
        self.order.try_lock().ok()
    }

    /// Copies a message into the buffer, if nobody waits for room and there is room for it;
    /// says whether it was taken.
    #[inline]
    pub(super) fn try_buffer(
        self: &Arc<Shared>,
        service_type: ServiceType,
        groups: &[Name],
        number: i16,
        payload: &[u8],
    ) -> Result<bool, Error> {
        self.connection.usable()?;
        let Some(_turn) = self.try_turn() else {
            return Ok(false);
        };
        match self.put(service_type, groups, number, payload) {
            // Whoever waits for room waits for memory, too.
            Err(spread_core::Error::Resource(_)) => Ok(false),
            taken => taken.map_err(|error| self.connection.send_failed(error)),
        }
    }

    /// Copies a message into the buffer once there is room for it, which may need memory.
    pub(super) async fn buffer(
        self: &Arc<Shared>,
        service_type: ServiceType,
        groups: &[Name],
        number: i16,
        payload: &[u8],
    ) -> Result<(), Error> {
        // A task that only sends is to let others run now and then.
        consume_budget().await;
        if self.try_buffer(service_type, groups, number, payload)? {
            return Ok(());
        }
        let _turn = self.turn().await;
        let put = |_: &spread_core::Connection| self.put(service_type, groups, number, payload);
        self.when_possible(put, |taken| *taken).await.map(drop)
    }

    /// Copies a message into the buffer, which is flushed once if it is full.
    fn put(
        self: &Arc<Shared>,
        service_type: ServiceType,
        groups: &[Name],
        number: i16,
        payload: &[u8],
    ) -> Result<bool, spread_core::Error> {
        let core = self.connection.core();
        let mut buffered = core.try_buffer(service_type, groups, number, payload)?;
        if buffered == Buffered::Full {
            let flushed = core.try_flush();
            buffered = core.try_buffer(service_type, groups, number, payload)?;
            if buffered == Buffered::Full {
                flushed?;
            }
        }
        if buffered == Buffered::First {
            self.flusher.wake(self);
        }
        Ok(buffered != Buffered::Full)
    }

    /// Copies a message into the buffer, whether or not it has room: one for each
    /// [`room`](Shared::room).
    pub(super) fn buffer_beyond(
        self: &Arc<Shared>,
        service_type: ServiceType,
        groups: &[Name],
        number: i16,
        payload: &[u8],
    ) -> Result<(), Error> {
        self.connection.usable()?;
        let core = self.connection.core();
        let buffered = core.buffer_beyond(service_type, groups, number, payload);
        let buffered = buffered.map_err(|error| self.connection.send_failed(error))?;
        if buffered == Buffered::First {
            self.flusher.wake(self);
        }
        Ok(())
    }

    /// Whether the buffer has room; `false` also if there is no memory to make room.
    pub(super) fn try_room(&self) -> Result<bool, Error> {
        self.connection.usable()?;
        match self.connection.core().try_room() {
            Err(spread_core::Error::Resource(_)) => Ok(false),
            room => room.map_err(|error| self.connection.send_failed(error)),
        }
    }

    /// Waits until the buffer has room, and keeps nobody from sending meanwhile.
    pub(super) async fn room(&self) -> Result<(), Error> {
        let room = |core: &spread_core::Connection| core.try_room();
        self.when_possible(room, |has_room| *has_room).await.map(drop)
    }

    /// Repeats `send` whenever there may be room, until it has done what it can.
    pub(super) async fn when_writable<T>(
        &self,
        mut send: impl FnMut(&spread_core::Connection) -> Result<T, spread_core::Error>,
        is_done: impl Fn(&T) -> bool,
    ) -> Result<T, Error> {
        loop {
            self.connection.usable()?;
            let mut ready = self.io.writable().await.map_err(Error::Io)?;
            let sent = send(self.connection.core());
            let sent = sent.map_err(|error| self.connection.send_failed(error))?;
            if is_done(&sent) {
                return Ok(sent);
            }
            // What has room since is an event again.
            ready.clear_ready();
        }
    }

    /// As [`when_writable`](Shared::when_writable), but waits for memory as for room, of which
    /// no event tells.
    async fn when_possible<T>(
        &self,
        mut send: impl FnMut(&spread_core::Connection) -> Result<T, spread_core::Error>,
        is_done: impl Fn(&T) -> bool,
    ) -> Result<T, Error> {
        let mut pause = Pause::default();
        loop {
            match self.when_writable(&mut send, &is_done).await {
                Err(Error::Resource(_)) => pause.wait().await,
                done => return done,
            }
        }
    }

    /// Lets the flusher send what a call has left behind.
    pub(super) fn flush_in_background(self: &Arc<Shared>) {
        self.flusher.wake(self);
    }

    /// Sends what is buffered as far as there is room and memory; says whether all of it has
    /// gone. If not, the flusher, which has been woken for it, goes on.
    #[inline]
    pub(super) fn try_flush(&self) -> Result<bool, Error> {
        match self.connection.try_flush() {
            Err(Error::Resource(_)) => Ok(false),
            flushed => flushed,
        }
    }

    /// Waits until the kernel has all that was sent or buffered so far, for memory, too.
    pub(super) async fn flush(&self) -> Result<(), Error> {
        // A task that only flushes is to let others run now and then.
        consume_budget().await;
        self.connection.usable()?;
        let position = self.connection.core().buffered()?;
        if self.connection.core().has_sent(position) {
            return Ok(());
        }
        let flush = |core: &spread_core::Connection| core.try_flush_to(position);
        match self.when_possible(flush, |is_sent| *is_sent).await {
            // Another task has sent it before the connection ended.
            Err(_) if self.connection.is_ours() && self.connection.core().has_sent(position) => {
                Ok(())
            }
            flushed => flushed.map(drop),
        }
    }

    /// Sends what is buffered; for the flusher alone, since one task is woken for it.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            self.connection.usable()?;
            let mut ready = ready!(self.io.poll_write_ready(cx)).map_err(Error::Io)?;
            if self.connection.try_flush()? {
                return Poll::Ready(Ok(()));
            }
            ready.clear_ready();
        }
    }

    /// Ends the connection after what is buffered, and waits until the daemon
    /// has taken everything.
    pub(super) async fn disconnect(&self) -> Result<(), Error> {
        self.connection.check_open()?;
        let closing = async {
            // Those who wait for room come first.
            let _turn = self.turn().await;
            self.close().await
        };
        let closed = timeout(LINGER, closing).await.unwrap_or(Err(Error::DisconnectTimeout));
        self.connection.closed(&closed);
        closed
    }

    async fn close(&self) -> Result<(), Error> {
        loop {
            let ready = match self.connection.core().try_close() {
                Ok(Closing::Done) => return self.connection.ended(),
                Ok(Closing::ShutDown) => return Err(Error::ShutDown),
                Err(error) => return Err(not_closed(error)),
                Ok(Closing::Again) => {
                    // Others have their turn in between, and so has the clock.
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(Closing::Pause) => {
                    sleep(MEMORY_PAUSE).await;
                    continue;
                }
                Ok(Closing::Wait(ready)) => ready,
            };
            let mut guard = match ready {
                Ready::ToWrite => self.io.writable().await,
                _ => self.io.readable().await,
            }
            .map_err(Error::Io)?;
            // What has come since the step above is an event again.
            guard.clear_ready();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.connection.is_ours() {
            self.flusher.forget();
        }
    }
}
