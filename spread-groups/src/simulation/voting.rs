//! A group with three voters and two other members.

mod broken;
mod scenarios;
mod schedule;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::client::{Client, Line};
use super::linearizable::{MAX_CALLS, is_linearizable};
use super::objects::{self, Lock, Made, Objects, Op, Said};
use super::objects_machine::{self, CHANNEL};
use super::world::{CLIENTS, World};
use crate::core::history::mix;
use crate::core::replica::Entry;
use crate::core::requests::OperationId;
use crate::core::roster::Incarnation;
use crate::core::sessions::Answer;
use crate::core::voting::standing::{Standing, Why};
use crate::core::voting::voters::{self, Voter, VoterChange};
use crate::core::{Broken, Failure, Input};

const KEYS: u8 = 2;
const NAMESAKE: usize = 3;
const FOUNDING: Standing = Standing::Forming(Why::Founding);

/// Voters by their names, with their weights.
pub(super) type Founders = &'static [(&'static str, u32)];

/// What is known of the groups with voters of one name. There is one, unless it was founded again.
#[derive(Debug, Default)]
pub(super) struct Voting {
    pub(super) moments: Arc<AtomicU64>,
    /// The voters that clients are configured with.
    pub(super) founders: Founders,
    lines: BTreeMap<Line, Known>,
    asked: Vec<(OperationId, Op, u64)>,
    /// Calls that were answered without the log.
    local: Vec<Made>,
    /// Whether an operator has chosen voters.
    chosen: bool,
}

/// What is known of a line.
#[derive(Debug, Default)]
struct Known {
    /// When its first Form stood.
    began: u64,
    /// The branches that began, by the numbers of their Forms.
    numbers: HashMap<u64, u64>,
    /// The committed entries, by their indices.
    log: HashMap<u64, u64>,
    /// Their epochs.
    epochs: BTreeMap<u64, u64>,
}

impl Voting {
    pub(super) fn new(founders: Founders) -> Voting {
        Voting { founders, ..Voting::default() }
    }
}

/// Returns the lock of objects of which no more is known.
fn lock_of(objects: &Objects) -> Lock {
    let (holder, fence) = objects.holder.unzip();
    Lock { holder, fence: fence.unwrap_or_default() }
}

impl World {
    pub(super) fn operate(&mut self, client: usize, op: Op) {
        let Some(voting) = &mut self.voting else {
            return;
        };
        let began = voting.moments.fetch_add(1, Ordering::Relaxed);
        if let (Some(Broken::ReadsLocally), Op::Get(key)) = (self.broken, op) {
            let said = Said::Value(self.clients[client].objects.lock().unwrap().get(key));
            let ended = Some((voting.moments.fetch_add(1, Ordering::Relaxed), said));
            return voting.local.push(Made { op, began, ended });
        }
        self.operations += 1;
        let number = objects_machine::FIRST + self.operations;
        voting.asked.push((OperationId(number), op, began));
        let payload = objects_machine::encode(op);
        self.clients[client].submit_to(self.now, CHANNEL, number, payload);
        self.look(client);
    }

    /// Has an operator at one client make another one the voter of a name, or with a weight of 0
    /// none.
    pub(super) fn set_voter(&mut self, at: usize, name: &str, client: usize, weight: u32) {
        let version = self.clients[at].core.quorum().map_or(0, |quorum| quorum.version);
        let voter = Voter { incarnation: self.clients[client].core.incarnation(), weight };
        let change = VoterChange { version, name: name.to_owned(), voter };
        self.voting.iter_mut().for_each(|voting| voting.chosen = true);
        self.operations += 1;
        let number = objects_machine::FIRST + self.operations;
        self.clients[at].submit_to(self.now, voters::CHANNEL, number, change.encode());
        self.look(at);
    }

    /// Compares an entry that a client applies with what others have applied at its index.
    pub(super) fn committed(&mut self, line: Line, entry: &Entry) {
        let Some(voting) = &mut self.voting else {
            return;
        };
        let known = voting.lines.entry(line).or_default();
        let digest = mix(mix(entry.place.branch, entry.epoch), entry.body.digest());
        if *known.log.entry(entry.place.index).or_insert(digest) != digest {
            self.violations.push(format!("commit: another entry was committed for {entry:?}"));
        }
        let index = entry.place.index;
        known.epochs.insert(index, entry.epoch);
        let before = known.epochs.range(..index).next_back();
        let after = known.epochs.range(index + 1..).next();
        if before.is_some_and(|of| *of.1 > entry.epoch)
            || after.is_some_and(|of| *of.1 < entry.epoch)
        {
            self.violations.push(format!("fence: it goes back at {entry:?}"));
        }
    }

