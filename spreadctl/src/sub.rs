//! `sub`: messages and views as they come, across reconnects.

use std::time::{Instant, SystemTime};

use spread::{Message, Session, SessionEvent, SessionOptions};

use crate::failure::{Code, End, Failure, Result};
use crate::options::{Connection, Sub};
use crate::output::{Output, Theme, styled};
use crate::record::{Record, timestamp};
use crate::stop::Stop;

pub(crate) fn run(options: &Sub, connection: &Connection, theme: Theme, stop: &Stop) -> Result {
    let builder = connection.builder()?.membership(!options.no_views);
    let mut session = builder.session(SessionOptions::new())?;
    let interrupter = session.interrupter()?;
    stop.on_wake(move || interrupter.interrupt());
    stop.watch_output();
    for group in &options.groups {
        session.join(group)?;
    }
    let left = options.count.unwrap_or(u64::MAX);
    let mut printer = Printer { options, theme, output: Output::new(), left, last_failure: None };
    let ended = receive(&mut session, &mut printer, stop);
    // What has come is printed, and the groups are left, whatever the end was.
    let flushed = printer.output.flush();
    if session.is_connected() {
        // It ends the connection in any case.
        let _ = session.disconnect();
    }
    ended.and(flushed)
}

fn receive(session: &mut Session, printer: &mut Printer<'_>, stop: &Stop) -> Result {
    let deadline = printer.options.time.and_then(|time| Instant::now().checked_add(time));
    while printer.left > 0 {
        stop.check()?;
        let event = match session.try_receive() {
            // Nothing more has come: now people want to see it.
            Ok(None) => {
                printer.output.flush()?;
                match deadline {
                    Some(deadline) => session.receive_deadline(deadline),
                    None => session.receive().map(Some),
                }
            }
            other => other,
        };
        match event {
            Ok(Some(event)) => printer.take(&event)?,
            Ok(None) => return printer.time_is_over(),
            Err(spread::Error::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

struct Printer<'a> {
    options: &'a Sub,
    theme: Theme,
    output: Output,
    /// Messages that are still to come.
    left: u64,
    /// Why the last attempt to connect has failed.
    last_failure: Option<String>,
}

impl Printer<'_> {
    fn take(&mut self, event: &SessionEvent) -> Result {
        if let SessionEvent::Message(Message::Regular(message)) = event {
            self.left -= 1;
            if self.options.raw {
                self.output.bytes(message.payload())?;
                return if self.options.no_newline { Ok(()) } else { self.output.bytes(b"\n") };
            }
        }
        if let (SessionEvent::Lost { error, .. }, true) = (event, self.options.no_reconnect) {
            return Err(Failure::from(error).into());
        }
        let Some(record) = Record::of(event) else {
            return Ok(());
        };
        self.print(&record)?;
        match record {
            Record::Rejected { groups, request } if request == "join" => Err(refused(&groups)),
            _ => Ok(()),
        }
    }

    /// Returns whether a record is of an attempt that has failed as the one before.
    fn is_known(&mut self, record: &Record) -> bool {
        let failure = match record {
            Record::Retrying { error, .. } => Some(error.clone()),
            _ => None,
        };
        let before = std::mem::replace(&mut self.last_failure, failure);
        before.is_some() && before == self.last_failure
    }

    fn print(&mut self, record: &Record) -> Result {
        let now = SystemTime::now();
        if self.options.json {
            return self.output.line(record.json(now));
        }
        let time = match self.options.timestamps {
            true => styled(self.theme.faint, timestamp(now)) + " ",
            false => String::new(),
        };
        // What tells of the connection is no part of the stream, and of no use in a pipe.
        if record.is_of_connection() {
            if self.is_known(record) {
                return Ok(());
            }
            let line = format!("{time}{}\n", record.line(&Theme::PLAIN));
            self.output.flush()?;
            // Nobody may read it.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            return Ok(());
        }
        if self.options.raw {
            return Ok(());
        }
        self.output.line(format_args!("{time}{}", record.line(&self.theme)))
    }

    fn time_is_over(&self) -> Result {
        match self.options.count {
            Some(count) if self.left > 0 => {
                let text = format!("{} of {count} messages came in time", count - self.left);
                Err(Failure::new(Code::NoAnswer, text).into())
            }
            _ => Ok(()),
        }
    }
}

fn refused(groups: &[String]) -> End {
    let text = format!("the daemon does not let this client join {}", groups.join(" "));
    Failure::new(Code::Failed, text).advise("its access policy may let another --user do so").into()
}
