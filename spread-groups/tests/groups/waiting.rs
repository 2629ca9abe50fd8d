//! What waits in a group with voters while no side has a majority of them.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use spread_daemon::Cluster;
use spread_groups::voters::Standing;
use spread_groups::{Attempt, Error, LeaderServing, Pending, Work, Working};

use crate::quorums::*;
use crate::support::*;

const NAME: &str = "boiler";

/// Parts all three voters, so that none of them has a majority.
fn part_all(cluster: &Cluster, voters: &[Voter; 3]) {
    cluster.partition(&[&["d1"], &["d2"], &["d3"]]).unwrap();
    voters.iter().for_each(|voter| stands(voter, Standing::Minority));
}

fn merge_all(cluster: &Cluster, voters: &[Voter; 3]) {
    cluster.merge().unwrap();
    voters.iter().for_each(is_primary);
}

/// Waits until what a voter has submitted before is executed.
fn submitted(voter: &Voter) {
    voter.group.confirm().wait().unwrap();
}

fn waits<T: Send + 'static>(pending: &mut Pending<T>) {
    assert!(matches!(pending.wait_timeout(Duration::ZERO), Ok(None)), "it has ended");
}

/// Waits until something has an end.
fn ends<T: Send + 'static>(mut pending: Pending<T>) -> Result<T, Error> {
    pending.wait_timeout(LONG).map(|end| end.expect("an end"))
}

fn no_quorum<T>(ended: Result<T, Error>) {
    match ended {
        Err(Error::NoQuorum { may_have_executed: false }) => {}
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was executed"),
    }
}

#[test]
fn a_request_for_a_lock_waits_through_a_minority_and_is_granted() {
    let cluster = cluster();
    let voters = three_voters(&cluster);
    let [ann, bob, cid] = &voters;
    let former = (
        ann.group.mutex(NAME).lock().wait().unwrap(),
        ann.group.rw_lock(NAME).write().wait().unwrap(),
        ann.group.semaphore(NAME, 1).acquire().wait().unwrap(),
    );
    let mut mutex = bob.group.mutex(NAME).lock();
    let mut reader = bob.group.rw_lock(NAME).read();
    let mut permit = bob.group.semaphore(NAME, 1).acquire();
    submitted(bob);
    part_all(&cluster, &voters);
    waits(&mut mutex);
    waits(&mut reader);
    waits(&mut permit);
    no_quorum(ends(cid.group.mutex(NAME).lock()));
    merge_all(&cluster, &voters);
    let mutex = ends(mutex).unwrap();
    let reader = ends(reader).unwrap();
    assert!(mutex.fence() > former.0.fence() && reader.fence() > former.1.fence());
    assert!(!mutex.is_lost() && !reader.is_lost() && !ends(permit).unwrap().is_lost());
    assert!(former.0.is_lost() && former.1.is_lost() && former.2.is_lost());
}

#[test]
fn a_request_for_a_lock_that_is_dropped_in_a_minority_holds_up_nobody() {
    let cluster = cluster();
    let voters = three_voters(&cluster);
    let [ann, bob, cid] = &voters;
    let _held = ann.group.mutex(NAME).lock().wait().unwrap();
    let mut dropped = bob.group.mutex(NAME).lock();
    submitted(bob);
    let next = cid.group.mutex(NAME).lock();
    submitted(cid);
    part_all(&cluster, &voters);
    waits(&mut dropped);
    drop(dropped);
    merge_all(&cluster, &voters);
    drop(ends(next).unwrap());
    // Nobody has it, and nobody waits for it.
    let again = ends(bob.group.mutex(NAME).lock()).unwrap();
    let mut waiting = ann.group.mutex(NAME).lock();
    submitted(ann);
    waits(&mut waiting);
    drop(again);
    assert!(!ends(waiting).unwrap().is_lost());
}

#[test]
fn a_request_for_a_lock_ends_if_the_majority_goes_on_without_its_member() {
    let cluster = cluster();
    let voters = three_voters(&cluster);
    let [ann, bob, cid] = &voters;
    let held = ann.group.mutex(NAME).lock().wait().unwrap();
    let waiting = cid.group.mutex(NAME).lock();
    submitted(cid);
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    stands(cid, Standing::Minority);
    is_primary(bob);
    cluster.merge().unwrap();
    let ended = ends(waiting);
    assert!(matches!(ended, Err(Error::LockLost)), "{ended:?}");
    assert!(!held.is_lost());
}

/// A worker that does jobs once it is told to.
fn held(work: &Work<String, String>) -> (Working, Receiver<String>, Sender<()>) {
    let (begins, begun) = channel();
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let handler = move |job: String, _: &Attempt| {
        begins.send(job.clone()).map_err(|error| error.to_string())?;
        held.lock().unwrap().recv().map_err(|error| error.to_string())?;
        Ok(format!("done {job}"))
    };
    (work.worker(1, handler).unwrap(), begun, release)
}

