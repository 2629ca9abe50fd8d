//! `pub`.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::Signal;
use spread::{Message, Service};
use spread_daemon::{Access, AccessPolicy, ClientInfo, Daemon, Name, Sending};

use crate::support::{
    Place, Program, command, payload, receive, run, run_with, unique, view, with_input,
};

#[test]
fn a_text_goes_to_groups_and_clients() {
    let place = Place::start();
    let (first, second) = (unique("a"), unique("b"));
    let mut members = [place.member(&first), place.member(&second), place.connect()];
    let client = members[2].private_group().to_string();
    let args = ["pub", "--service", "safe", "--type", "-3", &first, &second, &client, "it rains"];
    assert_eq!(place.run(&args).succeeds(), "");
    for member in &mut members {
        let Message::Regular(message) = receive(member) else { panic!("no message") };
        assert_eq!((message.service(), message.message_type()), (Service::Safe, -3));
        assert_eq!((message.payload(), message.groups().len()), (&b"it rains"[..], 3));
    }
}

#[test]
fn lines_of_the_input_are_messages() {
    let place = Place::start();
    let group = unique("g");
    let mut member = place.member(&group);
    for args in [&["pub", &group][..], &["pub", &group, "-"]] {
        let ended = run_with(with_input(place.command(args)), b"one\n\nthree\xff\nlast");
        ended.succeeds();
        let came: Vec<_> = (0..4).map(|_| payload(&mut member)).collect();
        assert_eq!(came, [&b"one"[..], b"", b"three\xff", b"last"]);
    }
}

#[test]
fn a_line_is_sent_before_the_next_one_comes() {
    let place = Place::start();
    let group = unique("g");
    let mut member = place.member(&group);
    let mut publisher = Program::start(with_input(place.command(&["pub", &group])));
    for line in ["first", "second"] {
        publisher.write(format!("{line}\n").as_bytes());
        assert_eq!(payload(&mut member), line.as_bytes());
    }
    publisher.end().succeeds();
}

/// Returns a command with a terminal as its input, and the side at which one types.
fn at_terminal(mut command: Command) -> (Command, File) {
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    command.stdin(slave);
    (command, master.into())
}

#[test]
fn at_a_terminal_it_says_that_it_reads_lines_and_how_to_end() {
    let place = Place::start();
    let group = unique("g");
    let mut member = place.member(&group);
    for (args, text) in [
        (&["pub", &group][..], "reading messages, one a line, from the terminal; ctrl-d ends it"),
        (&["pub", "--whole", &group, "-"], "reading one message from the terminal; ctrl-d ends it"),
    ] {
        let (command, mut terminal) = at_terminal(place.command(args));
        let mut publisher = Program::start(command);
        publisher.error_with(&[text]);
        terminal.write_all(b"typed\n\x04").unwrap();
        assert_eq!(payload(&mut member).trim_ascii_end(), b"typed");
        publisher.end().succeeds();
    }
    // Without a server of the service it fails, but first it asks for the question.
    let (command, mut terminal) = at_terminal(place.command(&["request", &group, "upper"]));
    let mut request = Program::start(command);
    request.error_with(&["reading the question from the terminal; ctrl-d ends it"]);
    terminal.write_all(b"?\n\x04").unwrap();
    request.end().fails(4, &["spreadctl serve"]);
    assert_eq!(run_with(with_input(place.command(&["pub", &group])), b"x").err, "");
}

#[test]
fn the_whole_input_and_a_file_are_one_message() {
    let place = Place::start();
    let group = unique("g");
    let mut member = place.member(&group);
    let text = b"one\ntwo\n\0\xfe";
    run_with(with_input(place.command(&["pub", "--whole", &group])), text).succeeds();
    assert_eq!(payload(&mut member), text);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, text).unwrap();
    let argument = format!("@{}", file.path().display());
    place.run(&["pub", &group, &argument]).succeeds();
    assert_eq!(payload(&mut member), text);
    place.run(&["pub", "--lines", &group, &argument]).succeeds();
    assert_eq!([payload(&mut member), payload(&mut member)], [b"one", b"two"]);
    assert_eq!(payload(&mut member), b"\0\xfe");
    place.run(&["pub", &group, "@@home"]).succeeds();
    assert_eq!(payload(&mut member), b"@home");
    place.run(&["pub", &group, ""]).succeeds();
    assert_eq!(payload(&mut member), b"");
}

#[test]
fn a_message_is_repeated_at_a_rate() {
    let place = Place::start();
    let group = unique("g");
    let mut member = place.member(&group);
    let begin = Instant::now();
    place.run(&["pub", "--count", "11", "--rate", "100", &group, "tick"]).succeeds();
    assert!(begin.elapsed() >= Duration::from_millis(100), "ten waits of 10 ms");
    (0..11).for_each(|_| assert_eq!(payload(&mut member), b"tick"));
}

#[test]
fn ten_thousand_messages_all_arrive() {
    let place = Place::start();
    let group = unique("g");
    let mut other = place.member(&group);
    let sub = place.start_program(&["sub", "--raw", "--count", "10000", &group]);
    assert_eq!(view(&mut other).members.len(), 2);
    // The daemon keeps a thousand messages for a member that does not read.
    other.disconnect().unwrap();
    place.run(&["pub", "--count", "10000", &group, "x"]).succeeds();
    assert!(sub.end().succeeds() == "x\n".repeat(10_000));
}

#[test]
fn ctrl_c_ends_it_while_it_waits_for_a_line_and_between_messages() {
    let place = Place::start();
    let group = unique("g");
    let mut member = place.member(&group);
    let mut waiting = Program::start(with_input(place.command(&["pub", &group])));
    waiting.write(b"sent\n");
    assert_eq!(payload(&mut member), b"sent");
    waiting.signal(Signal::SIGINT);
    assert_eq!(waiting.wait().code(), Some(130));

    let args = ["pub", "--count", "1000000", "--rate", "1", &group, "x"];
    let slow = place.start_program(&args);
    assert_eq!(payload(&mut member), b"x");
    slow.signal(Signal::SIGTERM);
    assert_eq!(slow.end().code, Some(143));
}

/// Refuses messages to a group and to clients, and joins of another group.
#[derive(Debug)]
struct NoNews;

impl AccessPolicy for NoNews {
    fn multicast(&self, _: &ClientInfo, message: &Sending<'_>) -> Access {
        let mut groups = message.groups.iter();
        if groups.any(|group| group == "news") { Access::Refused } else { Access::Allowed }
    }

    fn private_send(&self, _: &ClientInfo, _: &Sending<'_>) -> Access {
        Access::Refused
    }

    fn join(&self, _: &ClientInfo, group: Name) -> Access {
        if group == "secret" { Access::Refused } else { Access::Allowed }
    }
}

#[test]
fn what_the_daemon_refuses_is_told() {
    let daemon = Daemon::builder().access_policy(NoNews).start().unwrap();
    let at = |args: &[&str]| {
        let mut command = command(args);
        command.args(["--daemon", &daemon.address()]);
        run(command)
    };
    at(&["pub", "--count", "3", "news", "x"]).fails(1, &["the daemon refused 3 messages", "hint"]);
    at(&["pub", "other", "x"]).succeeds();
    at(&["sub", "secret"]).fails(1, &["does not let this client join secret"]);
    at(&["members", "secret"]).fails(1, &["does not let this client join secret"]);
}
