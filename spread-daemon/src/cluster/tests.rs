use bytes::{Bytes, BytesMut};
use spread_wire::{Delivery, Frame, Hint, Limits, Regular, Service};

use super::*;

/// Takes what is delivered, for each session in its order.
type Delivered = Vec<(SessionId, Bytes)>;

impl Deliver for Delivered {
    fn deliver(&mut self, to: impl IntoIterator<Item = SessionId>, frame: &[u8]) {
        let frame = Bytes::copy_from_slice(frame);
        self.extend(to.into_iter().map(|to| (to, frame.clone())));
    }
}

/// A cluster of two daemons and what it delivers.
struct World {
    cluster: State,
    out: Delivered,
}

const D1: DaemonId = DaemonId(0);
const D2: DaemonId = DaemonId(1);
const GROUP: &str = "group";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn frame(bytes: &[u8]) -> Frame {
    Frame::decode(&mut BytesMut::from(bytes), Limits::FROM_DAEMON).unwrap().unwrap()
}

impl World {
    fn new() -> World {
        World::of(&["d1", "d2"])
    }

    fn of(daemons: &[&str]) -> World {
        let configuration = Configuration { proc_id: 7, time: 8 };
        let cluster = State::new(daemons, configuration).unwrap();
        World { cluster, out: Vec::new() }
    }

    fn session(&mut self, number: usize, daemon: DaemonId, name: &str) -> SessionId {
        self.session_with(number, daemon, name, true)
    }

    fn session_with(
        &mut self,
        number: usize,
        daemon: DaemonId,
        name: &str,
        membership: bool,
    ) -> SessionId {
        let id = SessionId(number);
        let name = PrivateName::new(name).unwrap();
        self.cluster.connect(id, daemon, Some(name), membership).unwrap();
        id
    }

    fn ask(&mut self, from: SessionId, request: &Request<'_>) -> Result<(), End> {
        self.ask_in(ByteOrder::NATIVE, from, request)
    }

    fn ask_in(
        &mut self,
        order: ByteOrder,
        from: SessionId,
        request: &Request<'_>,
    ) -> Result<(), End> {
        let sender = self.cluster.session(from).unwrap().private_group;
        let mut bytes = BytesMut::new();
        request.encode(sender, order, &mut bytes);
        self.cluster.handle(from, (&frame(&bytes)).into(), &mut self.out)
    }

    fn join(&mut self, from: SessionId, group: &str) {
        self.ask(from, &Request::Join(name(group))).unwrap();
    }

    fn leave(&mut self, from: SessionId, group: &str) {
        self.ask(from, &Request::Leave(name(group))).unwrap();
    }

    fn multicast(&mut self, from: SessionId, groups: &[&str], body: &[u8]) {
        let groups: Vec<Name> = groups.iter().map(|group| name(group)).collect();
        self.ask(from, &Request::multicast(Service::Agreed, &groups[..], body)).unwrap();
    }

    fn disconnect(&mut self, id: SessionId) {
        self.cluster.disconnect(id, &mut self.out);
    }

    /// Returns the deliveries since the last call, each with its receiver, in words.
    fn told(&mut self) -> Vec<String> {
        let told = std::mem::take(&mut self.out).into_iter().map(|(to, bytes)| {
            let frame = frame(&bytes);
            let what = match Delivery::parse(&frame).unwrap() {
                Delivery::View { group, cause, members, body } => {
                    let members: Vec<String> = members.iter().map(|m| m.to_string()).collect();
                    assert_eq!((body.group_id.proc_id, body.group_id.time), (7, 8));
                    assert_eq!((body.vs_sets.len(), body.vs_sets[0].len()), (1, 1));
                    let (index, changed) = (body.group_id.index, body.vs_sets[0][0]);
                    format!("{group} {index} {cause:?} {changed}: {}", members.join(" "))
                }
                Delivery::SelfLeave { group } => format!("left {group}"),
                Delivery::Regular(m) => String::from_utf8(m.body.to_vec()).unwrap(),
                other => panic!("{other:?}"),
            };
            format!("{} gets {what}", to.0)
        });
        told.collect()
    }
}

