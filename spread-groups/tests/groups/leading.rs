use spread::Mailbox;
use spread_groups::{Error, Item, Node, Pending};

use crate::support::*;

fn a_joiner_changes_no_leader_whatever_its_name() {
    let cluster = cluster();
    let first = member(&cluster, "d3");
    first.group.ready().wait().unwrap();
    let builder = Mailbox::builder(cluster.address("d1").unwrap()).private_name("aaa");
    let second = join(Node::connect(builder).unwrap(), "plant", |plant| plant);
    second.group.ready().wait().unwrap();
    second.vote();
    for group in [&first.group, &second.group] {
        group.wait_for_members(2, LONG).unwrap();
        let leader = group.leadership().current().unwrap();
        assert_eq!(leader.incarnation, first.group.incarnation());
    }
}

fn the_next_by_seniority_succeeds_a_leader_that_is_killed() {
    let cluster = cluster();
    let [_first, second, third] = members_at(&cluster, ["d3", "d2", "d1"]);
    let leaders = [&second, &third].map(|member| member.group.leadership().current());
    cluster.crash("d3").unwrap();
    for (member, former) in [&second, &third].into_iter().zip(leaders) {
        let change = member.group.leadership().wait_for_change(former.as_ref(), LONG);
        let leader = change.unwrap().unwrap();
        assert_eq!(leader.incarnation, second.group.incarnation());
    }
}

#[test]
fn each_side_of_a_partition_has_a_leader_and_the_merge_leaves_one() {
    let cluster = cluster();
    let members = ["d1", "d2", "d3"].map(|daemon| {
        let member = member(&cluster, daemon);
        member.group.ready().wait().unwrap();
        member
    });
    let [one, two, lone] = &members;
    for member in &members {
        member.group.wait_for_members(3, LONG).unwrap();
    }
    let first = lone.group.leadership().current();
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    let own = lone.group.leadership().wait_for_change(first.as_ref(), LONG).unwrap().unwrap();
    assert_eq!(own.incarnation, lone.group.incarnation());
    // Otherwise the history of the lone one would only be the longer one.
    eventually("the other side has formed", || one.group.members().len() == 2);
    cluster.merge().unwrap();
    let leader = lone.group.leadership().wait_for_change(Some(&own), LONG).unwrap().unwrap();
    assert_eq!(leader.incarnation, one.group.incarnation());
    assert_eq!(two.group.leadership().current().unwrap().incarnation, leader.incarnation);
}

fn orders(member: &Participant) -> spread_groups::LeaderTopic<String> {
    member.group.leader_topic("orders")
}

fn text(item: Option<Item<String>>) -> String {
    match item {
        Some(Item::Message(text, _)) => text,
        Some(Item::Gap(_)) => String::from("gap"),
        other => panic!("{other:?}"),
    }
}

/// Serves as leader under the member's name.
fn serve(member: &Participant) -> spread_groups::LeaderServing {
    let own = member.group.incarnation().to_string();
    let answer = move |question: String| match &*question {
        "fail" => Err(String::from("as it was told to")),
        "panic" => panic!("as it was told to"),
        _ => Ok(own.clone()),
    };
    member.group.serve_as_leader("who", answer).unwrap()
}

fn ask(member: &Participant, question: &str) -> Pending<String> {
    member.group.to_leader("who", &question.to_owned())
}

fn the_late_message_of_a_deposed_leader_is_ignored_everywhere() {
    let cluster = cluster();
    let [former, one, other] = three_members(&cluster);
    let mut subscriptions = [&one, &other].map(|member| orders(member).subscribe());
    let term = former.group.leadership().term().wait().unwrap();
    orders(&former).publish(&term, &String::from("first")).wait().unwrap();
    let next = one.group.leadership().term();
    cluster.disconnect(&name(&former.group)).unwrap();
    eventually("the term is revoked", || term.is_revoked());
    let late = orders(&former).publish(&term, &String::from("late")).wait();
    assert!(matches!(late, Err(Error::Deposed)), "{late:?}");
    let next = next.wait().unwrap();
    orders(&one).publish(&next, &String::from("second")).wait().unwrap();
    for subscription in &mut subscriptions {
        assert_eq!([(); 2].map(|()| text(subscription.next())), ["first", "second"]);
    }
}

#[test]
fn a_merge_deposes_the_leader_of_the_smaller_side() {
    let cluster = cluster();
    let [one, two, lone] = three_members(&cluster);
    let kept = one.group.leadership().term().wait().unwrap();
    let own = lone.group.leadership().term();
    let mut subscriptions = [&one, &two].map(|member| orders(member).subscribe());
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    let own = own.wait().unwrap();
    let revoked = own.revoked();
    eventually("the other side has formed", || two.group.members().len() == 2);
    orders(&lone).publish(&own, &String::from("alone")).wait().unwrap();
    assert!(!own.is_revoked() && !kept.is_revoked());
    cluster.merge().unwrap();
    revoked.wait().unwrap();
    let late = orders(&lone).publish(&own, &String::from("late")).wait();
    assert!(matches!(late, Err(Error::Deposed)), "{late:?}");
    assert!(!kept.is_revoked());
    orders(&one).publish(&kept, &String::from("kept")).wait().unwrap();
    for subscription in &mut subscriptions {
        assert_eq!(text(subscription.next()), "kept", "its own message is ignored, too");
    }
}

