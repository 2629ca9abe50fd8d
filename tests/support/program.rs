//! A program under test: its lines as they come, with a deadline, and its end in
//! any case.

use std::fmt::Debug;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::PATIENCE;

/// A program that runs; killed, if it still does, when this is dropped.
pub(crate) struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    readers: Vec<JoinHandle<()>>,
    /// What it has printed, for the test that fails.
    seen: Vec<String>,
}

impl Program {
    /// Starts an example of this package, which `cargo test` has built beside the
    /// tests.
    pub(crate) fn example(name: &str, args: &[&str]) -> Program {
        let test = std::env::current_exe().expect("the path of the test");
        let folder = test.ancestors().nth(2).expect("the folder of the build");
        Program::start(&folder.join("examples").join(name), args, &[])
    }

    /// Starts a program with variables of the environment.
    pub(crate) fn start(path: &Path, args: &[&str], variables: &[(&str, &str)]) -> Program {
        let mut child = Command::new(path)
            .args(args)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; run cargo build --examples", path.display())
            });
        let (sender, lines) = mpsc::channel();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map(|stdout| read(stdout, sender.clone()));
        let stderr = child.stderr.take().map(|stderr| read(stderr, sender));
        let readers = stdout.into_iter().chain(stderr).collect();
        let name = path.file_name().unwrap_or_default().display().to_string();
        Program { name, child, stdin, lines, readers, seen: Vec::new() }
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("the input is open");
        writeln!(stdin, "{line}").unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Does what ctrl-c does.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::SIGINT);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.child.id().try_into().expect("the id of a process"));
        kill(process, signal).expect("the process is there");
    }

    /// Ends the program's input.
    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// The next line that it prints.
    pub(crate) fn next_line(&mut self) -> String {
        match self.line_by(Instant::now() + PATIENCE) {
            Some(line) => line,
            None => panic!("{} ended; it said {:#?}", self.name, self.seen),
        }
    }

    /// Waits for a line with all these texts in it, and skips others.
    pub(crate) fn line_with(&mut self, texts: &[impl AsRef<str> + Debug]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.line_by(deadline) {
                Some(line) if texts.iter().all(|text| line.contains(text.as_ref())) => return line,
                Some(_) => {}
                None => {
                    panic!("{} ended without {texts:?}; it said {:#?}", self.name, self.seen)
                }
            }
        }
    }

    /// Ends its input and waits for its own end, which is to be a good one;
    /// returns the lines since the last one that was asked for.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.close_input();
        self.succeed()
    }

    /// Waits for a good end of the program by itself; returns its last lines, too.
    pub(crate) fn succeed(mut self) -> Vec<String> {
        let lines = self.rest();
        let status = self.child.wait().expect("the end of a child");
        assert!(status.success(), "{}: {status}; it said {:#?}", self.name, self.seen);
        lines
    }

    /// Waits for the program to fail by itself; returns its last lines, too.
    pub(crate) fn fail(mut self) -> Vec<String> {
        let lines = self.rest();
        let status = self.child.wait().expect("the end of a child");
        assert_eq!(status.code(), Some(1), "{}; it said {:#?}", self.name, self.seen);
        lines
    }

    /// Ends the program as a crash would.
    pub(crate) fn kill(self) {}

    fn rest(&mut self) -> Vec<String> {
        let start = self.seen.len();
        let deadline = Instant::now() + PATIENCE;
        while self.line_by(deadline).is_some() {}
        self.seen[start..].to_vec()
    }

    /// The next line of its output or its errors; `None` at the end of the
    /// program, because only that ends them.
    fn line_by(&mut self, deadline: Instant) -> Option<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{}: nothing within {PATIENCE:?}; it said {:#?}", self.name, self.seen)
            }
        }
    }
}

/// Passes on the lines of an output, until it ends.
fn read(output: impl Read + Send + 'static, lines: Sender<String>) -> JoinHandle<()> {
    thread::spawn(move || {
        // Nobody asks for lines any more once the program is being dropped.
        let output = BufReader::new(output).lines().map_while(io::Result::ok);
        output.for_each(|line| drop(lines.send(line)));
    })
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended, and been waited for, already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.readers.drain(..).for_each(|reader| drop(reader.join()));
    }
}
