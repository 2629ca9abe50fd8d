use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spread_groups::{Departure, Error, Outcome, Replies, Serving, To, Until, Verdict};

use crate::support::*;

const SERVICE: &str = "upper";

/// Begins to serve, and waits until all members know.
fn serve(member: &Participant) -> Serving {
    let answer = |text: String| match &*text {
        "fail" => Err(String::from("as it was told to")),
        "complain" => Err("é".repeat(1 << 20)),
        "panic" => panic!("as it was told to"),
        text => Ok(text.to_uppercase()),
    };
    let (serving, begun) = member.group.serve(SERVICE, answer).unwrap();
    begun.wait().unwrap();
    serving
}

/// Begins to serve without ever answering, until the sender is dropped.
fn serve_silently(member: &Participant) -> (Serving, std::sync::mpsc::Sender<()>) {
    let (release, held) = channel::<()>();
    let answer = move |text: String| {
        held.recv().map_err(|_| String::from("released"))?;
        Ok(text)
    };
    let (serving, begun) = member.group.serve(SERVICE, answer).unwrap();
    begun.wait().unwrap();
    (serving, release)
}

fn ask(member: &Participant, text: &str) -> spread_groups::Call<String> {
    member.group.call::<String, String>(SERVICE, &String::from(text))
}

/// Waits until a member knows of so many servers.
fn know(member: &Participant, servers: usize) {
    let count = || member.group.servers::<String, String>(SERVICE).count();
    eventually("the servers are known", || count() == servers);
}

#[test]
fn a_caller_waits_for_servers_and_finds_them() {
    let cluster = daemons();
    let [one, two, caller] = three_members(&cluster);
    let servers = caller.group.servers::<String, String>(SERVICE);
    assert_eq!(servers.count(), 0);
    let mut both = servers.at_least(2);
    let _serving = serve(&two);
    servers.at_least(1).wait().unwrap();
    assert_eq!(ask(&caller, "abc").send().wait().unwrap(), "ABC");
    executed(&caller);
    assert!(matches!(both.wait_timeout(Duration::ZERO), Ok(None)), "there is one");
    let _also_serving = serve(&one);
    both.wait().unwrap();
    let members = servers.members().into_iter().map(|member| member.incarnation);
    let in_order = [&two, &one].map(|member| member.group.incarnation());
    assert_eq!(members.collect::<Vec<_>>(), in_order);
    let never = servers.at_least(3);
    caller.group.leave();
    assert!(matches!(never.wait(), Err(Error::Closed { .. })));
}

fn outcomes(replies: &Replies<String>) -> Vec<String> {
    let outcome = |outcome: &Outcome<String>| match outcome {
        Outcome::Answered(text) => text.clone(),
        other => format!("{other:?}"),
    };
    let mut outcomes: Vec<String> = replies.each.iter().map(|(_, of)| outcome(of)).collect();
    outcomes.sort();
    outcomes
}

#[test]
fn a_call_without_servers_ends_at_once() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    member.group.ready().wait().unwrap();
    let error = ask(&member, "x").send().wait().unwrap_err();
    assert!(matches!(error, Error::NoResponders { .. }), "{error}");
    assert!(error.to_string().contains("no member serves \"upper\" with questions of type text"));
    let replies = ask(&member, "x").send_to_all(Until::All).wait().unwrap();
    assert_eq!(replies.verdict, Verdict::NoResponders);
}

#[test]
fn a_reason_that_is_too_long_is_cut() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    let _serving = serve(&member);
    let failed = ask(&member, "complain").send().wait();
    assert!(matches!(&failed, Err(Error::Failed(why)) if *why == "é".repeat(4096)), "{failed:?}");
    assert_eq!(ask(&member, "abc").send().wait().unwrap(), "ABC");
}

#[test]
fn one_server_or_a_chosen_one_answers() {
    let cluster = daemons();
    let [caller, one, other] = three_members(&cluster);
    let _serving = [serve(&one), serve(&other)];
    know(&caller, 2);
    assert_eq!(ask(&caller, "abc").send().wait().unwrap(), "ABC");
    for to in [To::Key(7), To::Member(one.group.incarnation())] {
        assert_eq!(ask(&caller, "abc").to(to).send().wait().unwrap(), "ABC");
    }
    let to_leader = ask(&caller, "abc").to(To::Leader).send().wait();
    assert!(matches!(to_leader, Err(Error::NoResponders { .. })), "the leader is the caller");
}

#[test]
fn what_a_handler_says_went_wrong_is_told_and_it_goes_on() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    let _serving = serve(&member);
    for (text, reason) in [("fail", "as it was told to"), ("panic", "panicked: as it was told to")]
    {
        let error = ask(&member, text).send().wait().unwrap_err();
        assert!(matches!(&error, Error::Failed(why) if why == reason), "{error}");
    }
    assert_eq!(ask(&member, "abc").send().wait().unwrap(), "ABC");
}

#[test]
fn of_three_servers_that_are_asked_one_crashes_before_it_answers() {
    let cluster = cluster();
    let [caller, one, crashes] = three_members(&cluster);
    let _serving = [serve(&caller), serve(&one)];
    let (_silent, _release) = serve_silently(&crashes);
    know(&caller, 3);
    let replies = ask(&caller, "abc").send_to_all(Until::All);
    sent(&caller, &cluster);
    cluster.disconnect(&name(&crashes.group)).unwrap();
    let replies = replies.wait().unwrap();
    assert_eq!(outcomes(&replies), ["ABC", "ABC", "Departed(Crashed)"]);
    assert_eq!(replies.verdict, Verdict::OutOfReach);
}

