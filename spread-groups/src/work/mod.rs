//! Queues of jobs, and workers that do them.
//!
//! **Promises.** A job that was taken is open until it has one outcome, which is the same for all
//! members: the result of an attempt, or that it was given up after
//! [`max_attempts`](Work::max_attempts). A handler may run several times for one job (*at least
//! once*); one result is recorded, and only that of the current attempt. The late result of a
//! worker that was stalled, cut off or replaced is refused. Jobs are handed out in their order,
//! the oldest job to the worker with most room; a job that is tried again keeps its place. Jobs
//! wait while there is no worker. A full queue refuses the same job at all members.
//!
//! **Sends** one operation for each job, one for the end of each attempt, and one when a worker
//! begins or ends. The senior member sends one for an attempt that exceeds its
//! [limit](Work::attempt_limit). The assignment of a job is not sent: all members compute it at
//! its place. Open jobs are replicated state: 64 MiB in all queues of a group.
//!
//! **A roster change** in which a member departs ends the attempts of its workers at that place;
//! each counts as an attempt. Other attempts are not touched. The workers of a node that
//! reconnects begin again by themselves; their handlers go on meanwhile, and the results of the
//! attempts that ended are refused. The jobs of a submitter that departs are done all the same.
//!
//! **In a partition** both sides have all jobs: a job may be done once on each side. **At a
//! merge** the queues and results of the side that stands remain. Jobs that were submitted on the
//! other side only are submitted again by their submitters, as far as these are still members; so
//! are results, which are refused if the job has moved on. A job of the other side whose
//! submitter is gone is lost.
//!
//! **With [voters](crate::voters)** jobs are assigned and results recorded only on the side with a
//! majority: a job has one outcome while it is remembered, and a recorded one is not taken back. A
//! handler may still run twice, on either side of a partition; what it does to storage has to be
//! refused the second time.
//!
//! A program may submit a job again under the same [id](Submission::id), at any member. While the
//! job is open or remembered, it gets the one outcome, and the job is not done again. A queue
//! remembers the outcomes of its last 1,024 jobs that ended, and 4 MiB of results: a job that is
//! submitted again by its id after that is done again.

mod desk;
mod queues;

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use crate::codec::{self, CodecError, Message};
use crate::desk::{Complete, Desk};
use crate::machines::random;
use crate::{Error, Pending, error};
pub(crate) use queues::Queues;
pub use queues::WorkStatus;
use queues::{
    Assigned, Attempted, GivenUp, Id, MAX_PARALLEL, MAX_RESULT, Offer, Outcome, too_large,
};

/// Bytes of an [id](Submission::id).
const MAX_ID: usize = 128;

/// A queue of jobs, made by [`Group::work`](crate::Group::work).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::Node;
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// let upper = plant.work::<String, String>("upper").max_queued(100).max_attempts(3);
/// let working = upper.worker(4, |text: String, _| Ok(text.to_uppercase()))?;
/// let done = upper.job(&String::from("abc")).send();
/// assert_eq!(done.wait()?, "ABC");
/// # drop(working);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct Work<J, D> {
    name: Arc<str>,
    queue: u32,
    max_queued: usize,
    max_attempts: u32,
    limit: Option<Duration>,
    desk: Desk<Queues>,
    types: PhantomData<fn(J) -> D>,
}

impl<J, D> Clone for Work<J, D> {
    fn clone(&self) -> Work<J, D> {
        let (name, desk) = (self.name.clone(), self.desk.clone());
        Work { name, desk, types: PhantomData, ..*self }
    }
}

impl<J, D> std::fmt::Debug for Work<J, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<J: Message, D: Message> Work<J, D> {
    pub(crate) fn new(name: &str, desk: Desk<Queues>) -> Work<J, D> {
        let queue = codec::channel::<J>("job", name) ^ codec::channel::<D>("done", name);
        let (max_queued, max_attempts, limit) = (10_000, 3, None);
        Work { name: name.into(), queue, max_queued, max_attempts, limit, desk, types: PhantomData }
    }

    /// Limits the open jobs of the queue; a job above the limit is refused. Defaults to 10,000.
    /// The limit of the submitter counts for each job.
    pub fn max_queued(mut self, jobs: usize) -> Self {
        self.max_queued = jobs;
        self
    }

