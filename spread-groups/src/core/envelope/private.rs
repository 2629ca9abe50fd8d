//! Messages to private groups: pieces of a state, calls and answers. Each says which group it
//! is about.

use bytes::Bytes;
use prost::Message as _;
use spread::Name;

use super::proto::{self, Envelope, Kind};
use super::{Skip, with};
use crate::core::roster;

/// A piece of a state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) group: Name,
    pub(crate) epoch: u64,
    pub(crate) cut: u64,
    pub(crate) offset: u64,
    pub(crate) total: u64,
    pub(crate) bytes: Bytes,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChunkTaken {
    pub(crate) group: Name,
    pub(crate) epoch: u64,
    pub(crate) cut: u64,
    pub(crate) received: u64,
}

/// A question to a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) group: Name,
    pub(crate) channel: u32,
    pub(crate) number: u64,
    pub(crate) payload: Bytes,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) group: Name,
    pub(crate) number: u64,
    pub(crate) outcome: ReplyOutcome,
    pub(crate) payload: Bytes,
}

pub(crate) use proto::ReplyOutcome;

impl Chunk {
    pub(super) fn envelope(&self) -> Envelope {
        let chunk = proto::Chunk {
            group: roster::name_bytes(self.group),
            cut: self.cut,
            offset: self.offset,
            total: self.total,
            bytes: self.bytes.clone(),
        };
        Envelope { epoch: self.epoch, ..with(Kind::Chunk, &chunk) }
    }

    pub(super) fn read(envelope: Envelope) -> Result<Chunk, Skip> {
        let chunk = proto::Chunk::decode(envelope.payload)?;
        Ok(Chunk {
            group: Name::new(&chunk.group).map_err(|_| Skip::Malformed)?,
            epoch: envelope.epoch,
            cut: chunk.cut,
            offset: chunk.offset,
            total: chunk.total,
            bytes: chunk.bytes,
        })
    }
}

impl ChunkTaken {
    pub(super) fn envelope(&self) -> Envelope {
        let taken = proto::ChunkTaken {
            group: roster::name_bytes(self.group),
            cut: self.cut,
            received: self.received,
        };
        Envelope { epoch: self.epoch, ..with(Kind::ChunkTaken, &taken) }
    }

    pub(super) fn read(envelope: Envelope) -> Result<ChunkTaken, Skip> {
        let taken = proto::ChunkTaken::decode(envelope.payload)?;
        Ok(ChunkTaken {
            group: Name::new(&taken.group).map_err(|_| Skip::Malformed)?,
            epoch: envelope.epoch,
            cut: taken.cut,
            received: taken.received,
        })
    }
}

impl Call {
    pub(super) fn envelope(&self) -> Envelope {
        let call = proto::Call {
            group: roster::name_bytes(self.group),
            number: self.number,
            payload: self.payload.clone(),
        };
        Envelope { channel: self.channel, ..with(Kind::Call, &call) }
    }

    pub(super) fn read(envelope: Envelope) -> Result<Call, Skip> {
        let call = proto::Call::decode(envelope.payload)?;
        Ok(Call {
            group: Name::new(&call.group).map_err(|_| Skip::Malformed)?,
            channel: envelope.channel,
            number: call.number,
            payload: call.payload,
        })
    }
}

impl Reply {
    pub(super) fn envelope(&self) -> Envelope {
        let reply = proto::Reply {
            group: roster::name_bytes(self.group),
            number: self.number,
            outcome: self.outcome.into(),
            payload: self.payload.clone(),
        };
        with(Kind::Reply, &reply)
    }

    pub(super) fn read(payload: &Bytes) -> Result<Reply, Skip> {
        let reply = proto::Reply::decode(payload.clone())?;
        Ok(Reply {
            group: Name::new(&reply.group).map_err(|_| Skip::Malformed)?,
            number: reply.number,
            outcome: reply.outcome(),
            payload: reply.payload,
        })
    }
}
