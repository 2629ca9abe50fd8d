//! Messages between members: bytes to types and back.

mod exchange;
mod private;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use spread::Name;

pub(crate) use exchange::{Candidate, ExchangeId, Form, Hello, Holding};
pub(crate) use private::{Call, Chunk, ChunkTaken, Reply, ReplyOutcome};

use super::proto::{self, Envelope, Fragment, Kind};
use super::roster;

/// Marks the messages of this crate among those of a group: Spread's message type.
pub const MESSAGE_TYPE: i16 = 0x5347;

/// The version of the envelope that this crate writes, and the newest that it reads.
const VERSION: u32 = 0;

/// A message of a member.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    Hello(Hello),
    Form(Form),
    Operation(Operation),
    Topic(Topic),
    /// The sender's state at this place is for these sessions.
    Marker(Sent, Vec<u32>),
    /// The sender asks for another cut.
    Want(Sent),
    /// The sender has the state of its place.
    Synced(Sent),
    /// This session is to end.
    Expire(Sent, u32),
    Chunk(Chunk),
    ChunkTaken(ChunkTaken),
    Call(Call),
    Reply(Reply),
    Accept(Accept),
    /// The sender has the log up to this index.
    Acknowledge(Sent, u64),
}

/// By whom and under which Form an ordered message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) session: u32,
    pub(crate) epoch: u64,
}

/// The sender accepts the Form of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accept {
    pub(crate) exchange: ExchangeId,
    pub(crate) number: u64,
}

/// An operation of the log, or a part of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Operation {
    pub(crate) sent: Sent,
    pub(crate) sequence: u64,
    /// The sender has had the answers of all operations below this one.
    pub(crate) acknowledged: u64,
    pub(crate) sent_at: u64,
    pub(crate) channel: u32,
    pub(crate) fragment: Option<Fragment>,
    pub(crate) payload: Bytes,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Topic {
    /// No other message has it; 0 if it has none.
    pub(crate) message: u64,
    pub(crate) sent_at: u64,
    pub(crate) channel: u32,
    /// How many bridges brought it here.
    pub(crate) hops: u32,
    /// Who published it, if a bridge brought it.
    pub(crate) publisher: Option<Name>,
    pub(crate) payload: Bytes,
}

/// Why a message is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    /// Of a version or kind of the future.
    Unknown,
    Malformed,
}

impl Frame {
    pub(crate) fn encode(&self) -> Bytes {
        let envelope = match self {
            Frame::Hello(hello) => hello.envelope(),
            Frame::Form(form) => form.envelope(),
            Frame::Operation(operation) => operation.envelope(),
            Frame::Topic(topic) => topic.envelope(),
            Frame::Marker(sent, targets) => {
                let marker = proto::Marker { targets: targets.clone() };
                control(Kind::Marker, *sent, &marker)
            }
            Frame::Want(sent) => control(Kind::Want, *sent, &()),
            Frame::Synced(sent) => control(Kind::Synced, *sent, &()),
            Frame::Expire(sent, session) => {
                control(Kind::Expire, *sent, &proto::Expire { session: *session })
            }
            Frame::Chunk(chunk) => chunk.envelope(),
            Frame::ChunkTaken(taken) => taken.envelope(),
            Frame::Call(call) => call.envelope(),
            Frame::Reply(reply) => reply.envelope(),
            Frame::Accept(Accept { exchange, number }) => {
                let exchange = Some(exchange.to_proto());
                with(Kind::Accept, &proto::Accept { exchange, number: *number })
            }
            Frame::Acknowledge(sent, index) => {
                control(Kind::Acknowledge, *sent, &proto::Acknowledge { index: *index })
            }
        };
        envelope.encode_to_vec().into()
    }

