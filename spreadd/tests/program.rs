//! The program `spreadd`, as it is started and stopped.

#[path = "../../spread-daemon/tests/support/client.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod client;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use client::Client;
use spread_wire::ErrorCode;
use spread_wire::handshake::Connect;

const PROGRAM: &str = env!("CARGO_BIN_EXE_spreadd");

/// An empty folder that is removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("spreadd-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    /// Returns the program, with its socket file in this folder.
    fn command(&self, port: u16) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--unix-dir").arg(&self.0).arg("--port").arg(port.to_string());
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The running program, which does not outlive the test.
struct Program {
    child: Child,
    /// What it says when it is ready.
    ready: String,
}

impl Program {
    fn start(command: &mut Command) -> Program {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut program = Program { child, ready: String::new() };
        BufReader::new(stdout).read_line(&mut program.ready).unwrap();
        program
    }

    fn port(&self) -> u16 {
        let (_, rest) = self.ready.split_once(" is ready at ").expect(&self.ready);
        rest.split('@').next().unwrap().parse().unwrap()
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port()).into()
    }

    fn signal(mut self, signal: &str) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks that the program ends with code 2, and returns the one line it says.
fn complaint(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(output.stdout.is_empty());
    said
}

/// Returns a port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn socket_file(folder: &Folder, port: u16) -> PathBuf {
    folder.0.join(port.to_string())
}

/// Leaves a socket file that nobody listens at.
fn abandon_socket(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    assert!(path.exists());
}

#[test]
fn it_says_where_clients_can_connect() {
    let folder = Folder::new();
    let program = Program::start(folder.command(0).args(["--name", "here"]));
    let (port, file) = (program.port(), socket_file(&folder, program.port()));
    let expected = format!("here is ready at {port}@127.0.0.1 and {}\n", file.display());
    assert_eq!(program.ready, expected);
    let client = Client::connect(program.address(), "me");
    assert_eq!(client.private_group, "#me#here");
    assert!(UnixStream::connect(file).is_ok());
}

#[test]
fn a_signal_ends_it_and_removes_its_socket_file() {
    for signal in ["-TERM", "-INT"] {
        let folder = Folder::new();
        let program = Program::start(&mut folder.command(0));
        let file = socket_file(&folder, program.port());
        assert!(file.exists());
        let mut client = Client::connect(program.address(), "me");
        assert_eq!(program.signal(signal).code(), Some(0));
        assert!(!file.exists());
        client.wait_for_close();
    }
}

