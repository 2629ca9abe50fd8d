//! Views, and the tracker that follows them, through joins, leaves, crashes and
//! a partition.

use crate::support::peer::{self, Peer};
use crate::support::{
    Expect, PATIENCE, TestDaemon, Transport, builder, on_each_transport, over_each_transport,
    unique,
};
use spread::{Cause, Error, GroupId, Mailbox, Message, Name, Service, View, Views};
use spread_wire::{Cause as WireCause, Delivery, Groups, MembershipBody};

on_each_transport!(
    a_view_knows_who_i_am_and_who_is_first,
    two_views_tell_who_is_new_and_who_is_gone,
    a_tracker_follows_joins_leaves_and_crashes,
    a_tracker_follows_every_group_by_itself,
    a_group_that_was_left_is_followed_no_more,
    the_first_member_changes_only_when_it_goes,
    trackers_of_all_members_agree,
    a_second_join_and_a_message_to_nobody_are_silent,
);

over_each_transport!(
    a_partition_and_a_merge_are_followed,
    a_transitional_signal_of_a_group_not_followed_is_no_view,
    a_view_that_contradicts_itself_ends_the_mailbox,
);

/// A mailbox and the views that it has seen.
struct Member {
    mailbox: Mailbox,
    views: Views,
}

impl Member {
    fn connect(daemon: &TestDaemon, name: &str) -> Member {
        Member { mailbox: daemon.connect(name), views: Views::new() }
    }

    fn joined(daemon: &TestDaemon, name: &str, group: &str) -> Member {
        let mut member = Member::connect(daemon, name);
        member.mailbox.join(group).unwrap();
        member.follow();
        member
    }

    /// Follows one message; returns the view that it ends.
    fn follow(&mut self) -> Option<View> {
        self.views.follow(&self.mailbox.next())
    }

    fn me(&self) -> Name {
        self.mailbox.me()
    }

    fn members(&self, group: &str) -> &[Name] {
        self.views.of(group).map_or(&[], |view| &view.members)
    }
}

fn a_second_join_and_a_message_to_nobody_are_silent(daemon: TestDaemon) {
    let group = unique("g");
    let mut alice = daemon.connect("ali");
    let gone = daemon.connect("bob");
    let former = gone.private_group();
    gone.disconnect().unwrap();
    alice.join(&group).unwrap();
    assert_eq!(alice.next_view().members.len(), 1);
    alice.join(&group).unwrap();
    alice.multicast(Service::Agreed, unique("no"), b"to a group without members").unwrap();
    alice.multicast(Service::Agreed, former, b"to a client that has gone").unwrap();
    alice.multicast(Service::Agreed, &group, b"last").unwrap();
    assert_eq!(alice.next_regular().payload(), b"last", "nothing comes of what was done before");
}

fn a_view_knows_who_i_am_and_who_is_first(daemon: TestDaemon) {
    let group = unique("g");
    let (mut zed, mut amy) = (daemon.connect("zed"), daemon.connect("amy"));
    zed.join(&group).unwrap();
    let view = zed.next_view();
    assert_eq!((view.me(), view.first(), view.am_first()), (zed.me(), zed.me(), true));

    amy.join(&group).unwrap();
    // Members of one daemon come in the order of their names.
    let (zeds, amys) = (zed.next_view(), amy.next_view());
    assert_eq!((zeds.me(), zeds.first(), zeds.am_first()), (zed.me(), amy.me(), false));
    assert_eq!((amys.me(), amys.first(), amys.am_first()), (amy.me(), amy.me(), true));
    assert_eq!((zeds.my_index, amys.my_index), (1, 0));
    assert_eq!(zeds.to_string(), amys.to_string());
    assert_eq!(
        zeds.to_string(),
        format!(
            "{group}: {} joined; members: {}, {} (view {})",
            amy.me(),
            amy.me(),
            zed.me(),
            zeds.id
        )
    );
}

fn two_views_tell_who_is_new_and_who_is_gone(daemon: TestDaemon) {
    let group = unique("g");
    let mut alice = daemon.connect("ali");
    alice.join(&group).unwrap();
    let alone = alice.next_view();
    let others = ["bob", "car", "dav"].map(|name| daemon.connect(name));
    for other in &others {
        other.join(&group).unwrap();
        alice.next_view();
    }
    let names = others.each_ref().map(Expect::me);
    let [bob, carol, dave] = others;
    carol.leave(&group).unwrap();
    let without_carol = alice.next_view();
    dave.kill();
    let with_bob = alice.next_view();

    assert_eq!(without_carol.new_since(&alone), [names[0], names[2]]);
    assert!(without_carol.gone_since(&alone).is_empty());
    assert_eq!(with_bob.gone_since(&without_carol), [names[2]]);
    assert_eq!(alone.gone_since(&with_bob), [names[0]]);
    assert!(with_bob.new_since(&with_bob).is_empty());
    bob.disconnect().unwrap();
}

