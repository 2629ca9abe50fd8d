//! The two ways in which a mailbox sends and receives: by the core of this project, or by a
//! libspread.
//!
//! The socket, its state and its end are the core's in both cases.

#[cfg(feature = "sys")]
#[allow(unsafe_code)]
pub(crate) mod sys;

use spread_core::Incoming;
use spread_wire::limits::NAME_FIELD;
use spread_wire::{ByteOrder, Name, ServiceType};

use crate::connection::Connection;
use crate::{Error, Message};

/// The library that a mailbox goes through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Library {
    /// The core of this project, without a detour.
    #[default]
    Native,
    /// The libspread that `spread-sys` is bound to: that of this project, or with the feature
    /// `system` the one that is installed.
    #[cfg(feature = "sys")]
    Sys,
}

/// What sends and receives for a connection.
#[derive(Debug)]
pub(crate) enum Backend {
    Native,
    #[cfg(feature = "sys")]
    Sys(sys::RawMailbox),
}

/// Whether a receive may wait in a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Wait,
    Try,
}

/// What a receiver keeps between two messages.
#[derive(Debug)]
pub(crate) enum Inbox {
    Native(spread_core::Inbox),
    #[cfg(feature = "sys")]
    Sys(Box<sys::Inbox>),
}

impl Backend {
    pub(crate) fn library(&self) -> Library {
        match self {
            Backend::Native => Library::Native,
            #[cfg(feature = "sys")]
            Backend::Sys(_) => Library::Sys,
        }
    }

    /// An inbox for the only receiver of a new connection.
    pub(crate) fn inbox(&self) -> Inbox {
        match self {
            Backend::Native => Inbox::Native(spread_core::Inbox::default()),
            #[cfg(feature = "sys")]
            Backend::Sys(_) => Inbox::Sys(Box::default()),
        }
    }
}

impl Inbox {
    /// Whether mode `Wait` is possible: libspread must not wait for the rest of a message
    /// that it has not seen the beginning of.
    pub(crate) fn can_wait(&self) -> bool {
        match self {
            Inbox::Native(_) => true,
            #[cfg(feature = "sys")]
            Inbox::Sys(inbox) => inbox.can_wait(),
        }
    }

    /// Spares a receiver that nobody polls the calls that keep its descriptor readable.
    pub(crate) fn take_all(&mut self) {
        match self {
            Inbox::Native(inbox) => inbox.take_all(),
            // libspread reads nothing ahead.
            #[cfg(feature = "sys")]
            Inbox::Sys(_) => {}
        }
    }

    /// Whether a receive in mode `Try` has a result.
    pub(crate) fn is_ready(&mut self, connection: &Connection) -> Result<bool, Error> {
        match self {
            Inbox::Native(inbox) => Ok(inbox.is_ready(connection.core())?),
            #[cfg(feature = "sys")]
            Inbox::Sys(inbox) => inbox.is_ready(connection),
        }
    }

    /// Receives a message; `None` if there is none, in mode `Try`.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        connection: &Connection,
        mode: Mode,
    ) -> Result<Option<Message>, Error> {
        match self {
            Inbox::Native(inbox) => {
                let Some(incoming) = incoming(inbox, connection, mode)? else {
                    return Ok(None);
                };
                connection.count_received(incoming.header().frame_len());
                let (received, groups) = (Received::of(&incoming), incoming.groups());
                let message = match received.service_type.is_regular() {
                    true => Message::regular(&received, groups, |payload| {
                        incoming.take_body(payload);
                    }),
                    false => Message::parse(&received, groups, incoming.body(), connection.me()),
                };
                inbox.consume();
                message.map(Some).map_err(|error| connection.broken(error))
            }
            #[cfg(feature = "sys")]
            Inbox::Sys(inbox) => inbox.receive(connection, mode),
        }
    }

    /// Receives a message into `buffers`; says whether there is one.
    #[inline]
    pub(crate) fn receive_into(
        &mut self,
        connection: &Connection,
        mode: Mode,
        buffers: &mut Buffers,
    ) -> Result<bool, Error> {
        match self {
            Inbox::Native(inbox) => {
                let Some(incoming) = incoming(inbox, connection, mode)? else {
                    return Ok(false);
                };
                connection.count_received(incoming.header().frame_len());
                buffers.received = Received::of(&incoming);
                buffers.set_groups(incoming.groups());
                incoming.take_body(&mut buffers.body);
                inbox.consume();
                Ok(true)
            }
            #[cfg(feature = "sys")]
            Inbox::Sys(inbox) => inbox.receive_into(connection, mode, buffers),
        }
    }
}

#[inline]
fn incoming<'a>(
    inbox: &'a mut spread_core::Inbox,
    connection: &Connection,
    mode: Mode,
) -> Result<Option<Incoming<'a>>, Error> {
    Ok(match mode {
        Mode::Wait => Some(inbox.wait_message(connection.core())?),
        Mode::Try => inbox.try_message(connection.core())?,
    })
}

/// What is known about a message besides its groups and its body.
#[derive(Debug)]
pub(crate) struct Received {
    /// The type; of a rejected message the one it was sent with, and `REJECT`.
    pub(crate) service_type: ServiceType,
    /// The sender; in a membership message the group.
    pub(crate) sender: Name,
    pub(crate) message_type: i16,
    /// Whether the sender has another byte order.
    pub(crate) endian_mismatch: bool,
    /// The byte order of the body of a membership message.
    pub(crate) order: ByteOrder,
}

impl Received {
    #[inline]
    fn of(incoming: &Incoming<'_>) -> Received {
        let header = incoming.header();
        Received {
            service_type: incoming.service_type(),
            sender: header.name,
            message_type: header.hint.message_type(),
            endian_mismatch: header.hint.sender_order() != ByteOrder::NATIVE,
            order: header.order,
        }
    }
}

/// What is known about a message, and memory for its groups and its body, kept from one to
/// the next.
#[derive(Debug)]
pub(crate) struct Buffers {
    received: Received,
    groups: Vec<[u8; NAME_FIELD]>,
    num_groups: usize,
    body: Vec<u8>,
}

impl Buffers {
    pub(crate) fn new(groups: usize, body: usize) -> Buffers {
        let received = Received {
            service_type: ServiceType::empty(),
            sender: Name::EMPTY,
            message_type: 0,
            endian_mismatch: false,
            order: ByteOrder::NATIVE,
        };
        Buffers {
            received,
            groups: vec![[0; NAME_FIELD]; groups],
            num_groups: 0,
            body: Vec::with_capacity(body),
        }
    }

    /// The last message: what is known about it, its groups and its body.
    #[inline]
    pub(crate) fn parts(&self) -> (&Received, &[[u8; NAME_FIELD]], &[u8]) {
        (&self.received, &self.groups[..self.num_groups], &self.body)
    }

    /// Bytes of the last message as it came.
    #[cfg(feature = "sys")]
    fn frame_len(&self) -> usize {
        spread_wire::HEADER_LEN + self.num_groups * NAME_FIELD + self.body.len()
    }

    #[inline]
    fn set_groups(&mut self, groups: &[[u8; NAME_FIELD]]) {
        if self.groups.len() < groups.len() {
            self.groups.resize(groups.len(), [0; NAME_FIELD]);
        }
        self.groups[..groups.len()].copy_from_slice(groups);
        self.num_groups = groups.len();
    }
}
