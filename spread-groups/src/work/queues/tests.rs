use proptest::prelude::*;

use super::*;
use crate::core::history::Place;
use crate::core::roster::Incarnation;

const QUEUE: u32 = 7;

fn at(session: u32) -> At {
    At { place: Place::default(), epoch: 1, time: 0, session }
}

fn joined(session: u32) -> Change {
    let incarnation = Incarnation([session as u8; 16]);
    Change::Joined { session, incarnation, resumed: false, observer: false }
}

fn departed(session: u32) -> Change {
    Change::Departed { session, cause: Departure::Crashed }
}

fn queues(sessions: &[u32]) -> Queues {
    let mut queues = Queues::default();
    sessions.iter().for_each(|session| queues.follow(at(0), &joined(*session)));
    queues
}

fn id(number: u128) -> Id {
    Id::Random(number)
}

fn submit(number: u128) -> Step {
    let offer =
        Offer { id: id(number), payload: vec![0; 10], max_queued: 3, max_attempts: 2, limit: None };
    Step::Submit { queue: QUEUE, offer }
}

/// A worker of each session has its number.
fn begin(session: u32, parallel: u32) -> Step {
    Step::Begin { queue: QUEUE, worker: session.into(), parallel }
}

fn retire(session: u32, running: BTreeSet<(Id, u32)>) -> Step {
    Step::Retire { queue: QUEUE, worker: session.into(), running }
}

fn finish(session: u32, number: u128, attempt: u32) -> Step {
    let result = Ok(vec![attempt as u8]);
    Step::Finish { queue: QUEUE, id: id(number), worker: session.into(), attempt, result }
}

/// Returns the jobs that the last change gave to workers, with their attempts.
fn given(queues: &Queues) -> Vec<(u128, u128, u32)> {
    let assigned = queues.news.iter().filter_map(|news| match news {
        News::Assigned(Assigned { id: Id::Random(id), worker, attempt, .. }) => {
            Some((*worker, *id, *attempt))
        }
        _ => None,
    });
    assigned.collect()
}

#[test]
fn a_job_waits_for_a_worker_and_has_one_result() {
    let mut queues = queues(&[1, 2]);
    assert_eq!(queues.apply(at(1), submit(10)), Answer::Taken);
    assert!(given(&queues).is_empty());
    queues.apply(at(2), begin(2, 1));
    assert_eq!(given(&queues), [(2, 10, 1)]);
    assert_eq!(queues.apply(at(1), submit(10)), Answer::Taken, "it is the same job");
    assert_eq!(queues.apply(at(1), finish(2, 10, 1)), Answer::Refused, "of another member");
    assert_eq!(queues.apply(at(2), finish(2, 10, 1)), Answer::Taken);
    let ended = News::Ended { queue: QUEUE, id: id(10), outcome: Ok(vec![1]) };
    assert_eq!(queues.news, [ended]);
    assert_eq!(queues.apply(at(2), finish(2, 10, 1)), Answer::Refused);
    assert_eq!(queues.apply(at(1), submit(10)), Answer::Ended(Ok(vec![1])));
    assert_eq!(queues.bytes, 0);
}

#[test]
fn there_is_no_room_at_the_same_job_for_all_and_again_when_one_has_ended() {
    let mut queues = queues(&[1]);
    for number in 0..3 {
        assert_eq!(queues.apply(at(1), submit(number)), Answer::Taken);
    }
    assert_eq!(queues.apply(at(1), submit(3)), Answer::Full);
    queues.apply(at(1), begin(1, 1));
    queues.apply(at(1), finish(1, 0, 1));
    assert_eq!(queues.apply(at(1), submit(3)), Answer::Taken);
}

#[test]
fn the_bytes_of_all_queues_are_bounded() {
    let mut queues = queues(&[1]);
    let large = |queue, number| {
        let payload = vec![0; MAX_BYTES / 2 - 16];
        let offer = Offer { id: id(number), payload, max_queued: 9, max_attempts: 1, limit: None };
        Step::Submit { queue, offer }
    };
    assert_eq!(queues.apply(at(1), large(1, 1)), Answer::Taken);
    assert_eq!(queues.apply(at(1), large(2, 2)), Answer::Taken);
    assert_eq!(queues.apply(at(1), submit(3)), Answer::Full);
}

#[test]
fn of_a_worker_that_is_gone_only_its_jobs_are_tried_again_in_their_places() {
    let mut queues = queues(&[1, 2]);
    (10..13).for_each(|number| drop(queues.apply(at(1), submit(number))));
    queues.apply(at(1), begin(1, 1));
    queues.apply(at(2), begin(2, 1));
    assert_eq!(given(&queues), [(2, 11, 1)]);
    queues.follow(at(0), &departed(1));
    assert!(given(&queues).is_empty());
    queues.apply(at(2), finish(2, 11, 1));
    assert_eq!(given(&queues), [(2, 10, 2)], "before the one that came after it");
    assert_eq!(queues.apply(at(1), finish(1, 10, 1)), Answer::Refused);
}