    /// Returns whether it goes to a private group.
    pub(crate) fn is_private(&self) -> bool {
        use Frame::{Call, Chunk, ChunkTaken, Reply};
        matches!(self, Chunk(_) | ChunkTaken(_) | Call(_) | Reply(_))
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Frame, Skip> {
        let envelope = Envelope::decode(bytes.clone())?;
        if envelope.version > VERSION {
            return Err(Skip::Unknown);
        }
        let sent = Sent { session: envelope.session, epoch: envelope.epoch };
        match envelope.kind() {
            Kind::Unknown => Err(Skip::Unknown),
            Kind::Hello => Hello::read(&envelope.payload).map(Frame::Hello),
            Kind::Form => Form::read(&envelope.payload).map(Frame::Form),
            Kind::Operation => Operation::read(envelope).map(Frame::Operation),
            Kind::Topic => Topic::read(envelope).map(Frame::Topic),
            Kind::Marker => {
                let marker = proto::Marker::decode(envelope.payload)?;
                Ok(Frame::Marker(sent, marker.targets))
            }
            Kind::Want => Ok(Frame::Want(sent)),
            Kind::Synced => Ok(Frame::Synced(sent)),
            Kind::Expire => {
                Ok(Frame::Expire(sent, proto::Expire::decode(envelope.payload)?.session))
            }
            Kind::Chunk => Chunk::read(envelope).map(Frame::Chunk),
            Kind::ChunkTaken => ChunkTaken::read(envelope).map(Frame::ChunkTaken),
            Kind::Call => Call::read(envelope).map(Frame::Call),
            Kind::Reply => Reply::read(&envelope.payload).map(Frame::Reply),
            Kind::Accept => {
                let accept = proto::Accept::decode(envelope.payload)?;
                let exchange = ExchangeId::read(accept.exchange)?;
                Ok(Frame::Accept(Accept { exchange, number: accept.number }))
            }
            Kind::Acknowledge => {
                let index = proto::Acknowledge::decode(envelope.payload)?.index;
                Ok(Frame::Acknowledge(sent, index))
            }
        }
    }
}

impl From<prost::DecodeError> for Skip {
    fn from(_: prost::DecodeError) -> Skip {
        Skip::Malformed
    }
}

fn of(kind: Kind) -> Envelope {
    Envelope { kind: kind.into(), ..Envelope::default() }
}

fn control(kind: Kind, Sent { session, epoch }: Sent, payload: &impl prost::Message) -> Envelope {
    Envelope { session, epoch, ..with(kind, payload) }
}

fn with(kind: Kind, payload: &impl prost::Message) -> Envelope {
    Envelope { payload: payload.encode_to_vec().into(), ..of(kind) }
}

impl Operation {
    fn envelope(&self) -> Envelope {
        Envelope {
            channel: self.channel,
            session: self.sent.session,
            sequence: self.sequence,
            unanswered: u32::try_from(self.sequence - self.acknowledged).unwrap_or(u32::MAX),
            epoch: self.sent.epoch,
            sent_at: self.sent_at,
            fragment: self.fragment,
            payload: self.payload.clone(),
            ..of(Kind::Operation)
        }
    }

    fn read(envelope: Envelope) -> Result<Operation, Skip> {
        let Envelope { sequence, unanswered, .. } = envelope;
        let acknowledged = sequence.checked_sub(unanswered.into()).ok_or(Skip::Malformed)?;
        Ok(Operation {
            sent: Sent { session: envelope.session, epoch: envelope.epoch },
            sequence,
            acknowledged,
            sent_at: envelope.sent_at,
            channel: envelope.channel,
            fragment: envelope.fragment,
            payload: envelope.payload,
        })
    }
}

/// A message of a topic, as it is sent.
pub(crate) struct TopicFrame {
    envelope: Envelope,
    len: usize,
}

impl TopicFrame {
    /// Returns its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends it.
    pub(crate) fn write(&self, to: &mut BytesMut) {
        to.reserve(self.len);
        self.envelope.encode_raw(to);
    }
}

impl Topic {
    pub(crate) fn to_frame(&self) -> TopicFrame {
        let envelope = self.envelope();
        TopicFrame { len: envelope.encoded_len(), envelope }
    }

    fn envelope(&self) -> Envelope {
        Envelope {
            message: self.message,
            sent_at: self.sent_at,
            channel: self.channel,
            hops: self.hops,
            publisher: self.publisher.map(roster::name_bytes).unwrap_or_default(),
            payload: self.payload.clone(),
            ..of(Kind::Topic)
        }
    }

    fn read(envelope: Envelope) -> Result<Topic, Skip> {
        let Envelope { message, sent_at, channel, hops, publisher, payload, .. } = envelope;
        let publisher = match publisher.is_empty() {
            true => None,
            false => Some(Name::new(&publisher).map_err(|_| Skip::Malformed)?),
        };
        Ok(Topic { message, sent_at, channel, hops, publisher, payload })
    }
}

#[cfg(test)]
mod tests;
