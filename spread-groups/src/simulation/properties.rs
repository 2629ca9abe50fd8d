//! What has to be true whatever happens.

use super::client::Client;
use super::objects_machine;
use super::world::World;
use crate::core::Failure;
use crate::core::sessions::Answer;

impl World {
    /// Checks what can be checked when all faults are over and nothing moves.
    pub(super) fn check(&mut self) {
        let found = [self.every_request_ends_once(), self.all_have_one_state()];
        let done = [self.nothing_is_applied_twice(), self.the_answers_are_true()];
        let voting = self.what_voters_promise();
        self.violations.extend(found.into_iter().chain(done).flatten().chain(voting));
    }

    fn members(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().filter(|client| client.takes_part())
    }

    fn every_request_ends_once(&self) -> Option<String> {
        let ends = |client: &Client| {
            client.waiting() == 0 && client.outcomes.values().all(|outcomes| outcomes.len() == 1)
        };
        let all = self.clients.iter().all(ends);
        (!all).then(|| String::from("ends: a request has no outcome, or two"))
    }

    fn all_have_one_state(&self) -> Option<String> {
        if self.members().any(Client::is_without_quorum) {
            return None;
        }
        let mut states: Vec<_> =
            self.members().map(|client| (client.core.status().place, client.digest())).collect();
        states.dedup();
        (states.len() > 1).then(|| format!("state: members at rest have {states:?}"))
    }

    fn nothing_is_applied_twice(&self) -> Option<String> {
        let twice = self.members().find_map(|client| {
            let tally = client.tally();
            tally.applied.into_iter().find(|(_, times)| *times > 1)
        });
        twice.map(|(number, times)| format!("once: operation {number} was applied {times} times"))
    }

    /// What a client that lives has had an answer of is in the state in the end, or the
    /// client was told that it is not; what was not sent is not in it.
    fn the_answers_are_true(&self) -> Option<String> {
        if self.members().any(Client::is_without_quorum) {
            return None;
        }
        let tally = self.members().next()?.tally();
        for client in self.members() {
            for (id, outcomes) in &client.outcomes {
                let number = client.asked[id];
                if number > objects_machine::FIRST {
                    continue;
                }
                let executed = tally.applied.contains_key(&number);
                let lost = client.lost.contains(&number);
                match outcomes[..] {
                    [Ok(Answer::Done(_))] if !executed && !lost => {
                        return Some(format!("answers: operation {number} is missing"));
                    }
                    [
                        Err(
                            Failure::TooLarge(_)
                            | Failure::Full
                            | Failure::Observer
                            | Failure::NoQuorum { may_have_executed: false }
                            | Failure::Closed { may_have_executed: false },
                        ),
                    ]
                    | [Ok(Answer::Full | Answer::Unreadable)]
                        if executed =>
                    {
                        return Some(format!("answers: operation {number} was executed"));
                    }
                    _ => {}
                }
            }
        }
        None
    }
}
