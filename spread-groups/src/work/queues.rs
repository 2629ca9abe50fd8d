//! The jobs of a group and its workers: replicated state.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::codec::{Message, Postcard};
use crate::core::replica::{At, BadState};
use crate::core::roster::{Change, Departure};
use crate::machines::Present;
use crate::replicated::StateMachine;

/// Bytes of the open jobs in all queues of a group.
pub(super) const MAX_BYTES: usize = 64 << 20;
/// Queues of a group. One more replaces those without open jobs and workers.
const MAX_QUEUES: usize = 256;
/// Workers of a queue. Those that come too late wait until one has gone.
const MAX_WORKERS: usize = 1024;
/// Jobs that one worker may have at a time.
pub(super) const MAX_PARALLEL: u32 = 256;
/// Results that a queue remembers, and their bytes.
const MAX_ENDED: usize = 1024;
const MAX_ENDED_BYTES: usize = 4 << 20;
/// Bytes of a result. A larger one would be forgotten in the step that records it.
pub(super) const MAX_RESULT: usize = MAX_ENDED_BYTES;
/// Jobs that a queue keeps after they were given up, and their bytes.
const MAX_DEAD: usize = 256;
const MAX_DEAD_BYTES: usize = 4 << 20;
/// Characters of a reason.
const MAX_REASON: usize = 1024;

/// What a job is called. A second job of the same name is the same job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Id {
    /// A name that its submitter chose.
    Given(String),
    /// A random number.
    Random(u128),
}

impl Id {
    fn len(&self) -> usize {
        match self {
            Id::Given(name) => name.len(),
            Id::Random(_) => 16,
        }
    }
}

/// Names an attempt at a job, in a queue.
pub(super) type Attempted = (u32, Id, u32);

/// What a job came to, at one place for all members.
pub(crate) type Outcome = Result<Vec<u8>, GivenUp>;

/// A job was given up after its last attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GivenUp {
    pub(super) attempts: u32,
    /// Why the last attempt failed.
    pub(super) why: String,
}

/// A job as it is submitted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(super) id: Id,
    pub(super) payload: Vec<u8>,
    pub(super) max_queued: u64,
    pub(super) max_attempts: u32,
    /// Milliseconds for each attempt.
    pub(super) limit: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    Submit {
        queue: u32,
        offer: Offer,
    },
    /// A worker takes so many jobs at a time.
    Begin {
        queue: u32,
        worker: u128,
        parallel: u32,
    },
    /// A worker takes no more, and is at these attempts.
    Retire {
        queue: u32,
        worker: u128,
        running: BTreeSet<(Id, u32)>,
    },
    /// The outcome of an attempt. It counts only if the attempt is the current one.
    Finish {
        queue: u32,
        id: Id,
        worker: u128,
        attempt: u32,
        result: Result<Vec<u8>, String>,
    },
    /// The time of an attempt is over, as the senior member says.
    Expire {
        queue: u32,
        id: Id,
        attempt: u32,
    },
}

impl Message for Step {
    const NAME: &'static str = "spread.groups.WorkStep";
    type Codec = Postcard;
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The job is in the queue, or was before; or there is nothing to say.
    Taken,
    /// There is no room for the job, or for the worker.
    Full,
    /// The job has ended before.
    Ended(Outcome),
    /// The attempt was not the current one any more.
    Refused,
}

impl Message for Answer {
    const NAME: &'static str = "spread.groups.WorkAnswer";
    type Codec = Postcard;
}

/// What the last change did. It is not part of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// An attempt at a job began.
    Assigned(Assigned),
    /// A job has its outcome.
    Ended { queue: u32, id: Id, outcome: Outcome },
}

/// A job that a worker has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) queue: u32,
    pub(super) worker: u128,
    pub(super) id: Id,
    pub(super) attempt: u32,
    pub(super) limit: Option<u64>,
    pub(super) payload: Vec<u8>,
}

