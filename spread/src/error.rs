//! What can go wrong, one variant for each thing a caller can act on.

use std::io;
use std::time::Duration;

use crate::ConnectFailures;
use crate::texts::{
    Place, Seconds, authentication_failed, connect_timeout, nobody_listens, not_authorized,
};
use spread_core::AddressError;
use spread_wire::{DeliveryError, ErrorCode, FrameError, MembershipError, NameError};

/// The error of every operation of this crate.
///
/// [`is_closed`](Error::is_closed) tells whether the connection has come to its end,
/// [`is_retryable`](Error::is_retryable) whether another attempt may succeed, and
/// [`code`](Error::code) gives the number that libspread has for the error.
///
/// An error that has a cause returns it from [`source`](std::error::Error::source) and does not
/// repeat it in its own text: print the chain, as `anyhow`'s `{:#}` does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The daemon's address is neither `PORT` nor `PORT@HOST` nor an absolute path.
    #[error(
        "illegal daemon address {address:?}: {reason}; write PORT@HOST, as in 4803@localhost, \
         PORT, or an absolute path"
    )]
    IllegalAddress {
        /// The address given.
        address: String,
        /// What is wrong with it.
        reason: AddressError,
    },
    /// The host in the daemon's address has no address, or its look-up failed.
    #[error("cannot find the host of the daemon {}", Place(address))]
    UnknownHost {
        /// The address given.
        address: String,
        /// The error of the look-up.
        source: io::Error,
    },
    /// Nothing listens at the address: the daemon does not run, or at another port. For a unix
    /// socket also that there is no such file.
    #[error("no Spread daemon listens at {} ({})", Place(address), nobody_listens(address))]
    Refused {
        /// The address given.
        address: String,
        /// The error of the last address of the host that was tried.
        source: io::Error,
    },
    /// The address cannot be reached: there is no route, the network or the host is down, or
    /// this process may not use the socket.
    ///
    /// Over `Library::Sys` also for [`Refused`](Error::Refused), since libspread has one code
    /// for both.
    #[error("cannot reach the Spread daemon at {}", Place(address))]
    Unreachable {
        /// The address given.
        address: String,
        /// The error of the last address of the host that was tried.
        source: io::Error,
    },
    /// There was no session in the time allowed: the host or the daemon does not answer, or a
    /// server of another kind listens at the address, which waits for more than a Spread client
    /// says. HTTP servers do, because they wait for the end of a line.
    #[error("{}", connect_timeout(address, *timeout))]
    ConnectTimeout {
        /// The address given.
        address: String,
        /// The time allowed.
        timeout: Duration,
    },
    /// What answers at the address does not speak the Spread protocol: it is a server of another
    /// kind that speaks first, such as SSH, or that answers what is no line of its protocol. One
    /// that waits for more is a [`ConnectTimeout`](Error::ConnectTimeout).
    #[error("what answers at {} is no Spread daemon: {reason}", Place(address))]
    NotSpread {
        /// The address given.
        address: String,
        /// What is wrong with the answer; of another protocol its first bytes, at most 40.
        reason: String,
    },
    /// What listens at the address speaks TLS, and this connection does not. It may be the port
    /// of a daemon for TLS, which `Builder::tls` connects to.
    #[error("what answers at {} speaks TLS, and this connection does not", Place(address))]
    SpeaksTls {
        /// The address given.
        address: String,
    },
    /// What listens at the address closed the connection before there was a session, or the
    /// network failed: a daemon that stops, or a server of another kind.
    #[error(
        "{} closed the connection before a session existed (is it a Spread daemon?)",
        Place(address)
    )]
    ClosedInHandshake {
        /// The address given.
        address: String,
        /// The error of the system; `None` if the connection was closed in an orderly way, and
        /// where the library does not tell.
        source: Option<io::Error>,
    },
    /// TLS with what listens at the address failed, or what TLS needs is not there.
    #[cfg(feature = "tls")]
    #[error("no connection over TLS to the Spread daemon at {}", Place(address))]
    Tls {
        /// The address given.
        address: String,
        /// The reason.
        source: crate::TlsError,
    },
    /// Several daemons were named, and none of them accepts a connection: each has an error of
    /// its own. A rejection is no such error, and is returned itself.
    #[error(transparent)]
    NoDaemon(ConnectFailures),
    /// The private name is not 1 to 10 bytes of printable ASCII except space, `!`, `"` and `#`.
    #[error("illegal private name {name:?}")]
    IllegalPrivateName {
        /// The name given.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The time for [`Builder::keepalive`](crate::Builder::keepalive) is shorter than 4 s or
    /// longer than 9 hours.
    #[error("illegal keepalive of {}: it is at least 4 s and at most 9 hours", Seconds(*time))]
    IllegalKeepalive {
        /// The time given.
        time: Duration,
    },
    /// Another client of the daemon has the private name: take another one.
    #[error("the private name {name:?} is already in use at the daemon {}", Place(address))]
    NameInUse {
        /// The name given.
        name: String,
        /// The address of the daemon, as it was given.
        address: String,
    },
    /// The daemon, or over `Library::Sys` this process, has as many sessions as it can take.
    #[error("the daemon accepts no more sessions")]
    TooManySessions,
    /// The daemon does not serve clients of this version.
    #[error("the daemon does not serve clients of this version")]
    IncompatibleVersion,
    /// The daemon does not permit a method of authentication that this client uses, or rejected
    /// the client after it.
    #[error("{}", not_authorized(wanted, offered.as_deref()))]
    NotAuthorized {
        /// The methods of this client; `NULL` is none.
        wanted: Vec<String>,
        /// The methods that the daemon permits; `None` over `Library::Sys`, where the library
        /// does not tell.
        offered: Option<Vec<String>>,
    },
    /// An authenticator gave up: because the daemon rejected what it had sent, such as a wrong
    /// password, or for a reason of its own. See its source.
    #[error("{}", authentication_failed(method, source))]
    Authentication {
        /// The method.
        method: String,
        /// The methods that the daemon permits; `None` if it has not been asked, and over
        /// `Library::Sys`, where the library does not tell.
        offered: Option<Vec<String>>,
        /// The error that the authenticator returned.
        source: io::Error,
    },
    /// A group is not 1 to 31 bytes of printable ASCII except space, `!`, `"` and `#`; a message
    /// can also go to a private group, `#name#daemon`.
    #[error("illegal group name {name:?}")]
    IllegalGroup {
        /// The name as it was given; what is not UTF-8 in it is replaced by U+FFFD. Only the text
        /// of the error escapes it.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The group to be joined or left is the private group of a client, which only that client is
    /// in, always. Messages can be sent to it.
    #[error("{name} is a private group, which cannot be joined or left")]
    PrivateGroup {
        /// The name given.
        name: spread_wire::PrivateGroup,
    },
    /// A message goes to at least one group.
    #[error("a message needs at least one group")]
    NoGroups,
    /// The message has more than 43 groups. A daemon of Spread 5.0.1 would deliver it to no one, and
    /// report no error; so nothing is sent.
    #[error("{count} groups in one message, the limit is {max}")]
    TooManyGroups {
        /// Groups given.
        count: usize,
        /// The most that there can be, [`MAX_GROUPS`](crate::MAX_GROUPS).
        max: usize,
    },
    /// Payload plus 32 bytes for each group are more than 143,151 bytes. A daemon of Spread 5.0.1
    /// would end with a failed assertion, for all its clients; so nothing is sent.
    #[error("a message of {len} bytes (32 for each group) is too long, the limit is {max}")]
    MessageTooLong {
        /// Bytes of body and groups, 32 a group.
        len: usize,
        /// The most that can be sent, [`MAX_BODY_AND_GROUPS`](crate::MAX_BODY_AND_GROUPS).
        max: usize,
    },
    /// The daemon ended the connection, or went away, or the network failed. A client is cut off
    /// also if it leaves more than about a thousand messages unread, or breaks the protocol.
    ///
    /// Calls after the one that noticed the end, whatever it was, return it without a source; but
    /// after [`PartlySent`](Error::PartlySent) with one that says so.
    #[error(
        "the connection to the Spread daemon is closed (it also cuts off clients that do not read)"
    )]
    ConnectionClosed {
        /// The error of the system, or that an earlier send ended in the middle of a message;
        /// `None` if the daemon ended the connection in an orderly way, and where the library does
        /// not tell.
        source: Option<io::Error>,
    },
    /// This program has ended the connection, by a `shut_down` or a `disconnect`. For a session
    /// also that it has ended otherwise, which an earlier call has told.
    #[error("the connection was shut down by this program")]
    ShutDown,
    /// The time for a send passed before any part of the message was sent: because the daemon
    /// takes nothing, or because another thread was sending. The connection is as it was.
    #[error("the message was not sent in time")]
    TimedOut,
    /// The time for a send passed when a part of the message had been sent. Nothing can follow
    /// half a message, so the connection has ended.
    #[error("the time passed in the middle of a message, which ends the connection")]
    PartlySent,
    /// A sender was to disconnect while the [`Receiver`](crate::Receiver) of the connection
    /// exists, which may be receiving. The connection is as it was. Call
    /// [`disconnect`](crate::Receiver::disconnect) on the receiver instead, or drop it before.
    #[error("the receiver of the connection exists: let it disconnect, or drop it before")]
    ReceiverExists,
    /// The daemon did not end the connection within a second after a disconnect; this side has
    /// ended it. It may not have taken all that was sent before.
    #[error("the daemon did not end the connection within a second")]
    DisconnectTimeout,
    /// The daemon sent what Spread does not; the connection has been ended.
    #[error("the daemon broke the protocol")]
    Protocol(#[source] ProtocolError),
    /// The receive was ended by an [`Interrupter`](crate::Interrupter); nothing is
    /// lost, receive again.
    #[error("the receive was interrupted")]
    Interrupted,
    /// The mailbox belongs to the process that forked this one. Connect anew in
    /// the child.
    #[error("the mailbox belongs to the parent of this process")]
    Forked,
    /// This process or this host lacks what the call takes: descriptors, memory or threads
    /// (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM` and the like). A connection that exists goes on:
    ///
    /// - No part of the message of the call has been sent. A message that has begun is never
    ///   given up for want of memory: calls that wait go on until it has gone, and the tasks of
    ///   async mailboxes send the rest in the background.
    /// - Of a [`Batch`](crate::Batch), what has gone or begun is no longer in it.
    /// - Nothing that was received is lost.
    ///
    /// No event tells when the resource is there again: try again after 10 ms or more.
    #[error("a resource of this host is exhausted")]
    Resource(#[source] io::Error),
    /// A system call on the mailbox failed in a way that has no variant of its own; for an
    /// async mailbox that its runtime has ended.
    #[error("system call on the mailbox failed")]
    Io(#[source] io::Error),
    /// The library returned a code that it does not document for the call, or the daemon rejected
    /// the client with a code that is none of a rejection.
    ///
    /// Over `Library::Sys` the result of a connect does not tell whose code it is. So a rejection
    /// with -1, -2, -13 or -18, which no daemon of Spread sends, is taken for a failure of the
    /// library: [`UnknownHost`](Error::UnknownHost), [`Unreachable`](Error::Unreachable),
    /// [`NotSpread`](Error::NotSpread) or [`ClosedInHandshake`](Error::ClosedInHandshake).
    #[error("libspread returned {code} from {call}")]
    Library {
        /// The function of libspread.
        call: &'static str,
        /// What it returned.
        code: i32,
    },
}

/// How the daemon broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A header that the library refused.
    #[error("a message with an illegal header")]
    Header,
    /// A message longer than any that a daemon sends.
    #[error("a message with {0} bytes, more than any daemon sends")]
    TooLong(usize),
    /// A message of no known type.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// A membership message whose body does not fit.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// A view without its receiver, or without the member that changed.
    #[error("a view that names neither its receiver nor who changed")]
    View,
}

impl Error {
    /// Returns the number that libspread has for the error, as in `sp.h`. `None` for
    /// [`Interrupted`](Error::Interrupted), [`TimedOut`](Error::TimedOut),
    /// [`ReceiverExists`](Error::ReceiverExists) and
    /// [`DisconnectTimeout`](Error::DisconnectTimeout), which a C program never sees.
    ///
    /// Several errors share a number: [`Refused`](Error::Refused),
    /// [`Unreachable`](Error::Unreachable) and [`ConnectTimeout`](Error::ConnectTimeout) are
    /// `COULD_NOT_CONNECT`, for example. [`NoDaemon`](Error::NoDaemon) has that of the daemon that
    /// was tried last.
    pub fn code(&self) -> Option<i32> {
        let code = match self {
            Error::NoDaemon(failures) => return failures.last().and_then(Error::code),
            Error::IllegalAddress { .. } | Error::UnknownHost { .. } => ErrorCode::IllegalSpread,
            Error::Refused { .. } | Error::Unreachable { .. } | Error::ConnectTimeout { .. } => {
                ErrorCode::CouldNotConnect
            }
            Error::IllegalPrivateName { .. } => ErrorCode::RejectIllegalName,
            Error::IllegalKeepalive { .. } => ErrorCode::IllegalTime,
            Error::NameInUse { .. } => ErrorCode::RejectNotUnique,
            Error::TooManySessions => ErrorCode::RejectQuota,
            Error::IncompatibleVersion => ErrorCode::RejectVersion,
            Error::NotAuthorized { .. } | Error::Authentication { .. } => ErrorCode::RejectAuth,
            Error::IllegalGroup { .. } | Error::PrivateGroup { .. } | Error::NoGroups => {
                ErrorCode::IllegalGroup
            }
            Error::TooManyGroups { .. } | Error::MessageTooLong { .. } => ErrorCode::MessageTooLong,
            Error::ConnectionClosed { .. } | Error::ClosedInHandshake { .. } => {
                ErrorCode::ConnectionClosed
            }
            Error::NotSpread { .. } | Error::SpeaksTls { .. } | Error::Protocol(_) => {
                ErrorCode::IllegalMessage
            }
            #[cfg(feature = "tls")]
            Error::Tls { .. } => ErrorCode::CouldNotConnect,
            Error::Io(_) | Error::Resource(_) | Error::PartlySent => ErrorCode::NetErrorOnSession,
            Error::Forked | Error::ShutDown => ErrorCode::IllegalSession,
            Error::Interrupted
            | Error::TimedOut
            | Error::ReceiverExists
            | Error::DisconnectTimeout => return None,
            Error::Library { code, .. } => return Some(*code),
        };
        Some(code.code())
    }

    /// Whether the connection has come to its end, so that every further call fails: connect
    /// anew.
    ///
    /// True for [`ConnectionClosed`](Error::ConnectionClosed), [`ShutDown`](Error::ShutDown),
    /// [`DisconnectTimeout`](Error::DisconnectTimeout), [`PartlySent`](Error::PartlySent),
    /// [`Protocol`](Error::Protocol), [`Io`](Error::Io) and [`Forked`](Error::Forked). Never for
    /// [`Resource`](Error::Resource): the connection is as it was.
    pub fn is_closed(&self) -> bool {
        matches!(
            self,
            Error::ConnectionClosed { .. }
                | Error::ShutDown
                | Error::DisconnectTimeout
                | Error::PartlySent
                | Error::Protocol(_)
                | Error::Io(_)
                | Error::Forked
        )
    }

    /// Whether the same may succeed another time, or at another daemon: nothing is wrong with
    /// what was asked for. After an error that [`is_closed`](Error::is_closed) that takes a new
    /// connection.
    ///
    /// True for [`UnknownHost`](Error::UnknownHost), [`Refused`](Error::Refused),
    /// [`Unreachable`](Error::Unreachable), [`ConnectTimeout`](Error::ConnectTimeout),
    /// [`NotSpread`](Error::NotSpread), [`SpeaksTls`](Error::SpeaksTls),
    /// [`ClosedInHandshake`](Error::ClosedInHandshake),
    /// [`TooManySessions`](Error::TooManySessions), [`NoDaemon`](Error::NoDaemon),
    /// [`ConnectionClosed`](Error::ConnectionClosed), [`PartlySent`](Error::PartlySent),
    /// [`TimedOut`](Error::TimedOut), [`Resource`](Error::Resource) and
    /// [`Interrupted`](Error::Interrupted). With the feature `tls` also for `Tls`, if the reason is
    /// the daemon's certificate or its answer. Not for [`NameInUse`](Error::NameInUse), because
    /// the client that has the name may stay; sessions do retry it, see
    /// [`SessionOptions::retries_by_default`](crate::SessionOptions::retries_by_default).
    pub fn is_retryable(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Error::Tls { source, .. } = self {
            return source.is_retryable();
        }
        matches!(
            self,
            Error::UnknownHost { .. }
                | Error::Refused { .. }
                | Error::Unreachable { .. }
                | Error::ConnectTimeout { .. }
                | Error::NotSpread { .. }
                | Error::SpeaksTls { .. }
                | Error::ClosedInHandshake { .. }
                | Error::TooManySessions
                | Error::NoDaemon(_)
                | Error::ConnectionClosed { .. }
                | Error::PartlySent
                | Error::TimedOut
                | Error::Resource(_)
                | Error::Interrupted
        )
    }

    /// Returns whether the text of the error has the address of the daemon.
    pub(crate) fn names_daemon(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Error::Tls { .. } = self {
            return true;
        }
        matches!(
            self,
            Error::UnknownHost { .. }
                | Error::Refused { .. }
                | Error::Unreachable { .. }
                | Error::ConnectTimeout { .. }
                | Error::NotSpread { .. }
                | Error::SpeaksTls { .. }
                | Error::ClosedInHandshake { .. }
        )
    }

    /// The end of a connection of which no more is known.
    pub(crate) fn closed() -> Error {
        Error::ConnectionClosed { source: None }
    }
}

#[doc(hidden)]
impl From<spread_core::Error> for Error {
    #[cold]
    fn from(error: spread_core::Error) -> Error {
        match error {
            spread_core::Error::Closed(source) => Error::ConnectionClosed { source },
            spread_core::Error::Protocol(error) => Error::Protocol(error.into()),
            spread_core::Error::Resource(error) => Error::Resource(error),
            spread_core::Error::ShutDown => Error::ShutDown,
            spread_core::Error::TimedOut => Error::TimedOut,
            spread_core::Error::PartlySent => Error::PartlySent,
            error @ spread_core::Error::CutShort => {
                let cause = io::Error::new(io::ErrorKind::TimedOut, error.to_string());
                Error::ConnectionClosed { source: Some(cause) }
            }
            _ => Error::closed(),
        }
    }
}

#[doc(hidden)]
impl From<FrameError> for ProtocolError {
    fn from(error: FrameError) -> ProtocolError {
        let len = |len: i32| usize::try_from(len).ok();
        let too_long = match error {
            FrameError::Groups { count, .. } => {
                len(count).map(|n| n.saturating_mul(spread_wire::limits::NAME_FIELD))
            }
            FrameError::Data { len: data, .. } => len(data),
            FrameError::Total { len, .. } => Some(len),
            _ => None,
        };
        too_long.map_or(ProtocolError::Header, ProtocolError::TooLong)
    }
}