fn the_leader_at_its_place_answers_a_question() {
    let cluster = daemons();
    let [leader, next, asks] = three_members(&cluster);
    let _serving = [serve(&leader), serve(&next)];
    let own = |member: &Participant| member.group.incarnation().to_string();
    for member in [&leader, &asks] {
        assert_eq!(ask(member, "").wait().unwrap(), own(&leader));
    }
    for (question, reason) in
        [("fail", "as it was told to"), ("panic", "panicked: as it was told to")]
    {
        let error = ask(&asks, question).wait().unwrap_err();
        assert!(matches!(&error, Error::Failed(why) if why == reason), "{error}");
    }
    let unknown = asks.group.to_leader::<String, String>("what", &String::new()).wait();
    let names_it = |what: &str| what.contains("the leader does not serve \"what\"");
    let is_told = matches!(&unknown, Err(Error::NoResponders { what }) if names_it(what));
    assert!(is_told, "{unknown:?}");
    let large = "x".repeat((1 << 20) + 1);
    let error = ask(&asks, &large).wait().unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    drop(leader);
    next.group.wait_for_members(2, LONG).unwrap();
    next.group.leadership().term().wait().unwrap();
    assert_eq!(ask(&asks, "").wait().unwrap(), own(&next));
}

fn a_question_ends_when_the_leader_crashes_or_the_connection_is_lost() {
    let cluster = cluster();
    let [leader, other, asks] = three_members(&cluster);
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (begun, begins) = std::sync::mpsc::channel();
    let _serving = leader.group.serve_as_leader("who", move |_: String| -> Result<String, _> {
        begun.send(()).map_err(|error| error.to_string())?;
        held.recv().map_err(|_| String::from("released"))?;
        Ok(String::new())
    });
    let gone = ask(&other, "");
    begins.recv().unwrap();
    let cut = ask(&asks, "");
    executed(&asks);
    cluster.disconnect(&name(&asks.group)).unwrap();
    let error = cut.wait().unwrap_err();
    assert!(matches!(error, Error::Disconnected), "{error}");
    cluster.disconnect(&name(&leader.group)).unwrap();
    let error = gone.wait().unwrap_err();
    assert!(matches!(error, Error::LeaderGone), "{error}");
    assert!(error.may_have_executed());
    drop(release);
}

fn each_of_many_questions_is_answered_or_ends_with_the_leader_that_is_killed() {
    let cluster = cluster();
    let [leader, next, asks] = three_members(&cluster);
    let _serving = [serve(&leader), serve(&next)];
    let own = |member: &Participant| member.group.incarnation().to_string();
    let killed = name(&leader.group);
    let pending: Vec<_> = (0..400)
        .map(|number| {
            if number == 200 {
                cluster.disconnect(&killed).unwrap();
            }
            ask([&next, &asks][number % 2], "")
        })
        .collect();
    let mut by_next = 0;
    for pending in pending {
        match pending.wait() {
            Ok(answer) if answer == own(&next) => by_next += 1,
            Ok(answer) => assert_eq!(answer, own(&leader)),
            Err(error) => assert!(matches!(error, Error::LeaderGone), "{error}"),
        }
    }
    assert!(by_next >= 200, "{by_next} of those that came after");
}

#[test]
fn a_question_of_the_smaller_side_is_answered_by_the_leader_that_remains() {
    let cluster = cluster();
    let [one, two, lone] = three_members(&cluster);
    let _serving = serve(&one);
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (begun, begins) = std::sync::mpsc::channel();
    let _held = lone.group.serve_as_leader("who", move |_: String| -> Result<String, _> {
        begun.send(()).map_err(|error| error.to_string())?;
        held.recv().map_err(|_| String::from("released"))?;
        Ok(String::new())
    });
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    eventually("the sides have formed", || {
        two.group.members().len() == 2 && lone.group.members().len() == 1
    });
    let asked = ask(&lone, "");
    begins.recv().unwrap();
    cluster.merge().unwrap();
    assert_eq!(asked.wait().unwrap(), one.group.incarnation().to_string());
    drop(release);
}

fn work_is_done_while_leading_and_dropped_when_deposed() {
    let cluster = cluster();
    let [leader, next, _other] = three_members(&cluster);
    let leads = |member: &Participant| member.group.leadership();
    assert!(!leads(&leader).while_leading_blocking(|term| term.is_revoked()).unwrap());
    assert_eq!(block_on(leads(&leader).while_leading(async |_| 7)).unwrap(), 7);
    struct Dropped(std::sync::mpsc::Sender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
        }
    }
    let (dropped, is_dropped) = std::sync::mpsc::channel();
    let (begun, begins) = std::sync::mpsc::channel();
    let (ended, leadership) = (Dropped(dropped), leads(&leader));
    let thread = std::thread::spawn(move || {
        block_on(leadership.while_leading(async move |_| {
            let _ended = ended;
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
        }))
    });
    begins.recv().unwrap();
    let waits = leads(&next);
    let waits = std::thread::spawn(move || waits.while_leading_blocking(|_| "the next one leads"));
    cluster.disconnect(&name(&leader.group)).unwrap();
    is_dropped.recv_timeout(LONG).unwrap();
    assert!(matches!(thread.join().unwrap(), Err(Error::Deposed)));
    assert_eq!(waits.join().unwrap().unwrap(), "the next one leads");
    let never = leads(&leader).term();
    leader.group.leave();
    assert!(matches!(never.wait(), Err(Error::Closed { .. })));
}

in_both_kinds_of_groups! {
    a_joiner_changes_no_leader_whatever_its_name,
    the_next_by_seniority_succeeds_a_leader_that_is_killed,
    the_late_message_of_a_deposed_leader_is_ignored_everywhere,
    the_leader_at_its_place_answers_a_question,
    a_question_ends_when_the_leader_crashes_or_the_connection_is_lost,
    each_of_many_questions_is_answered_or_ends_with_the_leader_that_is_killed,
    work_is_done_while_leading_and_dropped_when_deposed,
}
