//! Mailboxes with view synchrony: a message comes in the view it was sent in.

mod peers;

use std::collections::VecDeque;
use std::env;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, TestDaemon, Transport, builder, on_each_transport, poll, unique};
use spread::flush::{self, Error, Event, FlushRequest, Mailbox};
use spread::{ByteOrder, Cause, GroupId, Name, RegularMessage, SendOptions, Service, View};

on_each_transport!(
    a_message_comes_in_the_view_it_was_sent_in,
    nothing_is_sent_between_a_flush_and_the_view,
    a_subgroup_gets_a_message_in_its_view,
    a_member_that_ends_is_missed,
    a_member_that_leaves_needs_no_flush,
    what_is_not_for_flush_spread_is_refused,
    receives_wait_as_long_as_they_are_told,
    members_come_and_go_while_all_send,
);

/// A mailbox and what it has received that no test has looked at.
struct Member {
    mailbox: Mailbox,
    events: VecDeque<Event>,
}

impl Member {
    fn connect(daemon: &TestDaemon, name: &str) -> Member {
        let mailbox = Mailbox::connect(builder(daemon.address()).private_name(unique(name)));
        Member { mailbox: mailbox.unwrap(), events: VecDeque::new() }
    }

    fn me(&self) -> Name {
        self.mailbox.private_group().into()
    }

    /// Receives what is there.
    fn receive(&mut self) {
        while let Some(event) = self.mailbox.try_receive().unwrap() {
            self.events.push_back(event);
        }
    }
}

/// Lets all receive until the first of them has an event; returns that.
fn next(members: &mut [&mut Member]) -> Event {
    let begin = Instant::now();
    loop {
        members.iter_mut().for_each(|member| member.receive());
        if let Some(event) = members[0].events.pop_front() {
            return event;
        }
        wait(members);
        assert!(begin.elapsed() < PATIENCE, "{}: no event", members[0].me());
    }
}

/// Waits until one of the members can go on.
fn wait(members: &mut [&mut Member]) {
    let fds = members.iter_mut().map(|member| {
        let is_done = member.mailbox.try_send_rest().unwrap();
        let events = if is_done { libc::POLLIN } else { libc::POLLIN | libc::POLLOUT };
        libc::pollfd { fd: member.mailbox.as_raw_fd(), events, revents: 0 }
    });
    let mut fds: Vec<_> = fds.collect();
    // SAFETY: as many as told, which live through the call.
    let count = unsafe {
        libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, PATIENCE.as_millis() as i32)
    };
    assert!(count > 0, "nothing comes");
}

fn view(members: &mut [&mut Member]) -> View {
    match next(members) {
        Event::View(view) => view,
        other => panic!("{}: not a view: {other:?}", members[0].me()),
    }
}

fn request(members: &mut [&mut Member]) -> FlushRequest {
    match next(members) {
        Event::FlushRequest(request) => request,
        other => panic!("{}: not a request: {other:?}", members[0].me()),
    }
}

fn message(members: &mut [&mut Member]) -> (Name, RegularMessage) {
    match next(members) {
        Event::Message { group, message } => (group, message),
        other => panic!("{}: not a message: {other:?}", members[0].me()),
    }
}

fn is_signal(event: &Event, of: &str) -> bool {
    matches!(event, Event::Transitional { group } if group == of)
}

fn joined_alone(daemon: &TestDaemon, name: &str, group: &str) -> Member {
    let mut member = Member::connect(daemon, name);
    member.mailbox.join(group).unwrap();
    assert_eq!(view(&mut [&mut member]).members, [member.me()]);
    member
}

/// Two members in a view of their own.
fn pair(daemon: &TestDaemon, group: &str) -> (Member, Member) {
    let mut alice = joined_alone(daemon, "ali", group);
    let mut bob = Member::connect(daemon, "bob");
    bob.mailbox.join(group).unwrap();
    let asked = request(&mut [&mut alice, &mut bob]);
    alice.mailbox.flush(asked).unwrap();
    let views = [view(&mut [&mut alice, &mut bob]), view(&mut [&mut bob, &mut alice])];
    assert_eq!(views[0].id, views[1].id);
    assert_eq!(views[0].members, views[1].members);
    for (view, member) in views.iter().zip([&alice, &bob]) {
        assert_eq!((view.me(), view.members.len()), (member.me(), 2));
        assert_eq!(view.cause, Cause::Joined(bob.me()));
    }
    (alice, bob)
}