#[test]
fn members_stand_by_daemon_and_then_by_name() {
    let mut world = World::new();
    for (number, (daemon, private_name)) in
        [(D2, "abe"), (D1, "zed"), (D1, "amy"), (D1, "Bob"), (D1, "$x"), (D1, "am")]
            .into_iter()
            .enumerate()
    {
        let id = world.session(number, daemon, private_name);
        world.join(id, GROUP);
    }
    let last = world.told().pop().unwrap();
    assert_eq!(last, "0 gets group 6 Join #am#d1: #$x#d1 #Bob#d1 #am#d1 #amy#d1 #zed#d1 #abe#d2");
}

#[test]
fn who_leaves_is_told_so_and_the_others_get_the_view() {
    let mut world = World::new();
    let (a, b) = (world.session(0, D1, "a"), world.session(1, D1, "b"));
    world.join(a, GROUP);
    world.join(b, GROUP);
    world.told();
    world.leave(a, GROUP);
    assert_eq!(world.told(), ["0 gets left group", "1 gets group 3 Leave #a#d1: #b#d1"]);
}

#[test]
fn a_second_join_and_a_leave_from_outside_have_no_effect() {
    let mut world = World::new();
    let (a, b) = (world.session(0, D1, "a"), world.session(1, D1, "b"));
    world.join(a, GROUP);
    world.told();
    world.join(a, GROUP);
    world.leave(b, GROUP);
    world.leave(b, "nobody");
    assert_eq!(world.told(), Vec::<String>::new());
}

#[test]
fn a_group_that_was_empty_counts_its_views_anew() {
    let mut world = World::new();
    let a = world.session(0, D1, "a");
    world.join(a, GROUP);
    world.leave(a, GROUP);
    world.join(a, GROUP);
    let view = "0 gets group 1 Join #a#d1: #a#d1";
    assert_eq!(world.told(), [view, "0 gets left group", view]);
    assert_eq!(world.cluster.daemons[0].replica.groups.len(), 1);
}

#[test]
fn a_session_that_ends_leaves_its_groups_in_the_order_of_their_names() {
    let mut world = World::new();
    let (a, b) = (world.session(0, D1, "a"), world.session(1, D1, "b"));
    for group in ["z", "m", "a", "B"] {
        world.join(a, group);
        world.join(b, group);
    }
    world.told();
    world.disconnect(b);
    let view = |group| format!("0 gets {group} 3 Disconnect #b#d1: #a#d1");
    assert_eq!(world.told(), ["B", "a", "m", "z"].map(view));
}

#[test]
fn a_session_without_membership_is_listed_but_not_told() {
    let mut world = World::new();
    let a = world.session(0, D1, "a");
    let quiet = world.session_with(1, D1, "quiet", false);
    world.join(quiet, GROUP);
    world.join(a, GROUP);
    world.leave(quiet, GROUP);
    let told = world.told();
    assert_eq!(told[0], "0 gets group 2 Join #a#d1: #a#d1 #quiet#d1");
    assert_eq!(told[1], "0 gets group 3 Leave #quiet#d1: #a#d1");
}

#[test]
fn a_message_comes_once_to_each_member_of_any_of_its_groups() {
    let mut world = World::new();
    let (a, b) = (world.session(0, D1, "a"), world.session(1, D2, "b"));
    for group in ["one", "two"] {
        world.join(a, group);
        world.join(b, group);
    }
    world.told();
    world.multicast(a, &["one", "#b#d2", "two", "one", "nobody"], b"hello");
    assert_eq!(world.told(), ["0 gets hello", "1 gets hello"]);
}

#[test]
fn anyone_may_send_to_a_group_and_to_one_client() {
    let mut world = World::new();
    let (a, b) = (world.session(0, D1, "a"), world.session(1, D1, "b"));
    world.join(a, GROUP);
    world.told();
    world.multicast(b, &[GROUP], b"open");
    world.multicast(b, &["#a#d1"], b"private");
    world.multicast(b, &["#a#d2"], b"elsewhere");
    assert_eq!(world.told(), ["0 gets open", "0 gets private"]);
}

#[test]
fn who_joins_a_private_group_sees_views_but_not_its_messages() {
    let mut world = World::new();
    let (a, b) = (world.session(0, D1, "a"), world.session(1, D1, "b"));
    world.join(a, "#b#d1");
    world.multicast(a, &["#b#d1"], b"for b");
    assert_eq!(world.told(), ["0 gets #b#d1 1 Join #a#d1: #a#d1", "1 gets for b"]);
    world.disconnect(b);
    world.leave(a, "#b#d1");
    assert_eq!(world.told(), ["0 gets left #b#d1"]);
}

