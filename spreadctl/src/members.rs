//! `members`: who is in a group.

use std::time::Instant;

use serde::Serialize;
use spread::{Message, View};

use crate::failure::{Code, Failure, Result};
use crate::options::{Connection, Members};
use crate::output::Output;
use crate::record::names;
use crate::stop::Stop;

pub(crate) fn run(options: &Members, connection: &Connection, stop: &Stop) -> Result {
    let mut mailbox = connection.builder()?.connect()?;
    let interrupter = mailbox.interrupter()?;
    stop.on_wake(move || interrupter.interrupt());
    mailbox.join(options.group)?;
    let deadline = Instant::now() + connection.timeout;
    let view = loop {
        stop.check()?;
        match mailbox.receive_deadline(deadline) {
            Ok(Some(Message::Membership(view))) if view.group == options.group => break view,
            Ok(Some(Message::Rejected(_))) => {
                let text = format!("the daemon does not let this client join {}", options.group);
                return Err(Failure::new(Code::Failed, text)
                    .advise("its access policy may let another --user do so")
                    .into());
            }
            Ok(Some(_)) | Err(spread::Error::Interrupted) => {}
            Ok(None) => {
                let text = format!("no view of {} came in time", options.group);
                return Err(Failure::new(Code::NoAnswer, text)
                    .advise("--timeout allows more time; spreadctl doctor looks closer")
                    .into());
            }
            Err(error) => return Err(error.into()),
        }
    };
    mailbox.leave(options.group)?;
    mailbox.disconnect()?;
    print(options, &view)
}

/// Prints the members but this client itself.
fn print(options: &Members, view: &View) -> Result {
    #[derive(Serialize)]
    struct Group {
        group: String,
        id: String,
        members: Vec<String>,
    }
    let members = names(&view.others().collect::<Vec<_>>());
    let mut output = Output::new();
    if options.json {
        let group = Group { group: view.group.to_string(), id: view.id.to_string(), members };
        output.line(serde_json::to_string(&group).expect("texts can be written"))?;
    } else {
        members.iter().try_for_each(|member| output.line(member))?;
    }
    output.flush()
}