/// All queues of a group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Queues {
    pub(super) present: Present,
    queues: BTreeMap<u32, Queue>,
    /// Bytes of the open jobs.
    bytes: usize,
    #[serde(skip)]
    pub(super) news: Vec<News>,
    /// Whether the state was replaced, so that its news are not all.
    #[serde(skip, default = "by_default")]
    pub(super) replaced: bool,
}

fn by_default() -> bool {
    true
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Queue {
    /// Jobs taken so far.
    count: u64,
    open: BTreeMap<Id, Job>,
    /// The open jobs that no worker has, by their numbers.
    waiting: BTreeMap<u64, Id>,
    /// In the order in which they began.
    workers: Vec<Worker>,
    ended: BTreeMap<Id, Outcome>,
    /// The names of those that have ended, the oldest first.
    order: VecDeque<Id>,
    ended_bytes: usize,
    dead: VecDeque<Dead>,
    dead_bytes: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    number: u64,
    payload: Vec<u8>,
    /// How many were begun; the last of them is the current one.
    attempts: u32,
    max_attempts: u32,
    limit: Option<u64>,
    worker: Option<u128>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Worker {
    session: u32,
    ticket: u128,
    /// 0 once it takes no more.
    parallel: u32,
    /// The attempts it is at, also those that do not count any more.
    busy: BTreeSet<(Id, u32)>,
}

/// A job that was given up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Dead {
    pub(super) id: Id,
    pub(super) payload: Vec<u8>,
    pub(super) given_up: GivenUp,
}

/// The numbers of jobs and workers of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkStatus {
    /// Jobs that no worker has yet.
    pub waiting: usize,
    /// Jobs that a worker has.
    pub running: usize,
    /// Workers that take jobs.
    pub workers: usize,
    /// Jobs that were given up and are still remembered.
    pub given_up: usize,
}

impl Worker {
    fn room(&self) -> u32 {
        let busy = u32::try_from(self.busy.len()).unwrap_or(u32::MAX);
        self.parallel.saturating_sub(busy)
    }

    fn is_over(&self) -> bool {
        self.parallel == 0 && self.busy.is_empty()
    }
}

impl Job {
    fn is_at(&self, worker: u128, attempt: u32) -> bool {
        self.worker == Some(worker) && self.attempts == attempt
    }
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.open.is_empty() && self.workers.is_empty()
    }

    /// Gives waiting jobs to workers with room: the oldest job to the worker with most room.
    fn assign(&mut self, queue: u32, news: &mut Vec<News>) {
        self.workers.retain(|worker| !worker.is_over());
        while !self.waiting.is_empty() {
            let by_room = |(at, worker): &(usize, &mut Worker)| (worker.room(), Reverse(*at));
            let most = self.workers.iter_mut().enumerate().max_by_key(by_room);
            let Some((_, worker)) = most.filter(|(_, worker)| worker.room() > 0) else {
                return;
            };
            let Some((_, id)) = self.waiting.pop_first() else {
                return;
            };
            let Some(job) = self.open.get_mut(&id) else {
                continue;
            };
            job.attempts = job.attempts.saturating_add(1);
            job.worker = Some(worker.ticket);
            worker.busy.insert((id.clone(), job.attempts));
            news.push(News::Assigned(job.assigned(queue, worker.ticket, id)));
        }
    }

    /// Ends an attempt without a result: the job waits at its former place, or is given up.
    /// Returns the bytes of a job that is given up.
    fn fail(&mut self, queue: u32, id: &Id, why: String, news: &mut Vec<News>) -> usize {
        let Some(job) = self.open.get_mut(id) else {
            return 0;
        };
        job.worker = None;
        if job.attempts < job.max_attempts {
            self.waiting.insert(job.number, id.clone());
            return 0;
        }
        let why = why.chars().take(MAX_REASON).collect();
        let given_up = GivenUp { attempts: job.attempts, why };
        let payload = self.end(queue, id, Err(given_up.clone()), news);
        let bytes = payload.len() + id.len();
        self.dead_bytes += bytes;
        self.dead.push_back(Dead { id: id.clone(), payload, given_up });
        while self.dead.len() > MAX_DEAD || self.dead_bytes > MAX_DEAD_BYTES {
            let Some(oldest) = self.dead.pop_front() else {
                break;
            };
            self.dead_bytes =
                self.dead_bytes.saturating_sub(oldest.payload.len() + oldest.id.len());
        }
        bytes
    }

    /// Records the outcome of a job; returns its payload.
    fn end(&mut self, queue: u32, id: &Id, outcome: Outcome, news: &mut Vec<News>) -> Vec<u8> {
        let job = self.open.remove(id);
        self.ended_bytes += bytes_of(&outcome);
        self.ended.insert(id.clone(), outcome.clone());
        self.order.push_back(id.clone());
        while self.order.len() > MAX_ENDED || self.ended_bytes > MAX_ENDED_BYTES {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            let outcome = self.ended.remove(&oldest);
            self.ended_bytes =
                self.ended_bytes.saturating_sub(outcome.as_ref().map_or(0, bytes_of));
        }
        news.push(News::Ended { queue, id: id.clone(), outcome });
        job.map_or_else(Vec::new, |job| job.payload)
    }
}

