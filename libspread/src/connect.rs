//! A connect under way.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::os::fd::AsRawFd;
use std::time::Instant;

use spread_core::{Address, Connect, ConnectError, Connection, Method, Progress, Request};
use spread_wire::ErrorCode;
use spread_wire::handshake::ClientError;

use crate::auth::{self, Exchange};
use crate::wait::{Wait, events};

/// A connect, with the descriptors it waits for and the functions it has to call.
#[derive(Debug)]
pub(crate) struct Connecting {
    connect: Connect,
    /// What the application does, in the order of the methods.
    exchanges: VecDeque<Exchange>,
    polled: Vec<libc::pollfd>,
}

/// The next thing to do.
pub(crate) enum Next {
    /// Wait, with the connect held.
    Wait(Wait),
    /// Call the application, with the connect held, and tell
    /// [`answered`](Connecting::answered) of it.
    Call { exchange: Exchange, fd: c_int },
    /// Take the connection over.
    Connected(Connection),
}

impl Connecting {
    /// A connect with the methods that the application has set.
    pub(crate) fn new(address: Address, request: Request, deadline: Option<Instant>) -> Connecting {
        let connect = Connect::new(address, request).deadline(deadline);
        let (connect, exchanges) = match auth::methods() {
            None => (connect, VecDeque::new()),
            Some(methods) => {
                let external = methods.iter().map(|method| Method::external(&*method.name));
                let exchanges = methods.iter().map(|method| method.exchange);
                (connect.authenticate(external.collect()), exchanges.collect())
            }
        };
        Connecting { connect, exchanges, polled: Vec::new() }
    }

    /// Goes on as far as that is possible without waiting.
    ///
    /// # Errors
    ///
    /// The code that `SP_connect` returns.
    pub(crate) fn next(&mut self) -> Result<Next, ErrorCode> {
        match self.connect.step().map_err(|error| code_of(&error))? {
            Progress::Connected(connection) => Ok(Next::Connected(connection)),
            Progress::Authenticate(_) => {
                let exchange = self.exchanges.pop_front().ok_or(ErrorCode::Bug)?;
                let fd = self.connect.socket().ok_or(ErrorCode::Bug)?.as_raw_fd();
                Ok(Next::Call { exchange, fd })
            }
            Progress::Wait => {
                let (fds, until) = self.connect.waits_for();
                let polled = fds.into_iter().map(|(fd, ready)| libc::pollfd {
                    fd: fd.as_raw_fd(),
                    events: events(ready),
                    revents: 0,
                });
                self.polled.clear();
                self.polled.extend(polled);
                let time = until.map(|at| at.saturating_duration_since(Instant::now()));
                Ok(Next::Wait(Wait::held(time)))
            }
        }
    }

    /// What it waits for.
    pub(crate) fn polled(&mut self) -> &mut [libc::pollfd] {
        &mut self.polled
    }

    /// Takes the answer of the application.
    ///
    /// # Errors
    ///
    /// `RejectAuth` if it gives up.
    pub(crate) fn answered(&mut self, answer: c_int) -> Result<(), ErrorCode> {
        if answer == 0 {
            return Err(ErrorCode::RejectAuth);
        }
        self.connect.authenticated();
        Ok(())
    }
}

fn code_of(error: &ConnectError) -> ErrorCode {
    match error {
        ConnectError::UnknownHost(_) => ErrorCode::IllegalSpread,
        ConnectError::Closed(_) => ErrorCode::ConnectionClosed,
        ConnectError::Handshake(ClientError::Rejected(code)) => *code,
        ConnectError::NotAuthorized { .. } | ConnectError::Authentication { .. } => {
            ErrorCode::RejectAuth
        }
        ConnectError::Handshake(_) => ErrorCode::IllegalMessage,
        // Nobody listens, the time is over, or there is no descriptor to be had.
        _ => ErrorCode::CouldNotConnect,
    }
}
