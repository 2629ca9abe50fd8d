//! Client and daemon get to know each other in memory.
//!
//! Where the answers of a daemon are written out, Spread 5.0.1 gives the same.

use bytes::BytesMut;
use spread_wire::handshake::{
    AUTH_CHOICE, AUTH_NAME, Accepted, Client, ClientError, ClientStep, Connect, ConnectRequest,
    Daemon, DaemonStep, Version,
};
use spread_wire::{ErrorCode, NameError, PrivateGroup, PrivateName};

/// The answer of a daemon named `localhost` to a client named `bob`, from 3.15
/// on.
const ACCEPTS_BOB: &[u8] = b"\x01\x05\x00\x01\x0e#bob#localhost";

#[test]
fn a_client_of_any_version_from_3_1_on_is_accepted() {
    let versions =
        [(3, 1, 0), (3, 14, 0), (3, 15, 0), (3, 15, 2), (3, 16, 0), (4, 4, 0), (5, 0, 1)];
    for version in versions.map(version) {
        let mut client = Client::unauthenticated(Connect { version, ..bob() });
        let mut daemon = Daemon::new(&["NULL"]);
        let session = shake_hands(&mut client, &mut daemon, accept).unwrap();
        let with_patch = version >= Version { major: 3, minor: 15, patch: 0 };
        let told = Version { patch: u8::from(with_patch), ..Version::CURRENT };
        assert_eq!(session.accepted.version, told, "to a client of {version}");
        assert_eq!(session.accepted.private_group, "#bob#localhost");
        assert_eq!(session.request.version, version);
        assert_eq!(session.methods, ["NULL"]);
    }
}

#[test]
fn a_client_below_3_1_is_rejected() {
    for version in [(3, 0, 0), (2, 99, 0), (0, 0, 0)].map(version) {
        let mut client = Client::unauthenticated(Connect { version, ..bob() });
        let outcome = shake_hands(&mut client, &mut Daemon::new(&["NULL"]), accept);
        assert_eq!(outcome.err(), Some(ErrorCode::RejectVersion.into()), "{version}");
        // Two bytes are enough to tell.
        let mut stream = BytesMut::from(&[version.major, version.minor][..]);
        let step = Daemon::new(&["NULL"]).handle(&mut stream);
        assert_eq!(step, DaemonStep::Reject(ErrorCode::RejectVersion));
    }
}

#[test]
fn each_version_has_its_own_bytes() {
    for version in [[3, 1], [3, 14]] {
        let (mut daemon, mut stream) = greeted(&[&version[..], b"\x01\x03bob"].concat());
        assert_eq!(daemon.handle(&mut stream), authenticate(&["NULL"]));
        assert_eq!(daemon.accept(group()), b"\x01\x05\x00\x0e#bob#localhost");
    }
    let (mut daemon, mut stream) = greeted(b"\x03\x0f\x00\x01\x03bob");
    assert_eq!(daemon.handle(&mut stream), authenticate(&["NULL"]));
    assert_eq!(daemon.accept(group()), ACCEPTS_BOB);

    for version in [[3, 16, 0], [5, 0, 1], [6, 0, 0]] {
        let mut stream = BytesMut::from(&[&version[..], b"\x01\x03bob"].concat()[..]);
        let mut daemon = Daemon::new(&["NULL"]);
        assert!(matches!(daemon.handle(&mut stream), DaemonStep::Greet(_)));
        assert_eq!(daemon.greet(), b"\x05NULL ");
        stream.extend_from_slice(&choice(&["NULL"]));
        assert_eq!(daemon.handle(&mut stream), authenticate(&["NULL"]));
        assert_eq!(daemon.accept(group()), ACCEPTS_BOB);
        assert_eq!(daemon.handle(&mut stream), DaemonStep::Done);
    }
}

