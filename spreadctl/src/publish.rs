//! `pub`: messages to groups, until the daemon has taken them.

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use spread::{Mailbox, Message, Name, SendOptions, Service};

use crate::failure::{Code, Failure, Result};
use crate::options::{Connection, Publish, target};
use crate::payload::Source;
use crate::stop::Stop;

/// Lines that are read ahead.
const AHEAD: usize = 64;

/// The most that a daemon may take to answer after the last message.
const CONFIRMATION: Duration = Duration::from_secs(30);

/// Messages after which what has come is received: refusals, and messages to this client.
const EVERY: u64 = 64;

/// The type of the message that this client sends itself at the end.
const CONFIRMATION_TYPE: i16 = i16::MIN;

/// How long to wait at a time, so that a signal is noticed.
const TURN: Duration = Duration::from_millis(100);

pub(crate) fn run(options: &Publish, connection: &Connection, stop: &Stop) -> Result {
    let (groups, source) = split(&options.arguments)?;
    let messages = messages(options, source.clone())?;
    let mailbox = connection.builder()?.membership(false).connect()?;
    source.announce(if options.whole { "one message" } else { "messages, one a line," });
    let send = SendOptions::new(options.service).message_type(options.message_type);
    let mut publisher = Publisher {
        mailbox,
        groups,
        send,
        pace: Pace::new(options.rate),
        sent: 0,
        refused: 0,
        stop,
    };

    let (sender, events) = mpsc::sync_channel(AHEAD);
    let wake = sender.clone();
    // Whoever waits for a line is woken; a full channel needs no waking.
    stop.on_wake(move || drop(wake.try_send(Event::Wake)));
    read(messages, sender);
    let sent = publisher.send_all(&events, options.count);
    let confirmed = publisher.confirm();
    sent?;
    confirmed?;
    match publisher.refused {
        0 => Ok(publisher.mailbox.disconnect()?),
        refused => Err(Failure::new(
            Code::Failed,
            format!("the daemon refused {}", crate::text::count(refused, "message")),
        )
        .advise("its access policy may let another --user do so")
        .into()),
    }
}

/// Divides the arguments into groups and the message, which is the standard input if it is not
/// given.
fn split(arguments: &[String]) -> Result<(Vec<Name>, Source)> {
    let (groups, source) = match arguments {
        [group] => (std::slice::from_ref(group), Source::Stdin),
        [groups @ .., message] => (groups, Source::parse(message)),
        [] => (arguments, Source::Stdin),
    };
    let parse = |group: &String| {
        target(group).map_err(|error| {
            let text = format!("illegal group name {group:?}: {error}");
            Failure::new(Code::Usage, text).advise("pub GROUP... MESSAGE; quote what has blanks")
        })
    };
    Ok((groups.iter().map(parse).collect::<std::result::Result<_, _>>()?, source))
}

type Messages = Box<dyn Iterator<Item = Result<Vec<u8>>> + Send>;

fn messages(options: &Publish, source: Source) -> Result<Messages> {
    let by_lines = match source {
        Source::Text(_) => false,
        Source::Stdin => !options.whole,
        Source::File(_) => options.lines,
    };
    match by_lines {
        true => source.lines(),
        false => match source {
            // It is read by the thread that can be left behind.
            Source::Stdin => Ok(Box::new(std::iter::once_with(|| Source::Stdin.whole()))),
            other => Ok(Box::new(std::iter::once(Ok(other.whole()?)))),
        },
    }
}

enum Event {
    Message(Result<Vec<u8>>),
    /// There are no more messages.
    End,
    /// Look whether the command is to end.
    Wake,
}

/// Reads in a thread of its own, which ends with the messages or with the process.
fn read(messages: Messages, sender: SyncSender<Event>) {
    thread::spawn(move || {
        let events = messages.map(Event::Message).chain([Event::End]);
        // Nobody listens any more when the command ends.
        let _ = events.map(|event| sender.send(event)).find(|sent| sent.is_err());
    });
}

struct Publisher<'a> {
    mailbox: Mailbox,
    groups: Vec<Name>,
    send: SendOptions,
    pace: Pace,
    sent: u64,
    refused: usize,
    stop: &'a Stop,
}

