//! Leaders, locks, sequences, jobs and votes in groups with voters, across partitions.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use spread_daemon::Cluster;
use spread_groups::voters::Standing;
use spread_groups::{Ballot, Error, Event, Fence, Rule, VoteResult};

use crate::quorums::*;
use crate::support::*;

const NAME: &str = "boiler";

/// Storage that refuses a fence smaller than one that it has seen.
#[derive(Default)]
struct Storage(Mutex<(Option<Fence>, String)>);

impl Storage {
    fn write(&self, fence: Fence, text: &str) -> bool {
        let mut stored = self.0.lock().unwrap();
        let is_new = stored.0 <= Some(fence);
        if is_new {
            *stored = (Some(fence), text.to_owned());
        }
        is_new
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().1.clone()
    }
}

/// Parts the third voter from the others.
fn part_third(cluster: &Cluster) {
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
}

#[test]
fn a_holder_in_a_minority_loses_its_lock_and_storage_refuses_it() {
    let cluster = cluster();
    let [ann, bob, cid] = three_voters(&cluster);
    let storage = Storage::default();
    let former = cid.group.mutex(NAME).lock().wait().unwrap();
    assert!(storage.write(former.fence(), "cid"));
    let next = bob.group.mutex(NAME).lock();
    part_third(&cluster);
    former.lost().wait().unwrap();
    let next = next.wait().unwrap();
    assert!(next.fence() > former.fence() && !next.is_lost());
    assert!(storage.write(next.fence(), "bob"));
    assert!(!storage.write(former.fence(), "late"));
    assert_eq!(storage.text(), "bob");
    let refused = cid.group.mutex(NAME).lock().wait();
    assert!(matches!(refused, Err(Error::NoQuorum { .. })), "{refused:?}");
    cluster.merge().unwrap();
    is_primary(&cid);
    let again = cid.group.mutex(NAME).lock();
    drop(next);
    let again = again.wait().unwrap();
    assert!(storage.write(again.fence(), "cid again"));
    is_primary(&ann);
}

#[test]
fn a_holder_that_does_not_hear_of_it_overlaps_with_the_next_and_storage_tells_them_apart() {
    let cluster = cluster();
    let [_ann, bob, cid] = three_voters(&cluster);
    let storage = Storage::default();
    let stalled = cid.group.mutex(NAME).lock().wait().unwrap();
    let own = name(&cid.group);
    cluster.pause(&own).unwrap();
    part_third(&cluster);
    let next = bob.group.mutex(NAME).lock().wait().unwrap();
    assert!(!stalled.is_lost(), "it takes itself for the holder");
    assert!(storage.write(next.fence(), "bob"));
    assert!(!storage.write(stalled.fence(), "late"));
    cluster.resume(&own).unwrap();
    stalled.lost().wait().unwrap();
    assert_eq!(storage.text(), "bob");
}

