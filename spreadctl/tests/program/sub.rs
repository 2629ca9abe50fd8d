//! `sub` and `members`.

use std::fs::File;
use std::process::Stdio;

use nix::sys::signal::Signal;
use spread::{Cause, Service};
use spread_daemon::Daemon;

use crate::support::{Place, Program, command, unique, view};

#[test]
fn messages_and_views_are_printed_as_they_come() {
    let place = Place::start();
    let group = unique("g");
    let mut sub = place.start_program(&["sub", &group]);
    sub.line_with(&["joined; 1 member"]);
    let other = place.member(&group);
    let me = other.private_group().to_string();
    sub.line_with(&[&format!("[{group}] * {me} joined; 2 members: "), &me]);
    other.multicast(Service::Agreed, &group, "hello").unwrap();
    assert_eq!(sub.line_with(&["hello"]), format!("[{group}] {me}: hello"));
    other.multicast(Service::Safe, &group, b"\x1b[2J\xff\n").unwrap();
    let escaped = sub.line_with(&["safe"]);
    assert_eq!(escaped, format!("[{group}] {me} (safe): \\u{{1b}}[2J\\xff\\n"));
    other.disconnect().unwrap();
    sub.line_with(&[&format!("[{group}] * {me} disconnected; 1 member: ")]);
}

#[test]
fn json_has_stable_fields() {
    let place = Place::start();
    let group = unique("g");
    let mut sub = place.start_program(&["sub", "--json", "--count", "2", &group]);
    let first = sub.event("view");
    assert_eq!((&first["cause"], &first["group"]), (&"join".into(), &group.as_str().into()));
    assert_eq!(first["members"][0], first["me"]);
    let other = place.connect();
    let sender = other.private_group().to_string();
    let options = spread::SendOptions::new(Service::Fifo).message_type(-7);
    other.multicast(options, &group, "hello\n").unwrap();
    let message = sub.event("message");
    assert_eq!(message["sender"], sender);
    assert_eq!(message["groups"], serde_json::json!([group]));
    assert_eq!((&message["service"], &message["type"]), (&"fifo".into(), &(-7).into()));
    assert_eq!((&message["text"], &message["bytes"]), (&"hello\n".into(), &6.into()));
    assert!(message["time"].as_str().unwrap().ends_with('Z') && message.get("base64").is_none());
    other.multicast(Service::Fifo, &group, b"\xff\0").unwrap();
    let message = sub.event("message");
    assert_eq!((&message["base64"], message.get("text")), (&"/wA=".into(), None));
    assert_eq!(sub.end().code, Some(0), "it ends after so many messages");
}

#[test]
fn raw_payloads_are_printed_as_they_are() {
    let place = Place::start();
    let group = unique("g");
    let ready = |program: &str| {
        // Its join is seen by others.
        let mut other = place.member(&group);
        let mut args = vec!["sub", "--raw", "--count", "2"];
        args.extend([program, &group].iter().filter(|arg| !arg.is_empty()));
        let sub = place.start_program(&args);
        assert!(matches!(view(&mut other).cause, Cause::Joined(_)));
        (sub, other)
    };
    for (option, expected) in [("", "a\nb\n\n"), ("--no-newline", "ab\n")] {
        let (sub, other) = ready(option);
        other.multicast(Service::Agreed, &group, "a").unwrap();
        other.multicast(Service::Agreed, &group, "b\n").unwrap();
        assert_eq!(sub.end().succeeds(), expected);
    }
}

#[test]
fn times_and_colours_are_there_when_they_are_wanted() {
    let place = Place::start();
    let group = unique("g");
    let mut sub = place.start_program(&["sub", "-t", "--color", "always", &group]);
    let line = sub.line_with(&["joined"]);
    assert!(line.contains("\x1b[") && line.contains("Z\x1b[0m "), "{line:?}");
    let mut sub = place.start_program(&["sub", "-t", &group]);
    let line = sub.line_with(&["joined"]);
    assert!(!line.contains('\x1b') && line.as_bytes()[10] == b'T', "{line:?}");
}

#[test]
fn no_views_are_no_views() {
    let place = Place::start();
    let group = unique("g");
    let mut other = place.member(&group);
    let sub = place.start_program(&["sub", "--no-views", "--count", "1", &group]);
    view(&mut other);
    other.multicast(Service::Agreed, &group, "only").unwrap();
    let out = sub.end().succeeds();
    assert_eq!(out.lines().count(), 1, "{out}");
}