#[test]
fn a_rejection_with_any_code_reaches_the_client_at_either_step() {
    for code in ErrorCode::ALL {
        for version in [(3, 14, 0), (3, 15, 0), (5, 0, 1)].map(version) {
            let connect = Connect { version, ..bob() };
            let mut client = Client::unauthenticated(connect.clone());
            let mut daemon = Daemon::new(&["NULL"]);
            let outcome = shake_hands(&mut client, &mut daemon, |_| Err(code));
            assert_eq!(outcome.err(), Some(ClientError::Rejected(code)), "greeting {version}");

            let mut client = Client::unauthenticated(connect);
            let mut daemon = Daemon::new(&["NULL"]);
            let decide = |step: Decision<'_>| match step {
                Decision::Greet(_) => accept(step),
                Decision::Authenticate(_) => Err(code),
            };
            let outcome = shake_hands(&mut client, &mut daemon, decide);
            assert_eq!(outcome.err(), Some(ClientError::Rejected(code)), "accepting {version}");
            assert_eq!(daemon.handle(&mut BytesMut::new()), DaemonStep::Reject(code));
        }
    }
}

#[test]
fn a_private_name_has_up_to_10_bytes() {
    for name in ["x", "tencharsxx"] {
        let name = PrivateName::new(name).unwrap();
        let mut client = Client::unauthenticated(Connect::new(Some(name)));
        let session = shake_hands(&mut client, &mut Daemon::new(&["NULL"]), accept).unwrap();
        assert_eq!(session.request.private_name, Some(name));
        assert_eq!(session.accepted.private_group.private_name(), name.as_str());
    }
    for len in [11, 12, 127, 128, 255] {
        // The length alone is enough to tell.
        let mut stream = BytesMut::from(&[5, 0, 1, 1, len][..]);
        let step = Daemon::new(&["NULL"]).handle(&mut stream);
        assert_eq!(step, DaemonStep::Reject(ErrorCode::RejectIllegalName), "{len} bytes");
    }
}

#[test]
fn a_client_without_a_name_is_given_one() {
    let mut client = Client::unauthenticated(Connect::new(None));
    let session = shake_hands(&mut client, &mut Daemon::new(&["NULL"]), accept).unwrap();
    assert_eq!(session.request.private_name, None);
    assert_eq!(session.accepted.private_group, "#r1234-5#localhost");
}

#[test]
fn a_private_name_of_illegal_bytes_is_rejected() {
    for byte in 0..=255 {
        let mut stream = BytesMut::from(&[5, 0, 1, 1, 2, b'a', byte][..]);
        let step = Daemon::new(&["NULL"]).handle(&mut stream);
        if (b'$'..=b'~').contains(&byte) {
            assert!(matches!(step, DaemonStep::Greet(_)), "{byte:#x}: {step:?}");
        } else {
            assert_eq!(step, DaemonStep::Reject(ErrorCode::RejectIllegalName), "{byte:#x}");
        }
    }
}

#[test]
fn the_flags_tell_membership_and_priority() {
    for (membership, priority, flags) in
        [(false, false, 0), (true, false, 1), (false, true, 0x10), (true, true, 0x11)]
    {
        let connect = Connect { membership, priority, ..bob() };
        assert_eq!(connect.encode()[3], flags);
        let mut client = Client::unauthenticated(connect);
        let session = shake_hands(&mut client, &mut Daemon::new(&["NULL"]), accept).unwrap();
        assert_eq!((session.request.membership, session.request.priority), (membership, priority));
    }
    // Bits that mean nothing change nothing.
    let mut stream = BytesMut::from(&b"\x05\x00\x01\x0f\x00"[..]);
    let DaemonStep::Greet(request) = Daemon::new(&["NULL"]).handle(&mut stream) else { panic!() };
    assert!(request.membership && !request.priority);
}

#[test]
fn a_daemon_takes_the_bytes_one_at_a_time() {
    let mut daemon = Daemon::new(&["NULL"]);
    let mut stream = BytesMut::new();
    feed_all_but_the_last(&mut daemon, &mut stream, b"\x05\x00\x01\x01\x03bob");
    assert!(matches!(daemon.handle(&mut stream), DaemonStep::Greet(_)));
    assert!(matches!(daemon.handle(&mut stream), DaemonStep::Greet(_)), "again");
    daemon.greet();
    feed_all_but_the_last(&mut daemon, &mut stream, &choice(&["NULL"]));
    assert_eq!(daemon.handle(&mut stream), authenticate(&["NULL"]));
    assert!(stream.is_empty());
}

