//! How far a member is: a call that the other node's own thread answers.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::call::{Question, Until, Verdict, ask};
use crate::calls::Outcome;
use crate::core::roster::Incarnation;
use crate::{Error, Group, Pending};

/// The channel of pings. That a service has the same is as likely as with any other.
pub(crate) const CHANNEL: u32 = u32::MAX;

/// Returns the error of a message to a member that is not there.
pub(crate) fn absent() -> Error {
    Error::NoResponders { what: String::from("the member is not in the roster") }
}

/// Asks a member for an answer; calls `then` with the round trip time in the node's thread.
pub(crate) fn ping(
    group: &Group,
    member: Incarnation,
    within: Duration,
    then: impl FnOnce(Duration) + Send + 'static,
) -> Pending<Duration> {
    let (complete, pending) = Pending::new();
    let (commands, shared) = group.parts();
    let roster = shared.roster();
    let Some(member) = roster.iter().find(|of| of.incarnation == member).cloned() else {
        complete(Err(absent()));
        return pending;
    };
    let (shared, sent) = (shared.clone(), Instant::now());
    let complete = Box::new(move |ended: Result<(Vec<(Incarnation, Outcome)>, _), _>| {
        complete(ended.and_then(|(mut each, verdict)| {
            match (verdict, each.pop().map(|(_, outcome)| outcome)) {
                (Verdict::TimedOut, _) => return Err(Error::TimedOut),
                (Verdict::Disconnected, _) => return Err(Error::Disconnected),
                (_, Some(Outcome::Answered(_))) => {}
                (_, Some(Outcome::Departed(cause))) => return Err(Error::ServerDeparted(cause)),
                (_, _) => return Err(absent()),
            }
            let time = sent.elapsed();
            then(time);
            Ok(time)
        }));
    });
    let question = Question {
        channel: CHANNEL,
        payload: Bytes::new(),
        until: Until::All,
        within: Some(within),
        complete,
    };
    ask(commands, &shared, &[member], question);
    pending
}
