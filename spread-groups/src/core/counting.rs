//! Ordered messages to entries of the log: what counts, and what does not.

use std::time::Duration;

use bytes::Bytes;
use spread::Name;

use super::envelope::{Frame, Operation, Sent, Skip};
use super::fragments::Assembled;
use super::history::mix;
use super::replica::{Body, Entry};
use super::{Core, Holdings, JoinFailed, Output, Phase};

/// How often a newcomer may have too much to keep under one Form.
const OVERFLOWS: u32 = 3;

impl Core {
    /// Takes a message; returns whether it is one of a topic, which is beside the log.
    pub(super) fn message(&mut self, now: Duration, from: Name, bytes: &Bytes) -> bool {
        let frame = match Frame::decode(bytes) {
            Ok(frame) => frame,
            Err(skip) => {
                match skip {
                    Skip::Unknown => self.counters.unknown += 1,
                    Skip::Malformed => self.counters.malformed += 1,
                }
                return false;
            }
        };
        if Some(from) == self.me && !frame.is_private() {
            self.window.came_back();
        }
        match frame {
            Frame::Hello(hello) => self.hello(now, from, hello),
            Frame::Form(form) => self.formed(now, from, form),
            Frame::Topic(topic) => {
                self.out(Output::Topic { from, topic });
                return true;
            }
            Frame::Operation(operation) => {
                if self.counts(from, operation.sent) {
                    self.operation(now, operation);
                }
            }
            Frame::Marker(sent, targets) => {
                if self.counts(from, sent) {
                    self.marker(now, from, sent, &targets);
                }
            }
            Frame::Want(sent) => {
                if self.counts(from, sent) {
                    self.wanted(sent);
                }
            }
            Frame::Synced(sent) => {
                if self.counts(from, sent) {
                    self.synced(sent);
                }
            }
            Frame::Expire(sent, session) => {
                if self.counts(from, sent) {
                    let mut changes = Vec::new();
                    self.roster.expire(session, &mut changes);
                    self.settle(now, changes);
                }
            }
            Frame::Accept(accept) => self.accepted(now, from, accept),
            Frame::Acknowledge(sent, index) => {
                if self.counts(from, sent) {
                    self.acknowledged(sent, index);
                }
            }
            Frame::Chunk(chunk) => self.chunk(now, from, &chunk),
            Frame::ChunkTaken(taken) => self.chunk_taken(from, &taken),
            // They are beside the log: the node takes them before.
            Frame::Call(_) | Frame::Reply(_) => self.counters.stale += 1,
        }
        false
    }

    /// Returns whether an ordered message counts: it was sent under the Form that stands,
    /// by the current client of its session. It is the same at all members of a view.
    fn counts(&mut self, from: Name, sent: Sent) -> bool {
        #[cfg(test)]
        match (&self.phase, self.config.broken) {
            (Phase::Exchanging(_), Some(super::Broken::CountsInExchanges)) => return true,
            (Phase::Formed(_), Some(super::Broken::CountsAnyones)) => return true,
            _ => {}
        }
        if !matches!(self.phase, Phase::Formed(_)) || sent.epoch != self.roster.history.epoch() {
            self.counters.stale += 1;
            return false;
        }
        let member = self.roster.by_session(sent.session);
        let counts = member.is_some_and(|member| member.name == from);
        self.counters.foreign += u64::from(!counts);
        counts
    }

    fn operation(&mut self, now: Duration, operation: Operation) {
        let Operation { sent, sequence, acknowledged, sent_at, channel, fragment, payload } =
            operation;
        let Sent { session, .. } = sent;
        let payload = match self.assembler.take(session, sequence, fragment, payload) {
            Assembled::Incomplete => return,
            Assembled::Whole(payload) => Some(payload),
            Assembled::Refused => None,
        };
        if self.session == Some(session) {
            self.requests.came_back(sequence);
        }
        let payload = self.judged(channel, payload);
        let body = Body::Operation { session, sequence, acknowledged, sent_at, channel, payload };
        self.count(now, body);
    }

    /// Counts something that is no matter of the machines.
    pub(super) fn count_control(&mut self, kind: u64, session: u32) -> u64 {
        self.roster.history.count(mix(kind, session.into())).index
    }

    /// Counts an entry. It goes to the replica, or is kept until the replica has the state.
    pub(super) fn count(&mut self, now: Duration, body: Body) {
        self.counters.entries += 1;
        let place = self.roster.history.count(body.digest());
        let entry = Entry { place, epoch: self.roster.history.epoch(), body };
        if matches!(self.holdings, Holdings::Current) {
            self.log(entry);
        } else if let Some(newcomer) = &mut self.newcomer
            && !newcomer.keep(entry, self.config.newcomer_buffer)
        {
            self.newcomer = None;
            self.overflows += 1;
            if self.overflows < OVERFLOWS {
                self.ask(now);
            } else if self.voting.as_ref().is_some_and(|v| self.own_vote(&v.chain).is_some()) {
                // Its vote may be needed. It asks again after a while.
                self.progress = now;
            } else {
                self.fail(JoinFailed::TooSlow);
            }
        }
    }
}
