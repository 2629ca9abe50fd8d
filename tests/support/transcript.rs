//! The sessions recorded in `tests/transcripts/`: what libspread 5.0.1 and a
//! Spread 5.0.1 daemon said to each other, and what the library's functions
//! returned meanwhile.

#![allow(dead_code, reason = "each test that includes this module uses a part of it")]

use serde_json::Value;

/// The recordings by name.
const RECORDINGS: [(&str, &str); 8] = [
    ("cluster", include_str!("../transcripts/cluster.json")),
    ("connect_ok", include_str!("../transcripts/connect_ok.json")),
    ("connect_rejects", include_str!("../transcripts/connect_rejects.json")),
    ("large65536", include_str!("../transcripts/large65536.json")),
    ("membership", include_str!("../transcripts/membership.json")),
    ("multigroup", include_str!("../transcripts/multigroup.json")),
    ("services", include_str!("../transcripts/services.json")),
    ("short_buffers", include_str!("../transcripts/short_buffers.json")),
];

/// One recording.
#[derive(Debug)]
pub(crate) struct Transcript {
    pub(crate) name: &'static str,
    pub(crate) connections: Vec<Connection>,
    pub(crate) calls: Vec<Call>,
}

/// What went over one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The private name that the client's program asked for.
    pub(crate) client: String,
    /// What was sent, in the order in which it was.
    pub(crate) pieces: Vec<Piece>,
}

/// Bytes that one side sent without hearing of the other in between.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) from: Side,
    /// The bytes; `None` where this side closed the connection.
    pub(crate) bytes: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Daemon,
}

/// A call of the library.
#[derive(Debug)]
pub(crate) struct Call {
    /// The client that called; empty for something done to the daemons.
    pub(crate) who: String,
    /// What it called, or what was done.
    pub(crate) call: String,
    pub(crate) outcome: Outcome,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing is recorded; of a receive: no message came.
    Nothing,
    /// The function returned this.
    Code(i32),
    /// A connect was accepted.
    Connected { private_group: String },
    /// A receive returned this.
    Received(Received),
}

/// What `SP_receive` gives back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) code: i32,
    pub(crate) service_type: u32,
    pub(crate) sender: String,
    pub(crate) num_groups: i32,
    pub(crate) groups: Vec<String>,
    pub(crate) message_type: i32,
    pub(crate) endian_mismatch: i32,
    pub(crate) data: Vec<u8>,
}

impl Transcript {
    /// Every recording there is.
    pub(crate) fn all() -> Vec<Transcript> {
        RECORDINGS.iter().map(|&(name, json)| Transcript::read(name, json)).collect()
    }

    /// The recording of a name.
    pub(crate) fn load(name: &str) -> Transcript {
        let found = RECORDINGS.iter().find(|(known, _)| *known == name);
        let &(name, json) = found.unwrap_or_else(|| panic!("no transcript {name}"));
        Transcript::read(name, json)
    }

    fn read(name: &'static str, json: &str) -> Transcript {
        let json: Value = serde_json::from_str(json).expect("a transcript is JSON");
        Transcript {
            name,
            connections: list(&json["connections"]).iter().map(Connection::read).collect(),
            calls: list(&json["calls"]).iter().map(Call::read).collect(),
        }
    }
}

impl Connection {
    /// All that one side sent.
    pub(crate) fn sent_by(&self, side: Side) -> Vec<u8> {
        let pieces = self.pieces.iter().filter(|piece| piece.from == side);
        pieces.filter_map(|piece| piece.bytes.as_deref()).flatten().copied().collect()
    }

    /// What one side sent after the handshake; nothing if that failed.
    pub(crate) fn frames_of(&self, side: Side) -> Vec<u8> {
        let sent = self.sent_by(side);
        let handshake = match side {
            Side::Client => 5 + usize::from(sent[4]) + 90,
            Side::Daemon if sent[0] >= 0x80 => 1,
            Side::Daemon => {
                let answer = 1 + usize::from(sent[0]);
                answer + 5 + usize::from(sent[answer + 4])
            }
        };
        sent.get(handshake..).unwrap_or_default().to_vec()
    }

    fn read(json: &Value) -> Connection {
        Connection {
            client: text(&json["client"]),
            pieces: list(&json["bytes"]).iter().map(Piece::read).collect(),
        }
    }
}

impl Piece {
    fn read(json: &Value) -> Piece {
        let from = match json["from"].as_str() {
            Some("client") => Side::Client,
            Some("daemon") => Side::Daemon,
            other => panic!("bytes from {other:?}"),
        };
        let bytes = json["hex"].as_str().map(|hex| {
            let parts: Vec<_> = hex.split("{PATTERN}").map(from_hex).collect();
            parts.join(&pattern()[..])
        });
        assert!(bytes.is_some() || json["eof"] == true, "neither bytes nor an end: {json}");
        Piece { from, bytes }
    }
}

impl Call {
    fn read(json: &Value) -> Call {
        if let Some(event) = json["event"].as_str() {
            return Call { who: String::new(), call: event.into(), outcome: Outcome::Nothing };
        }
        let (who, call, result) = (text(&json["who"]), text(&json["call"]), &json["result"]);
        let private_group = [json, result].into_iter().find_map(|j| j["private_group"].as_str());
        let outcome = match (result, private_group) {
            (Value::Null, _) => Outcome::Nothing,
            (_, Some(group)) => Outcome::Connected { private_group: group.into() },
            (Value::Number(_), None) => Outcome::Code(number(result)),
            (_, None) => Outcome::Received(Received::read(result)),
        };
        Call { who, call, outcome }
    }
}

impl Received {
    fn read(json: &Value) -> Received {
        Received {
            code: number(&json["rc"]),
            service_type: number(&json["service"]) as u32,
            sender: text(&json["sender"]),
            num_groups: number(&json["num_groups"]),
            groups: list(&json["groups"]).iter().map(text).collect(),
            message_type: number(&json["mess_type"]),
            endian_mismatch: number(&json["endian_mismatch"]),
            data: match json["data"].as_str() {
                Some("len:65536") => pattern(),
                hex => from_hex(hex.expect("data is text")),
            },
        }
    }
}

/// The body that stands as `{PATTERN}` in the hex of a recording.
fn pattern() -> Vec<u8> {
    (0..65536_u32).map(|i| (i * 7) as u8).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hex digit") as u8;
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    assert!(rest.is_empty(), "half a byte");
    pairs.iter().map(|&[high, low]| digit(high) << 4 | digit(low)).collect()
}

fn list(json: &Value) -> &[Value] {
    json.as_array().expect("a list")
}

fn text(json: &Value) -> String {
    json.as_str().expect("a text").to_owned()
}

fn number(json: &Value) -> i32 {
    json.as_i64().and_then(|number| i32::try_from(number).ok()).expect("an int")
}