/// Returns the voters and their daemons, the leader first.
fn with_daemons(voters: [Voter; 3]) -> [(&'static str, Voter); 3] {
    let order = by_seniority(&voters);
    let mut voters = voters.map(Some);
    let daemons = ["d1", "d2", "d3"];
    order.map(|number| (daemons[number], voters[number].take().expect("each once")))
}

#[test]
fn the_leader_in_a_minority_is_deposed_and_the_majority_has_another() {
    let cluster = cluster();
    let [(here, former), (there, next), (also, other)] = with_daemons(three_voters(&cluster));
    let events = former.group.events();
    let term = former.group.leadership().term().wait().unwrap();
    let next_term = next.group.leadership().term();
    let led = other.group.leadership().current();
    assert_eq!(led.as_ref().unwrap().incarnation, former.group.incarnation());
    cluster.partition(&[&[here], &[there, also]]).unwrap();
    term.revoked().wait().unwrap();
    assert!(events.iter().any(|event| event == Event::Minority));
    assert_eq!(former.group.leadership().current(), None);
    let next_term = next_term.wait().unwrap();
    assert!(next_term.fence() > term.fence() && !next_term.is_revoked());
    let leader = other.group.leadership().wait_for_change(led.as_ref(), LONG).unwrap();
    assert_eq!(leader.unwrap().incarnation, next.group.incarnation());
    cluster.merge().unwrap();
    is_primary(&former);
    let late = former.group.leader_topic("orders").publish(&term, &String::from("late")).wait();
    assert!(matches!(late, Err(Error::Deposed)), "{late:?}");
    assert!(!next_term.is_revoked());
}

#[test]
fn who_leads_and_holds_when_the_majority_returns_does_so_with_new_fences() {
    let cluster = cluster();
    let [(_, leader), (there, next), (also, other)] = with_daemons(three_voters(&cluster));
    let term = leader.group.leadership().term().wait().unwrap();
    let guard = leader.group.mutex(NAME).lock().wait().unwrap();
    [there, also].into_iter().for_each(|daemon| cluster.crash(daemon).unwrap());
    term.revoked().wait().unwrap();
    guard.lost().wait().unwrap();
    [there, also].into_iter().for_each(|daemon| cluster.restart(daemon).unwrap());
    [&leader, &next, &other].into_iter().for_each(is_primary);
    // The lock that was lost holds up nobody, though its guard was not dropped.
    let next = next.group.mutex(NAME).lock().wait().unwrap();
    assert!(next.fence() > guard.fence() && guard.is_lost() && !next.is_lost());
    let again = leader.group.leadership().term().wait().unwrap();
    assert!(again.fence() > term.fence() && term.is_revoked() && !again.is_revoked());
}

#[test]
fn a_confirmed_read_sees_what_was_answered_to_others() {
    let cluster = cluster();
    let [ann, _bob, cid] = three_voters(&cluster);
    let own = name(&cid.group);
    cluster.pause(&own).unwrap();
    let value = String::from("80");
    ann.group.map("limits").put("boiler", &value).send().wait().unwrap();
    let limits = cid.group.map::<String>("limits");
    assert_eq!(limits.get("boiler").unwrap(), None, "it has not heard of it");
    let mut read = cid.group.read_confirmed(move || limits.get("boiler"));
    assert!(matches!(read.wait_timeout(Duration::ZERO), Ok(None)));
    cluster.resume(&own).unwrap();
    assert_eq!(read.wait().unwrap().unwrap().value, "80");
    part_third(&cluster);
    stands(&cid, Standing::Minority);
    let refused = cid.group.read_confirmed(|| Ok(())).wait();
    assert!(matches!(refused, Err(Error::NoQuorum { may_have_executed: false })), "{refused:?}");
}

#[test]
fn no_number_of_a_sequence_is_given_on_both_sides() {
    let cluster = cluster();
    let voters = three_voters(&cluster);
    let [ann, bob, cid] = &voters;
    let mut given = BTreeSet::new();
    let mut take =
        |voter: &Voter| voter.group.sequence(NAME).next().wait().map(|n| given.insert(n));
    assert!(take(cid).unwrap());
    part_third(&cluster);
    stands(cid, Standing::Minority);
    for _ in 0..5 {
        assert!(take(ann).unwrap() && take(bob).unwrap());
        assert!(matches!(take(cid), Err(Error::NoQuorum { .. })));
    }
    cluster.merge().unwrap();
    is_primary(cid);
    assert!(take(cid).unwrap() && take(ann).unwrap());
}

#[test]
fn the_result_of_a_worker_in_a_minority_is_refused_and_the_job_done_by_another() {
    let cluster = cluster();
    let [ann, bob, cid] = three_voters(&cluster);
    let work = |voter: &Voter| voter.group.work::<String, String>(NAME);
    let (begins, begun) = channel();
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let stalls = move |job: String, at: &spread_groups::Attempt| {
        begins.send(at.is_current()).map_err(|error| error.to_string())?;
        held.lock().unwrap().recv().map_err(|error| error.to_string())?;
        begins.send(at.is_current()).map_err(|error| error.to_string())?;
        Ok(format!("{job} by cid"))
    };
    let _stalled = work(&cid).worker(1, stalls).unwrap();
    let done = work(&ann).job(&String::from("job")).id("job").send();
    assert!(begun.recv_timeout(LONG).unwrap());
    part_third(&cluster);
    stands(&cid, Standing::Minority);
    let _other = work(&bob).worker(1, |job: String, _| Ok(format!("{job} by bob"))).unwrap();
    assert_eq!(done.wait().unwrap(), "job by bob");
    release.send(()).unwrap();
    assert!(!begun.recv_timeout(LONG).unwrap(), "in a minority no result is recorded");
    cluster.merge().unwrap();
    is_primary(&cid);
    let again = work(&cid).job(&String::from("job")).id("job").send();
    assert_eq!(again.wait().unwrap(), "job by bob");
    assert_eq!(work(&cid).status().running, 0);
}

#[test]
fn two_of_three_decide_a_vote_by_majority_and_cannot_reach_all() {
    let cluster = cluster();
    let [ann, bob, cid] = three_voters(&cluster);
    let (asks, asked) = channel();
    let (release, held) = channel::<()>();
    let waits = move |_: String, _: &spread_groups::Asked| {
        asks.send(()).unwrap();
        if held.recv().is_ok() { Ballot::Yes } else { Ballot::No }
    };
    let _waiting = bob.group.on_vote(waits).unwrap();
    let _voting = ann.group.on_vote(|_: String, _| Ballot::Yes).unwrap();
    let propose = |voter: &Voter, rule| {
        voter.group.vote(&String::from("open the valve")).rule(rule).within(LONG).send()
    };
    let majority = propose(&ann, Rule::Majority);
    asked.recv_timeout(LONG).unwrap();
    let doubtful = propose(&cid, Rule::Majority);
    add(&cid, "behind it").unwrap();
    part_third(&cluster);
    let error = doubtful.wait().unwrap_err();
    assert!(matches!(error, Error::NoQuorum { may_have_executed: true }), "{error}");
    is_primary(&ann);
    (0..2).for_each(|_| release.send(()).unwrap());
    assert_eq!(majority.wait().unwrap().result, VoteResult::Yes);
    cluster.merge().unwrap();
    is_primary(&cid);
    // All three are asked, and one of them is gone before it has answered.
    let all = propose(&ann, Rule::Unanimous);
    (0..2).for_each(|_| asked.recv_timeout(LONG).unwrap());
    part_third(&cluster);
    assert_eq!(all.wait().unwrap().result, VoteResult::Unreachable);
    drop(release);
}

/// The former holder stalls, and is a voter no more when the next one gets the lock.
#[test]
fn fences_grow_across_changes_of_the_voters_and_storage_refuses_the_former_holder() {
    let cluster = cluster();
    let [ann, _bob, cid] = three_voters(&cluster);
    let storage = Storage::default();
    let first = ann.group.mutex(NAME).lock().wait().unwrap().fence();
    let former = cid.group.mutex(NAME).lock().wait().unwrap();
    assert!(first < former.fence() && storage.write(former.fence(), "cid"));
    let own = name(&cid.group);
    cluster.pause(&own).unwrap();
    let dan = voter(&cluster, "d1", "dan");
    dan.group.ready().wait().unwrap();
    let eve = voter(&cluster, "d2", "eve");
    eve.group.ready().wait().unwrap();
    assert!(ann.group.set_voter("dan", dan.group.incarnation(), 1).wait().unwrap());
    let next = dan.group.mutex(NAME).lock();
    assert!(ann.group.remove_voter("cid").wait().unwrap());
    // A change is made for the voters that its member knows of.
    dan.group.confirm().wait().unwrap();
    assert!(dan.group.set_voter("ann", eve.group.incarnation(), 3).wait().unwrap());
    assert_eq!(quorum(&dan).version, 4);
    part_third(&cluster);
    let next = next.wait().unwrap();
    assert!(next.fence() > former.fence() && !former.is_lost(), "it takes itself for the holder");
    assert!(storage.write(next.fence(), "dan"));
    assert!(!storage.write(former.fence(), "late"));
    assert!(dan.group.remove_voter("bob").wait().unwrap());
    let last = eve.group.mutex(NAME).lock();
    let granted = next.fence();
    drop(next);
    let last = last.wait().unwrap();
    assert!(last.fence() > granted && storage.write(last.fence(), "eve"));
    assert!(!storage.write(granted, "late"));
    cluster.resume(&own).unwrap();
    former.lost().wait().unwrap();
    assert_eq!(storage.text(), "eve");
}

/// An operator forces a primary beside the one that there is, against the documentation: the two
/// have a holder each, and storage refuses that of the former primary, whatever it commits later.
#[test]
fn fences_grow_across_a_forced_primary_and_storage_refuses_the_former_holder() {
    let cluster = cluster();
    let [ann, bob, cid] = three_voters(&cluster);
    let storage = Storage::default();
    cluster.partition(&[&["d1"], &["d2", "d3"]]).unwrap();
    stands(&ann, Standing::Minority);
    let former = bob.group.mutex(NAME).lock().wait().unwrap();
    assert!(storage.write(former.fence(), "bob"));
    ann.group.force_primary().wait().unwrap();
    let next = ann.group.mutex(NAME).lock().wait().unwrap();
    assert!(next.fence() > former.fence() && storage.write(next.fence(), "ann"));
    assert!(!former.is_lost() && !storage.write(former.fence(), "late"));
    drop(former);
    // The former primary forms again and again.
    for round in 0..3 {
        cluster.partition(&[&["d1"], &["d2"], &["d3"]]).unwrap();
        stands(&bob, Standing::Minority);
        cluster.partition(&[&["d1"], &["d2", "d3"]]).unwrap();
        is_primary(&bob);
        is_primary(&cid);
        (0..9).for_each(|_| drop(add(&cid, "more").unwrap()));
        let other = cid.group.mutex(NAME).lock().wait().unwrap();
        assert!(!storage.write(other.fence(), "late"), "round {round}");
    }
    assert!(!next.is_lost());
    drop(next);
    let next = ann.group.mutex(NAME).lock().wait().unwrap();
    assert!(storage.write(next.fence(), "ann again"));
    assert_eq!(storage.text(), "ann again");
}
