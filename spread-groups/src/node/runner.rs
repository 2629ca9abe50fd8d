//! The node's thread: it receives, drives the cores of its groups, and does what they say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use spread::{Cause, Message, Name};

use super::commands::{Command, Commands};
use super::hosted::Hosted;
use super::link::{Link, News};
use super::shared::Shared;
use super::timers::Timers;
use crate::Error;
use crate::core::envelope::{Call, Frame, MESSAGE_TYPE, Reply};
use crate::core::roster::Departure;
use crate::core::{Input, View};

/// The longest time that a shut-down takes.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Messages that are taken before anything else is done.
const TURN: usize = 64;

/// Everything that the node's thread has.
pub(crate) struct Runner {
    commands: Commands,
    link: Link,
    began: Instant,
    /// When it last looked at the clock, since then.
    now: Duration,
    groups: BTreeMap<Name, Hosted>,
    timers: Timers,
    /// When the thread ends at the latest.
    ending: Option<Instant>,
    /// Who waits for it.
    ended: Option<Done>,
}

/// Told when the thread has ended.
type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

impl Runner {
    pub(super) fn new(commands: Commands, link: Link, began: Instant) -> Runner {
        Runner {
            commands,
            link,
            began,
            now: began.elapsed(),
            groups: BTreeMap::new(),
            timers: Timers::default(),
            ending: None,
            ended: None,
        }
    }

    pub(super) fn run(mut self) {
        crate::pending::mark_own_thread();
        loop {
            self.now = self.began.elapsed();
            for command in self.commands.take() {
                command(&mut self);
            }
            self.tick();
            self.groups.retain(|_, hosted| !hosted.is_forgotten());
            self.link.flush();
            if self.has_ended() {
                break;
            }
            if let Some(news) = self.link.receive(self.deadline()) {
                self.turn(news);
            }
        }
        let left = self.groups.values().all(Hosted::has_left);
        let done = self.ended.take();
        // The connection ends here.
        drop(self);
        if let Some(done) = done {
            done(if left { Ok(()) } else { Err(Error::TimedOut) });
        }
    }

    /// Begins to take part in a group, unless the node does so already.
    pub(super) fn host(&mut self, group: Name, mut hosted: Hosted) -> Result<(), Error> {
        if self.groups.get(&group).is_some_and(|hosted| !hosted.has_left()) {
            return Err(Error::AlreadyJoined { group: group.to_string() });
        }
        if let Some(name) = self.link.name() {
            hosted.input(self.now, Input::Connected(name), &mut self.link);
        }
        self.groups.insert(group, hosted);
        Ok(())
    }

    /// Returns the part in a group that this belongs to, unless the node has joined the group
    /// again since.
    pub(crate) fn part(&mut self, shared: &Arc<Shared>) -> Option<&mut Hosted> {
        self.groups.get_mut(&shared.group).filter(|hosted| hosted.is_of(shared))
    }

    /// Hands something to the core of that part.
    pub(crate) fn input_to(&mut self, shared: &Arc<Shared>, input: Input) {
        if self.part(shared).is_some() {
            self.input(shared.group, input);
        }
    }

    /// Runs a command after a delay.
    pub(super) fn after(&mut self, delay: Duration, command: Command) {
        self.timers.add(Instant::now(), delay, command);
    }

    /// Hands something to the core of a group.
    fn input(&mut self, group: Name, input: Input) {
        if let Some(hosted) = self.groups.get_mut(&group) {
            hosted.input(self.now, input, &mut self.link);
        }
    }

    fn for_all(&mut self, input: impl Fn() -> Input) {
        let groups = self.groups.iter().filter(|(_, hosted)| !hosted.has_left());
        let groups: Vec<Name> = groups.map(|(group, _)| *group).collect();
        groups.into_iter().for_each(|group| self.input(group, input()));
    }

    /// Leaves all groups, and ends when that has been seen, or at the deadline.
    pub(super) fn shut_down(&mut self, within: Duration, done: Option<Done>) {
        let now = Instant::now();
        // The first call counts: that of a drop follows every other.
        self.ending.get_or_insert(now + within.min(YEAR));
        self.ended = self.ended.take().or(done);
        self.for_all(|| Input::Close);
    }

    fn has_ended(&self) -> bool {
        let left = || self.groups.values().all(Hosted::has_left);
        self.ending.is_some_and(|deadline| deadline <= Instant::now() || left())
    }

    fn deadline(&self) -> Option<Instant> {
        let groups = self.groups.values().filter_map(Hosted::deadline);
        let groups = groups.filter_map(|deadline| self.began.checked_add(deadline));
        groups.chain(self.timers.next()).chain(self.ending).min()
    }