#[test]
fn after_the_last_attempt_a_job_is_given_up() {
    let mut queues = queues(&[1, 2]);
    queues.apply(at(1), begin(1, 1));
    queues.apply(at(1), submit(10));
    let failed = |attempt| {
        let (id, result) = (id(10), Err(String::from("as it was told to")));
        Step::Finish { queue: QUEUE, id, worker: 1, attempt, result }
    };
    queues.apply(at(1), failed(1));
    assert_eq!(given(&queues), [(1, 10, 2)]);
    queues.apply(at(1), failed(2));
    let given_up = GivenUp { attempts: 2, why: "as it was told to".into() };
    assert_eq!(queues.outcome(QUEUE, &id(10)), Some(&Err(given_up)));
    assert_eq!(queues.dead(QUEUE).count(), 1);
    assert_eq!((queues.bytes, queues.status(QUEUE).given_up), (0, 1));
}

#[test]
fn a_late_result_is_refused_and_its_worker_has_room_again_only_then() {
    let mut queues = queues(&[1, 2]);
    queues.apply(at(1), begin(1, 1));
    queues.apply(at(1), submit(10));
    queues.apply(at(1), Step::Expire { queue: QUEUE, id: id(10), attempt: 1 });
    assert!(given(&queues).is_empty(), "the only worker is stalled");
    queues.apply(at(2), begin(2, 1));
    assert_eq!(given(&queues), [(2, 10, 2)]);
    queues.apply(at(1), Step::Expire { queue: QUEUE, id: id(10), attempt: 1 });
    assert!(queues.news.is_empty(), "of an attempt before");
    queues.apply(at(1), submit(11));
    assert_eq!(queues.apply(at(1), finish(1, 10, 1)), Answer::Refused);
    assert_eq!(given(&queues), [(1, 11, 1)]);
    assert_eq!(queues.apply(at(2), finish(2, 10, 2)), Answer::Taken);
}

#[test]
fn a_worker_that_retires_ends_what_it_is_at() {
    let mut queues = queues(&[1]);
    queues.apply(at(1), begin(1, 1));
    queues.apply(at(1), submit(10));
    queues.apply(at(1), submit(11));
    queues.apply(at(1), retire(1, [(id(10), 1)].into()));
    assert!(queues.has_worker(QUEUE, 1));
    assert_eq!(queues.apply(at(1), finish(1, 10, 1)), Answer::Taken);
    assert!(!queues.has_worker(QUEUE, 1));
    assert_eq!(queues.status(QUEUE).waiting, 1);
}

#[test]
fn what_a_worker_has_not_begun_when_it_retires_waits_again() {
    let mut queues = queues(&[1, 2]);
    queues.apply(at(1), begin(1, 1));
    queues.apply(at(1), submit(10));
    queues.apply(at(1), retire(1, BTreeSet::new()));
    assert!(!queues.has_worker(QUEUE, 1));
    queues.apply(at(2), begin(2, 1));
    assert_eq!(given(&queues), [(2, 10, 2)]);
}

#[test]
fn workers_and_queues_beyond_the_limits_are_refused_until_one_has_gone() {
    let mut queues = queues(&[1, 2]);
    let begin = |queue, worker: usize, session| {
        (at(session), Step::Begin { queue, worker: worker as u128, parallel: 1 })
    };
    for worker in 0..MAX_WORKERS {
        assert!(queues.has_room_for_worker(QUEUE));
        let (at, step) = begin(QUEUE, worker, 1 + u32::from(worker == 0));
        assert_eq!(queues.apply(at, step), Answer::Taken);
    }
    let apply = |queues: &mut Queues, (at, step)| queues.apply(at, step);
    assert_eq!(apply(&mut queues, begin(QUEUE, 0, 2)), Answer::Taken, "it is there");
    assert_eq!(apply(&mut queues, begin(QUEUE, MAX_WORKERS, 1)), Answer::Full);
    assert!(!queues.has_room_for_worker(QUEUE));
    queues.follow(at(0), &departed(2));
    assert!(queues.has_room_for_worker(QUEUE));
    assert_eq!(apply(&mut queues, begin(QUEUE, MAX_WORKERS, 1)), Answer::Taken);
    for queue in 1_000..1_000 + MAX_QUEUES - 1 {
        assert_eq!(apply(&mut queues, begin(queue as u32, queue, 1)), Answer::Taken);
    }
    assert!(!queues.has_room_for_worker(1));
    assert_eq!(apply(&mut queues, begin(1, 1, 1)), Answer::Full);
    let retire = Step::Retire { queue: 1_000, worker: 1_000, running: BTreeSet::new() };
    queues.apply(at(1), retire);
    assert!(queues.has_room_for_worker(1));
    assert_eq!(apply(&mut queues, begin(1, 1, 1)), Answer::Taken);
}