#[test]
fn what_follows_the_handshake_is_left_on_the_stream() {
    let mut sent = b"\x05\x00\x01\x01\x03bob".to_vec();
    sent.extend_from_slice(&choice(&["NULL"]));
    sent.extend_from_slice(b"a frame");
    let (mut daemon, mut stream) = greeted(&sent);
    assert_eq!(daemon.handle(&mut stream), authenticate(&["NULL"]));
    daemon.accept(group());
    assert_eq!(daemon.handle(&mut stream), DaemonStep::Done);
    assert_eq!(stream, b"a frame"[..]);
}

#[test]
fn several_methods_are_exchanged_in_the_order_of_the_client() {
    let mut client = Client::new(bob(), &["PWORD", "IP", "NULL", "fourth"]);
    let mut daemon = Daemon::new(&["NULL", "IP", "PWORD"]);
    let session = shake_hands(&mut client, &mut daemon, accept).unwrap();
    assert_eq!(session.methods, ["PWORD", "IP", "NULL"]);
}

#[test]
fn a_client_does_not_choose_what_the_daemon_does_not_permit() {
    for permitted in [&["IP"][..], &["IP", "PWORD"], &["NUL", "NULLS"], &[]] {
        let mut client = Client::unauthenticated(bob());
        let error = ClientError::MethodNotPermitted {
            method: "NULL".to_owned(),
            permitted: permitted.join(" "),
        };
        let outcome = shake_hands(&mut client, &mut Daemon::new(permitted), accept);
        assert_eq!(outcome.err(), Some(error));
    }
}

#[test]
fn a_choice_ends_with_its_first_empty_field() {
    let long = "N".repeat(AUTH_NAME);
    let chosen = |methods: &[&str]| {
        let (mut daemon, mut stream) = greeted(b"\x05\x00\x01\x01\x03bob");
        stream.extend_from_slice(&choice(methods));
        daemon.handle(&mut stream)
    };
    assert_eq!(chosen(&["NULL"]), authenticate(&["NULL"]));
    assert_eq!(chosen(&["NULL", "NULL"]), authenticate(&["NULL", "NULL"]));
    assert_eq!(chosen(&["NULL", "", "BOGUS"]), authenticate(&["NULL"]));
    assert_eq!(chosen(&["NULL\0junk"]), authenticate(&["NULL"]));
    let rejected: [&[&str]; 7] =
        [&[], &["", "NULL"], &["NULL", "BOGUS"], &["null"], &["NULL "], &["PWORD"], &[&long]];
    for methods in rejected {
        assert_eq!(chosen(methods), DaemonStep::Reject(ErrorCode::RejectAuth), "{methods:?}");
    }
}

#[test]
fn a_client_too_old_to_choose_is_not_let_past_the_password() {
    for (permitted, step) in [
        (&["NULL"][..], authenticate(&["NULL"])),
        (&["NULL", "IP"], authenticate(&["IP"])),
        (&["PWORD", "NULL"], authenticate(&["NULL"])),
        (&["PWORD"], DaemonStep::Reject(ErrorCode::RejectAuth)),
        (&[], DaemonStep::Reject(ErrorCode::RejectAuth)),
    ] {
        for request in [&b"\x03\x0e\x01\x03bob"[..], b"\x03\x0f\x00\x01\x03bob"] {
            let mut daemon = Daemon::new(permitted);
            let mut stream = BytesMut::from(request);
            assert!(matches!(daemon.handle(&mut stream), DaemonStep::Greet(_)));
            assert_eq!(daemon.greet(), b"");
            assert_eq!(daemon.handle(&mut stream), step, "{permitted:?}");
        }
    }
}

