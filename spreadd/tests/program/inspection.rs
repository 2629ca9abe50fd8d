//! What it tells when it is asked, and what it does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::thread;

use crate::client::Client;
use crate::support::{Folder, Program, ask, free_port, said};

#[test]
fn its_status_shows_sessions_groups_and_queues() {
    let folder = Folder::new();
    let program = Program::start(&mut folder.command(0));
    let mut client = Client::connect(program.address(), "me");
    client.join("town");
    client.multicast("town", b"hello");
    client.receive_body();
    let (table, code) = said(&mut ask(&folder, program.port(), &["status"]));
    assert_eq!(code, Some(0));
    for word in ["#me#localhost", "127.0.0.1", "town", "received 2", "clients: 1 now"] {
        assert!(table.contains(word), "{word} is missing in {table}");
    }
    let (json, _) = said(&mut ask(&folder, program.port(), &["status", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["sessions"], &json["groups"]), (&1.into(), &1.into()));
    assert_eq!(json["group_list"][0]["name"], "town");
    assert_eq!(json["group_list"][0]["member_names"][0], "#me#localhost");
    assert_eq!(json["session_list"][0]["group_names"][0], "town");
    let (healthy, code) = said(&mut ask(&folder, program.port(), &["health"]));
    assert_eq!((&*healthy, code), ("healthy\n", Some(0)));
    let file = folder.0.join(format!("{}.status", program.port()));
    assert!(file.exists());
    let port = program.port();
    program.signal("-TERM");
    assert!(!file.exists());
    assert_eq!(said(&mut ask(&folder, port, &["health"])), (String::new(), Some(1)));
}

#[test]
fn a_daemon_that_serves_nobody_or_does_not_answer_is_not_healthy() {
    let folder = Folder::new();
    let health = |port| {
        let output = ask(&folder, port, &["health"]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    // Nobody accepts, as while the daemon is stopped.
    let _stopped = UnixListener::bind(folder.0.join("4804.status")).unwrap();
    let (code, said) = health(4804);
    assert!(code == Some(1) && said.contains("no answer within 5 s"), "{said}");
    let listener = UnixListener::bind(folder.0.join("4803.status")).unwrap();
    let answer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(&stream).read_line(&mut String::new()).unwrap();
        stream.write_all(b"error: in no configuration: corosync does not run\n").unwrap();
    });
    let expected = "spreadd: in no configuration: corosync does not run\n";
    assert_eq!(health(4803), (Some(1), expected.to_owned()));
    answer.join().unwrap();
}

#[test]
fn its_metrics_are_there_for_prometheus() {
    let folder = Folder::new();
    let port = free_port();
    let metrics = format!("127.0.0.1:{port}");
    let program = Program::start(folder.command(0).args(["--metrics", &metrics]));
    let _client = Client::connect(program.address(), "me");
    let ask = |method: &str, path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for path in ["/metrics", "/metrics?x=1"] {
        let answer = ask("GET", path);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\nspread_sessions 1\n"), "{answer}");
    }
    let head = ask("HEAD", "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(ask("GET", "/").starts_with("HTTP/1.1 404 "));
}

#[test]
fn a_client_is_kicked_by_its_name() {
    let folder = Folder::new();
    let mut program = Program::start(folder.command(0).stderr(Stdio::piped()));
    let mut client = Client::connect(program.address(), "me");
    client.join("town");
    let stderr = program.child.stderr.take().unwrap();
    let kick = |name: &str| ask(&folder, program.port(), &["kick", name]);
    assert_eq!(said(&mut kick("me")), ("kicked #me#localhost\n".to_owned(), Some(0)));
    client.wait_for_close();
    let mut line = String::new();
    BufReader::new(stderr).read_line(&mut line).unwrap();
    for text in ["a client is kicked client=#me#localhost", "by=\"status socket\""] {
        assert!(line.contains(text), "{line}");
    }
    let _other = Client::connect(program.address(), "a");
    for (wrong, reason) in [
        ("", "the name of the client is empty"),
        (" ", "the name of the client is empty"),
        ("a\nb", "the name of a client has no control characters"),
        ("a\rb", "the name of a client has no control characters"),
    ] {
        let ended = kick(wrong).output().unwrap();
        let complaint = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2));
        assert!(complaint.contains(reason), "{complaint}");
    }
    let again = kick("#me#localhost").output().unwrap();
    let error = String::from_utf8(again.stderr).unwrap();
    assert_eq!((again.status.code(), &again.stdout[..]), (Some(1), &b""[..]));
    assert_eq!(error, "spreadd: no session \"#me#localhost\"\n");
    let (table, _) = said(&mut ask(&folder, program.port(), &["status"]));
    assert!(table.contains("it was kicked"), "{table}");
}