impl Job {
    fn assigned(&self, queue: u32, worker: u128, id: Id) -> Assigned {
        let (attempt, limit, payload) = (self.attempts, self.limit, self.payload.clone());
        Assigned { queue, worker, id, attempt, limit, payload }
    }
}

/// Says why a result is not recorded.
pub(super) fn too_large(bytes: usize) -> String {
    format!("a result of {bytes} bytes is too large: the limit is {MAX_RESULT}")
}

fn bytes_of(outcome: &Outcome) -> usize {
    match outcome {
        Ok(result) => result.len(),
        Err(given_up) => given_up.why.len(),
    }
}

impl Queues {
    fn submit(&mut self, number: u32, offer: Offer) -> Answer {
        let Offer { id, payload, max_queued, max_attempts, limit } = offer;
        let queue = self.queues.get(&number);
        if queue.is_some_and(|queue| queue.open.contains_key(&id)) {
            return Answer::Taken;
        }
        if let Some(outcome) = queue.and_then(|queue| queue.ended.get(&id)) {
            return Answer::Ended(outcome.clone());
        }
        let open = queue.map_or(0, |queue| queue.open.len() as u64);
        let bytes = payload.len() + id.len();
        if open >= max_queued || self.bytes.saturating_add(bytes) > MAX_BYTES {
            return Answer::Full;
        }
        let Some(queue) = queue_mut(&mut self.queues, number) else {
            return Answer::Full;
        };
        self.bytes += bytes;
        queue.count += 1;
        queue.waiting.insert(queue.count, id.clone());
        let max_attempts = max_attempts.max(1);
        let job =
            Job { number: queue.count, payload, attempts: 0, max_attempts, limit, worker: None };
        queue.open.insert(id, job);
        queue.assign(number, &mut self.news);
        Answer::Taken
    }

    fn begin(&mut self, session: u32, number: u32, ticket: u128, parallel: u32) -> Answer {
        if !self.present.sessions().contains(&session) || self.has_worker(number, ticket) {
            return Answer::Taken;
        }
        let queue = queue_mut(&mut self.queues, number);
        let Some(queue) = queue.filter(|queue| queue.workers.len() < MAX_WORKERS) else {
            return Answer::Full;
        };
        let parallel = parallel.clamp(1, MAX_PARALLEL);
        queue.workers.push(Worker { session, ticket, parallel, busy: BTreeSet::new() });
        queue.assign(number, &mut self.news);
        Answer::Taken
    }

