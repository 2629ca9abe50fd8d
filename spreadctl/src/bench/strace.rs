//! System calls, counted by strace.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use nix::sys::signal::Signal;

use super::Result;
use super::process;

/// The command under strace, which writes its count to the error output.
pub(super) fn traced(command: Command) -> Command {
    let mut traced = Command::new("strace");
    traced.args(["-c", "-f", "--"]).arg(command.get_program());
    traced.args(command.get_args().map(OsStr::to_owned));
    traced.stderr(Stdio::piped());
    traced
}

/// The number of calls in the last line of the count.
pub(super) fn total(errors: &str) -> Option<u64> {
    let line = errors.lines().rev().find(|line| line.trim_end().ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// A strace that counts the calls of a process that runs.
pub(super) struct Attached {
    strace: Child,
    errors: BufReader<ChildStderr>,
}

impl Attached {
    pub(super) fn to(pid: u32) -> Result<Attached> {
        let mut strace = Command::new("strace")
            .args(["-c", "-f", "-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let errors = strace.stderr.take().ok_or("no errors of strace")?;
        let mut attached = Attached { strace, errors: BufReader::new(errors) };
        let mut line = String::new();
        attached.errors.read_line(&mut line)?;
        match line.contains("attached") {
            true => Ok(attached),
            false => Err(line.trim_end().into()),
        }
    }

    /// Lets go of the process.
    pub(super) fn calls(mut self) -> Result<u64> {
        process::signal(&mut self.strace, Signal::SIGINT);
        let mut count = String::new();
        self.errors.read_to_string(&mut count)?;
        total(&count).ok_or_else(|| "strace has not counted".into())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        process::terminate(&mut self.strace);
    }
}