#[test]
fn a_result_is_remembered_or_refused_as_too_large() {
    for (len, fits) in [(MAX_RESULT, true), (MAX_RESULT + 1, false)] {
        let mut queues = queues(&[1]);
        queues.apply(at(1), begin(1, 1));
        queues.apply(at(1), submit(1));
        for attempt in 1..=2 {
            let result = Ok(vec![0; len]);
            let step = Step::Finish { queue: QUEUE, id: id(1), worker: 1, attempt, result };
            queues.apply(at(1), step);
        }
        let outcome = queues.outcome(QUEUE, &id(1)).expect("it is remembered");
        assert_eq!(outcome.is_ok(), fits, "{len} bytes");
    }
}

#[test]
fn results_and_jobs_that_were_given_up_are_remembered_within_bounds() {
    let mut queues = queues(&[1]);
    queues.apply(at(1), begin(1, 1));
    for number in 0..MAX_ENDED as u128 + 5 {
        queues.apply(at(1), submit(number));
        let (id, worker) = (id(number), 1);
        for attempt in 1..=2 {
            let (id, result) = (id.clone(), Err("x".repeat(5000)));
            queues.apply(at(1), Step::Finish { queue: QUEUE, id, worker, attempt, result });
        }
    }
    let queue = &queues.queues[&QUEUE];
    assert_eq!(queue.order.len(), queue.ended.len());
    assert_eq!((queue.ended.len(), queue.dead.len()), (MAX_ENDED, MAX_DEAD));
    assert!(queue.ended_bytes <= MAX_ENDED_BYTES && queue.dead_bytes <= MAX_DEAD_BYTES);
    assert!(queues.outcome(QUEUE, &id(0)).is_none());
}

#[derive(Clone, Debug)]
enum Act {
    Step(u32, Step),
    Depart(u32),
    Join(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let (session, number, attempt) = (1..4u32, 0..6u128, 1..4u32);
    prop_oneof![
        4 => (session.clone(), number.clone()).prop_map(|(s, n)| Act::Step(s, submit(n))),
        2 => (session.clone(), 1..3u32).prop_map(|(s, p)| Act::Step(s, begin(s, p))),
        4 => (session.clone(), number.clone(), attempt.clone())
            .prop_map(|(s, n, a)| Act::Step(s, finish(s, n, a))),
        1 => (number, attempt).prop_map(|(n, attempt)| {
            Act::Step(1, Step::Expire { queue: QUEUE, id: id(n), attempt })
        }),
        1 => (session.clone(), prop::collection::btree_set((0..6u128, 1..4u32), 0..9))
            .prop_map(|(s, running)| {
                Act::Step(s, retire(s, running.into_iter().map(|(n, a)| (id(n), a)).collect()))
            }),
        1 => session.clone().prop_map(Act::Depart),
        1 => session.prop_map(Act::Join),
    ]
}

proptest! {
    /// Each job that was taken is open or has one outcome; only a current attempt counts;
    /// no worker has more than it can do; none waits beside a worker with room.
    #[test]
    fn jobs_are_neither_lost_nor_ended_twice(acts in prop::collection::vec(act(), 1..200)) {
        let mut queues = queues(&[1, 2, 3]);
        let (mut taken, mut ended) = (BTreeSet::new(), BTreeSet::new());
        for act in acts {
            match act {
                Act::Step(session, step) => {
                    let offered = match &step {
                        Step::Submit { offer, .. } => Some(offer.id.clone()),
                        _ => None,
                    };
                    let answer = queues.apply(at(session), step);
                    if answer == Answer::Taken {
                        taken.extend(offered);
                    }
                }
                Act::Depart(session) => queues.follow(at(0), &departed(session)),
                Act::Join(session) if !queues.present.sessions().contains(&session) => {
                    queues.follow(at(0), &joined(session));
                }
                Act::Join(_) => continue,
            }
            for news in &queues.news {
                if let News::Ended { id, .. } = news {
                    prop_assert!(ended.insert(id.clone()), "{id:?} has ended twice");
                }
            }
            let Some(queue) = queues.queues.get(&QUEUE) else { continue };
            for id in &taken {
                prop_assert_ne!(queue.open.contains_key(id), ended.contains(id));
            }
            for worker in &queue.workers {
                prop_assert!(worker.parallel == 0 || worker.busy.len() <= worker.parallel as usize);
                prop_assert!(worker.room() == 0 || queue.waiting.is_empty());
            }
            for (id, job) in &queue.open {
                let has = |worker: &&Worker| job.is_at(worker.ticket, job.attempts);
                let is_at = |worker: &Worker| worker.busy.contains(&(id.clone(), job.attempts));
                let worker = queue.workers.iter().find(has);
                prop_assert_eq!(worker.is_some(), job.worker.is_some());
                prop_assert!(worker.is_none_or(is_at));
            }
            let running = queue.open.values().filter(|job| job.worker.is_some()).count();
            prop_assert_eq!(running + queue.waiting.len(), queue.open.len());
            let bytes: usize = queue.open.iter().map(|(id, job)| id.len() + job.payload.len()).sum();
            prop_assert_eq!(bytes, queues.bytes);
            let copy = Queues::restore(&queues.snapshot()).unwrap();
            prop_assert_eq!(copy.snapshot(), queues.snapshot());
        }
    }
}
