use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spread_groups::{Error, Pending, Work, Working};

use crate::support::*;

/// Jobs are numbers as texts; so are results.
fn resize(member: &Participant) -> Work<String, String> {
    member.group.work::<String, String>("resize").max_queued(10_000).max_attempts(3)
}

fn submit(member: &Participant, job: impl ToString) -> Pending<String> {
    resize(member).job(&job.to_string()).send()
}

/// How often each job was begun, at all workers.
type Begun = Arc<Mutex<BTreeMap<String, u32>>>;

fn worker(member: &Participant, parallel: usize, begun: &Begun) -> Working {
    let begun = begun.clone();
    let handler = move |job: String, _: &spread_groups::Attempt| {
        *begun.lock().unwrap().entry(job.clone()).or_default() += 1;
        Ok(format!("done {job}"))
    };
    resize(member).worker(parallel, handler).unwrap()
}

/// A worker for one job at a time that tells what it begins, and ends it when it is told what
/// it has come to.
fn held(work: &Work<String, String>) -> (Working, Held) {
    let (begins, begun) = channel();
    let (results, result) = channel::<String>();
    let result = Mutex::new(result);
    let handler = move |job: String, at: &spread_groups::Attempt| {
        begins.send((job, at.number())).map_err(|error| error.to_string())?;
        result.lock().unwrap().recv().map_err(|error| error.to_string())
    };
    (work.worker(1, handler).unwrap(), Held { begun, results })
}

struct Held {
    begun: Receiver<(String, u32)>,
    results: Sender<String>,
}

impl Held {
    fn begun(&self) -> (String, u32) {
        self.begun.recv_timeout(LONG).expect("a job begins")
    }
}

fn of_a_thousand_jobs_each_is_recorded_once_though_a_worker_is_killed() {
    let cluster = cluster();
    let [one, two, killed] = three_members(&cluster);
    let begun = Begun::default();
    let _working = [worker(&one, 1, &begun), worker(&two, 2, &begun)];
    // The fourth does not end its first job before it is killed.
    let (begins, first) = channel();
    let (release, held) = channel::<()>();
    let (first_only, others) = (Mutex::new(Some(held)), begun.clone());
    let fourth = move |job: String, _: &spread_groups::Attempt| {
        if let Some(held) = first_only.lock().unwrap().take() {
            begins.send(job.clone()).unwrap();
            assert!(held.recv().is_err(), "nothing is sent");
            return Ok(format!("late {job}"));
        }
        *others.lock().unwrap().entry(job.clone()).or_default() += 1;
        Ok(format!("done {job}"))
    };
    let _fourth = resize(&killed).worker(1, fourth).unwrap();
    eventually("the workers are known", || resize(&one).status().workers == 3);
    // No more at once than a member may have before it that does not run for a while.
    let submit = |from: i32| (from..from + 200).map(|job| (job, submit(&one, job))).collect();
    let are_done = |pending: Vec<(i32, Pending<String>)>| {
        for (job, pending) in pending {
            assert_eq!(pending.wait().unwrap(), format!("done {job}"));
        }
    };
    let pending = submit(0);
    let open = first.recv_timeout(LONG).unwrap();
    cluster.disconnect(&name(&killed.group)).unwrap();
    drop(release);
    are_done(pending);
    (200..1000).step_by(200).for_each(|from| are_done(submit(from)));
    let begun = begun.lock().unwrap();
    assert_eq!(begun.len(), 1000);
    assert_eq!(begun[&open], 1, "once more, after the worker that is gone had begun it");
    assert!(begun.values().all(|times| *times == 1), "no other job is tried again");
    assert_eq!(resize(&one).status().waiting, 0);
}

fn the_late_result_of_a_stalled_worker_is_refused() {
    // The second attempt has as long as the first.
    const LIMIT: Duration = Duration::from_secs(2);
    let cluster = daemons();
    let [one, two, stalls] = three_members(&cluster);
    let (_stalled, stalled) = held(&resize(&stalls).attempt_limit(LIMIT));
    eventually("the worker is known", || resize(&one).status().workers == 1);
    let job = String::from("a");
    let done = resize(&one).attempt_limit(LIMIT).job(&job).send();
    assert_eq!(stalled.begun(), (job.clone(), 1));
    eventually("its time is over", || resize(&two).status().waiting == 1);
    let (_other, other) = held(&resize(&two));
    assert_eq!(other.begun(), (job, 2));
    stalled.results.send("late".into()).unwrap();
    // Behind the late result in the order: the stalled worker has room again.
    let after = submit(&one, "b");
    assert_eq!(stalled.begun(), ("b".into(), 1));
    other.results.send("in time".into()).unwrap();
    assert_eq!(done.wait().unwrap(), "in time");
    stalled.results.send("b done".into()).unwrap();
    assert_eq!(after.wait().unwrap(), "b done");
}