    /// Returns whether one more worker of a queue can begin.
    pub(super) fn has_room_for_worker(&self, number: u32) -> bool {
        match self.queues.get(&number) {
            Some(queue) => queue.workers.len() < MAX_WORKERS,
            None => self.queues.len() < MAX_QUEUES || self.queues.values().any(Queue::is_idle),
        }
    }

    /// Ends a worker. What it was given and did not begin waits again.
    fn retire(&mut self, session: u32, number: u32, ticket: u128, running: &BTreeSet<(Id, u32)>) {
        let Some(queue) = self.queues.get_mut(&number) else {
            return;
        };
        let own = |worker: &&mut Worker| worker.ticket == ticket && worker.session == session;
        if let Some(worker) = queue.workers.iter_mut().find(own) {
            worker.parallel = 0;
            let (stay, given_back) =
                std::mem::take(&mut worker.busy).into_iter().partition(|at| running.contains(at));
            worker.busy = stay;
            let given_back: BTreeSet<(Id, u32)> = given_back;
            for (id, attempt) in given_back {
                let job = queue.open.get_mut(&id);
                if let Some(job) = job.filter(|job| job.is_at(ticket, attempt)) {
                    job.worker = None;
                    queue.waiting.insert(job.number, id);
                }
            }
        }
        queue.assign(number, &mut self.news);
    }

