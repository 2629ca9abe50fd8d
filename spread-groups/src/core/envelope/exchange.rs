//! The messages of an exchange: Hello and Form.

use bytes::Bytes;
use prost::Message as _;
use spread::{GroupId, Name};

use super::proto::{self, Envelope, Kind};
use super::{Skip, with};
use crate::core::history::History;
use crate::core::roster::{self, Applicant, Departure, Incarnation, Roster};
use crate::core::voting::voters::{self, Chain};

/// Names an attempt to form a group: the view in which it is made, and how many were made
/// in it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExchangeId {
    pub(crate) view: GroupId,
    pub(crate) attempt: u32,
}

/// What a member says of itself in an exchange.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hello {
    pub(crate) exchange: ExchangeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) history: History,
    pub(crate) holding: Holding,
    /// From 1; 0 in no roster.
    pub(crate) seniority: u32,
    pub(crate) returning: bool,
    pub(crate) observer: bool,
    pub(crate) protocol: u32,
    pub(crate) metadata: Bytes,
    /// None in a group without voters.
    pub(crate) candidate: Option<Candidate>,
}

pub(crate) use proto::{Candidate, Holding};

/// What an exchange comes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Form {
    pub(crate) exchange: ExchangeId,
    pub(crate) epoch: u64,
    pub(crate) base: Option<Roster>,
    pub(crate) said: Vec<Name>,
    pub(crate) departed: Vec<(u32, Departure)>,
    /// Whose majorities are needed; nobody's in a group without voters.
    pub(crate) voters: Chain,
    pub(crate) forced: bool,
}

impl Hello {
    /// Returns whether its sender has the state of this place.
    pub(crate) fn has(&self, history: &History) -> bool {
        self.holding != Holding::Nothing && self.history == *history
    }

    /// Returns whether its sender is a voter by the log that it has.
    pub(crate) fn votes(&self) -> bool {
        let candidate = self.candidate.as_ref();
        self.holding != Holding::Nothing && candidate.is_some_and(|candidate| candidate.votes)
    }

    pub(crate) fn applicant(&self, name: Name) -> Applicant {
        Applicant {
            name,
            incarnation: self.incarnation,
            returning: self.returning,
            holds: self.holding == Holding::Current,
            observer: self.observer,
            protocol: self.protocol,
            metadata: self.metadata.clone(),
            voter: self.candidate.as_ref().and_then(|candidate| roster::voter(&candidate.voter)),
        }
    }

    pub(super) fn envelope(&self) -> Envelope {
        let hello = proto::Hello {
            exchange: Some(self.exchange.to_proto()),
            incarnation: roster::incarnation_bytes(self.incarnation),
            history: Some(self.history.to_proto()),
            holding: self.holding.into(),
            seniority: self.seniority,
            returning: self.returning,
            observer: self.observer,
            protocol: self.protocol,
            metadata: self.metadata.clone(),
            candidate: self.candidate.clone(),
        };
        with(Kind::Hello, &hello)
    }

    pub(super) fn read(payload: &Bytes) -> Result<Hello, Skip> {
        let hello = proto::Hello::decode(payload.clone())?;
        let voter = hello.candidate.as_ref().map_or(0, |candidate| candidate.voter.len());
        if hello.metadata.len() > roster::MAX_METADATA || voter > voters::MAX_NAME {
            return Err(Skip::Malformed);
        }
        Ok(Hello {
            holding: hello.holding(),
            exchange: ExchangeId::read(hello.exchange)?,
            incarnation: roster::incarnation(&hello.incarnation).ok_or(Skip::Malformed)?,
            history: hello.history.map(History::from).ok_or(Skip::Malformed)?,
            seniority: hello.seniority,
            returning: hello.returning,
            observer: hello.observer,
            protocol: hello.protocol,
            metadata: hello.metadata,
            candidate: hello.candidate,
        })
    }
}

impl Form {
    pub(super) fn envelope(&self) -> Envelope {
        let departure = |&(session, cause): &(u32, _)| proto::Departure {
            session,
            cause: proto::Cause::from(cause).into(),
        };
        let form = proto::Form {
            exchange: Some(self.exchange.to_proto()),
            epoch: self.epoch,
            base: self.base.as_ref().map(Roster::to_proto),
            said: self.said.iter().map(|name| roster::name_bytes(*name)).collect(),
            departed: self.departed.iter().map(departure).collect(),
            voters: self.voters.to_proto(),
            forced: self.forced,
        };
        with(Kind::Form, &form)
    }

    pub(super) fn read(payload: &Bytes) -> Result<Form, Skip> {
        let form = proto::Form::decode(payload.clone())?;
        let base = form.base.map(|base| Roster::from_proto(base).ok_or(Skip::Malformed));
        let name = |name: &Bytes| Name::new(name).map_err(|_| Skip::Malformed);
        let departed = form
            .departed
            .iter()
            .map(|departed| (departed.session, Departure::from(departed.cause())));
        Ok(Form {
            exchange: ExchangeId::read(form.exchange)?,
            epoch: form.epoch,
            base: base.transpose()?,
            said: form.said.iter().map(name).collect::<Result<_, _>>()?,
            departed: departed.collect(),
            voters: Chain::from_proto(form.voters).ok_or(Skip::Malformed)?,
            forced: form.forced,
        })
    }
}

impl From<Departure> for proto::Cause {
    fn from(cause: Departure) -> proto::Cause {
        match cause {
            Departure::Parted => proto::Cause::Parted,
            Departure::Left => proto::Cause::Left,
            Departure::Crashed => proto::Cause::Crashed,
        }
    }
}

impl From<proto::Cause> for Departure {
    fn from(cause: proto::Cause) -> Departure {
        match cause {
            proto::Cause::Parted => Departure::Parted,
            proto::Cause::Left => Departure::Left,
            proto::Cause::Crashed => Departure::Crashed,
        }
    }
}

impl ExchangeId {
    pub(crate) fn to_proto(self) -> proto::Exchange {
        let GroupId { proc_id, time, index } = self.view;
        proto::Exchange { proc_id, time, index, attempt: self.attempt }
    }

    pub(super) fn read(exchange: Option<proto::Exchange>) -> Result<ExchangeId, Skip> {
        let proto::Exchange { proc_id, time, index, attempt } = exchange.ok_or(Skip::Malformed)?;
        Ok(ExchangeId { view: GroupId { proc_id, time, index }, attempt })
    }
}
