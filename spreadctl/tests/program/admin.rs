//! `status`, `health`, `kick` and `top`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use serde_json::Value;
use spread::Mailbox;
use spread_daemon::Daemon;

use crate::support::{Place, command, command_of, run};

#[test]
fn the_status_is_a_table_or_json() {
    let place = Place::embedded();
    let member = place.member("town");
    let name = member.private_group().to_string();
    let table = place.run(&["status"]).succeeds();
    assert!(table.contains(&name) && table.contains("town"), "{table}");
    let json: Value = serde_json::from_str(&place.run(&["status", "--json"]).succeeds()).unwrap();
    assert_eq!(json["session_list"][0]["private_group"], name);
    assert_eq!(json["group_list"][0]["name"], "town");
}

#[test]
fn a_daemon_is_healthy_with_and_without_a_status_socket() {
    let place = Place::embedded();
    assert_eq!(place.run(&["health"]).succeeds(), "healthy\n");
    let folder = tempfile::tempdir().unwrap();
    let mut elsewhere = command(&["health", "--daemon", &place.address]);
    elsewhere.arg("--unix-dir").arg(folder.path());
    assert_eq!(run(elsewhere).succeeds(), "healthy: a session was opened\n");
}

#[test]
fn a_full_daemon_is_healthy_without_a_status_socket() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::builder().unix_dir(folder.path()).max_sessions(1).start().unwrap();
    let _only = Mailbox::connect(daemon.address()).unwrap();
    let mut health = command(&["health", "--daemon", &daemon.address()]);
    health.arg("--unix-dir").arg(folder.path());
    assert_eq!(run(health).succeeds(), "healthy: full, the daemon rejects new sessions\n");
}

#[test]
fn a_user_who_may_not_ask_opens_a_session() {
    let place = Place::embedded();
    let (_, folder) = place.embedded.as_ref().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut health = place.command(&["health"]);
    if fs::metadata(folder.path()).unwrap().uid() == 0 {
        // Permissions are not for root. The other user may not reach the folder of the build.
        // It is `cp` that writes the copy: a file that a process has open to write is not run, and
        // a process that another test starts at this moment would have it.
        let program = folder.path().join("spreadctl");
        let copied = Command::new("cp").arg(health.get_program()).arg(&program).status().unwrap();
        assert!(copied.success());
        let mut copy = command_of(program);
        copy.args(health.get_args()).uid(65534).gid(65534);
        health = copy;
    } else {
        let port = place.address.split('@').next().unwrap();
        let socket = folder.path().join(format!("{port}.status"));
        fs::set_permissions(socket, fs::Permissions::from_mode(0o000)).unwrap();
    }
    assert_eq!(run(health).succeeds(), "healthy: a session was opened\n");
}

#[test]
fn a_daemon_that_serves_nobody_or_does_not_answer_is_not_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let health = |port: &str| {
        let mut health = command(&["health", "--daemon", port]);
        health.arg("--unix-dir").arg(folder.path());
        run(health)
    };
    // Nobody accepts, as while the daemon is stopped.
    let _stopped = UnixListener::bind(folder.path().join("4804.status")).unwrap();
    health("4804").fails(4, &["no answer within 5 s", "hint: the daemon is there, but is stopped"]);
    let listener = UnixListener::bind(folder.path().join("4803.status")).unwrap();
    let answer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(&stream).read_line(&mut String::new()).unwrap();
        stream.write_all(b"error: in no configuration: corosync does not run\n").unwrap();
    });
    health("4803").fails(1, &["spreadctl: in no configuration: corosync does not run\n"]);
    answer.join().unwrap();
}

#[test]
fn what_cannot_be_looked_into_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |address: &str, args: &[&str]| {
        let mut command = command(args);
        command.args(["--daemon", address]).arg("--unix-dir").arg(folder.path());
        run(command)
    };
    for args in [&["status"][..], &["kick", "x"]] {
        at("4803@elsewhere", args).fails(2, &["on its own host", "run spreadctl on elsewhere"]);
        at("4999", args).fails(3, &["4999.status: No such file", "only spreadd has this socket"]);
    }
    at("4999", &["top"]).fails(2, &["top needs a terminal", "spreadctl status"]);
}

#[test]
fn a_client_is_kicked_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("4803.status")).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut question = String::new();
            BufReader::new(&stream).read_line(&mut question).unwrap();
            let answer = match question.as_str() {
                "kick ann\n" => "kicked #ann#here\n",
                "kick bob\n" => "error: no session \"bob\"\n",
                _ => "ask for table, json or health\n",
            };
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    });
    let kick = |name: &str| {
        let mut command = command(&["kick", name]);
        command.arg("--unix-dir").arg(folder.path());
        run(command)
    };
    assert_eq!(kick("ann").succeeds(), "kicked #ann#here\n");
    kick("bob").fails(1, &["no session \"bob\"", "spreadctl status lists"]);
    kick("cid").fails(1, &["an older spreadd"]);
    kick("a\nhealth").fails(2, &["illegal name"]);
    for empty in ["", " "] {
        kick(empty).fails(2, &["the name of the client is empty", "spreadctl status lists"]);
    }
}
