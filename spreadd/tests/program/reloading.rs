//! SIGHUP: what is read again, and what stays.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use spread_wire::handshake::Connect;

use crate::client::{self, Client};
use crate::support::{Folder, PROGRAM, Program, ask, file, said};

/// A daemon with a configuration, a log file and lists that a test rewrites.
struct Reloadable {
    folder: Folder,
    program: Program,
    log: PathBuf,
}

impl Reloadable {
    /// Starts the daemon with this text behind its segment, and these addresses allowed.
    fn start(text: &str, allowed: &str) -> Reloadable {
        let folder = Folder::new();
        let log = folder.0.join("log");
        file(&folder, "spread.access_ip", allowed);
        write_conf(&folder, text);
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(folder.0.join("spread.conf")).args(["--port", "0"]);
        command.arg("--unix-dir").arg(&folder.0);
        let program = Program::start(command.stderr(Stdio::null()));
        Reloadable { folder, program, log }
    }

    fn reload(&self) {
        let id = self.program.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    }

    /// Waits until the log has a line with a text.
    fn wait_for_log(&self, text: &str) {
        wait(|| fs::read_to_string(&self.log).unwrap_or_default().contains(text));
    }

    fn limit(&self) -> u64 {
        let (json, _) = said(&mut ask(&self.folder, self.program.port(), &["status", "--json"]));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        json["limits"]["session_messages"].as_u64().unwrap()
    }

    fn is_let_in(&self) -> bool {
        let connect = Connect::new(None);
        Client::try_authenticate(self.program.address(), connect, &["IP"], &[]).is_ok()
    }
}

fn write_conf(folder: &Folder, text: &str) {
    let log = folder.0.join("log");
    let text = format!(
        "Spread_Segment 127.0.0.255 {{ here 127.0.0.1 }}\nEventLogFile = \"{}\"\n{text}",
        log.display()
    );
    file(folder, "spread.conf", &text);
}

fn wait(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < client::DEADLINE, "it does not come");
        thread::yield_now();
    }
}

#[test]
fn limits_allowed_addresses_and_the_level_of_the_log_are_read_again_and_sessions_stay() {
    let methods = "RequiredAuthMethods = \"IP\"\n";
    let daemon = Reloadable::start(&format!("{methods}MaxSessionMessages = 50"), "local");
    assert_eq!(daemon.limit(), 50);
    let connect = Connect::new(Some("before".parse().unwrap()));
    let client = Client::try_authenticate(daemon.program.address(), connect, &["IP"], &[]);
    let mut client = client.unwrap();
    client.join("town");
    assert!(daemon.is_let_in());

    let changed = format!("{methods}MaxSessionMessages = 60\nEventPriority = INFO");
    write_conf(&daemon.folder, &changed);
    file(&daemon.folder, "spread.access_ip", "192.0.2.0/24");
    daemon.reload();
    daemon.wait_for_log("reloaded");
    assert_eq!(daemon.limit(), 60);
    assert!(!daemon.is_let_in());
    client.multicast("town", b"still here");
    assert_eq!(client.receive_body(), b"still here");
}

#[test]
fn a_log_file_that_was_moved_away_is_opened_again() {
    let daemon = Reloadable::start("EventPriority = INFO", "");
    daemon.wait_for_log("spread.conf");
    let moved = daemon.folder.0.join("log.1");
    fs::rename(&daemon.log, &moved).unwrap();
    daemon.reload();
    daemon.wait_for_log("reloaded");
    let before = fs::read_to_string(&moved).unwrap();
    let _client = Client::connect(daemon.program.address(), "late");
    daemon.wait_for_log("#late#here");
    assert_eq!(fs::read_to_string(&moved).unwrap(), before);
}