fn a_tracker_follows_joins_leaves_and_crashes(daemon: TestDaemon) {
    let group = unique("g");
    let mut alice = Member::connect(&daemon, "ali");
    assert_eq!(alice.views.of(&group), None);
    alice.mailbox.join(&group).unwrap();
    assert_eq!(alice.follow(), None, "there was no view before");
    assert_eq!(alice.members(&group), [alice.me()]);

    let [bob, carol, dave] = ["bob", "car", "dav"].map(|name| daemon.connect(name));
    for other in [&bob, &carol, &dave] {
        let before = alice.views.of(&group).cloned();
        other.join(&group).unwrap();
        assert_eq!(alice.follow(), before);
        assert_eq!(alice.views.of(&group).unwrap().cause, Cause::Joined(other.me()));
    }
    assert_eq!(alice.members(&group), [alice.me(), bob.me(), carol.me(), dave.me()]);

    // What is no membership message changes nothing.
    bob.multicast(Service::Agreed, &group, b"x").unwrap();
    assert_eq!(alice.follow(), None);
    assert_eq!(alice.members(&group).len(), 4);

    let (carols, daves) = (carol.me(), dave.me());
    bob.leave(&group).unwrap();
    alice.follow();
    assert_eq!(alice.members(&group), [alice.me(), carols, daves]);
    carol.disconnect().unwrap();
    alice.follow();
    assert_eq!(alice.members(&group), [alice.me(), daves]);
    dave.kill();
    let former = alice.follow().unwrap();
    let current = alice.views.of(&group).unwrap();
    assert_eq!(current.cause, Cause::Disconnected(daves));
    assert_eq!(current.gone_since(&former), [daves]);
    assert_eq!(current.members, [alice.me()]);
    assert!(!alice.views.is_transitional(&group));
}

fn a_tracker_follows_every_group_by_itself(daemon: TestDaemon) {
    let (one, two) = (unique("a"), unique("b"));
    let mut alice = Member::joined(&daemon, "ali", &two);
    let bob = daemon.connect("bob");
    alice.mailbox.join(&one).unwrap();
    alice.follow();
    bob.join(&two).unwrap();
    alice.follow();
    let views: Vec<_> = alice.views.iter().map(|v| (v.group, v.members.len())).collect();
    assert_eq!(views, [(Name::new(&one).unwrap(), 1), (Name::new(&two).unwrap(), 2)]);

    // A crash ends the view of each group that the client was in.
    bob.join(&one).unwrap();
    alice.follow();
    bob.kill();
    alice.follow();
    alice.follow();
    assert!(alice.views.iter().all(|view| view.members == [alice.mailbox.me()]));
    alice.views.clear();
    assert_eq!(alice.views.iter().len(), 0);
}

fn a_group_that_was_left_is_followed_no_more(daemon: TestDaemon) {
    let group = unique("g");
    let mut alice = Member::joined(&daemon, "ali", &group);
    alice.mailbox.leave(&group).unwrap();
    let last = alice.follow().unwrap();
    assert_eq!(last.members, [alice.me()]);
    assert_eq!(alice.views.of(&group), None);
    alice.mailbox.join(&group).unwrap();
    assert_eq!(alice.follow(), None, "the view before the leave is over");
    assert!(alice.views.of(&group).unwrap().am_first());
}

fn the_first_member_changes_only_when_it_goes(daemon: TestDaemon) {
    let group = unique("g");
    let mut members = ["a", "b", "c"].map(|name| Some(Member::joined(&daemon, name, &group)));
    let mut zed = Member::joined(&daemon, "z", &group);
    for gone in &mut members {
        let gone = gone.take().unwrap();
        assert_eq!(zed.views.of(&group).unwrap().first(), gone.me());
        gone.mailbox.kill();
        zed.follow();
    }
    assert!(zed.views.of(&group).unwrap().am_first());
}

fn trackers_of_all_members_agree(daemon: TestDaemon) {
    let group = unique("g");
    let mut members = ["ali", "bob", "car"].map(|name| Member::joined(&daemon, name, &group));
    let last = members.last().unwrap().views.of(&group).unwrap().id;
    for member in &mut members {
        while member.views.of(&group).unwrap().id != last {
            member.follow();
        }
    }
    let views = members.each_ref().map(|member| member.views.of(&group).unwrap());
    for (view, member) in views.iter().zip(&members) {
        assert_eq!(view.members, views[0].members);
        assert_eq!(view.cause, views[0].cause);
        assert_eq!(view.me(), member.me());
    }
}

