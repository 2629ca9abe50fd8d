//! `request` and `serve`.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Place, Program, run_with, unique, with_input};

fn serve(place: &Place, args: &[&str]) -> Program {
    let mut server = place.start_program(&[&["serve"], args].concat());
    server.error_with(&["serving"]);
    server
}

#[test]
fn a_command_answers_requests() {
    let place = Place::start();
    let group = unique("g");
    let server = serve(&place, &[&group, "upper", "--", "tr", "a-z", "A-Z"]);
    assert_eq!(place.run(&["request", &group, "upper", "hello"]).succeeds(), "HELLO\n");
    let command = place.command(&["request", &group, "upper"]);
    assert_eq!(run_with(with_input(command), b"from\nstdin\n").succeeds(), "FROM\nSTDIN\n");
    let json = place.run(&["request", "--json", &group, "upper", "x"]).succeeds();
    assert_eq!(json, "{\"text\":\"X\"}\n");
    server.signal(Signal::SIGINT);
    assert_eq!(server.end().code, Some(130));
    place
        .run(&["request", &group, "upper", "x"])
        .fails(4, &["no member serves \"upper\"", "serve GROUP"]);
}

#[test]
fn a_command_that_fails_is_told() {
    let place = Place::start();
    let group = unique("g");
    let _server = serve(&place, &[&group, "broken", "--", "sh", "-c", "echo why >&2; exit 7"]);
    let ended = place.run(&["request", &group, "broken", "x"]);
    ended.fails(1, &["the handler of the server failed: sh: exit status: 7: why"]);
    let ended = place.run(&["request", "--all", "--json", &group, "broken", "x"]);
    ended.fails(4, &["1 of 1 servers"]);
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    assert!(answer["error"].as_str().unwrap().contains("exit status: 7"), "{answer}");
}

#[test]
fn all_servers_can_be_asked() {
    let place = Place::start();
    let group = unique("g");
    let _servers = ["one", "two"].map(|name| {
        let script = format!("echo {name}");
        serve(&place, &[&group, "who", "--", "sh", "-c", &script])
    });
    let out = place.run(&["request", "--all", &group, "who", ""]).succeeds();
    let mut answers: Vec<&str> = out.lines().collect();
    answers.sort();
    assert_eq!(answers, ["one", "two"]);
}

#[test]
fn a_request_waits_for_a_server_if_it_is_told_to() {
    let place = Place::start();
    let group = unique("g");
    let mut watch = place.member(&group);
    let args = ["request", "--wait", "--within", "30s", &group, "echo", "\u{e9}"];
    let request = place.start_program(&args);
    // It is there, and looks for a server.
    crate::support::view(&mut watch);
    let _server = serve(&place, &[&group, "echo", "--echo"]);
    assert_eq!(request.end().succeeds(), "\u{e9}\n");
}

#[test]
fn nobody_who_serves_is_told_in_the_same_words() {
    let place = Place::start();
    let group = unique("g");
    for options in [&[][..], &["--all"], &["--wait", "--within", "100ms"]] {
        let ended = place.run(&[&["request", &group, "none", "x"], options].concat());
        ended.fails(4, &["nobody can answer: no member serves \"none\"\n", "hint: a server is"]);
    }
}

#[test]
fn an_answer_that_does_not_come_is_told_in_time() {
    let place = Place::start();
    let group = unique("g");
    let _server = serve(&place, &[&group, "slow", "--", "sleep", "2"]);
    let ended = place.run(&["request", "--within", "1s", &group, "slow", "x"]);
    ended.fails(4, &["no answer came in time", "--within"]);
}
