//! `doctor`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use serde_json::Value;
use spread_daemon::{Authentication, Daemon, Method, Passwords};
use tempfile::TempDir;

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
    let checks = json["checks"].as_array().unwrap();
    let address = checks.iter().find(|check| check["check"] == "address").unwrap();
    assert_eq!(address["verdict"], "ok");
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
    assert!(ended.out.contains("failed   protocol     no answer within 2s"), "{ended:?}");
    assert!(ended.out.contains("or this is another kind of server"), "{ended:?}");
    assert_eq!(ended.code, Some(1));
}

#[test]
fn a_client_whose_address_is_not_in_the_list_is_told_so() {
    let list = "192.0.2.0/24".parse().unwrap();
    let authentication = Authentication::default().require(Method::Address(list));
    let daemon = Daemon::builder().authentication(authentication).start().unwrap();
    let ended = run(command(&["doctor", "--daemon", &daemon.address()]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.contains("-> it lets in certain addresses only"), "{ended:?}");
}

/// Returns a command at a daemon whose status socket is in this folder.
fn doctor(address: &str, folder: &TempDir) -> Command {
    let mut doctor = command(&["doctor", "--timeout", "2s", "--daemon", address]);
    doctor.arg("--unix-dir").arg(folder.path());
    doctor
}

/// Binds the status socket of the daemon at an address.
fn status_socket(address: &str, folder: &TempDir) -> UnixListener {
    let port = address.split('@').next().unwrap();
    UnixListener::bind(folder.path().join(format!("{port}.status"))).unwrap()
}

#[test]
fn a_daemon_in_no_configuration_says_why_it_refuses_clients() {
    let folder = tempfile::tempdir().unwrap();
    let address = serve_tcp(drop);
    let listener = status_socket(&address, &folder);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            BufReader::new(&stream).read_line(&mut String::new()).unwrap();
            let hosts = r#"{"present":[],"absent":["d2"],"reason":"corosync does not run"}"#;
            write!(stream, r#"{{"daemon":"d1","hosts":{hosts}}}"#).unwrap();
        }
    });
    let ended = run(doctor(&address, &folder));
    assert_eq!(ended.code, Some(1));
    for text in [
        "ok       status       spreadd d1",
        "failed   hosts        in no configuration: corosync does not run\n",
        "is Corosync running on this host",
        "failed   protocol     the daemon refuses clients: ",
    ] {
        assert!(ended.out.contains(text), "no {text:?} in {ended:?}");
    }
    assert!(!ended.out.contains("check the port"), "{ended:?}");
}

#[test]
fn a_daemon_that_is_stopped_gives_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let address = serve_tcp(std::mem::forget);
    // Nobody accepts, as while the daemon is stopped.
    let _listener = status_socket(&address, &folder);
    let ended = run(doctor(&address, &folder));
    assert_eq!(ended.code, Some(1));
    for text in [
        "failed   status       no answer within 5 s at ",
        "is stopped (SIGSTOP, a debugger) or overloaded",
        "failed   protocol     no answer within 2s",
    ] {
        assert!(ended.out.contains(text), "no {text:?} in {ended:?}");
    }
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
    for text in
        ["says no: NULL is not permitted; it permits PWORD\n", "-> it wants a password: --user"]
    {
        assert!(ended.out.contains(text), "no {text:?} in {ended:?}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "secret").unwrap();
    let mut with = command(&["doctor", "--user", "ann", "--daemon", &address]);
    with.arg("--password-file").arg(file.path());
    assert!(run(with).succeeds().contains("ok       large"));
}
