//! `chat`, with lines from a pipe.

use nix::sys::signal::Signal;
use spread::Service;

use crate::support::{Place, Program, payload, unique, view, with_input};

fn chat(place: &Place, args: &[&str]) -> Program {
    let mut command = with_input(place.command(&[&["chat", "--no-history"], args].concat()));
    command.env("TERM", "xterm");
    Program::start(command)
}

#[test]
fn who_chats_hears_and_is_heard() {
    let place = Place::start();
    let group = unique("g");
    let mut other = place.member(&group);
    let mut chat = chat(&place, &[&group]);
    chat.line_with(&["you are #", "/help"]);
    chat.line_with(&["joined; 2 members"]);
    view(&mut other);
    chat.write(b"hello\n");
    assert_eq!(payload(&mut other), b"hello");
    chat.line_with(&[&format!("[{group}] #"), ": hello"]);
    other.multicast(Service::Agreed, &group, "hi").unwrap();
    chat.line_with(&[": hi"]);
    assert_eq!(payload(&mut other), b"hi");
    chat.write(b"/members\n");
    chat.line_with(&["2 members: ", &other.private_group().to_string()]);
    let psst = format!("/msg {} psst\n/service safe\n/burst 2 twice\n", other.private_group());
    chat.write(psst.as_bytes());
    assert_eq!([payload(&mut other), payload(&mut other)], [b"psst".to_vec(), b"twice".to_vec()]);
    assert_eq!(payload(&mut other), b"twice");
    chat.line_with(&["(safe): twice"]);
    chat.write(b"/dance\n/leave\n");
    chat.line_with(&["no command /dance"]);
    assert_eq!(view(&mut other).members.len(), 1);
    chat.line_with(&[&format!("[{group}] * left")]);
    chat.write(b"anyone?\n/help\n/quit\n");
    chat.line_with(&["nobody to talk to"]);
    chat.line_with(&["/burst N TEXT"]);
    assert_eq!(chat.end().code, Some(0));
}

#[test]
fn what_was_said_before_the_end_arrives() {
    let place = Place::start();
    let group = unique("g");
    let mut other = place.member(&group);
    let mut chat = chat(&place, &[&group]);
    chat.write(b"last words");
    assert_eq!(chat.end().code, Some(0));
    assert_eq!(payload(&mut other), b"last words");
}

#[test]
fn a_signal_ends_it() {
    let place = Place::start();
    let mut chat = chat(&place, &[&unique("g")]);
    chat.line_with(&["joined"]);
    chat.signal(Signal::SIGTERM);
    assert_eq!(chat.wait().code(), Some(143));
}

#[test]
fn it_survives_its_daemon() {
    let daemon = spread_daemon::Daemon::builder().start().unwrap();
    let (port, address) = (daemon.socket_addr().port(), daemon.address());
    let place = Place { address, embedded: None };
    let mut chat = chat(&place, &["news"]);
    chat.line_with(&["joined"]);
    daemon.stop();
    chat.line_with(&["* the connection is lost"]);
    chat.write(b"anyone?\n");
    chat.line_with(&["not done: "]);
    let _daemon = spread_daemon::Daemon::builder().port(port).start().unwrap();
    chat.line_with(&["* connected again as #"]);
    chat.line_with(&["joined; 1 member"]);
    chat.write(b"hello\n");
    chat.line_with(&[": hello"]);
    assert_eq!(chat.end().code, Some(0));
}
