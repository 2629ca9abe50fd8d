//! The examples as their readers run them: as programs, by themselves and at a
//! daemon, where some of them crash.

mod support;

use spread::{Cause, SendOptions, Service};
use support::place::Place;
use support::program::Program;
use support::{Expect, TestDaemon, Transport, unique};

/// Starts an example at the test's daemon.
fn example(name: &str, daemon: &TestDaemon, args: &[&str]) -> Program {
    Program::example(name, &[&["--daemon", daemon.address()], args].concat())
}

fn daemon() -> TestDaemon {
    TestDaemon::start(Transport::Tcp)
}

#[test]
fn each_example_shows_something_by_itself() {
    let examples = [
        ("echo_peer", "client: update 5 is acknowledged"),
        ("leader", "cid: crashes"),
        ("mio_poll", "right hears \"bye\" from #left#"),
        ("multicast_ack", "message 2 is acknowledged by 2 of 3, #"),
        ("state_transfer", "has: Once upon a time there was a member that joined late and missed"),
        ("threads", "the listener has received 400 messages"),
        ("tokio_chat", "#alice#localhost joined, 1 here"),
        ("view_synchrony", "Flush Spread: 120 pages of 120 are done"),
        ("tour", "== Bob is the last one, and goes"),
    ];
    let programs = examples.map(|(name, text)| (Program::example(name, &[]), text));
    for (program, text) in programs {
        let lines = program.finish();
        assert!(lines.iter().any(|line| line.contains(text)), "no {text:?} in {lines:#?}");
    }
}

#[test]
fn the_tour_goes_to_any_daemon() {
    let daemon = daemon();
    let lines = example("tour", &daemon, &[]).finish();
    let last = lines.iter().rev().find(|line| line.contains("disconnected"));
    assert!(last.is_some_and(|line| line.contains("bob   hears: chat: #alice#")), "{lines:#?}");
}

#[test]
fn only_with_view_synchrony_a_job_is_done_once() {
    let daemon = daemon();
    let lines = example("view_synchrony", &daemon, &["--group", &unique("g")]).finish();
    for line in
        ["plain Spread: 240 pages of 120 are done", "Flush Spread: 120 pages of 120 are done"]
    {
        assert!(lines.iter().any(|other| other == line), "no {line:?} in {lines:#?}");
    }
}

#[test]
fn flooders_flood_alone_and_together() {
    let daemon = daemon();
    let names = ["fla", "flb"].map(unique);
    let args = |name| ["-s", daemon.address(), "-u", name, "-m", "500", "-b", "100"];
    let lines = Program::example("flooder", &args(&names[0])).finish();
    assert!(lines.iter().any(|line| line.contains("completed 500 messages, 100 bytes each")));

    let together = names
        .each_ref()
        .map(|name| Program::example("flooder", &[&args(name)[..], &["-n", "2"]].concat()));
    for flooder in together {
        let lines = flooder.finish();
        assert!(lines.iter().any(|line| line.contains("completed 500 messages")), "{lines:#?}");
    }
}

#[test]
fn both_mailboxes_of_mio_poll_hear_the_same() {
    let daemon = daemon();
    let (names, group) = (["le", "ri"].map(unique), unique("g"));
    let args = ["--group", &group, "--names", &names[0], &names[1]];
    let mut program = example("mio_poll", &daemon, &args);
    program.type_line("first");
    // Which of the two hears it before the other is the loop's affair.
    let first = format!("hears \"first\" from #{}#", names[0]);
    let mut heard = names.each_ref().map(|_| program.line_with(&[&first]));
    heard.sort();
    assert!(names.iter().zip(&heard).all(|(name, line)| line.starts_with(name)), "{heard:#?}");
    for number in 0..50 {
        program.type_line(&format!("line {number}"));
    }
    let lines = program.finish();
    let [left, right] = names.each_ref().map(|name| {
        let heard = |line: &String| Some(line.strip_prefix(&format!("{name} hears "))?.to_owned());
        lines.iter().filter_map(heard).collect::<Vec<_>>()
    });
    assert_eq!(left.len(), 52);
    assert_eq!(left, right);
}

#[test]
fn a_chat_goes_to_all_who_are_there() {
    let daemon = daemon();
    let (alice, bob, group) = (unique("ali"), unique("bob"), unique("g"));
    let chat = |name| example("tokio_chat", &daemon, &["--group", &group, "--name", name]);
    let mut first = chat(&alice);
    first.line_with(&["joined, 1 here"]);
    let mut second = chat(&bob);
    first.line_with(&["joined, 2 here"]);
    first.type_line("hello");
    second.line_with(&[&format!("{alice}: hello")]);
    second.type_line("hi");
    second.type_line("and bye");
    let last = second.finish();
    assert_eq!(last.last(), Some(&format!("{bob}: and bye")));
    first.line_with(&[&format!("{bob}: and bye")]);
    first.line_with(&[bob.as_str(), "left, 1 here"]);
    first.finish();
}

