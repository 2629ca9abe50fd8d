//! `request`: a question to a service of a group.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use spread_groups::{Call, Error, Group, Node, Outcome, Pending, Until};

use crate::failure::{Code, Failure, Result};
use crate::options::{Connection, Request};
use crate::output::{Output, say};
use crate::payload::Source;
use crate::stop::Stop;

/// How long to wait at a time, so that a signal is noticed.
pub(crate) const TURN: Duration = Duration::from_millis(50);

/// How long to take for leaving the group.
pub(crate) const LEAVE: Duration = Duration::from_secs(3);

pub(crate) fn run(options: &Request, connection: &Connection, stop: &Stop) -> Result {
    let source = Source::parse(&options.question);
    source.announce("the question");
    let question = source.whole()?;
    let deadline = Instant::now() + options.within;
    let node = Node::connect(connection.builder()?)?;
    stop.on_wake(|| {});
    let answers = ask(options, &node, &question, deadline, stop);
    let left = node.shutdown(LEAVE);
    let printed = print(options, answers?);
    left?;
    printed
}

/// The answers, and the server that gave each, if all were asked.
type Answers = Vec<(Option<String>, std::result::Result<Vec<u8>, String>)>;

fn ask(
    options: &Request,
    node: &Node,
    question: &Vec<u8>,
    deadline: Instant,
    stop: &Stop,
) -> Result<Answers> {
    let group = node.group(&options.group.to_string())?.join()?;
    wait(group.ready(), deadline, stop)?;
    let nobody = || Error::NoResponders { what: format!("no member serves {:?}", options.service) };
    if options.wait {
        let servers = group.servers::<Vec<u8>, Vec<u8>>(&options.service).at_least(1);
        wait(servers, deadline, stop).map_err(|error| match Instant::now() < deadline {
            true => error,
            false => nobody().into(),
        })?;
    }
    let call: Call<Vec<u8>> = group.call(&options.service, question);
    let call = call.within(deadline.saturating_duration_since(Instant::now()));
    match options.all {
        false => match outcome(call.send(), deadline + LEAVE, stop)? {
            // It names the types of Rust, of which a command has none.
            Err(Error::NoResponders { .. }) => Err(nobody().into()),
            answer => Ok(vec![(None, Ok(answer?))]),
        },
        true => {
            let replies = wait(call.send_to_all(Until::All), deadline + LEAVE, stop)?;
            if replies.each.is_empty() {
                return Err(nobody().into());
            }
            let name = |of| name_of(&group, of);
            let each = replies.each.into_iter();
            Ok(each.map(|(server, outcome)| (Some(name(server)), text(outcome))).collect())
        }
    }
}

fn name_of(group: &Group, of: spread_groups::Incarnation) -> String {
    let members = group.members();
    let member = members.iter().find(|member| member.incarnation == of);
    member.map_or_else(|| format!("{of:?}"), |member| member.name.to_string())
}

fn text(outcome: Outcome<Vec<u8>>) -> std::result::Result<Vec<u8>, String> {
    match outcome {
        Outcome::Answered(answer) => Ok(answer),
        Outcome::Failed(why) => Err(format!("the server: {why}")),
        Outcome::Busy => Err("the server is busy".to_owned()),
        Outcome::NotServed => Err("it does not serve this any more".to_owned()),
        Outcome::Departed(how) => Err(format!("the server has gone ({how:?})")),
        Outcome::Pending => Err("no answer in time".to_owned()),
        other => Err(format!("{other:?}")),
    }
}

/// Waits until a time, and looks for signals meanwhile.
pub(crate) fn wait<T: Send + 'static>(
    pending: Pending<T>,
    deadline: Instant,
    stop: &Stop,
) -> Result<T> {
    Ok(outcome(pending, deadline, stop)??)
}

/// As [`wait`], with the error of the call apart from a signal.
fn outcome<T: Send + 'static>(
    mut pending: Pending<T>,
    deadline: Instant,
    stop: &Stop,
) -> Result<std::result::Result<T, Error>> {
    loop {
        stop.check()?;
        let turn = TURN.min(deadline.saturating_duration_since(Instant::now()));
        if let Some(result) = pending.wait_timeout(turn).transpose() {
            return Ok(result);
        }
        if Instant::now() >= deadline {
            return Ok(Err(Error::TimedOut));
        }
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

fn print(options: &Request, answers: Answers) -> Result {
    let mut output = Output::new();
    let mut failed = 0;
    for (server, answer) in &answers {
        failed += usize::from(answer.is_err());
        if options.json {
            let bytes = answer.as_deref().ok();
            let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
            let json = Answer {
                server: server.as_deref(),
                text,
                base64: bytes.filter(|_| text.is_none()).map(|bytes| STANDARD.encode(bytes)),
                error: answer.as_ref().err().map(String::as_str),
            };
            output.line(serde_json::to_string(&json).expect("texts can be written"))?;
            continue;
        }
        match answer {
            Ok(answer) => {
                output.bytes(answer)?;
                if !answer.ends_with(b"\n") {
                    output.bytes(b"\n")?;
                }
            }
            Err(error) => {
                say(format_args!("{}: {error}", server.as_deref().unwrap_or("the server")));
            }
        }
    }
    output.flush()?;
    match failed {
        0 => Ok(()),
        failed => Err(Failure::new(
            Code::NoAnswer,
            format!("{failed} of {} servers gave no answer", answers.len()),
        )
        .into()),
    }
}