#[test]
fn the_time_of_an_attempt_is_told_by_the_next_senior_member_if_one_has_gone() {
    let cluster = daemons();
    let [senior, next, stalls] = three_members(&cluster);
    let work = resize(&stalls).max_attempts(1).attempt_limit(Duration::from_millis(200));
    let (_stalled, stalled) = held(&work);
    eventually("the worker is known", || resize(&next).status().workers == 1);
    let work = resize(&next).max_attempts(1).attempt_limit(Duration::from_millis(200));
    let done = work.job(&String::from("a")).send();
    stalled.begun();
    senior.node.shutdown(LONG).unwrap();
    let error = done.wait().unwrap_err();
    assert!(matches!(error, Error::GivenUp { attempts: 1, .. }), "{error}");
}

fn jobs_wait_until_a_worker_comes() {
    let cluster = daemons();
    let [one, two, _three] = three_members(&cluster);
    let mut done = submit(&one, "a");
    eventually("it waits", || resize(&two).status().waiting == 1);
    assert!(matches!(done.wait_timeout(Duration::ZERO), Ok(None)));
    let begun = Begun::default();
    let working = worker(&two, 1, &begun);
    assert_eq!(done.wait().unwrap(), "done a");
    drop(working);
    eventually("the worker has ended", || resize(&one).status().workers == 0);
    let mut after = submit(&one, "b");
    eventually("it waits", || resize(&one).status().waiting == 1);
    assert!(matches!(after.wait_timeout(Duration::ZERO), Ok(None)));
}

