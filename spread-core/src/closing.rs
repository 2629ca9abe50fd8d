//! The end of a connection that loses nothing.

use std::io;

use crate::Connection;
use crate::poll::Ready;
use crate::stream::Mode;

/// Bytes that are received for nothing in one step.
const MOST: usize = 256 * 1024;

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The daemon has taken everything, and has ended its side.
    Done,
    /// The daemon has sent much, and there may be more: the next step need not wait.
    Again,
    /// Something has to be waited for.
    Wait(Ready),
}

impl Connection {
    /// Ends the connection step by step, without waiting: sends the rest of a begun message,
    /// tells the daemon that nothing more will come, and receives for nothing until the
    /// daemon has ended its side. Other calls fail with [`Error::ShutDown`] from the first
    /// step on.
    ///
    /// To close a TCP connection with messages unread is to reset it, and what was sent just
    /// before may then never reach the daemon.
    ///
    /// No other thread may be within a receive. A daemon may go on sending for ever, so the
    /// caller has a deadline.
    ///
    /// # Errors
    ///
    /// The connection has ended otherwise; `NotConnected` if it had before.
    ///
    /// [`Error::ShutDown`]: crate::Error::ShutDown
    pub fn try_close(&self) -> io::Result<Closing> {
        self.end();
        if !self.lock_sending().try_end(&self.stream)? {
            return Ok(Closing::Wait(Ready::ToWrite));
        }
        let mut unread = [0; 16 * 1024];
        let mut count = 0;
        while count < MOST {
            match self.stream.recv(&mut unread, Mode::Try) {
                Ok(Some(len)) => count += len,
                Ok(None) => return Ok(Closing::Wait(Ready::ToRead)),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Closing::Done),
                Err(e) => return Err(e),
            }
        }
        Ok(Closing::Again)
    }
}