#[test]
fn a_chat_ends_with_its_daemon() {
    let daemon = TestDaemon::embedded(Transport::Tcp);
    let mut chat = example("tokio_chat", &daemon, &[]);
    chat.line_with(&["joined, 1 here"]);
    drop(daemon);
    let last = chat.fail();
    assert!(last.iter().any(|line| line.contains("ConnectionClosed")), "{last:?}");
}

#[test]
fn a_chat_over_a_session_survives_its_daemon() {
    let (place, embedded) = Place::start(Transport::Tcp);
    let mut chat = Program::example("session_chat", &["--daemon", &place.address]);
    chat.line_with(&["Joined", "#alice#localhost"]);
    embedded.stop();
    chat.line_with(&["* alone: "]);
    chat.type_line("anyone?");
    chat.line_with(&["* not sent: "]);
    let _daemon = place.start_again();
    chat.line_with(&["* back as #alice#localhost"]);
    chat.type_line("hello");
    chat.line_with(&["#alice#localhost: hello"]);
    chat.type_line("and bye");
    chat.finish();
}

#[test]
fn ctrl_c_ends_a_chat_over_a_session() {
    let daemon = daemon();
    let (name, group) = (unique("ali"), unique("g"));
    let mut watcher = daemon.connect("wat");
    watcher.join(&group).unwrap();
    let mut chat = example("session_chat", &daemon, &["--group", &group, "--name", &name]);
    chat.line_with(&["Joined"]);
    let joined = watcher.view_of(&group, 2);
    chat.interrupt();
    let left = watcher.view_of(&group, 1);
    assert!(matches!((joined.cause, left.cause), (Cause::Joined(_), Cause::Disconnected(_))));
    chat.succeed();
}

#[test]
fn many_threads_share_a_connection() {
    let daemon = daemon();
    let group = unique("g");
    let args = ["--group", &group, "--threads", "7", "--messages", "90"];
    let lines = example("threads", &daemon, &args).finish();
    for text in ["listener has received 630 messages", "watcher is interrupted after"] {
        assert!(lines.iter().any(|line| line.contains(text)), "no {text:?} in {lines:#?}");
    }
}

#[test]
fn the_next_member_leads_after_the_leader_crashes() {
    let daemon = daemon();
    let (names, group) = (["a", "b", "c"].map(unique), unique("g"));
    let [a, b, c] = names.each_ref();
    let member = |name| {
        let args = ["--group", &group, "--name", name, "--tasks", "1000000", "--every", "5"];
        example("leader", &daemon, &args)
    };
    // The others come when it leads: neither has handed out a task before.
    let mut leader = member(a);
    leader.line_with(&["leads"]);
    let (mut second, mut third) = (member(b), member(c));
    for member in [&mut leader, &mut second, &mut third] {
        member.line_with(&[&format!("#{a}#"), &format!("leads {a} {b} {c}")]);
    }
    for _ in 0..3 {
        leader.line_with(&["task", &format!("of #{a}#"), "done"]);
    }
    leader.kill();

    // From the view of all three on, the others have the same to tell.
    let told = [(&mut second, b), (&mut third, c)].map(|(member, name)| {
        let mut told = Vec::new();
        let mut left = None;
        while left != Some(0) {
            let line = member.next_line();
            let line = line.strip_prefix(&format!("{name}: ")).unwrap_or(&line).to_owned();
            left = match left {
                None => line.ends_with(&format!("leads {b} {c}")).then_some(5),
                Some(left) => Some(left - 1),
            };
            told.push(line);
        }
        told
    });
    assert_eq!(told[0], told[1]);
    let change = told[0].len() - 6;
    let of_leader = |name: &str, line: &String| {
        line.starts_with("task ")
            && line.contains(&format!(" of #{name}#"))
            && line.ends_with("done")
    };
    assert!(told[0][..change].iter().all(|line| of_leader(a, line)), "{told:#?}");
    assert!(told[0][change].starts_with(&format!("#{a}#")), "{told:#?}");
    assert!(told[0][change + 1..].iter().all(|line| of_leader(b, line)), "{told:#?}");

    second.kill();
    third.line_with(&[&format!("#{c}#"), &format!("leads {c}")]);
    third.line_with(&["task 1", &format!("of #{c}#"), "done"]);
}

