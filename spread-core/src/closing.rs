//! The end of a connection that loses nothing.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::Connection;
use crate::error::is_resource;
use crate::poll::Ready;
use crate::stream::Mode;

/// Bytes that are received for nothing in one step.
const MOST: usize = 256 * 1024;

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The daemon has taken everything, and has ended its side.
    Done,
    /// Another call has [shut it down](Connection::shut_down) meanwhile: what the daemon has
    /// taken is not known.
    ShutDown,
    /// The daemon has sent much, and there may be more: the next step need not wait.
    Again,
    /// Something has to be waited for.
    Wait(Ready),
    /// The system lacks memory: the next step is due after
    /// [`MEMORY_PAUSE`](crate::MEMORY_PAUSE).
    Pause,
}

impl Connection {
    /// Notes that the connection is not to be used any more, as [`end`](Connection::end) does,
    /// and waits until no other thread is within a send; says whether that is so by the
    /// deadline.
    pub fn end_sending(&self, deadline: Instant) -> bool {
        self.end();
        self.turns.take_by(deadline).is_some()
    }

    /// Whether the daemon has ended its side, or the connection has failed, though something may
    /// still be there to be received. Not on all systems: where it is not known, `false` as long
    /// as there is.
    ///
    /// # Errors
    ///
    /// The system lacks memory.
    pub fn is_ended_by_peer(&self) -> io::Result<bool> {
        match self.stream.is_ended_by_peer() {
            Err(error) if !is_resource(&error) => Ok(true),
            ended => ended,
        }
    }

    /// Ends the connection step by step, without waiting: sends the rest of a begun message,
    /// tells the daemon that nothing more will come, and receives for nothing until the
    /// daemon has ended its side. Other calls fail with [`Error::ShutDown`] from the first
    /// step on.
    ///
    /// To close a TCP connection with messages unread is to reset it, and what was sent just
    /// before may then never reach the daemon.
    ///
    /// No other thread may be within a receive; one that is within a send is waited for, see
    /// [`end_sending`](Connection::end_sending). A daemon may go on sending for ever, so the
    /// caller has a deadline.
    ///
    /// # Errors
    ///
    /// The connection has ended otherwise; `NotConnected` if it had before.
    ///
    /// [`Error::ShutDown`]: crate::Error::ShutDown
    pub fn try_close(&self) -> io::Result<Closing> {
        self.end();
        match self.close_further() {
            Ok(Closing::Done) | Err(_) if self.is_shut_down.load(Ordering::Acquire) => {
                Ok(Closing::ShutDown)
            }
            closing => closing,
        }
    }

    fn close_further(&self) -> io::Result<Closing> {
        match self.turns.take().try_end(&self.stream) {
            Ok(true) => {}
            Ok(false) => return Ok(Closing::Wait(Ready::ToWrite)),
            Err(error) if is_resource(&error) => return Ok(Closing::Pause),
            Err(error) => return Err(error),
        }
        let mut unread = [0; 16 * 1024];
        let mut count = 0;
        while count < MOST {
            match self.stream.recv(&mut unread, Mode::Try) {
                Ok(Some(len)) => count += len,
                Ok(None) => return Ok(Closing::Wait(Ready::ToRead)),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Closing::Done),
                Err(e) if is_resource(&e) => return Ok(Closing::Pause),
                Err(e) => return Err(e),
            }
        }
        Ok(Closing::Again)
    }
}
