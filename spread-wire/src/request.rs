//! What a client asks of its daemon.

use bytes::{BufMut, BytesMut};

use crate::{ByteOrder, FrameRef, Groups, Header, Hint, Name, Service, ServiceType};

/// Why a frame is not a request that a daemon serves.
///
/// A daemon closes the session of a client that sends one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not exactly one of the six services, join, leave and kill, or a
    /// rejected message, which only daemons send.
    #[error("type {:#x} is not one service or one request", .0.bits())]
    ServiceType(ServiceType),
    /// Bits in the hint other than message type and byte order.
    #[error("the hint has bits that mean nothing")]
    Hint,
}

/// A frame from client to daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Join a group.
    Join(Name),
    /// Leave a group.
    Leave(Name),
    /// End the session; names the client's own private group.
    Disconnect(Name),
    /// Send a message to groups.
    Multicast(Multicast<'a>),
}

/// A message on its way to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multicast<'a> {
    /// The guarantee it is sent with.
    pub service: Service,
    /// Whether its sender wants no copy.
    pub self_discard: bool,
    /// The type that the application gave it.
    pub message_type: i16,
    /// Where it goes.
    pub groups: Groups<'a>,
    /// What it says.
    pub body: &'a [u8],
}

const ONE_OF: ServiceType = ServiceType::REGULAR
    .union(ServiceType::JOIN)
    .union(ServiceType::LEAVE)
    .union(ServiceType::KILL);

impl<'a> Request<'a> {
    /// Understands a frame, as a daemon does: a [`FrameRef`] or a
    /// [`&Frame`](crate::Frame).
    ///
    /// Whether the frame's name is that of the session is for the caller to
    /// check. Bits of the type that mean nothing in a request are ignored, but
    /// that of a rejected message, which gives a frame another shape.
    ///
    /// # Errors
    ///
    /// [`RequestError`] if it is none of the requests there are.
    pub fn parse(frame: impl Into<FrameRef<'a>>) -> Result<Request<'a>, RequestError> {
        let frame = frame.into();
        let header = frame.header();
        Request::check(header)?;
        let kind = header.service_type & ONE_OF;
        let groups = frame.groups();
        // As with Spread's own daemon, the first of several groups counts, and a join
        // or leave without a group is one of the empty name.
        let first_group = || groups.get(0).unwrap_or(Name::EMPTY);
        Ok(match kind {
            ServiceType::JOIN => Request::Join(first_group()),
            ServiceType::LEAVE => Request::Leave(first_group()),
            ServiceType::KILL => Request::Disconnect(groups.get(0).unwrap_or(header.name)),
            _ => Request::Multicast(Multicast {
                service: kind.service().ok_or(RequestError::ServiceType(kind))?,
                self_discard: header.service_type.contains(ServiceType::SELF_DISCARD),
                message_type: header.hint.message_type(),
                groups,
                body: frame.body(),
            }),
        })
    }

    /// Checks what can be known from the header alone, before the rest of the
    /// frame has come.
    ///
    /// # Errors
    ///
    /// [`RequestError`] if a frame with this header is no request.
    pub fn check(header: &Header) -> Result<(), RequestError> {
        let kind = header.service_type & ONE_OF;
        if kind.bits().count_ones() != 1 || header.service_type.is_reject() {
            return Err(RequestError::ServiceType(header.service_type));
        }
        if !header.hint.is_well_formed() {
            return Err(RequestError::Hint);
        }
        Ok(())
    }

    /// A multicast with message type 0, of which its sender gets a copy, too.
    pub fn multicast(
        service: Service,
        groups: impl Into<Groups<'a>>,
        body: &'a [u8],
    ) -> Request<'a> {
        Request::Multicast(Multicast {
            service,
            self_discard: false,
            message_type: 0,
            groups: groups.into(),
            body,
        })
    }

    /// The header of the request, as the client `sender` sends it.
    #[inline]
    pub fn header(&self, sender: Name, order: ByteOrder) -> Header {
        let (service_type, num_groups, message_type, data_len) = match self {
            Request::Join(_) => (ServiceType::JOIN, 1, 0, 0),
            Request::Leave(_) => (ServiceType::LEAVE, 1, 0, 0),
            Request::Disconnect(_) => (ServiceType::KILL, 1, 0, 0),
            Request::Multicast(m) => {
                let flags = ServiceType::regular(m.service, m.self_discard);
                (flags, m.groups.len(), m.message_type, m.body.len())
            }
        };
        let hint = Hint::new(message_type, order);
        Header { service_type, name: sender, num_groups, hint, data_len, order }
    }

    /// Appends the request of the client `sender` to `out`.
    pub fn encode(&self, sender: Name, order: ByteOrder, out: &mut BytesMut) {
        out.reserve(self.header(sender, order).frame_len());
        self.encode_head(sender, order, out);
        out.put_slice(self.body());
    }

    /// Appends what comes before the [`body`](Self::body).
    #[inline]
    pub fn encode_head(&self, sender: Name, order: ByteOrder, out: &mut impl BufMut) {
        out.put_slice(&self.header(sender, order).encode());
        match self {
            Request::Join(group) | Request::Leave(group) | Request::Disconnect(group) => {
                out.put_slice(group.as_field());
            }
            Request::Multicast(m) => m.groups.encode(out),
        }
    }

    /// What the request says after its groups.
    pub fn body(&self) -> &'a [u8] {
        match self {
            Request::Join(_) | Request::Leave(_) | Request::Disconnect(_) => &[],
            Request::Multicast(m) => m.body,
        }
    }
}