/// The private group of the client of a peer.
const ME: &str = "#me#peer";

/// A view of the group `g`, on the wire.
fn view(index: i32, members: &[Name], cause: WireCause, vs_sets: Vec<Vec<Name>>) -> Vec<u8> {
    let my_vs_set = vs_sets.iter().position(|set| set.contains(&name(ME))).unwrap_or_default();
    peer::frame(&Delivery::View {
        group: name("g"),
        cause,
        members: Groups::from(members),
        body: MembershipBody {
            group_id: GroupId { proc_id: 1, time: 2, index },
            vs_sets,
            my_vs_set,
        },
    })
    .to_vec()
}

fn transitional(group: &str, index: i32) -> Vec<u8> {
    let group_id = GroupId { proc_id: 1, time: 2, index };
    peer::frame(&Delivery::Transitional { group: name(group), group_id }).to_vec()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn a_partition_and_a_merge_are_followed(transport: Transport) {
    let peer = Peer::start(transport, |client| {
        let (me, far) = (name(ME), name("#far#other"));
        client.send(&view(1, &[far, me], WireCause::Join, vec![vec![me]]))?;
        client.send(&transitional("g", 1))?;
        client.send(&peer::message(b"between"))?;
        client.send(&view(2, &[me], WireCause::Network, vec![vec![me]]))?;
        client.send(&view(3, &[far, me], WireCause::Network, vec![vec![far], vec![me]]))
    });
    let (me, far) = (name(ME), name("#far#other"));
    let mailbox = builder(peer.address()).connect().unwrap();
    let mut alice = Member { mailbox, views: Views::new() };
    alice.follow();
    assert!(!alice.views.is_transitional("g"));
    let together = alice.views.of("g").cloned().unwrap();

    for _ in ["the signal", "the message"] {
        assert_eq!(alice.follow(), None);
        assert!(alice.views.is_transitional("g"));
        assert_eq!(alice.views.of("g"), Some(&together));
    }
    assert_eq!(alice.follow(), Some(together.clone()));
    assert!(!alice.views.is_transitional("g"));
    let parted = alice.views.of("g").cloned().unwrap();
    assert_eq!(parted.cause, Cause::Network { vs_sets: vec![vec![me]], mine: 0 });
    assert_eq!(parted.gone_since(&together), [far]);
    assert!(parted.am_first() && !together.am_first());

    assert_eq!(alice.follow(), Some(parted.clone()));
    let merged = alice.views.of("g").unwrap();
    assert_eq!(merged.cause, Cause::Network { vs_sets: vec![vec![far], vec![me]], mine: 1 });
    assert_eq!(merged.new_since(&parted), [far]);
    assert_eq!(merged.members, together.members);
}

fn a_transitional_signal_of_a_group_not_followed_is_no_view(transport: Transport) {
    let peer = Peer::start(transport, |client| client.send(&transitional("other", 1)));
    let mut alice = builder(peer.address()).connect().unwrap();
    let mut views = Views::new();
    let message = alice.next();
    assert!(matches!(message, Message::Transitional(signal) if signal.group == "other"));
    assert_eq!(views.follow(&message), None);
    assert!(!views.is_transitional("other"));
    assert_eq!(views.iter().len(), 0);
}

fn a_view_that_contradicts_itself_ends_the_mailbox(transport: Transport) {
    let (me, far) = (name(ME), name("#far#other"));
    let joined = view(1, &[far, me], WireCause::Join, vec![vec![me]]);
    // Behind the header, two members and the id stand the number of vs_sets, the
    // offset of one's own, and how many members it has.
    let [count, offset, size] = [48 + 64 + 12, 48 + 64 + 16, 48 + 64 + 20];
    let with = |at: usize, number: i32| {
        let mut bytes = joined.clone();
        bytes[at..at + 4].copy_from_slice(&number.to_ne_bytes());
        bytes
    };
    let mut lies = vec![view(1, &[far], WireCause::Join, vec![vec![far]])];
    for at in [count, offset, size] {
        lies.extend([2, -1, i32::MAX, 0x0800_0000].map(|number| with(at, number)));
    }
    lies.push(with(count, 0));
    lies.push(with(size, 0));
    // A body that ends too early, whose length stands at the end of the header.
    for len in [0, 11, 23, 55] {
        lies.push([&with(44, len)[..joined.len() - 56], &[0; 55][..len as usize]].concat());
    }
    for lie in lies {
        let sent = lie.clone();
        let peer = Peer::start(transport, move |client| client.send(&sent));
        let mut alice = builder(peer.address()).connect().unwrap();
        let error = alice.receive_timeout(PATIENCE).unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{error:?} of {lie:?}");
        assert!(alice.receive().unwrap_err().is_closed());
    }
}