#[test]
fn a_signal_ends_it_with_its_code_and_the_group_is_left() {
    let place = Place::start();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let group = unique("g");
        let mut other = place.member(&group);
        let mut sub = place.start_program(&["sub", &group]);
        sub.line_with(&["joined"]);
        view(&mut other);
        sub.signal(signal);
        let ended = sub.end();
        assert_eq!((ended.code, &*ended.err), (Some(code), ""));
        assert_eq!(view(&mut other).members.len(), 1);
    }
}

#[test]
fn a_pipe_that_is_closed_ends_it_quietly_though_nothing_comes() {
    let place = Place::start();
    let group = unique("g");
    let mut sub = place.command(&["sub", &group]);
    let mut head = std::process::Command::new("head");
    let mut sub = sub.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    head.args(["-n", "1"]).stdin(sub.stdout.take().unwrap());
    let line = crate::support::run({
        head.stdout(Stdio::piped());
        head
    });
    assert!(line.succeeds().contains("joined"));
    crate::support::until("it does not end", || sub.try_wait().unwrap().is_some());
    let ended = crate::support::Ended::from(sub.wait_with_output().unwrap());
    assert_eq!((ended.code, &*ended.err), (Some(0), ""));
}

#[test]
fn a_full_disk_is_told() {
    let place = Place::start();
    let mut sub = place.command(&["sub", &unique("g")]);
    sub.stdout(File::options().write(true).open("/dev/full").unwrap());
    let output = sub.stderr(Stdio::piped()).output().unwrap();
    let ended = crate::support::Ended::from(output);
    ended.fails(1, &["cannot write the output: No space left on device", "hint: free space"]);
}

#[test]
fn a_time_that_is_over_ends_it() {
    let place = Place::start();
    let group = unique("g");
    place.run(&["sub", "--for", "50ms", &group]).succeeds();
    let ended = place.run(&["sub", "--for", "50ms", "--count", "3", &group]);
    ended.fails(4, &["0 of 3 messages came in time"]);
}

#[test]
fn it_comes_back_with_its_daemon() {
    let daemon = Daemon::builder().start().unwrap();
    let (port, address) = (daemon.socket_addr().port(), daemon.address());
    let at = |args: &[&str]| {
        let mut command = command(args);
        command.args(["--daemon", &address]);
        command
    };
    let mut sub = Program::start(at(&["sub", "--json", "news"]));
    let mut people = Program::start(at(&["sub", "news"]));
    let mut frail = Program::start(at(&["sub", "--no-reconnect", "other"]));
    frail.line_with(&["joined"]);
    sub.event("view");
    people.line_with(&["2 members"]);
    daemon.stop();
    assert!(sub.event("lost")["error"].as_str().unwrap().contains("closed"));
    people.error_with(&["* the connection is lost"]);
    frail.end().fails(1, &["closed"]);
    let _daemon = Daemon::builder().port(port).start().unwrap();
    assert!(sub.event("restored")["attempts"].as_u64() >= Some(1));
    sub.event("view");
    people.error_with(&["* connected again as #"]);
    people.line_with(&["joined"]);
}

#[test]
fn the_daemon_of_the_environment_is_used() {
    let place = Place::start();
    let group = unique("g");
    let mut sub = command(&["sub", "--json", &group]);
    sub.env("SPREAD_DAEMON", &place.address);
    Program::start(sub).event("view");
}

#[test]
fn members_are_printed_without_the_one_who_asks() {
    let place = Place::start();
    let group = unique("g");
    assert_eq!(place.run(&["members", &group]).succeeds(), "");
    let mut member = place.member(&group);
    let name = member.private_group().to_string();
    assert_eq!(place.run(&["members", &group]).succeeds(), format!("{name}\n"));
    let json = place.run(&["members", "--json", &group]).succeeds();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["group"], &json["members"][0]), (&group.as_str().into(), &name.into()));
    // Two that asked, each of which joined and left.
    let causes: Vec<bool> =
        (0..4).map(|_| matches!(view(&mut member).cause, Cause::Joined(_))).collect();
    assert_eq!(causes, [true, false, true, false]);
}
