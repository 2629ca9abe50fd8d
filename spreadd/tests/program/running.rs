//! Signals, descriptors and processor time while it runs.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use spread_wire::ErrorCode;
use spread_wire::handshake::Connect;

use crate::client::{self, Client};
use crate::support::{Folder, PROGRAM, Program, complaint, file, socket_file};

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
fn its_end_is_logged_with_what_could_not_be_sent_to_clients() {
    let folder = Folder::new();
    let mut command = folder.command(0);
    let mut program = Program::start(command.env("RUST_LOG", "info").stderr(Stdio::piped()));
    let mut slow = Client::connect(program.address(), "slow");
    slow.join("town");
    // More than the sockets hold.
    let body = vec![7; 100_000];
    (0..200).for_each(|_| slow.multicast("town", &body));
    let stderr = program.child.stderr.take().unwrap();
    assert_eq!(program.signal("-TERM").code(), Some(0));
    let log: Vec<String> = BufReader::new(stderr).lines().map(Result::unwrap).collect();
    let place = |words: &[&str]| {
        let has_all = |line: &String| words.iter().all(|word| line.contains(word));
        log.iter().position(has_all).unwrap_or_else(|| panic!("no {words:?} in {log:#?}"))
    };
    let begin = place(&["INFO", "takes nothing new", "after 5 s at the latest", "SIGTERM"]);
    let unread = place(&["WARN", "could not be sent", "client=\"#slow#localhost\"", "messages="]);
    assert!(begin < unread && unread < place(&["INFO", "the daemon has ended"]), "{log:#?}");
}

#[test]
fn it_tells_the_service_manager_that_it_is_ready_and_that_it_stops() {
    use std::os::unix::net::UnixDatagram;
    let folder = Folder::new();
    let path = folder.0.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(client::DEADLINE)).unwrap();
    let allowed = file(&folder, "allowed", "local\n");
    let mut command = folder.command(0);
    command.env("NOTIFY_SOCKET", &path).arg("--allow").arg(&allowed).stderr(Stdio::null());
    let program = Program::start(&mut command);
    let hear = || {
        let mut state = [0; 1024];
        let len = manager.recv(&mut state).unwrap();
        String::from_utf8(state[..len].to_vec()).unwrap()
    };
    let ready = format!("READY=1\nSTATUS=clients connect to {}@127.0.0.1", program.port());
    assert_eq!(hear(), ready);
    let id = program.child.id().to_string();
    let reload = || {
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
        assert_eq!(hear(), "RELOADING=1");
        hear()
    };
    assert_eq!(reload(), ready);
    fs::write(&allowed, "nowhere\n").unwrap();
    let failed = reload();
    let expected = "READY=1\nSTATUS=not reloaded, all is as before: ";
    assert!(failed.starts_with(expected) && failed.contains("nowhere"), "{failed}");
    assert_eq!(failed.lines().count(), 2, "{failed}");
    program.signal("-TERM");
    assert_eq!(hear(), "STOPPING=1");
}

#[test]
fn it_serves_at_the_sockets_that_the_service_manager_has_opened() {
    let folder = Folder::new();
    let paths = [folder.0.join("clients"), folder.0.join("others")];
    // As sd_listen_fds(3) has it: from descriptor 3 on, for the process of this number.
    let manager = "
import os, socket, sys
def unix(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener
given = [socket.create_server(('127.0.0.1', 0)), unix(sys.argv[1]), unix(sys.argv[2])]
for number, one in enumerate(given):
    os.dup2(one.fileno(), 10 + number)
for number in range(3):
    os.dup2(10 + number, 3 + number)
os.environ.update(LISTEN_FDS='3', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[3], sys.argv[3:])
";
    let mut command = Command::new("python3");
    command.args(["-c", manager]).args(&paths).arg(PROGRAM);
    command.args(["--no-config", "--port", "1", "--unix-dir"]).arg(&folder.0);
    let program = Program::start(&mut command);
    let ready = format!(" and {}\n", paths[0].display());
    assert!(program.ready.ends_with(&ready), "{}", program.ready);
    let mut client = Client::connect(program.address(), "me");
    client.join("town");
    for (path, name) in paths.iter().zip(["one", "two"]) {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(client::DEADLINE)).unwrap();
        // Too old to authenticate, so all in one.
        write!(stream, "\x03\x0f\x00\x01\x03{name}").unwrap();
        let mut accepted = [0; 19];
        stream.read_exact(&mut accepted).unwrap();
        assert!(accepted.ends_with(format!("#{name}#localhost").as_bytes()), "{accepted:?}");
    }
    assert_ne!(program.port(), 1);
    program.signal("-TERM");
    assert!(paths.iter().all(|path| path.exists()), "they are the manager's");
}

#[test]
fn more_sockets_of_the_service_manager_than_there_are_descriptors_are_an_error() {
    let folder = Folder::new();
    // The shell has the number of the program that replaces it.
    let script = "export LISTEN_PID=$$ LISTEN_FDS=3; exec \"$@\" 3</dev/null";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", PROGRAM, "--no-config", "--port", "0", "--unix-dir"]);
    let said = complaint(command.arg(&folder.0));
    assert!(said.contains("socket 0 of LISTEN_FDS: fd 3 is not a socket"), "{said}");
    let manager = "
import os, socket, sys
listener = socket.create_server(('127.0.0.1', 0))
os.dup2(listener.fileno(), 10)
os.dup2(10, 3)
os.closerange(4, 12)
os.environ.update(LISTEN_FDS='9', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], sys.argv[1:])
";
    let mut command = Command::new("python3");
    command.args(["-c", manager, PROGRAM, "--no-config", "--port", "0", "--unix-dir"]);
    let said = complaint(command.arg(&folder.0));
    assert!(said.contains("socket 1 of LISTEN_FDS: fd 4 is not a socket"), "{said}");
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
