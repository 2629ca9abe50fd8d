//! `serve`: requests of a group, answered by a command.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use spread_groups::{Event, Group, Node};

use crate::failure::{Code, Failure, Result};
use crate::options::{Connection, Serve};
use crate::output::say;
use crate::request::{LEAVE, TURN, wait};
use crate::stop::Stop;

/// Bytes of an answer.
const MAX_ANSWER: usize = 128 * 1024;

/// Bytes of what a command says went wrong.
const MAX_REASON: u64 = 4096;

/// How long the group may take to admit this member.
const READY: Duration = Duration::from_secs(30);

pub(crate) fn run(options: &Serve, connection: &Connection, stop: &Stop) -> Result {
    if let Some(program) = options.command.first()
        && !can_run(program)
    {
        let text = format!("there is no command {program}, or it cannot be executed");
        return Err(Failure::new(Code::Usage, text).into());
    }
    let node = Node::connect(connection.builder()?)?;
    stop.on_wake(|| {});
    let group = node.group(&options.group.to_string())?.join()?;
    let command = options.command.clone();
    let ended = serve(options, &group, command, stop);
    let left = node.shutdown(LEAVE);
    ended?;
    Ok(left?)
}

fn serve(options: &Serve, group: &Group, command: Vec<String>, stop: &Stop) -> Result {
    let events = group.events();
    let (serving, begun) = group.serve(&options.service, move |question: Vec<u8>| {
        if command.is_empty() { Ok(question) } else { answer(&command, question) }
    })?;
    wait(begun, Instant::now() + READY, stop)?;
    say(format_args!("serving {} in {}; ctrl-c ends it", options.service, options.group));
    let ended = loop {
        if let Err(end) = stop.check() {
            break Err(end);
        }
        match events.recv_timeout(TURN) {
            Ok(Event::Failed(why)) => {
                let text = format!("not a member of {} any more: {why}", options.group);
                break Err(Failure::new(Code::Failed, text).into());
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(TURN),
        }
    };
    drop(serving);
    ended
}

/// Returns whether a program can be executed: at a path, or in one of the directories of `PATH`.
fn can_run(program: &str) -> bool {
    let is_executable = |path: &Path| {
        fs::metadata(path)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return is_executable(Path::new(program));
    }
    let directories = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    env::split_paths(&directories).any(|directory| is_executable(&directory.join(program)))
}

/// Runs the command for a question.
fn answer(command: &[String], question: Vec<u8>) -> std::result::Result<Vec<u8>, String> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    // A command need not read its question, so errors are ignored.
    let writing = thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&question)));
    let complaining = thread::spawn(move || {
        let mut text = Vec::new();
        let mut stderr = stderr?;
        let _ = stderr.by_ref().take(MAX_REASON).read_to_end(&mut text);
        // It may go on to complain.
        let _ = io::copy(&mut stderr, &mut io::sink());
        Some(String::from_utf8_lossy(&text).trim().to_owned())
    });
    let mut answer = Vec::new();
    let stdout = child.stdout.take();
    let read = stdout.map(|out| out.take(MAX_ANSWER as u64 + 1).read_to_end(&mut answer));
    if answer.len() > MAX_ANSWER {
        // It may have ended by itself.
        let _ = child.kill();
    }
    let status = child.wait();
    let _ = writing.join();
    let complaint = complaining.join().ok().flatten().unwrap_or_default();
    if answer.len() > MAX_ANSWER {
        return Err(format!("{program}: an answer of more than {MAX_ANSWER} bytes"));
    }
    read.transpose().map_err(|error| format!("{program}: {error}"))?;
    match status {
        Ok(status) if status.success() => Ok(answer),
        Ok(status) if complaint.is_empty() => Err(format!("{program}: {status}")),
        Ok(status) => Err(format!("{program}: {status}: {complaint}")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_command_answers_fails_or_says_too_much() {
        let upper = words(&["tr", "a-z", "A-Z"]);
        assert_eq!(answer(&upper, b"hello".into()), Ok(b"HELLO".into()));
        // More than pipes hold, both ways.
        let long = vec![b'x'; MAX_ANSWER];
        assert_eq!(answer(&words(&["cat"]), long.clone()), Ok(long));
        let failing = words(&["sh", "-c", "echo broken >&2; exit 3"]);
        let error = answer(&failing, vec![b'x'; MAX_ANSWER]).unwrap_err();
        assert!(error.contains("exit status: 3") && error.ends_with("broken"), "{error}");
        let silent = answer(&words(&["false"]), Vec::new());
        assert_eq!(silent, Err("false: exit status: 1".to_owned()));
        let endless = words(&["sh", "-c", "while :; do echo more; done"]);
        assert!(answer(&endless, Vec::new()).unwrap_err().contains("131072 bytes"));
        assert!(answer(&words(&["/no/such/program"]), Vec::new()).is_err());
    }
}
