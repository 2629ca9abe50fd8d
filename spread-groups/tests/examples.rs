//! The examples as their readers run them: as programs, by themselves and at a daemon.

use std::io::{BufRead, BufReader, Read, Seek};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use spread_daemon::Daemon;

/// What never takes so long, unless something is wrong.
const LONG: Duration = Duration::from_secs(60);

/// Killed, if it still runs, when this is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs an example to its good end; returns the lines that it prints.
fn lines(example: &str, args: &[&str]) -> Vec<String> {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(example);
    // Shown only if the example fails: one has a handler that panics.
    let mut errors = tempfile::tempfile().unwrap();
    let mut command = Command::new(&path);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.stderr(errors.try_clone().unwrap()).spawn();
    let child = child.unwrap_or_else(|error| {
        panic!("{}: {error}; run cargo build -p spread-groups --examples", path.display())
    });
    let mut program = Program(child);
    let stdout = BufReader::new(program.0.stdout.take().unwrap());
    let (sender, received) = channel();
    thread::spawn(move || stdout.lines().try_for_each(|line| sender.send(line.unwrap())));
    let (mut lines, deadline) = (Vec::new(), Instant::now() + LONG);
    loop {
        match received.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => lines.push(line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("{example} does not end: {lines:#?}"),
        }
    }
    let status = program.0.wait().unwrap();
    if !status.success() {
        let mut said = String::new();
        errors.rewind().unwrap();
        errors.read_to_string(&mut said).unwrap();
        panic!("{example}: {status}; it printed {lines:#?} and {said}");
    }
    lines
}

/// Asserts that these lines are among those of a program, in this order.
fn has(lines: &[String], expected: &[&str]) {
    let mut rest = lines.iter();
    for line in expected {
        assert!(rest.any(|of| of.contains(line)), "no {line:?} in its place in {lines:#?}");
    }
}

/// Runs an example by itself and at a daemon; returns the lines of both.
fn both(example: &str) -> [Vec<String>; 2] {
    let daemon = Daemon::builder().start().unwrap();
    [lines(example, &[]), lines(example, &["--daemon", &daemon.address()])]
}

/// Runs an example by itself, and looks for lines with these texts.
fn shows(example: &str, texts: &[&str]) {
    let lines = lines(example, &[]);
    for text in texts {
        assert!(lines.iter().any(|line| line.contains(text)), "no {text:?} in {lines:#?}");
    }
}

#[test]
fn pubsub() {
    for lines in both("pubsub") {
        let early = ["tea costs 320", "tea costs 330", "tea costs 340", "tea costs 350"];
        for name in ["ann", "bob"] {
            has(&lines, &early.map(|text| format!("{name}: {text}")).each_ref().map(|l| &**l));
        }
        let late: Vec<_> = lines.iter().filter(|line| line.starts_with("cid")).cloned().collect();
        assert_eq!(late.len(), 2, "{late:?}");
        has(&late, &["tea costs 340", "tea costs 350"]);
    }
}

#[test]
fn replicated_map() {
    let expected = [
        "bob has joined and has: boiler/max = 80, boiler/min = 20, pump/max = 5",
        "bob is told that ann was first",
        "cid sees boiler/max = 85",
        "the network has parted",
        "cid sees boiler/test = cid's",
        "the network has merged",
        "cid sees a gap",
        "cid sees boiler/test = ann's",
        "cid has: boiler/max = 85, boiler/min = 20, boiler/test = ann's, pump/max = 5",
    ];
    has(&lines("replicated_map", &[]), &expected);
}

#[test]
fn leader_jobs() {
    for lines in both("leader_jobs") {
        let leaders =
            ["ann: leads, the last job was 0", "bob: leads, the last job was 3", "cid: leads"];
        has(&lines, &leaders);
        let seen: Vec<_> =
            lines.iter().filter_map(|line| line.strip_prefix("dan: sees ")).collect();
        assert_eq!(seen, (1..=9).map(|job| format!("job {job}")).collect::<Vec<_>>());
    }
}

#[test]
fn request_reply() {
    let texts = [
        "ann: HELLO, says ann",
        "cid: Pending",
        "Satisfied",
        "bob: HELLO, says bob",
        "cid: Departed(Crashed)",
        "OutOfReach",
    ];
    shows("request_reply", &texts);
}

#[test]
fn vote() {
    let texts =
        ["80 kW by majority: Yes", "80 kW by all: No", "Accepted", "it was too late for 40 kW"];
    shows("vote", &texts);
}

#[test]
fn work_queue() {
    let texts = [
        "bob has a job, 9 wait; bob is killed",
        "ann: 1, attempt 2",
        "ann: 2, attempt 1",
        "the square of 10 is 100",
    ];
    shows("work_queue", &texts);
}

#[test]
fn service_registry() {
    let expected = [
        "calc 1.2.0 in zone a is there",
        "calc 1.3.0 in zone b is there",
        "2 instances answer pings",
        "calc 1.3.0 in zone b computes 6 * 7 = 42",
        "calc 1.3.0 in zone b is gone",
        "calc 1.2.0 in zone a computes 6 * 7 = 42",
        "calc 1.2.0 in zone a is gone",
        "nobody is there any more",
    ];
    both("service_registry").iter().for_each(|lines| has(lines, &expected));
}

#[test]
fn reactor() {
    for lines in both("reactor") {
        has(&lines, &["2 members", "a handler of shop.Order has panicked"]);
        has(&lines, &["a type that nobody handles: bytes", "the reactor has handled 10 messages"]);
        for customer in ["ann", "bob", "cid"] {
            let orders: Vec<_> = lines.iter().filter(|line| line.contains(customer)).collect();
            let wanted = (1..=3).map(|number| format!("{customer} orders {number}"));
            assert_eq!(orders, wanted.collect::<Vec<_>>().iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn mesh() {
    let expected = ["ann: all hear bob say good morning", "bob: all hear bob say good morning"];
    let second = ["ann: only ann hears bob say a secret", "ann: what is \"dance\"?"];
    for lines in both("mesh") {
        has(&lines, &expected[..1]);
        has(&lines, &expected[1..]);
        has(&lines, &second);
        assert!(!lines.iter().any(|line| line.contains("only bob")), "{lines:#?}");
        has(&lines, &["bob pings ann: ", "the last answer of ann came from "]);
    }
}

#[test]
fn bridge() {
    for lines in both("bridge") {
        has(&lines, &["office hears: 20 degrees, published by ", "store hears: 20 degrees"]);
        has(&lines, &["each of 3 groups has heard each of 30 messages once"]);
        has(&lines, &["so far between plant and office: Stats {", "another daemon hears: "]);
    }
}

#[test]
fn distributed_lock() {
    let expected = [
        "ann sets the valve to 40 %",
        "bob sets the valve to 60 %",
        "has it lost the lock, as far as it knows? false",
        "the valve refuses ann, whose fence is of the past",
        "ann is told that the lock is lost",
        "ann sets the valve to 50 %",
    ];
    has(&lines("distributed_lock", &[]), &expected);
}

#[test]
fn primary_jobs() {
    let lines = lines("primary_jobs", &[]);
    let expected = [
        "leads, 0 jobs are done",
        "crashes",
        "leads, 10 jobs are done",
        "is parted from the others",
        "leads, 20 jobs are done",
        "30 jobs were done, by",
    ];
    has(&lines, &expected);
    assert!(lines.iter().any(|line| line.contains("is refused by the ledger")), "{lines:#?}");
}