fn a_message_comes_in_the_view_it_was_sent_in(daemon: TestDaemon) {
    let group = unique("g");
    let mut alice = joined_alone(&daemon, "ali", &group);
    let mut bob = Member::connect(&daemon, "bob");
    bob.mailbox.join(&group).unwrap();
    // The daemon has the join before the message, so that plain Spread would give it to Bob.
    let asked = request(&mut [&mut alice, &mut bob]);
    assert_eq!(asked.group(), group.as_str());
    for service in Service::ALL {
        alice.mailbox.multicast(service, &group, "old").unwrap();
    }
    alice.mailbox.flush(asked).unwrap();
    for _ in Service::ALL {
        assert_eq!(message(&mut [&mut alice, &mut bob]).1.payload(), b"old");
    }
    assert_eq!(view(&mut [&mut alice, &mut bob]).members.len(), 2);
    assert_eq!(view(&mut [&mut bob, &mut alice]).members.len(), 2);
    let options = SendOptions::new(Service::Fifo).message_type(-9).self_discard(true);
    bob.mailbox.multicast(options, &group, "new").unwrap();
    let (to, new) = message(&mut [&mut alice, &mut bob]);
    assert_eq!((to.as_bytes(), new.sender()), (group.as_bytes(), bob.me()));
    assert_eq!((new.message_type(), new.groups()), (-9, [to].as_slice()));
    assert!(new.is_self_discard() && new.service() == Service::Fifo && new.payload() == b"new");
    bob.receive();
    assert!(bob.events.is_empty(), "{:?}", bob.events);
}

fn nothing_is_sent_between_a_flush_and_the_view(daemon: TestDaemon) {
    let group = unique("g");
    let (mut alice, mut bob) = pair(&daemon, &group);
    let mut eve = Member::connect(&daemon, "eve");
    eve.mailbox.join(&group).unwrap();
    let of_alice = request(&mut [&mut alice, &mut bob, &mut eve]);
    let of_bob = request(&mut [&mut bob, &mut alice, &mut eve]);
    assert!(alice.mailbox.try_flush(of_alice).unwrap());
    let (fifo, to) = (Service::Fifo, bob.me());
    let refused = [
        alice.mailbox.multicast(fifo, &group, "x").unwrap_err(),
        alice.mailbox.try_multicast(fifo, &group, "x").unwrap_err(),
        alice.mailbox.subgroupcast(fifo, &group, [to], "x").unwrap_err(),
        alice.mailbox.try_subgroupcast(fifo, &group, [to], "x").unwrap_err(),
        alice.mailbox.unicast(fifo, &group, to, "x").unwrap_err(),
        alice.mailbox.try_unicast(fifo, &group, to, "x").unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, Error::Flushed { group: g } if g == group.as_str()), "{error}");
    }
    // Other groups go on, and Bob may still send in the old view.
    let other = unique("g");
    alice.mailbox.join(&other).unwrap();
    assert_eq!(view(&mut [&mut alice]).group, other.as_str());
    alice.mailbox.multicast(fifo, &other, "elsewhere").unwrap();
    assert_eq!(message(&mut [&mut alice]).1.payload(), b"elsewhere");
    bob.mailbox.multicast(fifo, &group, "last").unwrap();
    assert_eq!(message(&mut [&mut alice]).1.payload(), b"last");
    bob.mailbox.flush(of_bob).unwrap();
    assert_eq!(view(&mut [&mut alice, &mut bob, &mut eve]).members.len(), 3);
    alice.mailbox.multicast(fifo, &group, "first").unwrap();
    assert_eq!(view(&mut [&mut eve, &mut alice, &mut bob]).members.len(), 3);
    assert_eq!(message(&mut [&mut eve, &mut alice, &mut bob]).1.payload(), b"first");
}