#[test]
fn who_joins_gets_the_state_at_its_place_in_the_order() {
    let daemon = daemon();
    let (ann, bob, group) = (unique("ann"), unique("bob"), unique("g"));
    let member = |name| example("state_transfer", &daemon, &["--group", &group, "--name", name]);
    let words = |range: std::ops::Range<u32>| range.map(|n| format!("w{n}")).collect::<Vec<_>>();
    let after = |line: &str, mark: &str| line.split_once(mark).expect(mark).1.to_owned();

    let mut first = member(&ann);
    first.line_with(&["gets the story"]);
    words(0..200).iter().for_each(|word| first.type_line(word));
    let mut second = member(&bob);
    // The join comes somewhere among these.
    words(200..400).iter().for_each(|word| first.type_line(word));
    let sent = first.line_with(&[&format!("sends #{bob}#")]);
    let sent = after(&sent, "the story:");
    let got = second.line_with(&[&format!("gets the story from #{ann}#")]);
    assert_eq!(after(&got, ":"), sent);
    let kept = after(&second.next_line(), "has kept:");
    words(400..600).iter().for_each(|word| first.type_line(word));
    second.type_line("and of the second");
    first.type_line("end.");

    let [story, same] = [first, second].map(|member| {
        let lines = member.finish();
        after(lines.last().expect("the story"), "has:")
    });
    assert_eq!(story, same);
    let expected = [&sent[..], kept.trim_end()].concat();
    assert!(story.starts_with(&expected), "{story}: not {expected}");
    let from_first: Vec<_> =
        story.split_whitespace().filter(|word| word.starts_with('w')).collect();
    assert_eq!(from_first, words(0..600));
}

#[test]
fn words_that_come_before_the_state_are_kept() {
    let daemon = daemon();
    let (bob, group) = (unique("bob"), unique("g"));
    let [word, story] = [1, 2].map(|number| SendOptions::new(Service::Agreed).message_type(number));
    // This member is slow to send the story.
    let mut old = daemon.connect("old");
    old.join(&group).unwrap();
    old.view_of(&group, 1);
    let mut new = example("state_transfer", &daemon, &["--group", &group, "--name", &bob]);
    let Cause::Joined(newcomer) = old.view_of(&group, 2).cause else { panic!("no join") };
    for text in ["a", "member"] {
        old.multicast(word, &group, text).unwrap();
    }
    old.multicast(story, newcomer, " There was").unwrap();
    new.line_with(&["gets the story", ": There was"]);
    assert!(new.next_line().ends_with("has kept: a member"));
    // Of another member, and late.
    old.multicast(story, newcomer, " There was").unwrap();
    old.multicast(word, &group, "that came.").unwrap();
    let last = new.finish();
    assert!(last[0].ends_with("has: There was a member that came."), "{last:#?}");
}

#[test]
fn a_server_acknowledges_the_updates_of_each_client() {
    let daemon = daemon();
    let group = unique("g");
    let mut server = example("echo_peer", &daemon, &["--group", &group, "--serve"]);
    server.line_with(&["server:", "joined"]);
    let args = ["--group", &group, "--updates", "20"];
    let clients = [(); 2].map(|()| example("echo_peer", &daemon, &args));
    for client in clients {
        let lines = client.finish();
        let acknowledged = |n| format!("client: update {n} is acknowledged by #");
        assert!((1..=20).zip(&lines).all(|(n, line)| line.starts_with(&acknowledged(n))));
        assert_eq!(lines.len(), 20, "{lines:#?}");
    }
    for _ in 0..40 {
        server.line_with(&["server: update", "from #"]);
    }
    server.kill();
}

#[test]
fn a_sender_counts_acknowledgements_and_does_not_wait_for_one_who_is_gone() {
    let daemon = daemon();
    let group = unique("g");
    let members =
        [(); 2].map(|()| example("multicast_ack", &daemon, &["--group", &group, "--member"]));
    let mut silent = daemon.connect("sil");
    silent.join(&group).unwrap();
    silent.view_of(&group, 3);
    let args = ["--group", &group, "--members", "3", "--messages", "2"];
    let mut sender = example("multicast_ack", &daemon, &args);
    silent.view_of(&group, 4);
    assert_eq!(silent.next_regular().payload(), b"message 1");
    let name = silent.private_group().to_string();
    silent.kill();

    let line = sender.next_line();
    assert_eq!(line, format!("sender: message 1 is acknowledged by 2 of 3, {name} is gone"));
    assert_eq!(sender.next_line(), "sender: message 2 is acknowledged by 2 of 2");
    sender.finish();
    for member in members {
        let lines = member.finish();
        assert!(lines[0].ends_with("acknowledges message 1"), "{lines:#?}");
        assert!(lines[2].ends_with("ends with its sender"), "{lines:#?}");
    }
}
