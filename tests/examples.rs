//! The examples as their readers run them: as programs, by themselves and at a
//! daemon, where some of them crash.

#[path = "support/program.rs"]
mod program;
/// What `bench` computes from its measurements, for the unit tests in there.
#[path = "../examples/bench/stats.rs"]
mod stats;
mod support;

use program::Program;
use spread::{Cause, SendOptions, Service};
use support::peer::Peer;
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
fn bench_measures_every_workload() {
    let daemon = daemon();
    let args = ["--count", "200", "--warm-up", "20", "--runs", "2", "--size", "64,3000"];
    let more = ["--groups", "1,3", "--receivers", "2,4", "--window", "20", "--batch", "5"];
    let args = [&args[..], &more].concat();
    let programs = [Program::example("bench", &args), example("bench", &daemon, &args)];
    for program in programs {
        let lines = program.finish();
        for workload in ["flood", "flood to 3 groups", "fanout to 2", "fanout to 4", "pingpong"] {
            for size in ["64", "3000"] {
                let row = lines.iter().find_map(|line| {
                    let mut cells = line.strip_prefix(workload)?.split_whitespace();
                    (cells.next() == Some(size)).then(|| cells.collect::<Vec<_>>())
                });
                let row = row.unwrap_or_else(|| panic!("no {workload} {size} in {lines:#?}"));
                // The daemon's CPU time is there only if its process is known.
                let figures = row.iter().filter(|cell| cell.parse::<f64>().is_ok()).count();
                let expected = if workload.starts_with("fanout") { 3 } else { 6 };
                assert!(figures >= expected, "{row:?}");
            }
        }
    }
}

#[test]
fn bench_shows_how_its_daemon_and_clients_wait() {
    let args = ["flood", "--size", "64", "--count", "200", "--warm-up", "20", "--runs", "1"];
    let args = [&args[..], &["--busy-poll", "50", "--coalesce", "20"]].concat();
    let lines = Program::example("bench", &args).finish();
    let side = "own, unix, busy-poll 50, coalesce 20";
    let is_row = |line: &String| line.starts_with("flood") && line.contains(side);
    assert!(lines.iter().any(is_row), "{lines:#?}");
}

#[test]
fn bench_tells_of_a_run_that_stalls() {
    let peer = Peer::start(Transport::Unix, |_| Ok(()));
    let args = ["--daemon", peer.address(), "flood", "--size", "64", "--deadline", "0.2"];
    let lines = Program::example("bench", &[&args[..], &["--runs", "1"]].concat()).fail();
    for text in ["run 1 of 1: stalled", "bench: 1 of 1 runs stalled or failed"] {
        assert!(lines.iter().any(|line| line.contains(text)), "no {text:?} in {lines:#?}");
    }
}

#[test]
fn a_user_joins_sends_and_quits() {
    let daemon = daemon();
    let (name, group) = (unique("usr"), unique("g"));
    let mut user = Program::example("user", &["-s", daemon.address(), "-u", &name]);
    user.type_line(&format!("j {group}"));
    user.line_with(&[&format!("membership for group {group} with 1 members")]);
    user.type_line(&format!("s {group}"));
    user.type_line("hello");
    user.line_with(&["SAFE message from", &name]);
    user.line_with(&["hello"]);
    user.type_line("q");
    user.finish();
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