    /// Limits the attempts at a job, at least 1. Defaults to 3. An attempt ends without a result
    /// if the handler fails or panics, if the member of its worker departs, and at its
    /// [limit](Work::attempt_limit).
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Limits the time of each attempt, by the clock of the senior member. Defaults to no limit.
    /// The handler is not interrupted; [`Attempt::is_current`] returns `false` then.
    pub fn attempt_limit(mut self, time: Duration) -> Self {
        self.limit = Some(time);
        self
    }

    /// Returns a job that is submitted by [`Submission::send`].
    pub fn job(&self, job: &J) -> Submission<D> {
        Submission {
            queue: self.queue,
            payload: codec::encode(job),
            id: None,
            max_queued: self.max_queued as u64,
            max_attempts: self.max_attempts,
            limit: self.limit.map(millis),
            desk: self.desk.clone(),
            types: PhantomData,
        }
    }

    /// Adds a worker: `parallel` threads (1 to 256; 0 is 1, and more is 256) call `handler` with
    /// one job after the other, until the returned [`Working`] is dropped. An attempt fails if
    /// the handler returns an error or a result of more than 4 MiB.
    ///
    /// The handler may run for a job that another worker has done already or does at the same
    /// time. Its effects outside of the group must allow for that.
    ///
    /// A queue has at most 1,024 workers, and a group 256 queues with jobs or workers. A worker
    /// above the limit gets no jobs until another one has ended; [`Work::status`] does not count
    /// it.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if no thread can be started or there are no random numbers;
    /// [`Error::Closed`] if the member has left the group.
    pub fn worker(
        &self,
        parallel: usize,
        handler: impl Fn(J, &Attempt) -> Result<D, String> + Send + Sync + 'static,
    ) -> Result<Working, Error> {
        let (queue, ticket) = (self.queue, random()?);
        let parallel = u32::try_from(parallel).unwrap_or(MAX_PARALLEL).clamp(1, MAX_PARALLEL);
        let working = Working { queue, ticket, desk: self.desk.clone() };
        let jobs = desk::begin(&self.desk, queue, ticket, parallel)?;
        let (jobs, handler) = (Arc::new(Mutex::new(jobs)), Arc::new(handler));
        for _ in 0..parallel {
            let (jobs, handler, desk) = (jobs.clone(), handler.clone(), self.desk.clone());
            let thread = thread::Builder::new().name(String::from("spread-groups-work"));
            let started = thread.spawn(move || work(&jobs, &desk, |job, at| handler(job, at)));
            started.map_err(|error| Error::System(Arc::new(error)))?;
        }
        Ok(working)
    }

    /// Returns the numbers of jobs and workers of the queue, as this member knows them.
    pub fn status(&self) -> WorkStatus {
        self.desk.machine().look(|queues| queues.status(self.queue))
    }

    /// Returns the jobs that were given up, the oldest first: the last 256, and 4 MiB.
    pub fn given_up(&self) -> Vec<GivenUpJob<J>> {
        self.desk.machine().read(|queues| {
            let jobs = queues.dead(self.queue).map(|dead| GivenUpJob {
                id: given(&dead.id),
                job: codec::decode(&dead.payload),
                attempts: dead.given_up.attempts,
                why: dead.given_up.why.clone(),
            });
            jobs.collect()
        })
    }
}

/// A job that was given up after its last attempt.
#[derive(Debug)]
#[non_exhaustive]
pub struct GivenUpJob<J> {
    /// The id that its submitter gave it.
    pub id: Option<String>,
    /// The job.
    pub job: Result<J, CodecError>,
    /// How many attempts were made.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub why: String,
}

/// A job to be submitted, made by [`Work::job`].
#[must_use = "nothing is sent before `send`"]
pub struct Submission<D> {
    queue: u32,
    payload: Result<Bytes, CodecError>,
    id: Option<String>,
    max_queued: u64,
    max_attempts: u32,
    limit: Option<u64>,
    desk: Desk<Queues>,
    types: PhantomData<fn() -> D>,
}