    /// Compares the Form that stands for a client with those of others with its number.
    pub(super) fn stands(&mut self, client: usize) {
        let core = &self.clients[client].core;
        let (Some((number, branch)), line) = (core.stands(), core.line()) else {
            return;
        };
        let Some(voting) = &self.voting else {
            return;
        };
        let me = self.clients[client].connection.as_ref().map(|connection| connection.name);
        if me.is_some_and(|me| self.clients[client].core.has_member(me)) {
            let former = std::mem::replace(&mut self.clients[client].stood, (line.0, number));
            if former.0 == line.0 && former.1 > number {
                self.violations.push(format!("primary: {former:?} goes back to {number}"));
            }
        }
        let is_first = voting.lines.is_empty();
        let again = !is_first && !voting.lines.keys().any(|(founded, _)| *founded == line.0);
        // Configuration does not know of voters that an operator has chosen elsewhere.
        if again && !voting.chosen && self.majority_keeps_its_state(branch) {
            self.violations.push(String::from("primary: the group was founded again"));
        }
        if again {
            self.clients[client].reach("founded again");
        }
        let Some(voting) = &mut self.voting else {
            return;
        };
        let moment = voting.moments.fetch_add(1, Ordering::Relaxed);
        let known = voting.lines.entry(line).or_default();
        if known.numbers.is_empty() {
            known.began = moment;
        }
        if *known.numbers.entry(number).or_insert(branch) != branch {
            self.violations.push(format!("primary: two Forms of number {number} stand"));
        }
    }

    /// Returns whether a majority of the voters has a log from before a branch, by the greatest
    /// of these.
    fn majority_keeps_its_state(&self, branch: u64) -> bool {
        let begins = |client: &&Client| client.core.stands().is_some_and(|of| of.1 == branch);
        let former = || self.clients.iter().filter(|client| !begins(client));
        let held = former().filter_map(|client| client.core.held_log());
        let Some((_, voters)) = held.max_by_key(|(log, _)| log.label()) else {
            return false;
        };
        voters.is_majority(|voter: Incarnation| {
            former().any(|client| client.core.is(voter) && client.core.held_log().is_some())
        })
    }

    /// Returns whether a majority is here that could form the group, now that nothing moves: by the
    /// log of one member, and none of them has more.
    fn stops_needlessly(&self) -> bool {
        self.stop_needlessly(|client| client.failed.is_none())
    }

    /// The same in the view of each client, where daemons are still parted and ghosts stay.
    fn stops_needlessly_in_a_view(&self) -> bool {
        let is_idle = |client: &Client| {
            client.connection.as_ref().is_some_and(|connection| connection.inbox.is_empty())
        };
        self.clients.iter().any(|client| {
            let there = |other: &Client| {
                let connection = other.connection.as_ref();
                other.failed.is_none()
                    && connection.is_some_and(|connection| client.core.sees(connection.name))
            };
            is_idle(client) && client.is_without_quorum() && self.stop_needlessly(there)
        })
    }

    fn stop_needlessly(&self, is_here: impl Fn(&Client) -> bool) -> bool {
        let here = || self.clients.iter().filter(|client| is_here(client));
        let divided = Some(Standing::Forming(Why::OtherGroup));
        if here().any(|client| client.standing() == divided) {
            return false;
        }
        let forced = |client: &Client| client.core.held_log().map(|(log, _)| log.forced());
        let last = here().filter_map(forced).max();
        let could_form = |client: &Client| {
            let held = client.core.held_log().filter(|_| forced(client) == last);
            let Some((log, voters)) = held else {
                return false;
            };
            let follows = |other: &Client| {
                other.core.held_log().is_none_or(|(other, _)| !other.is_beyond(log))
            };
            voters.is_majority(|voter| here().any(|other| other.core.is(voter) && follows(other)))
        };
        here().any(Client::is_without_quorum) && here().any(could_form)
    }

    /// Returns the client that comes in the place of another one that has ended.
    pub(super) fn successor(&self, client: usize, life: u8) -> Option<Client> {
        let voting = self.voting.as_ref()?;
        let moments = voting.moments.clone();
        let mut own = client;
        // Once the group is founded, a node goes by the name of a voter that lives.
        if client == NAMESAKE && voting.founders.len() <= NAMESAKE && !voting.lines.is_empty() {
            own = 1;
        }
        Some(Client::voting(voting.founders, client as u8, life, self.broken, Some(own), moments))
    }

