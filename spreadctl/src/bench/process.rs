//! The clients of a run, each of them a process.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Result;

/// Processes whose lines come in one stream. Those that still run are ended when
/// this is dropped.
pub(super) struct Processes {
    children: Vec<Child>,
    lines: Receiver<(usize, Option<String>)>,
    sender: Sender<(usize, Option<String>)>,
}

/// What comes next from one of the processes.
pub(super) enum Said {
    Line(usize, String),
    /// It has closed its output.
    End(usize),
    Nothing,
}

impl Processes {
    pub(super) fn new() -> Processes {
        let (sender, lines) = mpsc::channel();
        Processes { children: Vec::new(), lines, sender }
    }

    pub(super) fn start(&mut self, mut command: Command) -> Result {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child =
            child.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let (index, sender) = (self.children.len(), self.sender.clone());
        let output = child.stdout.take();
        self.children.push(child);
        thread::spawn(move || {
            // Nobody listens any more when the run is given up.
            let output = output.into_iter().flat_map(|output| BufReader::new(output).lines());
            output
                .map_while(io::Result::ok)
                .for_each(|line| drop(sender.send((index, Some(line)))));
            drop(sender.send((index, None)));
        });
        Ok(())
    }

    pub(super) fn next(&self, deadline: Instant) -> Said {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok((index, Some(line))) => Said::Line(index, line),
            Ok((index, None)) => Said::End(index),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Said::Nothing,
        }
    }

    /// Waits for the end of a process that has closed its output; returns whether it
    /// was a good one, and what the process wrote to its errors, if that is a pipe.
    pub(super) fn end(&mut self, index: usize) -> io::Result<(bool, String)> {
        let child = &mut self.children[index];
        let mut errors = String::new();
        if let Some(stderr) = &mut child.stderr {
            stderr.read_to_string(&mut errors)?;
        }
        Ok((child.wait()?.success(), errors))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.children.iter_mut().for_each(terminate);
    }
}

/// Ends a process and waits for it. strace passes the signal on to what it traces,
/// and would leave that running if it were killed.
pub(super) fn terminate(child: &mut Child) {
    signal(child, Signal::SIGTERM);
    let _ = child.wait();
}

/// Sends a signal, unless the process has been waited for.
pub(super) fn signal(child: &mut Child, signal: Signal) {
    if let (Ok(None), Ok(pid)) = (child.try_wait(), i32::try_from(child.id())) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}