#[test]
fn without_a_log_file_in_the_configuration_it_logs_to_stderr_again() {
    let folder = Folder::new();
    let log = folder.0.join("log");
    write_conf(&folder, "EventPriority = INFO");
    let mut command = Command::new(PROGRAM);
    command.args(["--port", "0", "-c"]).arg(folder.0.join("spread.conf"));
    command.arg("--unix-dir").arg(&folder.0);
    let mut program = Program::start(command.stderr(Stdio::piped()));
    let mut stderr = BufReader::new(program.child.stderr.take().unwrap());
    let reload = || {
        let id = program.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    };
    let text = "Spread_Segment 127.0.0.255 { here 127.0.0.1 }\nEventPriority = INFO";
    file(&folder, "spread.conf", text);
    reload();
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.ends_with(" reloaded\n"), "{line}");
    let before = fs::read_to_string(&log).unwrap();
    assert!(before.ends_with(" logs to stderr from now on\n"), "{before}");
    write_conf(&folder, "EventPriority = INFO");
    reload();
    line.clear();
    stderr.read_line(&mut line).unwrap();
    assert!(line.ends_with(&format!(" logs to {} from now on\n", log.display())), "{line}");
    wait(|| fs::read_to_string(&log).unwrap().ends_with(" reloaded\n"));
}

#[test]
fn after_a_wrong_file_all_is_as_before_and_the_log_says_why() {
    let conf = "RequiredAuthMethods = \"IP\"\nMaxSessionMessages = 50\n";
    let daemon = Reloadable::start(conf, "local");
    let failures: [(&str, &str, &str); 3] = [
        (
            "RequiredAuthMethods = \"IP\"\nMaxSessionMessages = none",
            "local",
            "no number of messages",
        ),
        (
            "MaxSessionMessages = 70\nRequiredAuthMethods = \"IP\"",
            "nowhere",
            "spread.access_ip: line 1",
        ),
        (
            "MaxSessionMessages = 70\nRequiredAuthMethods = \"PWORD\"",
            "local",
            "spread.access_pword",
        ),
    ];
    for (text, allowed, reason) in failures {
        write_conf(&daemon.folder, text);
        file(&daemon.folder, "spread.access_ip", allowed);
        daemon.reload();
        daemon.wait_for_log(reason);
        assert_eq!(daemon.limit(), 50);
        assert!(daemon.is_let_in());
    }
    let log = fs::read_to_string(&daemon.log).unwrap();
    assert_eq!(log.matches("not reloaded, all is as before").count(), failures.len(), "{log}");
}

#[test]
fn the_log_file_is_opened_again_by_a_signal_of_its_own() {
    let daemon = Reloadable::start("EventPriority = INFO", "local");
    let old = daemon.folder.0.join("log.1");
    fs::rename(&daemon.log, &old).unwrap();
    let id = daemon.program.child.id().to_string();
    let reopen = || assert!(Command::new("kill").args(["-USR1", &id]).status().unwrap().success());
    reopen();
    daemon.wait_for_log("opened ");
    let text = fs::read_to_string(&daemon.log).unwrap();
    assert_eq!((text.lines().count(), text.contains("reloaded")), (1, false), "{text}");
    assert!(!fs::read_to_string(&old).unwrap().contains("opened "));
    // Without a log file there is nothing to do.
    let folder = Folder::new();
    let program = Program::start(&mut folder.command(0));
    let id = program.child.id().to_string();
    assert!(Command::new("kill").args(["-USR1", &id]).status().unwrap().success());
    assert_eq!(said(&mut ask(&folder, program.port(), &["health"])).1, Some(0));
    assert_eq!(program.signal("-TERM").code(), Some(0));
}

#[test]
fn what_takes_a_new_start_is_told() {
    let daemon = Reloadable::start("", "");
    let text = "Spread_Segment 127.0.0.255 { other 127.0.0.2 }";
    let log = daemon.log.display();
    file(&daemon.folder, "spread.conf", &format!("{text}\nEventLogFile = \"{log}\""));
    daemon.reload();
    daemon.wait_for_log("a change takes a new start to count: name");
    daemon.wait_for_log("a change takes a new start to count: addresses");
    assert!(daemon.program.ready.starts_with("here is ready"));
}

#[test]
fn a_reload_does_not_wait_for_a_fifo() {
    let daemon = Reloadable::start("", "");
    let conf = daemon.folder.0.join("spread.conf");
    fs::remove_file(&conf).unwrap();
    assert!(Command::new("mkfifo").arg(&conf).status().unwrap().success());
    daemon.reload();
    daemon.wait_for_log("spread.conf is no regular file");
    assert_eq!(daemon.program.signal("-TERM").code(), Some(0));
}