fn a_queue_is_full_at_the_same_job_everywhere() {
    let cluster = cluster();
    let members = three_members(&cluster);
    let submit = |at: usize, job: usize| {
        resize(&members[at]).max_queued(50).job(&job.to_string()).id(job.to_string()).send()
    };
    let mut pending: Vec<_> = (0..90).map(|job| submit(job % 3, job)).collect();
    let mut refused = BTreeSet::new();
    while refused.len() < 40 {
        for (job, pending) in pending.iter_mut().enumerate() {
            match pending.wait_timeout(Duration::ZERO) {
                Err(Error::NoRoom) => drop(refused.insert(job)),
                Err(Error::Closed { .. }) | Ok(None) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    cluster.settle().unwrap();
    for member in &members {
        eventually("all members have 50 jobs", || resize(member).status().waiting == 50);
    }
    let begun = Begun::default();
    let _working = worker(&members[0], 4, &begun);
    for (job, pending) in pending.into_iter().enumerate() {
        if !refused.contains(&job) {
            assert_eq!(pending.wait().unwrap(), format!("done {job}"));
        }
    }
    let done: BTreeSet<usize> =
        begun.lock().unwrap().keys().map(|job| job.parse().unwrap()).collect();
    assert!(done.is_disjoint(&refused));
    assert_eq!(done.len(), 50);
}

#[test]
fn after_a_merge_the_jobs_of_both_sides_are_done() {
    let cluster = cluster();
    let [one, two, lone] = three_members(&cluster);
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    eventually("the sides have formed", || {
        one.group.members().len() == 2 && lone.group.members().len() == 1
    });
    let here = submit(&one, "here");
    let there = submit(&lone, "there");
    let gone = submit(&lone, "done there");
    eventually("they wait", || resize(&lone).status().waiting == 2);
    let begun = Begun::default();
    let working = worker(&lone, 1, &begun);
    assert_eq!(there.wait().unwrap(), "done there");
    assert_eq!(gone.wait().unwrap(), "done done there");
    drop(working);
    eventually("the worker has ended", || resize(&lone).status().workers == 0);
    let waits = submit(&lone, "waits");
    eventually("it waits", || resize(&lone).status().waiting == 1);
    cluster.merge().unwrap();
    // What was done on the losing side only is in the queue again, with what waits there.
    eventually("one queue has the jobs of both sides", || {
        [&one, &two, &lone].into_iter().all(|member| {
            let status = resize(member).status();
            status.waiting + status.running >= 2 && member.group.members().len() == 3
        })
    });
    let _working = worker(&two, 1, &begun);
    assert_eq!(here.wait().unwrap(), "done here");
    assert_eq!(waits.wait().unwrap(), "done waits");
    eventually("nothing waits", || resize(&one).status().waiting == 0);
}

fn who_submits_the_same_id_again_gets_the_one_result() {
    let cluster = daemons();
    let [one, two, lost] = three_members(&cluster);
    let submit =
        |member: &Participant| resize(member).job(&String::from("a")).id("order 66").send();
    let abandoned = submit(&lost);
    eventually("the job is there", || resize(&one).status().waiting == 1);
    drop(lost);
    assert!(abandoned.wait().is_err());
    let while_open = submit(&one);
    let begun = Begun::default();
    let _working = worker(&two, 1, &begun);
    assert_eq!(while_open.wait().unwrap(), "done a");
    let after_its_end = submit(&two);
    assert_eq!(after_its_end.wait().unwrap(), "done a");
    assert_eq!(begun.lock().unwrap()["a"], 1);
    assert_eq!(resize(&one).status().waiting, 0);
}

fn a_submitter_whose_connection_is_cut_gets_its_result() {
    let cluster = cluster();
    let [one, two, _three] = three_members(&cluster);
    let done = submit(&one, "a");
    eventually("the job is there", || resize(&two).status().waiting == 1);
    cluster.disconnect(&name(&one.group)).unwrap();
    let begun = Begun::default();
    let _working = worker(&two, 1, &begun);
    assert_eq!(done.wait().unwrap(), "done a");
    assert_eq!(begun.lock().unwrap()["a"], 1);
}

#[test]
fn a_job_that_fails_is_tried_again_and_then_given_up() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    let fails = AtomicBool::new(true);
    let _working = resize(&member)
        .worker(2, move |job: String, at| match &*job {
            "panics" => panic!("as it was told to"),
            "fails once" if fails.swap(false, Ordering::Relaxed) => Err("not yet".into()),
            "fails" => Err(format!("attempt {}", at.number())),
            job => Ok(job.to_owned()),
        })
        .unwrap();
    assert_eq!(submit(&member, "fails once").wait().unwrap(), "fails once");
    for (job, reason) in [("fails", "attempt 3"), ("panics", "panicked: as it was told to")] {
        let error = submit(&member, job).wait().unwrap_err();
        assert!(matches!(&error, Error::GivenUp { attempts: 3, why } if why == reason), "{error}");
    }
    let given_up = resize(&member).given_up();
    let jobs: Vec<&String> = given_up.iter().filter_map(|dead| dead.job.as_ref().ok()).collect();
    assert_eq!(jobs, ["fails", "panics"]);
}

#[test]
fn who_waits_for_a_job_is_told_when_the_member_leaves() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    let done = submit(&member, "a");
    eventually("it waits", || resize(&member).status().waiting == 1);
    member.node.shutdown(LONG).unwrap();
    assert!(matches!(done.wait(), Err(Error::Closed { may_have_executed: true })));
    let late = submit(&member_left(&cluster), "b").wait();
    assert!(matches!(late, Err(Error::Closed { .. })), "{late:?}");
}

/// A member that has left its group.
fn member_left(cluster: &impl Daemons) -> Participant {
    let member = member(cluster, "d2");
    member.group.ready().wait().unwrap();
    member.group.leave();
    eventually("it has left", || matches!(member.group.ready().wait(), Err(Error::Closed { .. })));
    member
}

#[test]
fn workers_beyond_the_limit_wait_without_a_message_until_others_have_gone() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    member.group.ready().wait().unwrap();
    let work = |queue: u32| member.group.work::<String, String>(&queue.to_string());
    let begin = |queue| work(queue).worker(1, |job: String, _: &_| Ok(job)).unwrap();
    let mut working: Vec<_> = (0..256).map(begin).collect();
    eventually("the workers are known", || (0..256).all(|of| work(of).status().workers == 1));
    let _more = [begin(256), begin(257)];
    let job = work(256).job(&String::from("a")).send().wait();
    assert!(matches!(job, Err(Error::NoRoom)), "no queue for it: {job:?}");
    executed(&member);
    let index = || member.group.status().wait().unwrap().place.index;
    let before = index();
    for _ in 0..5 {
        executed(&member);
    }
    assert_eq!(index(), before + 5, "nothing else is sent");
    working.truncate(254);
    eventually("both have begun", || [256, 257].iter().all(|of| work(*of).status().workers == 1));
    let job = work(256).job(&String::from("a")).send();
    assert_eq!(job.wait().unwrap(), "a");
}

#[test]
fn a_result_that_is_too_large_fails_the_attempt() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    let work = member.group.work::<String, Vec<u8>>("large").max_attempts(2);
    let done = |len: String, _: &_| Ok(vec![0; len.parse().unwrap()]);
    let _working = work.worker(1, done).unwrap();
    let submit = |len: usize| work.job(&len.to_string()).send().wait();
    assert_eq!(submit(1 << 20).unwrap().len(), 1 << 20);
    let refused = submit(5 << 20);
    let Err(Error::GivenUp { attempts: 2, why }) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("too large"), "{why}");
}

in_both_kinds_of_groups! {
    of_a_thousand_jobs_each_is_recorded_once_though_a_worker_is_killed,
    the_late_result_of_a_stalled_worker_is_refused,
    jobs_wait_until_a_worker_comes,
    a_queue_is_full_at_the_same_job_everywhere,
    who_submits_the_same_id_again_gets_the_one_result,
    a_submitter_whose_connection_is_cut_gets_its_result,
}