impl Publisher<'_> {
    fn send_all(&mut self, events: &Receiver<Event>, count: u64) -> Result {
        while let Ok(event) = events.recv() {
            self.stop.check()?;
            match event {
                Event::Message(message) => {
                    let message = message?;
                    (0..count).try_for_each(|_| self.send_one(&message))?;
                }
                Event::Wake => {}
                Event::End => break,
            }
        }
        Ok(())
    }

    fn send_one(&mut self, message: &[u8]) -> Result {
        while let Some(wait) = self.pace.wait(Instant::now()) {
            self.stop.check()?;
            thread::sleep(wait.min(TURN));
        }
        self.stop.check()?;
        self.mailbox.multicast(self.send, &self.groups[..], message)?;
        self.pace.sent();
        self.sent += 1;
        if self.sent.is_multiple_of(EVERY) { self.take_what_came() } else { Ok(()) }
    }

    /// Receives what has come, so that the daemon does not cut this client off.
    fn take_what_came(&mut self) -> Result {
        while let Some(message) = self.mailbox.try_receive()? {
            self.note(&message);
        }
        Ok(())
    }

    fn note(&mut self, message: &Message) {
        self.refused += usize::from(matches!(message, Message::Rejected(_)));
    }

    /// Waits until the daemon has taken all that was sent: it reads a message to this client
    /// itself after it.
    fn confirm(&mut self) -> Result {
        let me = self.mailbox.private_group();
        let deadline = Instant::now() + CONFIRMATION;
        let last = SendOptions::new(Service::Fifo).message_type(CONFIRMATION_TYPE);
        self.mailbox.multicast_deadline(last, me, b"", deadline)?;
        // A policy that refuses it has seen what was sent before, too.
        let is_last = |message: &Message| match message {
            Message::Regular(m) => {
                m.sender() == me && m.message_type() == CONFIRMATION_TYPE && m.payload().is_empty()
            }
            Message::Rejected(m) => m.message_type == CONFIRMATION_TYPE && m.payload.is_empty(),
            _ => false,
        };
        loop {
            let turn = deadline.min(Instant::now() + TURN);
            match self.mailbox.receive_deadline(turn)? {
                Some(message) if is_last(&message) => return Ok(()),
                Some(message) => self.note(&message),
                None if Instant::now() < deadline => {}
                None => {
                    let text = "the daemon has not taken all messages in time";
                    return Err(Failure::new(Code::NoAnswer, text).into());
                }
            }
        }
    }
}

/// Messages a second.
struct Pace {
    every: Option<Duration>,
    next: Option<Instant>,
}

impl Pace {
    fn new(rate: Option<f64>) -> Pace {
        Pace {
            every: rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok()),
            next: None,
        }
    }

    /// Returns for how long the next message has to wait.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.every?;
        let next = *self.next.get_or_insert(now);
        next.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// Sets the time of the next message. What is late is made up for.
    fn sent(&mut self) {
        if let (Some(every), Some(next)) = (self.every, &mut self.next) {
            *next += every;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_last_of_several_arguments_is_the_message() {
        let (groups, source) = split(&words(&["a", "#b#d", "text"])).unwrap();
        assert_eq!(groups.iter().map(Name::to_string).collect::<Vec<_>>(), ["a", "#b#d"]);
        assert_eq!(source, Source::Text(b"text".into()));
        assert_eq!(split(&words(&["a"])).unwrap().1, Source::Stdin);
        assert!(split(&words(&["two words", "text"])).is_err());
    }

    #[test]
    fn a_pace_keeps_its_rate_and_makes_up_for_what_is_late() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(Some(100.0));
        assert_eq!(pace.wait(at(0)), None);
        pace.sent();
        assert_eq!(pace.wait(at(4)), Some(Duration::from_millis(6)));
        assert_eq!(pace.wait(at(35)), None);
        (0..3).for_each(|_| pace.sent());
        assert_eq!(pace.wait(at(35)), Some(Duration::from_millis(5)));
        assert_eq!(Pace::new(None).wait(at(0)), None);
    }
}