fn a_subgroup_gets_a_message_in_its_view(daemon: TestDaemon) {
    let group = unique("g");
    let (mut alice, mut bob) = pair(&daemon, &group);
    let (me, to) = (alice.me(), bob.me());
    assert!(alice.mailbox.try_subgroupcast(Service::Agreed, &group, [to, me], "some").unwrap());
    for _ in 0..2 {
        let (within, some) = message(&mut [&mut bob, &mut alice]);
        assert_eq!((within.as_bytes(), some.payload()), (group.as_bytes(), &b"some"[..]));
        assert_eq!(some.groups(), [to, me]);
        std::mem::swap(&mut alice, &mut bob);
    }
    alice.mailbox.unicast(Service::Fifo, &group, to, "one").unwrap();
    assert!(alice.mailbox.try_unicast(Service::Fifo, &group, to, "two").unwrap());
    for text in ["one", "two"] {
        let (within, one) = message(&mut [&mut bob, &mut alice]);
        assert_eq!((within.as_bytes(), one.payload()), (group.as_bytes(), text.as_bytes()));
        assert_eq!(one.groups(), [to]);
    }
    // To one client, in no view.
    alice.mailbox.multicast(Service::Fifo, to, "private").unwrap();
    let (within, private) = message(&mut [&mut bob, &mut alice]);
    assert_eq!((within, private.payload()), (to, &b"private"[..]));
    alice.receive();
    assert!(alice.events.is_empty(), "{:?}", alice.events);

    let refused = alice.mailbox.unicast(Service::Fifo, &group, "#nobody#nowhere", "x");
    assert!(matches!(refused, Err(Error::NotInView { .. })), "{refused:?}");
    let none: [Name; 0] = [];
    let refused = alice.mailbox.subgroupcast(Service::Fifo, &group, none, "x");
    assert!(matches!(refused, Err(Error::Spread(spread::Error::NoGroups))), "{refused:?}");
    let refused = alice.mailbox.subgroupcast(Service::Fifo, &group, [to; 44], "x");
    let many = spread::Error::TooManyGroups { count: 44, max: 43 }.to_string();
    assert_eq!(refused.unwrap_err().to_string(), many);
}

fn a_member_that_ends_is_missed(daemon: TestDaemon) {
    let group = unique("g");
    let (mut alice, bob) = pair(&daemon, &group);
    let gone = bob.me();
    bob.mailbox.kill();
    let asked = request(&mut [&mut alice]);
    assert!(is_signal(&next(&mut [&mut alice]), &group));
    alice.mailbox.flush(asked).unwrap();
    let alone = view(&mut [&mut alice]);
    assert_eq!((alone.cause, alone.members), (Cause::Disconnected(gone), vec![alice.me()]));
    alice.mailbox.disconnect().unwrap();
}

fn a_member_that_leaves_needs_no_flush(daemon: TestDaemon) {
    let group = unique("g");
    let (mut alice, mut bob) = pair(&daemon, &group);
    let mut eve = Member::connect(&daemon, "eve");
    eve.mailbox.join(&group).unwrap();
    let of_alice = request(&mut [&mut alice, &mut bob, &mut eve]);
    let of_bob = request(&mut [&mut bob, &mut alice, &mut eve]);
    bob.mailbox.leave(&group).unwrap();
    let refused = bob.mailbox.flush(of_bob);
    assert!(matches!(refused, Err(Error::NotMember { .. })), "{refused:?}");
    let left = next(&mut [&mut bob, &mut alice, &mut eve]);
    assert!(matches!(left, Event::SelfLeave(leave) if leave.group == group.as_str()), "{left:?}");
    assert!(is_signal(&next(&mut [&mut alice, &mut eve]), &group));
    alice.mailbox.flush(of_alice).unwrap();
    let last = view(&mut [&mut alice, &mut eve]);
    let Cause::Network { vs_sets, mine: 0 } = &last.cause else { panic!("{last}") };
    assert_eq!((last.members.len(), &vs_sets[..]), (2, &[vec![alice.me()]][..]));
    let same = view(&mut [&mut eve, &mut alice]);
    let Cause::Network { vs_sets, mine: 0 } = &same.cause else { panic!("{same}") };
    assert_eq!((same.id, &vs_sets[..]), (last.id, &[vec![eve.me()]][..]));
    // Bob comes back, and is asked only for what comes then.
    bob.mailbox.join(&group).unwrap();
    let asked = request(&mut [&mut alice, &mut eve, &mut bob]);
    alice.mailbox.flush(asked).unwrap();
    let asked = request(&mut [&mut eve, &mut alice, &mut bob]);
    eve.mailbox.flush(asked).unwrap();
    assert_eq!(view(&mut [&mut bob, &mut alice, &mut eve]).members.len(), 3);
}

