//! The daemon answers what real clients sent as Spread 5.0.1 answered it, byte
//! for byte, except for the ids of views.

mod support;

use std::collections::VecDeque;
use std::ops::Deref;

use bytes::BytesMut;
use spread_daemon::Daemon;
use spread_wire::{Frame, HEADER_LEN, Limits, ServiceType};
use support::client::Client;
use support::transcript::{Connection, Side, Transcript};

#[test]
fn a_client_connects_and_disconnects() {
    replay("connect_ok", &[]);
}

#[test]
fn names_that_are_taken_or_illegal_are_rejected() {
    replay("connect_rejects", &[0, 0, 1, 2, 3, 4, 4, 5, 5]);
}

#[test]
fn every_change_of_a_group_is_a_view_for_those_that_want_it() {
    const ALICE: usize = 0;
    const BOB: usize = 1;
    const QUIET: usize = 2;
    let connects = [ALICE, ALICE, BOB, BOB, QUIET, QUIET];
    let joins = [ALICE, QUIET, BOB, BOB];
    let leaves_and_joins = [ALICE, ALICE, ALICE];
    let ends = [BOB, QUIET, ALICE];
    replay("membership", &[&connects[..], &joins, &leaves_and_joins, &ends].concat());
}

#[test]
fn a_message_to_several_groups_comes_once() {
    let connects_and_joins = [0, 0, 1, 1, 0, 0, 1];
    let messages = [0, 0, 1, 1, 1];
    replay("multigroup", &[&connects_and_joins[..], &messages].concat());
}

#[test]
fn every_service_delivers_and_self_discard_spares_the_sender() {
    let connects_and_joins = [0, 0, 1, 1, 0, 1];
    let messages = [0; 9];
    let ends = [1, 0];
    replay("services", &[&connects_and_joins[..], &messages, &ends].concat());
}

#[test]
fn messages_of_many_groups_come_as_they_were_sent() {
    replay("short_buffers", &[]);
}

#[test]
fn a_long_message_comes_as_it_was_sent() {
    replay("large65536", &[]);
}

/// Replays the recorded clients, in the given order of their places in the transcript,
/// and then the rest of each; compares what they get.
fn replay(transcript: &str, order: &[usize]) {
    let daemon = Daemon::builder().start().unwrap();
    let recorded: Vec<Recorded> =
        Transcript::load(transcript).connections.into_iter().map(Recorded).collect();
    let mut players: Vec<Player<'_>> = recorded.iter().map(|r| Player::new(&daemon, r)).collect();
    for &place in order {
        assert!(players[place].step(), "{transcript} has no more for {place}");
    }
    for player in &mut players {
        while player.step() {}
    }
    for mut player in players {
        let client = &player.recorded.client;
        assert_eq!(player.greetings, player.recorded.greetings(), "{client} of {transcript}");
        let expected = player.recorded.frames_of(Side::Daemon);
        let expected = comparable(decode(&expected, Limits::FROM_DAEMON));
        while let Some(frame) = player.client.receive() {
            player.deliveries.push(frame);
        }
        assert_eq!(comparable(player.deliveries), expected, "{client} of {transcript}");
    }
}

/// What a client and the daemon said to each other once.
struct Recorded(Connection);

impl Deref for Recorded {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

/// One thing that a client does.
enum Step {
    /// Sends a part of the handshake, to which the daemon has an answer.
    Handshake(Vec<u8>),
    /// Sends a frame.
    Request(Frame),
    /// Closes its side.
    Close,
}

impl Recorded {
    /// What the daemon says during the handshake, at most twice.
    fn greetings(&self) -> Vec<Vec<u8>> {
        let said = self.sent_by(Side::Daemon);
        let (handshake, _) = said.split_at(said.len() - self.frames_of(Side::Daemon).len());
        let said = self.pieces.iter().filter(|piece| piece.from == Side::Daemon);
        let first = said.filter_map(|piece| piece.bytes.as_ref()).next().map_or(0, Vec::len);
        let (first, second) = handshake.split_at(first.min(handshake.len()));
        [first, second].into_iter().filter(|s| !s.is_empty()).map(<[u8]>::to_vec).collect()
    }

    /// What the client does, one thing after another.
    fn steps(&self) -> VecDeque<Step> {
        let said = self.pieces.iter().filter(|piece| piece.from == Side::Client);
        let handshake = said.filter_map(|piece| piece.bytes.clone()).take(self.greetings().len());
        let mut steps: VecDeque<Step> = handshake.map(Step::Handshake).collect();
        let requests = match steps.len() {
            2 => decode(&self.frames_of(Side::Client), Limits::FROM_CLIENT),
            _ => Vec::new(),
        };
        let ends = requests.iter().any(|r| r.header().service_type.contains(ServiceType::KILL));
        steps.extend(requests.into_iter().map(Step::Request));
        if !ends {
            steps.push_back(Step::Close);
        }
        steps
    }
}

/// A client that does what a recorded one did.
struct Player<'a> {
    recorded: &'a Recorded,
    steps: VecDeque<Step>,
    client: Client,
    greetings: Vec<Vec<u8>>,
    deliveries: Vec<Frame>,
}

impl<'a> Player<'a> {
    fn new(daemon: &Daemon, recorded: &'a Recorded) -> Player<'a> {
        Player {
            recorded,
            steps: recorded.steps(),
            client: Client::bare(daemon.socket_addr()),
            greetings: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    /// Does the next thing, and waits until the daemon has done it.
    fn step(&mut self) -> bool {
        match self.steps.pop_front() {
            None => return false,
            Some(Step::Handshake(bytes)) => {
                self.client.send(&bytes);
                let len = self.recorded.greetings()[self.greetings.len()].len();
                self.greetings.push(self.client.receive_up_to(len));
            }
            Some(Step::Close) => {
                self.client.finish();
                self.receive_rest();
            }
            Some(Step::Request(frame)) => {
                self.client.private_group = frame.header().name;
                self.client.send(frame.as_bytes());
                if frame.header().service_type.contains(ServiceType::KILL) {
                    self.receive_rest();
                } else {
                    self.deliveries.extend(self.client.receive_until_handled());
                }
            }
        }
        true
    }

    fn receive_rest(&mut self) {
        while let Some(frame) = self.client.receive() {
            self.deliveries.push(frame);
        }
    }
}

fn decode(bytes: &[u8], limits: Limits) -> Vec<Frame> {
    let mut bytes = BytesMut::from(bytes);
    let frames = std::iter::from_fn(|| Frame::decode(&mut bytes, limits).unwrap()).collect();
    assert!(bytes.is_empty(), "the recording ends within a frame");
    frames
}

/// Returns the bytes of frames, without what tells the configuration in the ids of
/// views: the first eight bytes of a body.
fn comparable(frames: Vec<Frame>) -> Vec<Vec<u8>> {
    let without_id = |frame: Frame| {
        let mut bytes = frame.as_bytes().to_vec();
        if frame.header().service_type.intersects(ServiceType::REG_MEMB) {
            let body = HEADER_LEN + frame.header().num_groups * 32;
            bytes[body..body + 8].fill(0);
        }
        bytes
    };
    frames.into_iter().map(without_id).collect()
}