    fn tick(&mut self) {
        while let Some(command) = self.timers.take_due(Instant::now()) {
            command(self);
        }
        self.now = self.began.elapsed();
        let now = self.now;
        let due = |hosted: &Hosted| hosted.deadline().is_some_and(|due| due <= now);
        let due = self.groups.iter().filter(|(_, hosted)| due(hosted));
        let due: Vec<Name> = due.map(|(group, _)| *group).collect();
        due.into_iter().for_each(|group| self.input(group, Input::Tick));
    }

    /// Takes news, and those that have come with them.
    fn turn(&mut self, first: News) {
        self.now = self.began.elapsed();
        self.news(first);
        for _ in 1..TURN {
            let Some(news) = self.link.try_receive() else {
                break;
            };
            self.news(news);
        }
        self.groups.values_mut().for_each(Hosted::tell_subscribers);
    }

    fn news(&mut self, news: News) {
        match news {
            News::Message(message) => self.message(message),
            News::Lost => self.for_all(|| Input::Lost),
            News::Restored(name) => self.for_all(|| Input::Connected(name)),
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Regular(message) if message.message_type() == MESSAGE_TYPE => {
                let from = message.sender();
                if let [group] = *message.groups() {
                    return self.frame(group, from, message.into_payload());
                }
                for group in message.groups() {
                    self.frame(*group, from, Bytes::copy_from_slice(message.payload()));
                }
            }
            Message::Membership(view) => {
                let departure = match view.cause {
                    Cause::Left(_) => Some(Departure::Left),
                    Cause::Disconnected(_) => Some(Departure::Crashed),
                    Cause::Joined(_) | Cause::Network { .. } => None,
                };
                let group = view.group;
                let view = View { id: view.id, members: view.members, departure };
                self.input(group, Input::View(view));
            }
            Message::Transitional(signal) => self.input(signal.group, Input::Signal),
            Message::SelfLeave(leave) => {
                if let Some(hosted) = self.groups.get_mut(&leave.group) {
                    hosted.left();
                }
                self.input(leave.group, Input::SelfLeave);
            }
            // Of others in the same groups, and of newer daemons.
            _ => {}
        }
    }

    fn frame(&mut self, group: Name, from: Name, bytes: Bytes) {
        if group.as_bytes().starts_with(b"#") {
            self.private(from, bytes);
        } else {
            self.input(group, Input::Message { from, bytes });
        }
    }

    /// Takes a message to the node itself, which says what group it is about.
    fn private(&mut self, from: Name, bytes: Bytes) {
        let group = match Frame::decode(&bytes) {
            Ok(Frame::Chunk(chunk)) => chunk.group,
            Ok(Frame::ChunkTaken(taken)) => taken.group,
            Ok(Frame::Call(call)) => return self.called(from, call),
            Ok(Frame::Reply(reply)) => {
                if let Some(hosted) = self.groups.get_mut(&reply.group) {
                    hosted.answered(from, reply);
                }
                return;
            }
            // Nothing else is sent to a private group.
            _ => return,
        };
        self.input(group, Input::Message { from, bytes });
    }

    fn called(&mut self, from: Name, call: Call) {
        let Call { group, number, .. } = call;
        let connection = self.link.connection();
        let Some(hosted) = self.groups.get_mut(&group) else {
            return;
        };
        if let Some(outcome) = hosted.called(from, connection, call) {
            let reply = Reply { group, number, outcome, payload: Bytes::new() };
            // It is empty, and cannot be too large.
            let _ = self.link.multicast(from, &Frame::Reply(reply).encode());
        }
    }

    /// Takes the messages of topics that are queued for that part in a group.
    pub(crate) fn publish(&mut self, shared: &Arc<Shared>) {
        if let Some(hosted) = self.groups.get_mut(&shared.group).filter(|part| part.is_of(shared)) {
            hosted.publish(self.now, &mut self.link);
        }
    }
}

impl Drop for Runner {
    /// Without its thread nothing asked of a node would end.
    fn drop(&mut self) {
        self.commands.close();
        self.groups.values_mut().for_each(Hosted::finish);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use spread::Mailbox;
    use spread_daemon::Daemon;

    use crate::node::Node;

    #[test]
    fn a_group_that_was_left_is_forgotten_with_its_last_handle() {
        let daemon = Daemon::builder().start().unwrap();
        let node = Node::connect(Mailbox::builder(daemon.address())).unwrap();
        let groups = || {
            let (told, groups) = channel();
            node.commands.push(move |runner| told.send(runner.groups.len()).unwrap());
            groups.recv().unwrap()
        };
        let group = node.group("plant").unwrap().join().unwrap();
        group.ready().wait().unwrap();
        assert_eq!(groups(), 1);
        group.leave();
        drop(group);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while groups() > 0 {
            assert!(std::time::Instant::now() < deadline, "it is never forgotten");
            std::thread::yield_now();
        }
    }
}