#[test]
fn it_names_the_port_that_is_taken() {
    let folder = Folder::new();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let said = complaint(&mut folder.command(port));
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[test]
fn it_tells_how_to_remove_a_stale_socket_file() {
    let folder = Folder::new();
    let port = free_port();
    let file = socket_file(&folder, port);
    abandon_socket(&file);
    let said = complaint(&mut folder.command(port));
    assert!(said.contains(&format!("rm '{}'", file.display())), "{said}");
    assert!(file.exists());
}

#[test]
fn it_removes_a_stale_socket_file_if_told_to() {
    let folder = Folder::new();
    let port = free_port();
    let file = socket_file(&folder, port);
    abandon_socket(&file);
    let _program = Program::start(folder.command(port).arg("--remove-stale-socket"));
    assert!(UnixStream::connect(&file).is_ok());
}

#[test]
fn it_never_takes_the_socket_file_of_another_daemon() {
    let folder = Folder::new();
    let port = free_port();
    let file = socket_file(&folder, port);
    let _other = UnixListener::bind(&file).unwrap();
    let said = complaint(folder.command(port).arg("--remove-stale-socket"));
    assert!(said.contains(&file.display().to_string()), "{said}");
    assert!(UnixStream::connect(&file).is_ok());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = Folder::new();
    let port = free_port();
    let file = socket_file(&folder, port);
    fs::write(&file, "precious").unwrap();
    let said = complaint(folder.command(port).arg("--remove-stale-socket"));
    assert!(said.contains(&file.display().to_string()), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn it_explains_a_name_that_no_daemon_can_have() {
    let folder = Folder::new();
    for name in ["", "two words", "a-name-of-twenty-byte", "#hash"] {
        let said = complaint(folder.command(0).args(["--name", name]));
        assert!(said.contains(&format!("{name:?}")), "{said}");
    }
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
}

/// Writes a file into a folder.
fn file(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.0.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// What a command says on stdout, and its exit code.
fn said(command: &mut Command) -> (String, Option<i32>) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

/// Returns the program to ask about the one that runs with its socket in a folder.
fn ask(folder: &Folder, port: u16, what: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(what).arg("--port").arg(port.to_string()).arg("--unix-dir").arg(&folder.0);
    command
}

#[test]
fn it_runs_as_a_daemon_of_a_spread_conf() {
    let folder = Folder::new();
    let port = free_port();
    let conf = file(
        &folder,
        "spread.conf",
        &format!("Spread_Segment 127.0.0.255:{port} {{ here 127.0.0.1\n there 127.0.0.2 }}"),
    );
    let mut command = Command::new(PROGRAM);
    command.arg("--unix-dir").arg(&folder.0).arg("-c").arg(&conf).args(["-n", "there"]);
    let program = Program::start(&mut command);
    let file = socket_file(&folder, port);
    assert_eq!(
        program.ready,
        format!("there is ready at {port}@127.0.0.2 and {}\n", file.display())
    );
    let client = Client::connect(([127, 0, 0, 2], port).into(), "me");
    assert_eq!(client.private_group, "#me#there");
}

#[test]
fn a_configuration_is_checked_with_its_warnings() {
    let folder = Folder::new();
    let conf = file(
        &folder,
        "spread.conf",
        "Spread_Segment 127.0.0.255:4999 { here 127.0.0.1 }\nWindow = 3\nNovelty = 1\n",
    );
    let mut command = Command::new(PROGRAM);
    let output = command.arg("--check").arg("-c").arg(&conf).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"the configuration of here is fine\n");
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.contains("spread.conf: line 3: unknown directive Novelty"), "{warning}");
    assert_eq!(warning.lines().count(), 1, "{warning}");
}

#[test]
fn a_wrong_configuration_is_explained() {
    let folder = Folder::new();
    let segment = "Spread_Segment 127.0.0.255 { a 127.0.0.1 b 127.0.0.2 }";
    for (text, options, expected) in [
        ("Spread_Segment oops { }", &[][..], "line 1: \"oops\" is no address of a segment"),
        ("", &[], "it has no daemon"),
        (segment, &[], "choose its daemon with -n: a, b"),
        (segment, &["-n", "c"], "it has no daemon c, but a, b"),
        ("Spread_Segment 1.1.1.1 { a 1.1.1.2 }\nRequiredAuthMethods = PWORD", &[], "cannot read"),
    ] {
        let conf = file(&folder, "spread.conf", text);
        let mut command = Command::new(PROGRAM);
        let said = complaint(command.arg("--check").arg("-c").arg(&conf).args(options));
        assert!(said.contains(expected), "{said}");
    }
    let said = complaint(Command::new(PROGRAM).args(["--check", "-c", "/no/such/file"]));
    assert!(said.contains("/no/such/file"), "{said}");
}

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
fn its_metrics_are_there_for_prometheus() {
    use std::io::Write;
    let folder = Folder::new();
    let port = free_port();
    let metrics = format!("127.0.0.1:{port}");
    let program = Program::start(folder.command(0).args(["--metrics", &metrics]));
    let _client = Client::connect(program.address(), "me");
    let fetch = |path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = fetch("/metrics");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\nspread_sessions 1\n"), "{answer}");
    assert!(fetch("/").starts_with("HTTP/1.1 404 "));
}

#[test]
fn a_term_signal_waits_until_clients_have_read() {
    let folder = Folder::new();
    let mut program = Program::start(&mut folder.command(0));
    let mut slow = Client::connect(program.address(), "slow");
    slow.join("town");
    // More than the sockets hold.
    let body = vec![7; 100_000];
    (0..200).for_each(|_| slow.multicast("town", &body));
    let mut other = Client::connect(program.address(), "other");
    // From the one whose messages the daemon must have read by then.
    slow.multicast("#other#localhost", b"all is read");
    other.receive_body();
    let id = program.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    (0..200).for_each(|number| assert!(slow.receive_body() == body, "message {number}"));
    slow.wait_for_close();
    assert_eq!(program.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_password_is_set_and_then_demanded() {
    use std::io::Write;
    let folder = Folder::new();
    let users = folder.0.join("users");
    let set = |user: &str, password: &str| {
        let mut command = Command::new(PROGRAM);
        command.arg("passwd").arg(&users).arg(user);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
        child.wait_with_output().unwrap()
    };
    assert_eq!(set("ann", "secret").status.code(), Some(0));
    assert_eq!(set("bob", "guess").status.code(), Some(0));
    assert_eq!(set("eve", "much too long").status.code(), Some(1));
    let program = Program::start(folder.command(0).arg("--passwords").arg(&users));
    let mut secret = b"ann".to_vec();
    secret.resize(32, 0);
    secret.extend_from_slice(b"secret\0\0");
    let connect = || Connect::new(Some("ann".parse().unwrap()));
    let enter =
        |secret: &[u8]| Client::try_authenticate(program.address(), connect(), &["PWORD"], secret);
    enter(&secret).unwrap().join("town");
    secret[32] = b'S';
    assert!(enter(&secret).is_err());
    assert!(Client::try_connect(program.address(), connect()).is_err());
}

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
}

#[test]
fn it_tells_the_service_manager_that_it_is_ready_and_that_it_stops() {
    use std::os::unix::net::UnixDatagram;
    let folder = Folder::new();
    let path = folder.0.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(client::DEADLINE)).unwrap();
    let program = Program::start(folder.command(0).env("NOTIFY_SOCKET", &path));
    let hear = || {
        let mut state = [0; 64];
        let len = manager.recv(&mut state).unwrap();
        String::from_utf8(state[..len].to_vec()).unwrap()
    };
    assert_eq!(hear(), "READY=1");
    program.signal("-TERM");
    assert_eq!(hear(), "STOPPING=1");
}

/// Returns a file that /proc has for each thread of a process.
#[cfg(target_os = "linux")]
fn of_threads(process: u32, file: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.map(|thread| fs::read_to_string(thread.unwrap().path().join(file)).unwrap()).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn busy_polling_it_stays_awake_after_a_message_and_then_sleeps() {
    let folder = Folder::new();
    let program = Program::start(folder.command(0).args(["--busy-poll", "10000"]));
    let process = program.child.id();
    let sleeps = || {
        let states = of_threads(process, "stat");
        states.iter().all(|state| state.rsplit_once(") ").unwrap().1.starts_with('S'))
    };
    let mut client = Client::connect(program.address(), "me");
    client.join("town");
    for _ in 0..5 {
        let start = Instant::now();
        client.multicast("town", b"hello");
        client.receive_body();
        while !sleeps() {
            assert!(start.elapsed() < client::DEADLINE, "it never sleeps");
            thread::yield_now();
        }
        assert!(start.elapsed() >= Duration::from_millis(10), "it sleeps at once");
    }

    // Asleep, and not only for a moment between two looks.
    let cpu_time = || -> u64 {
        let times = of_threads(process, "schedstat");
        times.iter().map(|times| times.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    let start = Instant::now();
    let mut before = cpu_time();
    loop {
        thread::sleep(Duration::from_millis(100));
        match cpu_time() {
            now if now == before => break,
            now => before = now,
        }
        assert!(start.elapsed() < client::DEADLINE, "it takes CPU time for nothing");
    }
}

#[test]
fn a_name_that_no_daemon_can_have_is_told_by_a_check_and_before_anything_else() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for name in ["a#b", "a-name-of-more-than-19-bytes"] {
        for options in [&["--check"][..], &["--port", &port]] {
            let said = complaint(Command::new(PROGRAM).args(["--name", name]).args(options));
            assert!(said.contains("cannot be the name of a daemon"), "{said}");
        }
    }
}

#[test]
fn it_does_not_busy_poll_for_longer_than_a_moment() {
    let folder = Folder::new();
    let check = |time: &str| {
        let mut command = folder.command(0);
        command.args(["--check", "--busy-poll", time]).output().unwrap()
    };
    assert_eq!(check("10000").status.code(), Some(0));
    let refused = check("10001");
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    let expected = "'10001' for '--busy-poll <MICROSECONDS>': 10001 is not in 0..=10000";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn its_help_explains_every_option() {
    let output = Command::new(PROGRAM).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for word in [
        "--port",
        "--remove-stale-socket",
        "--busy-poll",
        "4803",
        "PORT@HOST",
        "RUST_LOG",
        "SIGTERM",
        "Exit codes",
    ] {
        assert!(help.contains(word), "{word} is missing in {help}");
    }
}

#[test]
fn it_serves_a_client_though_others_hold_all_file_descriptors() {
    let folder = Folder::new();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 24; exec \"$@\"", "sh", PROGRAM, "--port", "0", "--unix-dir"]);
    let mut program = Program::start(shell.arg(&folder.0).stderr(Stdio::piped()));
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(program.address()).unwrap()).collect();
    for _ in 0..10 {
        let client = Client::try_connect(program.address(), Connect::new(None));
        client.unwrap().join("town");
    }
    drop(silent);

    // Sessions are not closed for others.
    let mut sessions = Vec::new();
    let refused = loop {
        let mut client = Client::bare(program.address());
        client.send(&Connect::new(None).encode());
        match client.receive_up_to(6)[..] {
            [5, ..] => {
                let mut choice = b"NULL".to_vec();
                choice.resize(90, 0);
                client.send(&choice);
                client.receive_up_to(1);
                sessions.push(client);
            }
            ref other => break other.to_vec(),
        }
        assert!(sessions.len() < 24, "more sessions than file descriptors");
    };
    assert!(refused == [ErrorCode::RejectQuota.byte()] && sessions.len() > 5, "{refused:?}");
    for mut session in sessions {
        session.finish();
        session.wait_for_close();
    }
    let client = Client::try_connect(program.address(), Connect::new(None));
    assert!(client.is_ok(), "there is room again");
    let stderr = program.child.stderr.take().unwrap();
    assert_eq!(program.signal("-TERM").code(), Some(0));
    let said = BufReader::new(stderr).lines().count();
    assert!(said < 100, "{said} lines: it tries again and again");
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