#[test]
fn a_server_that_is_parted_is_told_and_so_is_a_majority_out_of_reach() {
    let cluster = cluster();
    let [caller, one, other] = three_members(&cluster);
    let _silent = [serve_silently(&one), serve_silently(&other)];
    know(&caller, 2);
    let single = ask(&caller, "abc").send();
    let majority = ask(&caller, "abc").send_to_all(Until::Majority);
    sent(&caller, &cluster);
    cluster.partition(&[&["d1"], &["d2", "d3"]]).unwrap();
    let error = single.wait().unwrap_err();
    assert!(matches!(error, Error::ServerDeparted(Departure::Parted)), "{error}");
    assert!(error.may_have_executed());
    assert_eq!(majority.wait().unwrap().verdict, Verdict::OutOfReach);
}

#[test]
fn a_call_ends_with_its_time_and_with_the_connection() {
    let cluster = cluster();
    let [caller, server, _other] = three_members(&cluster);
    let _silent = serve_silently(&server);
    know(&caller, 1);
    let late = ask(&caller, "abc").within(Duration::from_millis(20)).send();
    assert!(matches!(late.wait(), Err(Error::TimedOut)));
    let cut = ask(&caller, "abc").send();
    sent(&caller, &cluster);
    cluster.disconnect(&name(&caller.group)).unwrap();
    let error = cut.wait().unwrap_err();
    assert!(matches!(error, Error::Disconnected), "{error}");
}

#[test]
fn a_service_that_ends_is_not_found_any_more_and_one_that_comes_back_is() {
    let cluster = cluster();
    let [caller, server, _other] = three_members(&cluster);
    let serving = serve(&server);
    know(&caller, 1);
    cluster.disconnect(&name(&server.group)).unwrap();
    eventually("the server is back", || ask(&caller, "abc").send().wait().is_ok());
    drop(serving);
    know(&caller, 0);
}

#[test]
fn of_the_servers_that_are_asked_one_leaves_and_one_is_parted() {
    let cluster = cluster();
    let [caller, leaves, parts] = three_members(&cluster);
    let _serving = serve(&caller);
    let _silent = [serve_silently(&leaves), serve_silently(&parts)];
    know(&caller, 3);
    let both = ask(&caller, "abc").send_to_all(Until::All);
    let enough = ask(&caller, "abc").send_to_all(Until::Count(2));
    sent(&caller, &cluster);
    leaves.group.leave();
    eventually("it has left", || caller.group.members().len() == 2);
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    let replies = both.wait().unwrap();
    assert_eq!(outcomes(&replies), ["ABC", "Departed(Left)", "Departed(Parted)"]);
    assert_eq!(replies.verdict, Verdict::OutOfReach);
    assert_eq!(enough.wait().unwrap().verdict, Verdict::OutOfReach);
}

#[test]
fn calls_that_are_cut_off_are_executed_at_most_once_and_say_that_they_may_have_been() {
    let cluster = cluster();
    let [caller, server, _other] = three_members(&cluster);
    let executed = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let counts = executed.clone();
    let count = move |text: String| {
        *counts.lock().unwrap().entry(text.clone()).or_default() += 1;
        Ok(text)
    };
    let (_serving, begun) = server.group.serve(SERVICE, count).unwrap();
    begun.wait().unwrap();
    know(&caller, 1);
    executed.lock().unwrap().clear();
    let mut answered = 0;
    for round in 0..5 {
        let calls: Vec<_> = (0..40)
            .map(|number| {
                let text = format!("{round} {number}");
                (ask(&caller, &text).send(), text)
            })
            .collect();
        eventually("some calls are executed", || {
            executed.lock().unwrap().keys().any(|text| text.starts_with(&format!("{round} ")))
        });
        cluster.disconnect(&name(&caller.group)).unwrap();
        for (call, text) in calls {
            match call.wait() {
                Ok(answer) => {
                    assert_eq!(answer, text);
                    answered += 1;
                }
                Err(error) => assert!(error.may_have_executed(), "{error}"),
            }
        }
        eventually("the caller is back", || ask(&caller, "back").send().wait().is_ok());
    }
    let mut executed = executed.lock().unwrap().clone();
    executed.remove("back");
    assert!(executed.values().all(|times| *times == 1), "{executed:?}");
    assert!(executed.len() >= answered);
}

#[test]
fn late_answers_are_dropped_and_leave_nothing_behind() {
    let cluster = daemons();
    let [caller, server, _other] = three_members(&cluster);
    let (_serving, release) = serve_silently(&server);
    know(&caller, 1);
    // More than may be under way at a time: those that have ended are forgotten.
    for _ in 0..1100 {
        let late = ask(&caller, "late").within(Duration::ZERO).send().wait();
        assert!(matches!(late, Err(Error::TimedOut)), "{late:?}");
    }
    // Those that wait at the server are answered before this one, for which it has room then.
    drop(release);
    eventually("the server has answered the others", || {
        match ask(&caller, "in time").send().wait() {
            Err(Error::Failed(why)) => why == "released",
            Err(Error::Busy) => false,
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn calls_beyond_the_limit_are_refused_and_the_others_are_answered() {
    let cluster = daemons();
    let [caller, server, _other] = three_members(&cluster);
    let (_serving, release) = serve_silently(&server);
    know(&caller, 1);
    let calls: Vec<_> = (0..1024).map(|_| ask(&caller, "abc").send()).collect();
    let refused = ask(&caller, "abc").send().wait();
    assert!(matches!(refused, Err(Error::Full)), "{refused:?}");
    drop(release);
    for call in calls {
        let answer = call.wait();
        assert!(matches!(&answer, Err(Error::Failed(why)) if why == "released"), "{answer:?}");
    }
    assert!(matches!(ask(&caller, "abc").send().wait(), Err(Error::Failed(_))));
}