    /// Where the voters of groups meet that were founded separately, ends the members of all but
    /// one; returns whether they have met.
    fn end_all_groups_but_one(&mut self) -> bool {
        let divided = Some(Standing::Forming(Why::OtherGroup));
        let group = |client: &Client| client.core.held_group().map(|(group, _)| group);
        let groups: Vec<Option<u64>> = self.clients.iter().map(group).collect();
        let met = self.clients.iter().any(|client| client.standing() == divided);
        let Some(stays) = groups.iter().flatten().next().filter(|_| met) else {
            return false;
        };
        self.clients[0].reach("groups meet");
        let others = (0..CLIENTS).filter(|c| groups[*c].is_some_and(|group| group != *stays));
        others.for_each(|client| self.replace(client));
        true
    }

    /// Has an operator at a client form the group with those who are there.
    fn force(&mut self, client: usize) {
        self.voting.iter_mut().for_each(|voting| voting.chosen = true);
        self.input(client, Input::ForcePrimary);
    }

    /// Checks what holds in groups with voters, once nothing moves.
    pub(super) fn what_voters_promise(&self) -> Option<String> {
        let voting = self.voting.as_ref()?;
        if self.clients.iter().chain(&self.dead).any(|client| client.mixes) {
            return Some(String::from("groups: a voter of one has come into another one"));
        }
        voting.lines.iter().find_map(|(line, known)| self.what_is_kept(voting, *line, known))
    }

    /// Checks what holds from a founding or a forced Form up to the next one.
    fn what_is_kept(&self, voting: &Voting, line: Line, known: &Known) -> Option<String> {
        if self.clients.iter().chain(&self.dead).any(|client| client.taken_back.contains(&line)) {
            return Some(String::from("commit: an answered operation was taken back"));
        }
        let members = || self.clients.iter().filter(|client| client.takes_part());
        let highest = known.log.keys().max().copied().unwrap_or_default();
        let lost = |client: &Client| {
            let core = &client.core;
            core.line() == line && core.status().place.index < highest
        };
        if !members().any(Client::is_without_quorum) && members().any(lost) {
            return Some(format!("commit: there is no entry {highest} any more"));
        }
        let calls = voting.asked.iter().filter_map(|asked| self.made(asked, line));
        let mut calls: Vec<Made> = calls.chain(voting.local.iter().cloned()).collect();
        if calls.len() > MAX_CALLS {
            return None;
        }
        let mut first = Objects::default();
        if line.1 != 0 {
            // It begins with whatever the log had that was chosen, and the calls from before may
            // have taken effect there.
            let clients = self.clients.iter().chain(&self.dead);
            let begins = clients.filter_map(|client| client.begins.get(&line));
            first = begins.min_by_key(|(index, _)| *index)?.1.clone();
            let before = calls.iter_mut().filter(|call| call.began < known.began);
            before.for_each(|call| call.ended = None);
        }
        let of = |key: u8| objects::history(&calls, Some(key));
        let keys = (0..KEYS).all(|key| is_linearizable(first.get(key), &of(key)));
        let lock = is_linearizable(lock_of(&first), &objects::history(&calls, None));
        match (keys, lock) {
            (true, true) => None,
            (false, _) => Some(format!("linear: a key, by {calls:#?}")),
            (_, false) => Some(format!("linear: the lock, by {calls:#?}")),
        }
    }

    /// Returns how many operations were answered after the group was forced.
    fn answers_behind_forced_forms(&self) -> usize {
        let ends = self.clients.iter().chain(&self.dead).flat_map(|client| client.ends.values());
        ends.filter(|(_, (_, forced))| *forced != 0).count()
    }

    /// Returns a call and the outcome that it had in a line; `None` if it has had no effect. What was
    /// answered in another one may have been executed in this one, too.
    fn made(&self, &(id, op, began): &(OperationId, Op, u64), line: Line) -> Option<Made> {
        let mut clients = self.clients.iter().chain(&self.dead);
        let client = clients.find(|client| client.asked.contains_key(&id))?;
        let ended = match client.outcomes.get(&id).map(|outcomes| &outcomes[0]) {
            Some(Ok(Answer::Done(said))) => {
                let (ended, of) = client.ends[&id];
                (of == line).then(|| (ended, postcard::from_bytes(said).unwrap()))
            }
            Some(
                Ok(Answer::Full | Answer::Unreadable)
                | Err(
                    Failure::Full
                    | Failure::TooLarge(_)
                    | Failure::Observer
                    | Failure::NoQuorum { may_have_executed: false }
                    | Failure::Closed { may_have_executed: false },
                ),
            ) => return None,
            Some(Ok(Answer::Forgotten) | Err(_)) | None => None,
        };
        Some(Made { op, began, ended })
    }
}