#[test]
fn a_sender_can_discard_its_own_copy() {
    let mut world = World::new();
    let (a, b) = (world.session(0, D1, "a"), world.session(1, D1, "b"));
    world.join(a, GROUP);
    world.join(b, GROUP);
    world.told();
    let groups = [name(GROUP), name("#a#d1")];
    let Request::Multicast(mut m) = Request::multicast(Service::Safe, &groups, b"not to me") else {
        unreachable!()
    };
    m.self_discard = true;
    world.ask(a, &Request::Multicast(m)).unwrap();
    assert_eq!(world.told(), ["1 gets not to me"]);
    world.multicast(a, &[GROUP], b"to all");
    assert_eq!(world.told(), ["0 gets to all", "1 gets to all"]);
}

#[test]
fn the_same_groups_lead_to_their_present_members() {
    for self_discard in [false, true] {
        let mut world = World::of(&["d1"]);
        let quiet = |world: &mut World, number, name| world.session_with(number, D1, name, false);
        let (a, b) = (quiet(&mut world, 0, "a"), quiet(&mut world, 1, "b"));
        // Sends the same again and again, and tells who else than `a` gets it.
        let others = |world: &mut World| {
            let groups = [name(GROUP), name("#c#d1")];
            let mut request = Request::multicast(Service::Agreed, &groups, b"");
            let Request::Multicast(m) = &mut request else { unreachable!() };
            m.self_discard = self_discard;
            world.out.clear();
            world.ask(a, &request).unwrap();
            let mut to: Vec<usize> = world.out.drain(..).map(|(to, _)| to.0).collect();
            assert_eq!(to.contains(&0), !self_discard);
            to.retain(|to| *to != 0);
            to
        };
        world.join(a, GROUP);
        assert!(others(&mut world).is_empty());
        world.join(b, GROUP);
        assert_eq!(others(&mut world), [1]);
        let c = quiet(&mut world, 2, "c");
        assert_eq!(others(&mut world), [1, 2]);
        world.join(c, GROUP);
        assert_eq!(others(&mut world), [1, 2]);
        world.leave(b, GROUP);
        assert_eq!(others(&mut world), [2]);
        world.disconnect(c);
        assert!(others(&mut world).is_empty());
        let c = PrivateName::new("c").unwrap();
        world.cluster.connect(SessionId(3), D1, Some(c), false).unwrap();
        assert_eq!(others(&mut world), [3]);
        world.cluster.crash(D1, 9, &mut world.out);
        world.cluster.restart(D1, 10, &mut world.out);
        assert_eq!(world.session_with(0, D1, "a", false), a);
        world.join(a, GROUP);
        assert!(others(&mut world).is_empty());
    }
}

#[test]
fn senders_that_discard_their_copies_each_get_that_of_the_other() {
    let mut world = World::of(&["d1"]);
    let (a, b) = (world.session(0, D1, "a"), world.session(1, D1, "b"));
    world.join(a, GROUP);
    world.join(b, GROUP);
    world.out.clear();
    let groups = [name(GROUP)];
    for (from, other) in [(a, b), (b, a), (a, b)] {
        let mut request = Request::multicast(Service::Agreed, &groups, b"");
        let Request::Multicast(m) = &mut request else { unreachable!() };
        m.self_discard = true;
        world.ask(from, &request).unwrap();
        let to: Vec<SessionId> = world.out.drain(..).map(|(to, _)| to).collect();
        assert_eq!(to, [other]);
    }
}

#[test]
fn a_message_of_more_than_43_groups_comes_to_no_one() {
    let mut world = World::new();
    let a = world.session(0, D1, "a");
    world.join(a, GROUP);
    world.told();
    world.multicast(a, &[GROUP; 44], b"44");
    world.multicast(a, &[GROUP; 43], b"43");
    assert_eq!(world.told(), ["0 gets 43"]);
}

