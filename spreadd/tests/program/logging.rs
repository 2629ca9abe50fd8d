//! Its log, and who reads it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use spread_wire::handshake::Connect;

use crate::client::Client;
use crate::support::{Folder, PROGRAM, Program, complaint, file, said, secret_file};

#[test]
fn it_logs_json_and_warns_when_anyone_can_connect() {
    let folder = Folder::new();
    let mut command = folder.command(0);
    command.args(["--bind", "0.0.0.0", "--log-format", "json"]).stderr(Stdio::piped());
    let mut program = Program::start(&mut command);
    let mut line = String::new();
    BufReader::new(program.child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["level"], "WARN");
    assert!(json["fields"]["message"].as_str().unwrap().contains("no authentication"), "{line}");
    let ready: serde_json::Value = serde_json::from_str(&program.ready).unwrap();
    assert_eq!((&ready["level"], &ready["fields"]["message"]), (&"INFO".into(), &"ready".into()));
    assert!(ready["fields"]["address"].as_str().unwrap().ends_with("@127.0.0.1"), "{ready}");
}

#[test]
fn lines_for_the_journal_have_a_priority_and_no_time() {
    let folder = Folder::new();
    let (journal, log) = (folder.0.join("journal"), folder.0.join("log"));
    let said = |journal_stream: Option<&str>, options: &[&str]| {
        let stderr = fs::File::create(&journal).unwrap();
        let metadata = stderr.metadata().unwrap();
        let stream = format!("{}:{}", metadata.dev(), metadata.ino());
        let mut command = folder.command(0);
        command.env("JOURNAL_STREAM", journal_stream.unwrap_or(&stream)).args(options);
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        // Until it is ready, or has ended.
        BufReader::new(stdout).read_line(&mut String::new()).unwrap();
        let id = child.id().to_string();
        // It may have ended.
        let _ = Command::new("kill").args(["-TERM", &id]).stderr(Stdio::null()).status().unwrap();
        child.wait().unwrap();
        fs::read_to_string(&journal).unwrap()
    };
    let open = ["--bind", "0.0.0.0"];
    let line = said(None, &open);
    assert!(line.starts_with("<4> WARN spread_daemon"), "{line}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = ["--metrics", &taken.local_addr().unwrap().to_string()];
    let line = said(None, &metrics);
    assert!(line.starts_with("<3>spreadd: ") && line.contains("another program"), "{line}");
    let line = said(Some("1:1"), &open);
    assert!(line.starts_with("20") && line.contains("Z  WARN spread_daemon"), "{line}");
    let to_file = [&open[..], &["--log-file", log.to_str().unwrap()]].concat();
    assert_eq!(said(None, &to_file), "");
    let line = fs::read_to_string(&log).unwrap();
    assert!(line.starts_with("20") && line.contains("Z  WARN spread_daemon"), "{line}");
}

/// Connects again and again, and gives the daemon something to log each time.
fn annoy(program: &Program) {
    for number in 0..50 {
        let mut client = Client::connect(program.address(), &format!("c{number}"));
        client.send(&[0xff; 200]);
        client.wait_for_close();
    }
}

#[test]
fn it_serves_on_when_nobody_reads_its_log() {
    let folder = Folder::new();
    let mut program = Program::start(folder.command(0).stderr(Stdio::piped()));
    drop(program.child.stderr.take());
    annoy(&program);
    Client::connect(program.address(), "me").join("town");
    assert_eq!(program.signal("-TERM").code(), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn it_serves_on_when_there_is_no_room_for_its_log() {
    let folder = Folder::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let program = Program::start(folder.command(0).stderr(full));
    annoy(&program);
    Client::connect(program.address(), "me").join("town");
    assert_eq!(program.signal("-TERM").code(), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn a_log_file_that_is_full_is_told_on_stderr() {
    let folder = Folder::new();
    let mut command = folder.command(0);
    let mut program =
        Program::start(command.args(["--log-file", "/dev/full"]).stderr(Stdio::piped()));
    annoy(&program);
    let mut stderr = BufReader::new(program.child.stderr.take().unwrap());
    assert_eq!(program.signal("-TERM").code(), Some(0));
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("spreadd: cannot write to the log file /dev/full, "), "{said}");
    assert!(said.contains("No space left") && said.lines().count() == 1, "{said}");
}

#[test]
fn it_serves_on_while_the_reader_of_its_log_is_stopped_and_tells_what_was_lost() {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    let folder = Folder::new();
    let (mut reader, mut stderr) = UnixStream::pair().unwrap();
    stderr.set_nonblocking(true).unwrap();
    let mut filling = 0;
    while let Ok(len) = stderr.write(&[b'x'; 4096]) {
        filling += len;
    }
    stderr.set_nonblocking(false).unwrap();
    let stderr = OwnedFd::from(stderr);
    let program = Program::start(folder.command(0).env("RUST_LOG", "debug").stderr(stderr));
    // Several lines each, so more than may wait.
    (0..10).for_each(|_| annoy(&program));
    Client::connect(program.address(), "me").join("town");

    reader.read_exact(&mut vec![0; filling]).unwrap();
    let mut lines = BufReader::new(reader).lines();
    let told = lines.find(|line| {
        // Lines come only while something is logged.
        let _client = Client::connect(program.address(), "other");
        line.as_ref().unwrap().contains("log lines were lost")
    });
    assert!(told.is_some());
    drop(lines);
    assert_eq!(program.signal("-TERM").code(), Some(0));
}

#[test]
fn a_level_that_there_is_not_is_refused_and_an_empty_one_is_none() {
    let folder = Folder::new();
    for wrong in ["loud", "warning", "info,loud", "spread_daemon=loud"] {
        let said = complaint(folder.command(0).env("RUST_LOG", wrong));
        let expected = format!("spreadd: RUST_LOG={wrong} is not understood: it is error, warn");
        assert!(said.starts_with(&expected), "{said}");
    }
    for (right, warns) in
        [("", true), (" ", true), ("WARN", true), ("spread_daemon=info", true), ("off", false)]
    {
        let mut command = folder.command(0);
        command.env("RUST_LOG", right).args(["--bind", "0.0.0.0"]).stderr(Stdio::piped());
        let mut program = Program::start(&mut command);
        let mut stderr = program.child.stderr.take().unwrap();
        assert_eq!(program.signal("-TERM").code(), Some(0));
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        assert_eq!(said.contains("there is no authentication"), warns, "RUST_LOG={right}: {said}");
    }
}

#[test]
fn a_directive_leaves_the_other_parts_as_they_are_and_one_for_no_part_is_told() {
    let folder = Folder::new();
    let text = "Spread_Segment 127.0.0.255 { a 127.0.0.1 }\nNovelty = 1";
    let conf = file(&folder, "spread.conf", text);
    for (rust_log, warns, tells) in [
        ("spread_daemon=debug", true, false),
        ("error,spread_daemon=debug", false, false),
        ("spread_deamon=debug", true, true),
    ] {
        let options = ["--port", "0", "--unix-dir", folder.0.to_str().unwrap()];
        let mut command = Command::new(PROGRAM);
        command.env("RUST_LOG", rust_log).args(options).arg("-c").arg(&conf);
        let mut program = Program::start(command.stderr(Stdio::piped()));
        let mut stderr = program.child.stderr.take().unwrap();
        assert_eq!(program.signal("-TERM").code(), Some(0));
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        assert_eq!(said.contains("unknown directive Novelty"), warns, "{rust_log}: {said}");
        let checked = command.arg("--check").output().unwrap();
        let checked = String::from_utf8(checked.stderr).unwrap();
        for said in [said, checked] {
            let told = said.contains("no part of the program is called spread_deamon");
            assert_eq!(told, tells, "{rust_log}: {said}");
        }
    }
}

#[test]
fn rust_log_overrides_the_priority_of_the_configuration() {
    let folder = Folder::new();
    let text = "Spread_Segment 127.0.0.255 { a 127.0.0.1 }\nEventPriority = INFO";
    let conf = file(&folder, "spread.conf", text);
    for (rust_log, tells) in [("", true), ("warn", false), ("info", true)] {
        let mut command = Command::new(PROGRAM);
        command.args(["--port", "0", "--unix-dir"]).arg(&folder.0).arg("-c").arg(&conf);
        let mut program = Program::start(command.env("RUST_LOG", rust_log).stderr(Stdio::piped()));
        let mut stderr = program.child.stderr.take().unwrap();
        assert_eq!(program.signal("-TERM").code(), Some(0));
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        let line = format!("read {}", conf.display());
        assert_eq!(said.contains(&line), tells, "RUST_LOG={rust_log}: {said}");
    }
}

#[test]
fn the_result_of_a_check_is_json() {
    let folder = Folder::new();
    let (fine, code) = said(folder.command(0).args(["--check", "--log-format", "json"]));
    let fine: serde_json::Value = serde_json::from_str(&fine).unwrap();
    let expected = "the configuration of localhost is fine";
    assert_eq!((fine["fields"]["message"].as_str(), code), (Some(expected), Some(0)));
}

#[test]
fn also_why_it_does_not_start_is_json() {
    for options in [
        &["--log-format", "json", "--name", "two words"][..],
        &["--log-format=json", "--max-sessions", "none"],
        &["--log-format", "json", "-c", "/no/such/file"],
    ] {
        let said = complaint(Command::new(PROGRAM).args(options));
        let json: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(json["level"], "ERROR", "{said}");
    }
}

#[test]
fn a_client_that_is_cut_off_is_named() {
    let folder = Folder::new();
    let mut program = Program::start(folder.command(0).stderr(Stdio::piped()));
    let mut client = Client::connect(program.address(), "eve");
    client.send(&[0xff; 200]);
    client.wait_for_close();
    let mut line = String::new();
    BufReader::new(program.child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    for word in ["#eve#localhost", "127.0.0.1", "it broke the protocol"] {
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn a_client_with_no_way_to_authenticate_is_told_of() {
    let folder = Folder::new();
    let users = secret_file(&folder, "users", "ann:aZGJuE6EXrjEE\n");
    let mut command = folder.command(0);
    command.arg("--passwords").arg(&users).stderr(Stdio::piped());
    let mut program = Program::start(&mut command);
    let mut log = BufReader::new(program.child.stderr.take().unwrap()).lines();
    let mut logged = |words: &[&str]| {
        let line = log.next().unwrap().unwrap();
        words.iter().for_each(|word| assert!(line.contains(word), "no {word:?} in {line}"));
    };
    let connect = || Connect::new(Some("ann".parse().unwrap()));
    assert!(Client::try_connect(program.address(), connect()).is_err());
    logged(&["WARN", "it left when told the authentication methods: PWORD", "address=127.0.0.1:"]);

    let mut other = Client::bare(program.address());
    other.send(&connect().encode());
    other.receive_up_to(7);
    let mut choice = b"NULL".to_vec();
    choice.resize(90, 0);
    other.send(&choice);
    other.wait_for_close();
    logged(&["WARN", "no authentication method of these: PWORD", "address=127.0.0.1:"]);

    let mut secret = b"ann".to_vec();
    secret.resize(32, 0);
    secret.extend_from_slice(b"wrong\0\0\0");
    let wrong = Client::try_authenticate(program.address(), connect(), &["PWORD"], &secret);
    assert!(wrong.is_err());
    logged(&["WARN", "unknown user or wrong password", "address=127.0.0.1:", "user=\"ann\""]);
}

#[test]
fn a_user_in_json_is_the_name_and_nothing_else() {
    let folder = Folder::new();
    let users = secret_file(&folder, "users", "ann:aZGJuE6EXrjEE\n");
    let mut command = folder.command(0);
    command.args(["--log-format", "json", "--passwords"]).arg(&users).stderr(Stdio::piped());
    let mut program = Program::start(&mut command);
    let stderr = program.child.stderr.take().unwrap();
    let ready: serde_json::Value = serde_json::from_str(&program.ready).unwrap();
    let address = ready["fields"]["address"].as_str().unwrap();
    let (port, host) = address.split_once('@').unwrap();
    let mut secret = b"ann".to_vec();
    secret.resize(32, 0);
    secret.extend_from_slice(b"wrong\0\0\0");
    let connect = Connect::new(Some("ann".parse().unwrap()));
    let address = format!("{host}:{port}").parse().unwrap();
    assert!(Client::try_authenticate(address, connect, &["PWORD"], &secret).is_err());
    let mut line = String::new();
    BufReader::new(stderr).read_line(&mut line).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["fields"]["user"], "ann");
}

#[test]
fn the_address_of_a_client_that_may_not_connect_is_shown_as_it_is() {
    let folder = Folder::new();
    let allowed = folder.0.join("allowed");
    fs::write(&allowed, "192.0.2.0/24\n").unwrap();
    let mut command = folder.command(0);
    command.arg("--allow").arg(&allowed).stderr(Stdio::piped());
    let mut program = Program::start(&mut command);
    let connect = Connect::new(Some("ann".parse().unwrap()));
    assert!(Client::try_connect(program.address(), connect).is_err());
    let mut line = String::new();
    BufReader::new(program.child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("its address is not in the list address=127.0.0.1:"), "{line}");
}
