//! What the tests share: a daemon, and the program with a deadline for all that it does.
//!
//! Each test starts a daemon of its own in the process. With `SPREAD_DAEMON` set, those that
//! need only a client use that one.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use spread::{Mailbox, Message, View};
use spread_daemon::Daemon;
use tempfile::TempDir;

/// Long enough for a busy machine; no test that passes waits for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon that a test talks to.
pub(crate) struct Place {
    pub(crate) address: String,
    /// Of an embedded daemon, and the folder of its sockets.
    pub(crate) embedded: Option<(Daemon, TempDir)>,
}

impl Place {
    pub(crate) fn start() -> Place {
        match std::env::var("SPREAD_DAEMON") {
            Ok(address) => Place { address, embedded: None },
            Err(_) => Place::embedded(),
        }
    }

    pub(crate) fn embedded() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let builder = Daemon::builder().unix_dir(folder.path()).status_socket(true);
        let daemon = builder.start().unwrap();
        Place { address: daemon.address(), embedded: Some((daemon, folder)) }
    }

    /// Returns a command at this daemon.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut at = vec!["--daemon", &self.address];
        if let Some((_, folder)) = &self.embedded {
            at.extend(["--unix-dir", folder.path().to_str().unwrap()]);
        }
        command(&[&at[..], args].concat())
    }

    pub(crate) fn start_program(&self, args: &[&str]) -> Program {
        Program::start(self.command(args))
    }

    /// Runs a command to its end, with nothing to read.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        run(self.command(args))
    }

    pub(crate) fn connect(&self) -> Mailbox {
        Mailbox::connect(&self.address).unwrap()
    }

    /// Connects and joins a group.
    pub(crate) fn member(&self, group: &str) -> Mailbox {
        let mut mailbox = self.connect();
        mailbox.join(group).unwrap();
        assert!(view(&mut mailbox).contains(mailbox.private_group()));
        mailbox
    }
}

/// Returns the program, without what the environment of the tests says.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = command_of(env!("CARGO_BIN_EXE_spreadctl"));
    command.args(args);
    command
}

/// As [`command`], of a copy of the program.
pub(crate) fn command_of(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    let set = std::env::vars_os().map(|(name, _)| name);
    let ours = set.filter(|name| name.to_string_lossy().starts_with("SPREAD_"));
    for name in ours.chain(["NO_COLOR".into()]) {
        command.env_remove(name);
    }
    command
}

/// A name that no other test has, at most 10 bytes if `name` has at most 2.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}{:05x}{next:02x}", std::process::id() & 0xf_ffff)
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn succeeds(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Checks the exit code, and that the error has these texts.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        texts.iter().for_each(|text| assert!(self.err.contains(text), "no {text:?}: {self:?}"));
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end, at most for the patience of tests.
pub(crate) fn run(command: Command) -> Ended {
    Program::start(command).end()
}

/// Runs a command with an input.
pub(crate) fn run_with(command: Command, input: &[u8]) -> Ended {
    let mut program = Program::start(with_input(command));
    // It may end without reading all of it.
    let _ = program.stdin.as_mut().unwrap().write_all(input);
    program.end()
}

pub(crate) fn with_input(mut command: Command) -> Command {
    command.stdin(Stdio::piped());
    command
}

/// The running program, which does not outlive the test.
pub(crate) struct Program {
    /// Its arguments, for the test that fails.
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    out: Lines,
    err: Lines,
}

/// The lines of an output.
struct Lines {
    next: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Program {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let out = Lines::of(child.stdout.take().unwrap());
        let err = Lines::of(child.stderr.take().unwrap());
        Program { name: format!("{:?}", command.get_args()), child, stdin, out, err }
    }

    pub(crate) fn write(&mut self, input: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(input).and_then(|()| stdin.flush()).unwrap();
    }

    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Waits for a line with all these texts in it, and skips others.
    #[track_caller]
    pub(crate) fn line_with(&mut self, texts: &[&str]) -> String {
        self.out.line_with(texts)
    }

    /// As [`Program::line_with`], of the error output.
    #[track_caller]
    pub(crate) fn error_with(&mut self, texts: &[&str]) -> String {
        self.err.line_with(texts)
    }

    /// Waits for a JSON object with this event.
    #[track_caller]
    pub(crate) fn event(&mut self, event: &str) -> Value {
        let line = self.line_with(&[&format!("\"event\":\"{event}\"")]);
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        self.close_input();
        let status = self.wait();
        let (out, err) = (self.out.rest(), self.err.rest());
        Output { status, stdout: out, stderr: err }.into()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end; {}", self.name, self.seen());
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn seen(&self) -> String {
        let text = |lines: &Lines| String::from_utf8_lossy(&lines.seen).into_owned();
        format!("{}\n{}", text(&self.out), text(&self.err))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Lines {
        let (sender, next) = mpsc::channel();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            loop {
                let mut line = Vec::new();
                match output.read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) => drop(sender.send(line)),
                }
            }
        });
        Lines { next, seen: Vec::new() }
    }

    fn take(&mut self, deadline: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = self.next.recv_timeout(left)?;
        self.seen.extend_from_slice(&line);
        Ok(line)
    }

    #[track_caller]
    fn line_with(&mut self, texts: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.take(deadline) {
                Ok(line) => {
                    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                    if texts.iter().all(|text| line.contains(text)) {
                        return line;
                    }
                }
                Err(error) => {
                    let seen = String::from_utf8_lossy(&self.seen);
                    panic!("{error}: no {texts:?} in {seen}");
                }
            }
        }
    }

    /// Returns all that was printed, up to the end of the program.
    fn rest(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        while self.take(deadline).is_ok() {}
        std::mem::take(&mut self.seen)
    }
}

/// Receives with a deadline.
#[track_caller]
pub(crate) fn receive(mailbox: &mut Mailbox) -> Message {
    mailbox.receive_timeout(PATIENCE).unwrap().expect("nothing has come")
}

/// Receives a view, and skips other messages.
#[track_caller]
pub(crate) fn view(mailbox: &mut Mailbox) -> View {
    loop {
        if let Message::Membership(view) = receive(mailbox) {
            return view;
        }
    }
}

/// Receives the payload of a message, and skips views.
#[track_caller]
pub(crate) fn payload(mailbox: &mut Mailbox) -> Vec<u8> {
    loop {
        if let Message::Regular(message) = receive(mailbox) {
            return message.payload().to_vec();
        }
    }
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Serves each connection at a port of this host, in a thread that ends with the test program.
pub(crate) fn serve_tcp(serve: impl Fn(std::net::TcpStream) + Send + 'static) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().map_while(io::Result::ok).for_each(serve));
    format!("{port}@localhost")
}