fn what_is_not_for_flush_spread_is_refused(daemon: TestDaemon) {
    let group = unique("g");
    let mut alice = Member::connect(&daemon, "ali");
    let refused = alice.mailbox.multicast(Service::Fifo, &group, "x");
    assert!(matches!(refused, Err(Error::NotMember { .. })), "{refused:?}");
    let refused = alice.mailbox.leave(&group);
    assert!(matches!(refused, Err(Error::NotMember { .. })), "{refused:?}");
    alice.mailbox.join(&group).unwrap();
    assert_eq!(view(&mut [&mut alice]).members.len(), 1);
    let refused = alice.mailbox.join(&group);
    assert!(matches!(refused, Err(Error::AlreadyJoined { .. })), "{refused:?}");
    let options = |message_type| SendOptions::new(Service::Fifo).message_type(message_type);
    let lowest = flush::MIN_MESSAGE_TYPE;
    let refused = alice.mailbox.multicast(options(lowest - 1), &group, "x");
    assert!(matches!(refused, Err(Error::MessageType { message_type }) if message_type < lowest));
    alice.mailbox.multicast(options(lowest), &group, "x").unwrap();
    assert_eq!(message(&mut [&mut alice]).1.message_type(), lowest);

    let too_long = vec![0; spread::MAX_BODY_AND_GROUPS - 32 - 13];
    let refused = alice.mailbox.unicast(Service::Fifo, &group, alice.me(), &too_long);
    let Err(Error::Spread(spread::Error::MessageTooLong { .. })) = refused else { panic!() };
    let refused = alice.mailbox.join("#alice#host");
    assert!(matches!(refused, Err(Error::Spread(spread::Error::PrivateGroup { .. }))));
    // Nothing of it has ended the connection; what is not of the layer is not told.
    let plain = daemon.connect("pla");
    plain.multicast(options(i16::MIN), &group, "too short for a flush").unwrap();
    plain.multicast(options(i16::MIN), alice.me(), "too short for a flush").unwrap();
    plain.multicast(options(0), alice.me(), "plain").unwrap();
    assert_eq!(message(&mut [&mut alice]).1.payload(), b"plain");
}

fn receives_wait_as_long_as_they_are_told(daemon: TestDaemon) {
    let group = unique("g");
    let mut alice = joined_alone(&daemon, "ali", &group);
    let mailbox = &mut alice.mailbox;
    let own = mailbox.private_group();
    assert!(mailbox.try_receive().unwrap().is_none());
    assert!(mailbox.receive_timeout(Duration::from_millis(1)).unwrap().is_none());
    let begin = Instant::now();
    let deadline = begin + Duration::from_millis(20);
    assert!(mailbox.receive_deadline(deadline).unwrap().is_none() && deadline <= Instant::now());
    mailbox.multicast(Service::Fifo, own, "note").unwrap();
    assert!(poll(mailbox, libc::POLLIN, PATIENCE));
    assert!(matches!(mailbox.receive_timeout(PATIENCE).unwrap(), Some(Event::Message { .. })));
    let interrupter = mailbox.interrupter().unwrap();
    let interrupted = thread::scope(|scope| {
        let waiting = scope.spawn(|| mailbox.receive());
        interrupter.interrupt();
        waiting.join().unwrap()
    });
    assert!(matches!(interrupted, Err(Error::Spread(spread::Error::Interrupted))));
    mailbox.multicast(Service::Fifo, own, "more").unwrap();
    assert!(matches!(mailbox.receive().unwrap(), Event::Message { .. }));
    assert!(mailbox.stats().messages_sent > 2);
}

/// A member in a thread: sends the id of its view in each, and checks those that come.
struct Checked {
    member: Member,
    group: String,
    view: Option<GroupId>,
    is_leaving: bool,
    sent: u32,
    seen: u32,
}

impl Checked {
    fn new(daemon: &TestDaemon, name: &str, group: &str) -> Checked {
        let member = Member::connect(daemon, name);
        Checked { member, group: group.to_owned(), view: None, is_leaving: false, sent: 0, seen: 0 }
    }

    fn send(&mut self, service: Service) {
        if let (Some(id), false) = (self.view, self.is_leaving) {
            let id = id.encode(ByteOrder::NATIVE);
            let options = SendOptions::new(service).message_type(DATA);
            self.member.mailbox.multicast(options, &self.group, id).unwrap();
            self.sent += 1;
        }
    }