    fn finish(
        &mut self,
        session: u32,
        number: u32,
        (id, attempt): (Id, u32),
        ticket: u128,
        result: Result<Vec<u8>, String>,
    ) -> Answer {
        let Some(queue) = self.queues.get_mut(&number) else {
            return Answer::Refused;
        };
        let own = |worker: &&mut Worker| worker.ticket == ticket && worker.session == session;
        let Some(worker) = queue.workers.iter_mut().find(own) else {
            return Answer::Refused;
        };
        worker.busy.remove(&(id.clone(), attempt));
        let counts = queue.open.get(&id).is_some_and(|job| job.is_at(ticket, attempt));
        if counts {
            let bytes = match result {
                Ok(result) if result.len() > MAX_RESULT => {
                    queue.fail(number, &id, too_large(result.len()), &mut self.news)
                }
                Ok(result) => queue.end(number, &id, Ok(result), &mut self.news).len() + id.len(),
                Err(why) => queue.fail(number, &id, why, &mut self.news),
            };
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        queue.assign(number, &mut self.news);
        if counts { Answer::Taken } else { Answer::Refused }
    }

    /// Ends an attempt whose time is over. Its worker keeps the room taken until it says
    /// that it has ended, so that it gets no more jobs than it can do.
    fn expire(&mut self, number: u32, id: &Id, attempt: u32) {
        let Some(queue) = self.queues.get_mut(&number) else {
            return;
        };
        let current = |job: &Job| job.worker.is_some() && job.attempts == attempt;
        if queue.open.get(id).is_some_and(current) {
            let why = String::from("the time for the attempt was over");
            let bytes = queue.fail(number, id, why, &mut self.news);
            self.bytes = self.bytes.saturating_sub(bytes);
            queue.assign(number, &mut self.news);
        }
    }

    /// Removes the workers of a member that is gone. Of the jobs only those that these had
    /// are tried again.
    fn depart(&mut self, session: u32, cause: Departure) {
        for (number, queue) in &mut self.queues {
            let workers = std::mem::take(&mut queue.workers);
            let (gone, stay) = workers.into_iter().partition(|worker| worker.session == session);
            queue.workers = stay;
            let gone: Vec<Worker> = gone;
            for worker in gone {
                for (id, attempt) in worker.busy {
                    if queue.open.get(&id).is_some_and(|job| job.is_at(worker.ticket, attempt)) {
                        let why = format!("its worker has gone ({cause:?})");
                        let bytes = queue.fail(*number, &id, why, &mut self.news);
                        self.bytes = self.bytes.saturating_sub(bytes);
                    }
                }
            }
            queue.assign(*number, &mut self.news);
        }
    }

    /// Shows the attempts that the last step began; if it replaced the state, all of them.
    pub(super) fn for_new_attempts(&self, mut show: impl FnMut(&Assigned)) {
        if self.replaced {
            return self.assigned().for_each(|assigned| show(&assigned));
        }
        for news in &self.news {
            if let News::Assigned(assigned) = news {
                show(assigned);
            }
        }
    }

    pub(super) fn outcome(&self, queue: u32, id: &Id) -> Option<&Outcome> {
        self.queues.get(&queue)?.ended.get(id)
    }

    pub(super) fn has_job(&self, queue: u32, id: &Id) -> bool {
        self.queues.get(&queue).is_some_and(|queue| queue.open.contains_key(id))
    }

    /// Returns whether this is the current attempt at a job.
    pub(super) fn is_current(&self, (queue, id, attempt): &Attempted) -> bool {
        let job = self.queues.get(queue).and_then(|queue| queue.open.get(id));
        job.is_some_and(|job| job.worker.is_some() && job.attempts == *attempt)
    }

    pub(super) fn has_worker(&self, queue: u32, ticket: u128) -> bool {
        let queue = self.queues.get(&queue);
        queue.is_some_and(|queue| queue.workers.iter().any(|worker| worker.ticket == ticket))
    }

    fn assigned(&self) -> impl Iterator<Item = Assigned> {
        self.queues.iter().flat_map(|(number, queue)| {
            let jobs = queue.open.iter();
            jobs.filter_map(|(id, job)| Some(job.assigned(*number, job.worker?, id.clone())))
        })
    }

    pub(super) fn dead(&self, queue: u32) -> impl Iterator<Item = &Dead> {
        self.queues.get(&queue).into_iter().flat_map(|queue| &queue.dead)
    }

    pub(super) fn status(&self, queue: u32) -> WorkStatus {
        let Some(queue) = self.queues.get(&queue) else {
            return WorkStatus::default();
        };
        let waiting = queue.waiting.len();
        WorkStatus {
            waiting,
            running: queue.open.len().saturating_sub(waiting),
            workers: queue.workers.iter().filter(|worker| worker.parallel > 0).count(),
            given_up: queue.dead.len(),
        }
    }
}

/// Returns a queue, if there is room for it.
fn queue_mut(queues: &mut BTreeMap<u32, Queue>, number: u32) -> Option<&mut Queue> {
    if !queues.contains_key(&number) && queues.len() >= MAX_QUEUES {
        queues.retain(|_, queue| !queue.is_idle());
        if queues.len() >= MAX_QUEUES {
            return None;
        }
    }
    Some(queues.entry(number).or_default())
}

impl StateMachine for Queues {
    const NAME: &'static str = "spread.groups.Queues";
    type Op = Step;
    type Out = Answer;

    fn apply(&mut self, at: At, step: Step) -> Answer {
        self.news.clear();
        self.replaced = false;
        match step {
            Step::Submit { queue, offer } => return self.submit(queue, offer),
            Step::Begin { queue, worker, parallel } => {
                return self.begin(at.session, queue, worker, parallel);
            }
            Step::Retire { queue, worker, running } => {
                self.retire(at.session, queue, worker, &running);
            }
            Step::Finish { queue, id, worker, attempt, result } => {
                return self.finish(at.session, queue, (id, attempt), worker, result);
            }
            Step::Expire { queue, id, attempt } => self.expire(queue, &id, attempt),
        }
        Answer::Taken
    }

    fn follow(&mut self, _: At, change: &Change) {
        self.news.clear();
        self.replaced = false;
        self.present.follow(change);
        if let Change::Departed { session, cause } = change {
            self.depart(*session, *cause);
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers and texts can be encoded")
    }

    fn restore(state: &[u8]) -> Result<Queues, BadState> {
        postcard::from_bytes(state).map_err(|_| BadState)
    }
}

#[cfg(test)]
mod tests;