#[test]
fn all_receivers_share_the_bytes_that_were_sent() {
    let mut world = World::new();
    let (a, b) = (world.session(0, D1, "a"), world.session(1, D1, "b"));
    world.join(a, GROUP);
    world.join(b, GROUP);
    world.told();
    let mut sent = BytesMut::new();
    let groups = [name(GROUP)];
    Request::multicast(Service::Fifo, &groups, b"hello").encode(
        name("#a#d1"),
        ByteOrder::NATIVE,
        &mut sent,
    );
    let sent = frame(&sent);
    world.cluster.handle(a, (&sent).into(), &mut world.out).unwrap();
    let [(_, one), (_, other)] = &world.out[..] else { panic!("{:?}", world.out) };
    assert_eq!((one, one.as_ptr()), (other, other.as_ptr()));
    assert_eq!(one, sent.as_bytes());
}

#[test]
fn a_header_of_the_other_byte_order_is_turned_around_except_for_its_hint() {
    let other = match ByteOrder::NATIVE {
        ByteOrder::Little => ByteOrder::Big,
        ByteOrder::Big => ByteOrder::Little,
    };
    let mut world = World::new();
    let a = world.session(0, D1, "a");
    let groups = [name("#a#d1")];
    let Request::Multicast(mut m) = Request::multicast(Service::Causal, &groups, b"body") else {
        unreachable!()
    };
    m.message_type = 0x1234;
    world.ask_in(other, a, &Request::Multicast(m)).unwrap();
    let delivered = frame(&world.out[0].1);
    assert_eq!(delivered.header().order, ByteOrder::NATIVE);
    assert_eq!(delivered.header().hint, Hint::new(0x1234, other));
    let Delivery::Regular(Regular { message_type, sender_order, body, .. }) =
        Delivery::parse(&delivered).unwrap()
    else {
        panic!()
    };
    assert_eq!((message_type, sender_order, body), (0x1234, other, &b"body"[..]));
}

#[test]
fn a_message_cannot_pass_for_a_view() {
    let mut world = World::new();
    let a = world.session(0, D1, "a");
    let groups = [name("#a#d1")];
    let mut bytes = BytesMut::new();
    let request = Request::multicast(Service::Agreed, &groups, b"x");
    request.encode(name("#a#d1"), ByteOrder::NATIVE, &mut bytes);
    let mut delivered_as = |service_type| {
        let header = Header { service_type, ..*frame(&bytes).header() };
        bytes[..48].copy_from_slice(&header.encode());
        world.out.clear();
        world.cluster.handle(a, (&frame(&bytes)).into(), &mut world.out).unwrap();
        frame(&world.out[0].1).header().service_type
    };
    let forged = ServiceType::REG_MEMB | ServiceType::CAUSED_BY_JOIN;
    assert_eq!(delivered_as(ServiceType::AGREED | forged), ServiceType::AGREED);
    // That of Flush Spread is no business of a daemon.
    let to_subgroup = ServiceType::AGREED | ServiceType::from_bits_retain(0x4000_0000);
    assert_eq!(delivered_as(to_subgroup | forged), to_subgroup);
}

#[test]
fn a_name_is_unique_at_a_daemon_and_free_after_the_end() {
    let mut world = World::new();
    let name = PrivateName::new("a").unwrap();
    let connect = |world: &mut World, number, daemon| {
        world.cluster.connect(SessionId(number), daemon, Some(name), true).map(|_| ())
    };
    assert_eq!(connect(&mut world, 0, D1), Ok(()));
    assert_eq!(connect(&mut world, 1, D1), Err(NotUnique));
    assert_eq!(connect(&mut world, 1, D2), Ok(()), "each daemon has its own names");
    world.disconnect(SessionId(0));
    assert_eq!(connect(&mut world, 0, D1), Ok(()));
}

#[test]
fn made_up_names_are_all_different() {
    let mut world = World::new();
    world.session(0, D1, "r1-1");
    for number in 1..100 {
        world.cluster.connect(SessionId(number), D1, None, false).unwrap();
    }
    assert_eq!(world.cluster.by_name.len(), 100);
}

#[test]
fn only_ones_own_name_may_stand_in_a_frame() {
    let mut world = World::new();
    let a = world.session(0, D1, "a");
    world.session(1, D1, "b");
    let mut bytes = BytesMut::new();
    Request::Join(name(GROUP)).encode(name("#b#d1"), ByteOrder::NATIVE, &mut bytes);
    let end = world.cluster.handle(a, (&frame(&bytes)).into(), &mut world.out);
    assert_eq!(end, Err(End::Sender(name("#b#d1"))));
    let end = world.ask(a, &Request::Disconnect(name("#a#d1")));
    assert_eq!(end, Err(End::Disconnect));
}