#[test]
fn a_daemon_that_permits_no_method_says_so_and_rejects() {
    let mut daemon = Daemon::new(&[]);
    let mut stream = BytesMut::from(&b"\x05\x00\x01\x01\x03bob"[..]);
    assert!(matches!(daemon.handle(&mut stream), DaemonStep::Greet(_)));
    assert_eq!(daemon.greet(), [0]);
    assert_eq!(daemon.handle(&mut stream), DaemonStep::Reject(ErrorCode::RejectAuth));
}

#[test]
fn a_daemon_permits_no_more_than_a_client_can_read() {
    let methods = ["A", "B", "C"].map(|letter| letter.repeat(AUTH_NAME - 1));
    let mut permitted: Vec<_> = methods.iter().map(String::as_str).collect();
    permitted.push("IP");
    let mut client = Client::new(bob(), &permitted[..3]);
    let session = shake_hands(&mut client, &mut Daemon::new(&permitted), accept).unwrap();
    assert_eq!(session.methods, methods);
    let mut client = Client::new(bob(), &["IP"]);
    let outcome = shake_hands(&mut client, &mut Daemon::new(&permitted), accept);
    assert!(matches!(outcome, Err(ClientError::MethodNotPermitted { .. })));
}

#[test]
fn a_garbage_answer_is_an_error() {
    let list = b"\x05NULL ";
    let answer = |bytes: &[u8]| [list, bytes].concat();
    let protocol = |error: &Option<ClientError>| {
        matches!(error, Some(ClientError::Protocol(_) | ClientError::OtherProtocol { .. }))
    };
    let garbage = [
        // Instead of the list: codes that are none, other protocols.
        vec![0x80],
        vec![0xf6],
        vec![0xeb],
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
        // The list is cut short.
        b"\x05NUL".to_vec(),
        // Instead of the answer: neither accepted nor rejected, a code that is
        // none, no name, cut short in the version, before and in the name.
        answer(b"\x00\x05\x00\x01\x0e#bob#localhost"),
        answer(b"\x02\x05\x00\x01\x0e#bob#localhost"),
        answer(b"\xf6"),
        answer(b"\x01\x05\x00\x01\x00"),
        answer(b"\x01\x05"),
        answer(b"\x01\x05\x00\x01"),
        answer(b"\x01\x05\x00\x01\x0e#bob#loc"),
    ];
    for bytes in garbage {
        let error = answered(&bytes).err();
        assert!(protocol(&error), "{}: {error:?}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_no_list_of_methods_is_known_by_its_first_bytes() {
    let begun = |bytes: &[u8]| {
        let mut client = Client::unauthenticated(bob());
        assert!(matches!(client.next_step(), ClientStep::Send(_)));
        client.handle(&bytes[..1]).unwrap();
        client.check(&bytes[1..])
    };
    // The first byte of each is taken for a length, and the rest of it is shorter.
    for banner in ["SSH-2.0-OpenSSH_9.6\r\n", "220 mail.example ESMTP\r\n", "-ERR what\r\n"] {
        let error = begun(banner.as_bytes());
        let Err(ClientError::OtherProtocol { begin }) = &error else { panic!("{error:?}") };
        assert_eq!(*begin, banner.as_bytes());
    }
    let long = format!("HTTP/1.1 400 Bad Request\r\n{}", "x".repeat(40));
    let Err(ClientError::OtherProtocol { begin }) = begun(long.as_bytes()) else { panic!() };
    assert_eq!(begin, long.as_bytes()[..40]);
    // Not a byte more of it comes.
    let error = answered(b"HTTP/1.1 400\r\n").unwrap_err();
    assert!(error.to_string().contains(r#""HTTP/1.1 400\r\n""#), "{error}");
    let error = answered(b"\x05NULL nonsense").unwrap_err();
    assert!(error.to_string().contains("nonse"), "{error}");
    assert_eq!(begun(b"\x0aNULL PW"), Ok(()));
    assert_eq!(begun(b"\x0a"), Ok(()));
}

#[test]
fn the_methods_that_the_daemon_permits_are_known_after_a_rejection() {
    let permitted = ["IP", "PWORD"];
    let mut client = Client::unauthenticated(bob());
    assert!(client.permitted().is_none());
    shake_hands(&mut client, &mut Daemon::new(&permitted), accept).unwrap_err();
    assert_eq!(client.permitted().unwrap().collect::<Vec<_>>(), permitted);
}

#[test]
fn a_list_of_methods_that_is_too_long_is_not_waited_for() {
    for (len, is_refused) in
        [(AUTH_CHOICE as u8, false), (AUTH_CHOICE as u8 + 1, true), (127, true)]
    {
        let mut client = Client::unauthenticated(bob());
        assert!(matches!(client.next_step(), ClientStep::Send(_)));
        assert_eq!(client.handle(&[len]).is_err(), is_refused, "{len} bytes");
    }
}

#[test]
fn a_private_group_that_is_none_is_an_error() {
    let long = "x".repeat(32);
    for (name, error) in [
        ("bob", NameError::NotPrivate),
        ("#bob", NameError::NotPrivate),
        ("#bob#", NameError::NotPrivate),
        ("##localhost", NameError::NotPrivate),
        ("#elevenchars#d", NameError::NotPrivate),
        ("#bob#lo\0", NameError::IllegalByte { byte: 0, at: 7 }),
        (&long, NameError::TooLong { len: 32, max: 31 }),
    ] {
        let mut bytes = b"\x05NULL \x01\x05\x00\x01".to_vec();
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name.as_bytes());
        assert_eq!(answered(&bytes), Err(ClientError::PrivateGroup(error)), "{name:?}");
    }
}

#[test]
fn a_daemon_older_than_version_3_is_refused() {
    let outcome = answered(b"\x05NULL \x01\x02\x14\x00\x0e#bob#localhost");
    assert_eq!(outcome, Err(ErrorCode::RejectVersion.into()));
}

#[test]
fn a_connection_that_ends_before_an_answer_is_closed() {
    assert_eq!(answered(b""), Err(ErrorCode::ConnectionClosed.into()));
    assert_eq!(answered(b"\x05NULL "), Err(ErrorCode::ConnectionClosed.into()));
}

#[test]
fn bytes_that_were_not_asked_for_change_nothing() {
    let mut client = Client::unauthenticated(bob());
    assert!(matches!(client.handle(b"\x05"), Err(ClientError::Protocol(_))));
    assert_eq!(client.next_step(), ClientStep::Send(b"\x05\x00\x01\x01\x03bob".to_vec()));
    client.authenticated();
    assert_eq!(client.next_step(), ClientStep::Receive(1));
}

#[test]
fn a_daemon_asked_out_of_turn_says_nothing() {
    let mut daemon = Daemon::new(&["NULL"]);
    assert!(daemon.greet().is_empty());
    assert!(daemon.accept(group()).is_empty());
    assert_eq!(daemon.handle(&mut BytesMut::new()), DaemonStep::Receive);
}

fn version((major, minor, patch): (u8, u8, u8)) -> Version {
    Version { major, minor, patch }
}

fn bob() -> Connect {
    Connect::new(Some(PrivateName::new("bob").expect("a name")))
}

fn group() -> PrivateGroup {
    PrivateGroup::new("#bob#localhost").expect("a private group")
}

fn authenticate(methods: &[&str]) -> DaemonStep {
    DaemonStep::Authenticate(methods.iter().map(|m| m.to_string()).collect())
}

/// The bytes with which a client chooses methods.
fn choice(methods: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0; AUTH_CHOICE];
    for (field, method) in bytes.chunks_mut(AUTH_NAME).zip(methods) {
        field[..method.len()].copy_from_slice(method.as_bytes());
    }
    bytes
}

/// A daemon that permits `NULL` and has greeted the client that sent these
/// bytes, with what it left of them.
fn greeted(bytes: &[u8]) -> (Daemon, BytesMut) {
    let mut daemon = Daemon::new(&["NULL"]);
    let mut stream = BytesMut::from(bytes);
    let step = daemon.handle(&mut stream);
    assert!(matches!(step, DaemonStep::Greet(_)), "{step:?}");
    daemon.greet();
    (daemon, stream)
}

fn feed_all_but_the_last(daemon: &mut Daemon, stream: &mut BytesMut, bytes: &[u8]) {
    let (last, others) = bytes.split_last().expect("bytes");
    for &byte in others {
        stream.extend_from_slice(&[byte]);
        assert_eq!(daemon.handle(stream), DaemonStep::Receive);
    }
    stream.extend_from_slice(&[*last]);
}

/// What the client `bob` makes of all that a daemon answers before it closes.
fn answered(mut unread: &[u8]) -> Result<Accepted, ClientError> {
    let mut client = Client::unauthenticated(bob());
    loop {
        match client.next_step() {
            ClientStep::Send(_) => {}
            ClientStep::Authenticate => client.authenticated(),
            ClientStep::Receive(len) => {
                let (bytes, rest) = unread.split_at(len.min(unread.len()));
                unread = rest;
                client.handle(bytes)?;
            }
            ClientStep::Done(accepted) => return Ok(accepted),
        }
    }
}

/// What a daemon's owner is asked in the course of a handshake.
enum Decision<'a> {
    Greet(&'a ConnectRequest),
    Authenticate(&'a ConnectRequest),
}

/// Accepts a client under the name it asks for.
fn accept(decision: Decision<'_>) -> Result<PrivateGroup, ErrorCode> {
    let (Decision::Greet(request) | Decision::Authenticate(request)) = decision;
    let made_up = PrivateName::new("r1234-5").expect("a name");
    let name = request.private_name.unwrap_or(made_up);
    Ok(PrivateGroup::of(name, "localhost").expect("a private group"))
}

/// A handshake that came to its end.
#[derive(Debug)]
struct Session {
    accepted: Accepted,
    request: ConnectRequest,
    methods: Vec<String>,
}

/// Lets a client and a daemon talk until one is done or the client fails.
fn shake_hands(
    client: &mut Client,
    daemon: &mut Daemon,
    decide: impl Fn(Decision<'_>) -> Result<PrivateGroup, ErrorCode>,
) -> Result<Session, ClientError> {
    let (mut to_daemon, mut to_client) = (BytesMut::new(), BytesMut::new());
    let (mut request, mut methods) = (None, Vec::new());
    let mut closed = false;
    loop {
        match client.next_step() {
            ClientStep::Send(bytes) => to_daemon.extend_from_slice(&bytes),
            ClientStep::Authenticate => client.authenticated(),
            ClientStep::Receive(len) if to_client.len() >= len || closed => {
                let len = len.min(to_client.len());
                client.handle(&to_client.split_to(len))?;
            }
            ClientStep::Receive(_) => match daemon.handle(&mut to_daemon) {
                DaemonStep::Receive => panic!("each waits for the other"),
                DaemonStep::Greet(asked) => {
                    let decision = decide(Decision::Greet(&asked));
                    closed = decision.is_err();
                    to_client.extend_from_slice(&match decision {
                        Ok(_) => daemon.greet(),
                        Err(code) => daemon.reject(code),
                    });
                    request = Some(asked);
                }
                DaemonStep::Authenticate(chosen) => {
                    let asked = request.as_ref().expect("greeted first");
                    let decision = decide(Decision::Authenticate(asked));
                    closed = decision.is_err();
                    to_client.extend_from_slice(&match decision {
                        Ok(group) => daemon.accept(group),
                        Err(code) => daemon.reject(code),
                    });
                    methods = chosen;
                }
                DaemonStep::Reject(code) => {
                    to_client.extend_from_slice(&[code.byte()]);
                    closed = true;
                }
                DaemonStep::Done => panic!("the client waits for more than the daemon says"),
            },
            ClientStep::Done(accepted) => {
                assert!(to_client.is_empty() && to_daemon.is_empty());
                assert_eq!(daemon.handle(&mut to_daemon), DaemonStep::Done);
                let request = request.expect("greeted first");
                return Ok(Session { accepted, request, methods });
            }
        }
    }
}
