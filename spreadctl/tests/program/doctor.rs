//! `doctor`.

use std::io::Write;

use serde_json::Value;
use spread_daemon::{Authentication, Daemon, Method, Passwords};

use crate::support::{Place, command, run, serve_tcp};

#[test]
fn all_is_well_at_a_daemon_that_works() {
    let place = Place::start();
    let out = place.run(&["doctor"]).succeeds();
    for check in ["address", "connect", "protocol", "session", "round trip", "membership", "large"]
    {
        assert!(out.contains(&format!("ok       {check}")), "no {check} in {out}");
    }
    assert!(out.contains("Spread 5.") && out.contains("fifo") && out.contains("safe"), "{out}");
    let json = place.run(&["doctor", "--json"]).succeeds();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["checks"][0]["check"], "address");
    assert_eq!(json["checks"][0]["verdict"], "ok");
}

#[test]
fn the_status_is_looked_at_where_there_is_one() {
    let place = Place::embedded();
    let out = place.run(&["doctor"]).succeeds();
    assert!(out.contains("ok       status       spreadd"), "{out}");
    let mut elsewhere = command(&["doctor", "--daemon", &place.address]);
    let folder = tempfile::tempdir().unwrap();
    elsewhere.arg("--unix-dir").arg(folder.path());
    let out = run(elsewhere).succeeds();
    assert!(out.contains("warning  status") && out.contains("work with spreadd"), "{out}");
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let at = |address: &str| run(command(&["doctor", "--timeout", "2s", "--daemon", address]));
    let ended = at("port@host");
    ended.fails(1, &["1 of 1 check failed"]);
    assert!(ended.out.contains("failed   address"), "{ended:?}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("{}@localhost", taken.local_addr().unwrap().port());
    drop(taken);
    let ended = at(&nobody);
    ended.fails(1, &["failed"]);
    assert!(ended.out.contains("-> nothing listens there"), "{ended:?}");

    let folder = tempfile::tempdir().unwrap();
    let ended = at(folder.path().join("4803").to_str().unwrap());
    assert!(ended.out.contains("-> no daemon has this socket: start spreadd"), "{ended:?}");

    let other = serve_tcp(|mut stream| drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")));
    let ended = at(&other);
    assert!(ended.out.contains("no Spread daemon") && ended.code == Some(1), "{ended:?}");
    let silent = serve_tcp(std::mem::forget);
    let ended = at(&silent);
    assert!(ended.out.contains("failed   protocol") && ended.code == Some(1), "{ended:?}");
}

#[test]
fn a_password_that_is_wanted_is_told_and_used() {
    let mut passwords = Passwords::default();
    passwords.set("ann", "secret").unwrap();
    let authentication = Authentication::deny_all().allow(Method::Password(passwords));
    let daemon = Daemon::builder().authentication(authentication).start().unwrap();
    let address = daemon.address();
    let ended = run(command(&["doctor", "--daemon", &address]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.contains("it permits PWORD") && ended.out.contains("-> --user"), "{ended:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "secret").unwrap();
    let mut with = command(&["doctor", "--user", "ann", "--daemon", &address]);
    with.arg("--password-file").arg(file.path());
    assert!(run(with).succeeds().contains("ok       large"));
}