impl<D: Message> Submission<D> {
    /// Sets an id of at most 128 bytes. Another job with this id in the queue is the same job: it
    /// is not done again, and both submitters get its one outcome.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Submits the job. There is no timeout; dropping the pending result does not withdraw the
    /// job.
    ///
    /// In a group with [voters](crate::voters), a job that is in the queue waits through a
    /// minority: it is done, and its result comes, once a majority is back. For a deadline, call
    /// [`wait_timeout`](Pending::wait_timeout); to get the outcome later, submit the job again by
    /// its [id](Submission::id). A job that is not in the queue yet fails in a minority with
    /// [`Error::NoQuorum`].
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::NoRoom`] if the queue is full: the job is not
    /// done; with [`Error::GivenUp`] after the last attempt; with [`Error::UndecodableAnswer`] if it
    /// is done and its result is no `D`; with [`Error::Codec`],
    /// [`Error::TooLarge`], [`Error::Full`] (1,024 operations of this member are open) or
    /// [`Error::Observer`] if it was not sent; with [`Error::System`] if there are no random
    /// numbers for its id; with [`Error::SessionExpired`], [`Error::JoinFailed`],
    /// [`Error::Poisoned`], [`Error::Diverged`] or [`Error::Closed`] if it may be done all the
    /// same; and, if it is not in the queue yet, with [`Error::NoQuorum`] when
    /// [`Replicated::submit`](crate::Replicated::submit) does.
    pub fn send(self) -> Pending<D> {
        let payload = match self.payload {
            Ok(payload) => payload.to_vec(),
            Err(error) => return Pending::failed(error.into()),
        };
        let id = match self.id {
            Some(id) if id.len() > MAX_ID => {
                return Pending::failed(Error::TooLarge { len: id.len(), max: MAX_ID });
            }
            Some(id) => Id::Given(id),
            None => match random() {
                Ok(number) => Id::Random(number),
                Err(error) => return Pending::failed(error),
            },
        };
        let (max_queued, max_attempts, limit) = (self.max_queued, self.max_attempts, self.limit);
        let offer = Offer { id, payload, max_queued, max_attempts, limit };
        let (completion, pending) = Pending::of_bytes(|result| {
            codec::decode::<D>(&result).map_err(Error::UndecodableAnswer)
        });
        let complete: Complete<Outcome> = Box::new(|end| {
            completion(end.and_then(|outcome| match outcome {
                Ok(done) => Ok(done.into()),
                Err(GivenUp { attempts, why }) => Err(Error::GivenUp { attempts, why }),
            }))
        });
        pending.of_operation(self.desk.submit((self.queue, offer.id.clone()), offer, complete))
    }
}

/// A worker, which ends when this is dropped; made by [`Work::worker`]. Dropping does not wait:
/// the worker gets no more jobs, and finishes those that it has begun.
#[derive(Debug)]
#[must_use = "dropping it ends the worker"]
pub struct Working {
    queue: u32,
    ticket: u128,
    desk: Desk<Queues>,
}

impl Drop for Working {
    fn drop(&mut self) {
        desk::retire(&self.desk, self.queue, self.ticket);
    }
}

/// An attempt at a job, as its handler sees it.
#[derive(Debug)]
pub struct Attempt {
    key: Attempted,
    desk: Desk<Queues>,
}

impl Attempt {
    /// Returns the number of the attempt, beginning with 1.
    pub fn number(&self) -> u32 {
        self.key.2
    }

    /// Returns the id that the submitter has given to the job.
    pub fn id(&self) -> Option<String> {
        given(&self.key.1)
    }

    /// Returns whether the result would still be recorded, as this member knows; `false` on a side
    /// without a majority of the [voters](crate::voters), where nothing is recorded.
    pub fn is_current(&self) -> bool {
        let machine = self.desk.machine();
        machine.look(|queues| queues.is_current(&self.key)) && !machine.is_in_minority()
    }
}

/// Does the jobs of a worker, one after the other, until it ends.
fn work<J: Message, D: Message>(
    jobs: &Mutex<Receiver<Assigned>>,
    desk: &Desk<Queues>,
    handler: impl Fn(J, &Attempt) -> Result<D, String>,
) {
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(Assigned { queue, worker, id, attempt, payload, .. }) = next() {
        let at = Attempt { key: (queue, id, attempt), desk: desk.clone() };
        // A handler is called again after a panic; it has to check state that it shares.
        let result = catch_unwind(AssertUnwindSafe(|| {
            let job = codec::decode(&payload).map_err(|error| error.to_string())?;
            let done = codec::encode(&handler(job, &at)?).map_err(|error| error.to_string())?;
            if done.len() > MAX_RESULT {
                return Err(too_large(done.len()));
            }
            Ok(done.to_vec())
        }));
        desk::finish(
            desk,
            worker,
            at.key,
            result.unwrap_or_else(|panic| Err(error::panicked(&*panic))),
        );
    }
}

fn given(id: &Id) -> Option<String> {
    match id {
        Id::Given(id) => Some(id.clone()),
        Id::Random(_) => None,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