fn work(voter: &Voter) -> Work<String, String> {
    voter.group.work(NAME)
}

fn job(voter: &Voter, job: &str) -> Pending<String> {
    work(voter).job(&job.to_owned()).id(job).send()
}

#[test]
fn a_job_waits_through_a_minority_for_its_result() {
    let cluster = cluster();
    let voters = three_voters(&cluster);
    let [ann, bob, cid] = &voters;
    let (_working, begun, release) = held(&work(bob));
    let mut done = job(ann, "job");
    assert_eq!(begun.recv_timeout(LONG).unwrap(), "job");
    let mut queued = job(cid, "next");
    submitted(cid);
    part_all(&cluster, &voters);
    release.send(()).unwrap();
    waits(&mut done);
    waits(&mut queued);
    no_quorum(ends(job(ann, "refused")));
    merge_all(&cluster, &voters);
    assert_eq!(ends(done).unwrap(), "done job");
    release.send(()).unwrap();
    assert_eq!(ends(queued).unwrap(), "done next");
}

#[test]
fn a_job_whose_waiter_is_gone_is_done_and_leaves_nothing_behind() {
    let cluster = cluster();
    let voters = three_voters(&cluster);
    let [ann, bob, _cid] = &voters;
    let (_working, begun, release) = held(&work(bob));
    let mut done = job(ann, "job");
    assert_eq!(begun.recv_timeout(LONG).unwrap(), "job");
    part_all(&cluster, &voters);
    waits(&mut done);
    drop(done);
    release.send(()).unwrap();
    merge_all(&cluster, &voters);
    eventually("it is done", || {
        let status = work(ann).status();
        status.waiting == 0 && status.running == 0
    });
    assert_eq!(ends(job(ann, "job")).unwrap(), "done job", "by its id");
    assert!(begun.try_recv().is_err(), "it was done once");
}

/// Answers questions to the leader once it is told to.
fn answers(voter: &Voter) -> (LeaderServing, Receiver<String>, Sender<()>) {
    let (begins, begun) = channel();
    let (release, held) = channel::<()>();
    let handler = move |question: String| {
        begins.send(question.clone()).map_err(|error| error.to_string())?;
        held.recv().map_err(|error| error.to_string())?;
        Ok(format!("re: {question}"))
    };
    (voter.group.serve_as_leader(NAME, handler).unwrap(), begun, release)
}

fn ask(voter: &Voter, question: &str) -> Pending<String> {
    voter.group.to_leader(NAME, &question.to_owned())
}

#[test]
fn a_question_to_the_leader_waits_through_a_minority_for_its_answer() {
    let cluster = cluster();
    let voters = three_voters(&cluster);
    let leader = by_seniority(&voters)[0];
    let (_serving, begun, release) = answers(&voters[leader]);
    let asker = &voters[(leader + 1) % 3];
    let mut answer = ask(asker, "how hot");
    assert_eq!(begun.recv_timeout(LONG).unwrap(), "how hot");
    part_all(&cluster, &voters);
    release.send(()).unwrap();
    waits(&mut answer);
    no_quorum(ends(ask(asker, "refused")));
    merge_all(&cluster, &voters);
    assert_eq!(ends(answer).unwrap(), "re: how hot");
}

#[test]
fn a_question_whose_asker_waits_no_more_leaves_nothing_behind() {
    let cluster = cluster();
    let voters = three_voters(&cluster);
    let leader = by_seniority(&voters)[0];
    let (_serving, begun, release) = answers(&voters[leader]);
    let asker = &voters[(leader + 1) % 3];
    let mut dropped = ask(asker, "dropped");
    assert_eq!(begun.recv_timeout(LONG).unwrap(), "dropped");
    part_all(&cluster, &voters);
    waits(&mut dropped);
    drop(dropped);
    (0..2).for_each(|_| release.send(()).unwrap());
    merge_all(&cluster, &voters);
    assert_eq!(ends(ask(asker, "next")).unwrap(), "re: next");
    assert_eq!(begun.try_iter().collect::<Vec<_>>(), ["next"], "each was asked once");
}

#[test]
fn a_term_that_is_asked_for_in_a_minority_begins_once_a_majority_is_back() {
    let cluster = cluster();
    let voters = three_voters(&cluster);
    let leader = &voters[by_seniority(&voters)[0]];
    let former = leader.group.leadership().term().wait().unwrap();
    part_all(&cluster, &voters);
    let mut term = leader.group.leadership().term();
    drop(leader.group.leadership().term());
    waits(&mut term);
    merge_all(&cluster, &voters);
    let term = ends(term).unwrap();
    assert!(term.fence() > former.fence() && former.is_revoked() && !term.is_revoked());
}