    /// Takes one event.
    fn follow(&mut self, event: Event) -> Followed {
        match event {
            Event::FlushRequest(asked) => {
                self.send(Service::Fifo);
                self.send(Service::Agreed);
                self.member.mailbox.flush(asked).unwrap();
            }
            Event::View(view) => {
                self.view = Some(view.id);
                self.send(Service::Reliable);
                self.send(Service::Safe);
                return Followed::View(view.members.len());
            }
            Event::Message { message, .. } if message.message_type() == DATA => {
                let of = message.payload().first_chunk().unwrap();
                let of = GroupId::decode(of, message.sender_order());
                assert_eq!(Some(of), self.view, "the view that {} was in", message.sender());
                self.seen += 1;
            }
            Event::Message { .. } => return Followed::End,
            Event::SelfLeave(_) => {
                (self.view, self.is_leaving) = (None, false);
                return Followed::Left;
            }
            Event::Transitional { .. } => {}
            other => panic!("{other:?}"),
        }
        Followed::Nothing
    }

    fn until(&mut self, done: impl Fn(&Followed) -> bool) {
        loop {
            let event = self.member.mailbox.receive_timeout(PATIENCE).unwrap();
            if done(&self.follow(event.expect("an event"))) {
                return;
            }
        }
    }

    /// Sends the end to all, in the next view if the group is flushed for that.
    fn end_all(&mut self) {
        let options = SendOptions::new(Service::Agreed).message_type(END);
        while let Err(error) = self.member.mailbox.multicast(options, &self.group, "") {
            assert!(matches!(error, Error::Flushed { .. }), "{error}");
            self.until(|followed| matches!(followed, Followed::View(_)));
        }
    }

    /// Joins and leaves, and is seen by `others` others.
    fn come_and_go(&mut self, others: usize, rounds: usize) {
        for _ in 0..rounds {
            self.member.mailbox.join(&self.group).unwrap();
            self.until(|followed| matches!(followed, Followed::View(n) if *n > others));
            self.send(Service::Fifo);
            self.member.mailbox.leave(&self.group).unwrap();
            self.is_leaving = true;
            self.until(|followed| matches!(followed, Followed::Left));
        }
    }
}

enum Followed {
    Nothing,
    View(usize),
    Left,
    End,
}

/// Types of messages: with the id of a view, and the end of a test.
const DATA: i16 = 1;
const END: i16 = 2;

fn members_come_and_go_while_all_send(daemon: TestDaemon) {
    let group = unique("g");
    let mut staying = Checked::new(&daemon, "sta", &group);
    staying.member.mailbox.join(&group).unwrap();
    staying.until(|followed| matches!(followed, Followed::View(1)));
    let (own, end) = (staying.member.me(), daemon.connect("end"));
    let seen = thread::scope(|scope| {
        let stays = scope.spawn(|| {
            staying.until(|followed| matches!(followed, Followed::End));
            staying.seen
        });
        let guests = ["gua", "gub"].map(|name| {
            let mut guest = Checked::new(&daemon, name, &group);
            scope.spawn(move || {
                guest.come_and_go(1, 10);
                guest.sent
            })
        });
        let sent: u32 = guests.map(|guest| guest.join().unwrap()).iter().sum();
        assert!(sent >= 20, "{sent}");
        end.multicast(SendOptions::new(Service::Safe).message_type(END), own, "").unwrap();
        stays.join().unwrap()
    });
    assert!(seen >= 20, "{seen}");
}

/// Run by `ci/flush.sh`: `FLUSH_PEERS` has programs in C, separated by colons, which are members
/// beside this one.
#[test]
#[ignore = "needs programs in C: ci/flush.sh"]
fn programs_in_c_are_members_beside_it() {
    let daemon = TestDaemon::start(Transport::Tcp);
    let group = unique("g");
    let programs = env::var("FLUSH_PEERS").expect("FLUSH_PEERS");
    let programs: Vec<_> = programs.split(':').collect();
    let start = |program| Command::new(program).arg(daemon.address()).arg(&group).spawn().unwrap();
    let mut peers: Vec<_> = programs.iter().map(start).collect();
    let mut staying = Checked::new(&daemon, "sta", &group);
    staying.member.mailbox.join(&group).unwrap();
    let all = programs.len() + 1;
    staying.until(|followed| matches!(followed, Followed::View(n) if *n == all));
    let own = staying.member.me();
    let end = daemon.connect("end");
    let seen = thread::scope(|scope| {
        let stays = scope.spawn(|| {
            staying.until(|followed| matches!(followed, Followed::End));
            staying.end_all();
            staying.seen
        });
        Checked::new(&daemon, "gue", &group).come_and_go(all, 10);
        end.multicast(SendOptions::new(Service::Safe).message_type(END), own, "").unwrap();
        stays.join().unwrap()
    });
    assert!(seen >= 20, "{seen}");
    for peer in &mut peers {
        assert!(peer.wait().unwrap().success());
    }
}
