//! The workers of a member for the jobs of its group.
//!
//! They are handed jobs in the thread that applies, by what each step did; if the state was
//! replaced, by all that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::queues::{Answer, Assigned, Attempted, Id, News, Offer, Outcome, Queues, Step};
use crate::desk::{Desk, DeskMachine, HandedOut, Opened, Submission};
use crate::{Error, Pending};

#[derive(Default)]
pub(crate) struct Workers(BTreeMap<u128, Worker>);

/// A worker of this member.
struct Worker {
    queue: u32,
    parallel: u32,
    jobs: Sender<Assigned>,
    /// The attempts that were handed to it and have not ended.
    handed: BTreeSet<(Id, u32)>,
    retired: bool,
    /// Whether the operation that begins it is under way.
    begins: bool,
}

impl DeskMachine for Queues {
    type Key = (u32, Id);
    type Request = Offer;
    type End = Outcome;
    type Deadline = Attempted;
    type Local = Workers;

    fn open((queue, _): (u32, Id), offer: Offer) -> Step {
        Step::Submit { queue, offer }
    }

    fn opened(answer: Answer) -> Opened<Outcome> {
        match answer {
            Answer::Taken | Answer::Refused => Opened::Taken,
            Answer::Full => Opened::Full,
            Answer::Ended(outcome) => Opened::Ended(outcome),
        }
    }

    fn expire((queue, id, attempt): Attempted) -> Step {
        Step::Expire { queue, id, attempt }
    }

    fn was_replaced(&self) -> bool {
        self.replaced
    }

    fn senior(&self) -> Option<u32> {
        self.present.senior()
    }

    fn is_open(&self, (queue, id): &(u32, Id)) -> bool {
        self.has_job(*queue, id)
    }

    fn end(&self, (queue, id): &(u32, Id)) -> Option<Outcome> {
        self.outcome(*queue, id).cloned()
    }

    fn ended(&self, is_awaited: impl Fn(&(u32, Id)) -> bool) -> Vec<((u32, Id), Outcome)> {
        let ended = self.news.iter().filter_map(|news| match news {
            News::Ended { queue, id, outcome } => Some(((*queue, id.clone()), outcome)),
            News::Assigned(_) => None,
        });
        let awaited = ended.filter(|(key, _)| is_awaited(key));
        awaited.map(|(key, outcome)| (key, outcome.clone())).collect()
    }

    fn is_pending(&self, attempt: &Attempted) -> bool {
        self.is_current(attempt)
    }

    fn hand_out(&self, desk: &Desk<Queues>, workers: &mut Workers) -> HandedOut<Queues> {
        let (mut deadlines, mut submissions) = (Vec::new(), Vec::new());
        self.for_new_attempts(|assigned| {
            workers.assign(assigned);
            let Assigned { queue, id, attempt, limit, .. } = assigned;
            let limit = limit.map(Duration::from_millis);
            deadlines.extend(limit.map(|limit| ((*queue, id.clone(), *attempt), limit)));
        });
        workers.0.retain(|ticket, worker| {
            let is_there = self.has_worker(worker.queue, *ticket);
            let has_room = || self.has_room_for_worker(worker.queue);
            if !is_there && !worker.retired && !worker.begins && has_room() {
                submissions.push(announcement(desk, *ticket, worker));
            }
            // One that has retired ends with the jobs that it has begun.
            is_there || !worker.retired || worker.begins
        });
        HandedOut { deadlines, submissions }
    }
}

impl Workers {
    /// Hands an attempt to its worker, if that is one of this member.
    fn assign(&mut self, assigned: &Assigned) {
        if let Some(worker) = self.0.get_mut(&assigned.worker)
            && !worker.retired
            && worker.handed.insert((assigned.id.clone(), assigned.attempt))
        {
            // Its threads end only after this is dropped.
            drop(worker.jobs.send(assigned.clone()));
        }
    }
}

/// Adds a worker; returns the end from which it gets its jobs.
pub(super) fn begin(
    desk: &Desk<Queues>,
    queue: u32,
    ticket: u128,
    parallel: u32,
) -> Result<Receiver<Assigned>, Error> {
    let (jobs, receiver) = channel();
    let handed = BTreeSet::new();
    let worker = Worker { queue, parallel, jobs, handed, retired: false, begins: false };
    let (step, then) = desk.with_local(|workers, _| {
        announcement(desk, ticket, workers.0.entry(ticket).or_insert(worker))
    })?;
    desk.machine().submit_when_room(&step, then);
    Ok(receiver)
}

/// Returns the operation that announces a worker to the members.
fn announcement(desk: &Desk<Queues>, ticket: u128, worker: &mut Worker) -> Submission<Queues> {
    worker.begins = true;
    let Worker { queue, parallel, .. } = *worker;
    let near = desk.clone();
    let step = Step::Begin { queue, worker: ticket, parallel };
    (step, Box::new(move |answer| announced(&near, ticket, &answer)))
}

fn announced(desk: &Desk<Queues>, ticket: u128, answer: &Result<Answer, Error>) {
    let again = desk.with_local(|workers, queues| {
        let worker = workers.0.get_mut(&ticket)?;
        // If it was not executed, it is submitted again at the next change.
        worker.begins = false;
        // One that was refused waits for room, which may have come meanwhile.
        let refused = matches!(answer, Ok(Answer::Full)) && !worker.retired;
        let begins = refused && queues.has_room_for_worker(worker.queue);
        begins.then(|| announcement(desk, ticket, worker))
    });
    // A member that has left has no workers.
    if let Ok(Some((step, then))) = again {
        desk.machine().submit_when_room(&step, then);
    }
}

/// Ends a worker: it is given no more jobs.
pub(super) fn retire(desk: &Desk<Queues>, queue: u32, ticket: u128) {
    let running = desk.with_local(|workers, _| {
        workers.0.get_mut(&ticket).map(|worker| {
            worker.retired = true;
            worker.handed.clone()
        })
    });
    if let Ok(Some(running)) = running {
        // These are all that it will end.
        let step = Step::Retire { queue, worker: ticket, running };
        desk.machine().submit_when_room(&step, drop);
    }
}

/// Records the result of an attempt, and waits until it is in the log; in the thread of a
/// worker, which gets no other job before.
pub(super) fn finish(
    desk: &Desk<Queues>,
    worker: u128,
    key: Attempted,
    result: Result<Vec<u8>, String>,
) {
    let (queue, id, attempt) = key;
    let step = Step::Finish { queue, id: id.clone(), worker, attempt, result };
    let (complete, recorded) = Pending::new();
    desk.machine().submit_when_room(&step, complete);
    // It was recorded or refused; or the member has departed, and its attempts have ended.
    drop(recorded.wait());
    let _ = desk.with_local(|workers, _| {
        if let Some(worker) = workers.0.get_mut(&worker) {
            worker.handed.remove(&(id, attempt));
        }
    });
}
