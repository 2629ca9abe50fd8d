//! Who may connect, and who may do what.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use spread_daemon::{
    Access, AccessPolicy, AddressList, Authentication, ClientInfo, Daemon, Method, Passwords,
    Sending, Status,
};
use spread_wire::handshake::{ClientError, Connect};
use spread_wire::{Cause, Delivery, ErrorCode, Name, Request, Service, ServiceType};

use support::client::{Client, DEADLINE};

fn named(name: &str) -> Connect {
    Connect::new(Some(name.parse().unwrap()))
}

/// Returns a user's name and password as they go over the wire.
fn secret(user: &str, password: &str) -> Vec<u8> {
    let mut bytes = user.as_bytes().to_vec();
    bytes.resize(32, 0);
    bytes.extend_from_slice(password.as_bytes());
    bytes.resize(40, 0);
    bytes
}

fn with_passwords() -> Daemon {
    let mut passwords = Passwords::default();
    passwords.set("ann", "secret").unwrap();
    passwords.set("bob", "8 bytes!").unwrap();
    let authentication = Authentication::deny_all().allow(Method::Password(passwords));
    Daemon::builder().authentication(authentication).start().unwrap()
}

fn log_in(daemon: SocketAddr, user: &str, password: &str) -> Result<Client, ClientError> {
    Client::try_authenticate(daemon, named(user), &["PWORD"], &secret(user, password))
}

/// Waits until the status of a daemon is as a test wants it, and returns it.
fn status(daemon: &Daemon, is_reached: impl Fn(&Status) -> bool) -> Status {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let status = daemon.status().unwrap();
        if is_reached(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "it stays at {status}");
    }
}

fn rejected(client: Result<Client, ClientError>) -> ErrorCode {
    match client {
        Err(ClientError::Rejected(code)) => code,
        Err(other) => panic!("{other}"),
        Ok(client) => panic!("{} was let in", client.private_group),
    }
}

#[test]
fn the_right_password_lets_a_user_in_and_no_other_does() {
    let daemon = with_passwords();
    let address = daemon.socket_addr();
    log_in(address, "ann", "secret").unwrap().join("group");
    log_in(address, "bob", "8 bytes!").unwrap().join("group");
    for (user, password) in [("ann", "8 bytes!"), ("eve", "secret"), ("ann", ""), ("", "")] {
        let secret = secret(user, password);
        let client = Client::try_authenticate(address, named("other"), &["PWORD"], &secret);
        assert_eq!(rejected(client), ErrorCode::RejectAuth, "{user} {password}");
    }
}

#[test]
fn the_answer_to_a_password_is_one_byte() {
    let daemon = with_passwords();
    for (password, answer) in [("secret", &b"\x01\x01\x05\x00\x01"[..]), ("guess", b"\x00\xf7")] {
        let mut client = Client::bare(daemon.socket_addr());
        client.send(&named("ann").encode());
        assert_eq!(client.receive_up_to(7), b"\x06PWORD ");
        let mut choice = [0; 90];
        choice[..5].copy_from_slice(b"PWORD");
        client.send(&choice);
        // In pieces, as Spread's own daemon would not take it.
        let secret = secret("ann", password);
        client.send(&secret[..20]);
        client.send(&secret[20..]);
        assert_eq!(client.receive_up_to(answer.len()), answer);
        drop(client);
    }
}

#[test]
fn without_a_password_nobody_gets_in() {
    let daemon = with_passwords();
    let mut old = Client::bare(daemon.socket_addr());
    old.send(b"\x03\x0f\x00\x01\x03old");
    assert_eq!(old.receive_up_to(2), [ErrorCode::RejectAuth.byte()]);
    let mut other = Client::bare(daemon.socket_addr());
    other.send(&named("other").encode());
    other.receive_up_to(7);
    let mut choice = [0; 90];
    choice[..4].copy_from_slice(b"NULL");
    other.send(&choice);
    assert_eq!(other.receive_up_to(2), [ErrorCode::RejectAuth.byte()]);
}

#[test]
fn a_password_that_is_checked_keeps_nobody_waiting() {
    let daemon = with_passwords();
    let address = daemon.socket_addr();
    let mut ann = log_in(address, "ann", "secret").unwrap();
    ann.join("group");
    // Each takes tens of milliseconds, in one thread.
    let mut guesses: Vec<Client> = (0..20)
        .map(|number| {
            let mut client = Client::bare(address);
            client.send(&named(&format!("guess{number}")).encode());
            let mut choice = [0; 90];
            choice[..5].copy_from_slice(b"PWORD");
            client.send(&choice);
            client.send(&secret("ann", "guess"));
            client
        })
        .collect();
    let start = Instant::now();
    ann.multicast("group", b"meanwhile");
    assert_eq!(ann.receive_body(), b"meanwhile");
    let meanwhile = start.elapsed();
    guesses.iter_mut().for_each(Client::wait_for_close);
    assert!(meanwhile < start.elapsed() / 2, "it took {meanwhile:?} of {:?}", start.elapsed());
}

#[test]
fn a_client_with_none_of_the_methods_counts_as_rejected() {
    let daemon = with_passwords();
    // Clients leave when they see the list.
    let client = Client::try_connect(daemon.socket_addr(), named("ann"));
    assert!(matches!(client, Err(ClientError::MethodNotPermitted { .. })));
    status(&daemon, |status| status.totals.rejected == 1);
    let mut stubborn = Client::bare(daemon.socket_addr());
    stubborn.send(&named("ann").encode());
    stubborn.receive_up_to(7);
    let mut choice = b"NULL".to_vec();
    choice.resize(90, 0);
    stubborn.send(&choice);
    assert_eq!(stubborn.receive_up_to(2), [ErrorCode::RejectAuth.byte()]);
    drop(stubborn);
    // Nobody is rejected who says nothing, or goes in the middle of the exchange.
    drop(Client::bare(daemon.socket_addr()));
    drop(begin_login(daemon.socket_addr(), "ann", &[0; 10]));
    drop(log_in(daemon.socket_addr(), "ann", "secret").unwrap());
    let told = status(&daemon, |status| status.sessions.is_empty());
    assert_eq!((told.totals.connected, told.totals.rejected), (1, 2));
}

#[test]
fn a_list_of_addresses_lets_in_who_is_on_it() {
    let start = |list: &str| {
        let list: AddressList = list.parse().unwrap();
        let authentication = Authentication::default().require(Method::Address(list));
        Daemon::builder().authentication(authentication).start().unwrap()
    };
    let daemon = start("local");
    let either = |methods: &[&str]| {
        Client::try_authenticate(daemon.socket_addr(), named("ann"), methods, &[]).is_ok()
    };
    assert!(either(&["IP"]));
    let daemon = start("192.0.2.0/24\nunix");
    let address = daemon.socket_addr();
    for methods in [&["IP"][..], &["NULL"], &["NULL", "IP"]] {
        let client = Client::try_authenticate(address, named("ann"), methods, &[]);
        assert_eq!(rejected(client), ErrorCode::RejectAuth, "{methods:?}");
    }
}

/// Connects, and sends all that a user does to log in.
fn begin_to_log_in(stream: TcpStream, name: &str, password: &str) -> Client {
    let mut client = Client::of(stream);
    client.send(&named(name).encode());
    let mut choice = b"PWORD".to_vec();
    choice.resize(90, 0);
    client.send(&choice);
    client.send(&secret("ann", password));
    client
}

#[test]
fn wrong_passwords_from_one_address_do_not_hold_up_a_right_one_from_another() {
    let daemon = with_passwords();
    let connect = |from: [u8; 4]| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&daemon.socket_addr().into()).unwrap();
        TcpStream::from(socket)
    };
    let mut wrong: Vec<Client> = (0..60)
        .map(|number| begin_to_log_in(connect([127, 0, 0, 1]), &format!("c{number}"), "wrong"))
        .collect();
    // Checks have begun, and the others wait.
    assert_eq!(wrong[0].receive_up_to(9), b"\x06PWORD \0\xf7");
    let mut ann = begin_to_log_in(connect([127, 0, 0, 2]), "ann", "secret");
    assert_eq!(ann.receive_up_to(9), b"\x06PWORD \x01\x01");
    let rejected = daemon.status().unwrap().totals.rejected;
    assert!(rejected < 50, "{rejected}");
}

#[test]
fn waiting_for_the_check_of_a_password_is_not_held_against_a_client() {
    const CLIENTS: usize = 60;
    let mut passwords = Passwords::default();
    passwords.set("ann", "secret").unwrap();
    let authentication = Authentication::deny_all().allow(Method::Password(passwords));
    // Far less than all checks take, and more than one.
    let patience = Duration::from_millis(400);
    let daemon =
        Daemon::builder().authentication(authentication).handshake_timeout(patience).start();
    let daemon = daemon.unwrap();
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|number| {
            let stream = TcpStream::connect(daemon.socket_addr()).unwrap();
            begin_to_log_in(stream, &format!("c{number}"), "secret")
        })
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.receive_up_to(9);
        assert_eq!(answer, b"\x06PWORD \x01\x01", "client {number}");
    }
    let status = daemon.status().unwrap();
    assert_eq!((status.totals.connected, status.totals.rejected), (CLIENTS as u64, 0));
}

#[test]
fn a_client_that_has_not_authenticated_reserves_no_name() {
    let daemon = with_passwords();
    let mut stranger = Client::bare(daemon.socket_addr());
    stranger.send(&named("ann").encode());
    assert_eq!(stranger.receive_up_to(7), b"\x06PWORD ");
    let mut ann = log_in(daemon.socket_addr(), "ann", "secret").unwrap();
    let mut choice = b"PWORD".to_vec();
    choice.resize(90, 0);
    stranger.send(&choice);
    stranger.send(&secret("ann", "secret"));
    let not_unique = [1, ErrorCode::RejectNotUnique.byte()];
    assert_eq!(stranger.receive_up_to(2), not_unique);
    ann.join("group");
}

/// Panics at requests that concern `bad`, and asks its daemon for the status.
#[derive(Debug)]
struct Fragile(Arc<OnceLock<Daemon>>);

impl AccessPolicy for Fragile {
    fn connect(&self, client: &ClientInfo) -> Access {
        let status = self.0.get().map(Daemon::status);
        assert!(matches!(status, Some(None)), "it cannot answer: {status:?}");
        assert_ne!(client.private_group.private_name(), "bad");
        Access::Allowed
    }

    fn join(&self, _: &ClientInfo, group: Name) -> Access {
        assert_ne!(group, "bad");
        Access::Allowed
    }

    fn multicast(&self, _: &ClientInfo, message: &Sending<'_>) -> Access {
        assert!(message.groups.iter().all(|group| group != "bad"));
        Access::Allowed
    }
}

#[test]
fn a_policy_that_panics_refuses_the_request() {
    let own = Arc::new(OnceLock::new());
    let daemon = Daemon::builder().access_policy(Fragile(Arc::clone(&own))).start().unwrap();
    let address = daemon.socket_addr();
    own.set(daemon).unwrap();
    assert_eq!(rejected(Client::try_connect(address, named("bad"))), ErrorCode::RejectAuth);
    let mut ann = Client::connect(address, "ann");
    ann.request(&Request::Join(Name::new("bad").unwrap()));
    assert_eq!(rejection(&mut ann).0, Cause::Join.flag());
    ann.multicast("bad", b"to nobody");
    assert_eq!(rejection(&mut ann).2, b"to nobody");
    ann.join("good");
    assert_eq!(own.get().unwrap().status().unwrap().totals.refused, 2);
}

/// Refuses bob everything that is forbidden.
#[derive(Debug)]
struct Strict;

fn decide(client: &ClientInfo, is_forbidden: bool) -> Access {
    match client.private_group.private_name() == "bob" && is_forbidden {
        true => Access::Refused,
        false => Access::Allowed,
    }
}

impl AccessPolicy for Strict {
    fn connect(&self, client: &ClientInfo) -> Access {
        assert!(client.address.is_some() && client.user.is_none());
        match client.private_group.private_name() {
            "eve" => Access::Refused,
            _ => Access::Allowed,
        }
    }

    fn join(&self, client: &ClientInfo, group: Name) -> Access {
        decide(client, group == "forbidden")
    }

    fn leave(&self, client: &ClientInfo, group: Name) -> Access {
        decide(client, group == "sticky")
    }

    fn multicast(&self, client: &ClientInfo, message: &Sending<'_>) -> Access {
        decide(client, message.groups.iter().any(|group| group == "forbidden"))
    }

    fn private_send(&self, client: &ClientInfo, message: &Sending<'_>) -> Access {
        decide(client, message.groups.iter().any(|group| group == "#ann#localhost"))
    }
}

/// Takes the next message, which must be a rejected one, apart: what it was, its
/// groups, its body.
fn rejection(client: &mut Client) -> (ServiceType, Vec<String>, Vec<u8>) {
    let frame = client.receive().expect("the daemon has closed");
    match Delivery::parse(&frame).unwrap() {
        Delivery::Rejected(m) => {
            assert_eq!(m.sender, client.private_group);
            let groups = m.groups.iter().map(|group| group.to_string()).collect();
            (m.old_type, groups, m.body.to_vec())
        }
        other => panic!("not a rejected message: {other:?}"),
    }
}

#[test]
fn what_a_policy_refuses_comes_back_and_has_no_effect() {
    let daemon = Daemon::builder().access_policy(Strict).start().unwrap();
    let address = daemon.socket_addr();
    assert_eq!(rejected(Client::try_connect(address, named("eve"))), ErrorCode::RejectAuth);
    let mut ann = Client::connect(address, "ann");
    ann.join("forbidden");
    let mut bob = Client::connect(address, "bob");

    let group = Name::new("forbidden").unwrap();
    bob.request(&Request::Join(group));
    let back = ["forbidden".to_owned(), "#bob#localhost".to_owned()];
    assert_eq!(rejection(&mut bob), (Cause::Join.flag(), back.to_vec(), vec![]));

    bob.join("sticky");
    bob.request(&Request::Leave(Name::new("sticky").unwrap()));
    assert_eq!(rejection(&mut bob).0, Cause::Leave.flag());
    bob.multicast("sticky", b"still in it");
    assert_eq!(bob.receive_body(), b"still in it");

    let groups = [Name::new("sticky").unwrap(), group];
    bob.request(&Request::multicast(Service::Safe, &groups, b"a message"));
    let back = ["sticky", "forbidden", "#bob#localhost"].map(str::to_owned).to_vec();
    assert_eq!(rejection(&mut bob), (Service::Safe.into(), back, b"a message".to_vec()));

    let to_ann = [ann.private_group];
    bob.request(&Request::multicast(Service::Fifo, &to_ann, b"psst"));
    assert_eq!(rejection(&mut bob).2, b"psst");

    ann.multicast("forbidden", b"nothing came");
    assert_eq!(ann.receive_body(), b"nothing came");
}

#[test]
fn a_rejected_message_of_many_groups_has_its_sender_as_the_last() {
    let daemon = Daemon::builder().access_policy(Strict).start().unwrap();
    let mut bob = Client::connect(daemon.socket_addr(), "bob");
    let groups = [Name::new("forbidden").unwrap(); 100];
    bob.request(&Request::multicast(Service::Agreed, &groups, b"x"));
    let (_, groups, _) = rejection(&mut bob);
    assert_eq!((groups.len(), &*groups[98], &*groups[99]), (100, "forbidden", "#bob#localhost"));
}

#[test]
fn passwords_are_kept_in_a_file_for_the_eyes_of_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let name = format!("spread-daemon-passwords-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut passwords = Passwords::default();
    passwords.set("ann", "secret").unwrap();
    passwords.save(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    std::fs::write(&path, format!("# users\n\n{text}")).unwrap();
    let loaded = Passwords::load(&path);
    std::fs::write(&path, "ann:plain").unwrap();
    let wrong = Passwords::load(&path);
    std::fs::remove_file(&path).unwrap();

    assert!(text.starts_with("ann:$argon2id$") && !text.contains("secret"), "{text}");
    assert_eq!(mode, 0o600);
    assert!(loaded.unwrap().verify("ann", b"secret"));
    assert!(wrong.unwrap_err().to_string().contains(":1: a line is USER:HASH"));
}

/// Sends the beginning of a handshake with the method PWORD, and a password.
fn begin_login(daemon: SocketAddr, name: &str, secret: &[u8]) -> Client {
    let mut client = Client::bare(daemon);
    client.send(&named(name).encode());
    let len = client.receive_up_to(1)[0].into();
    client.receive_up_to(len);
    let mut choice = b"PWORD".to_vec();
    choice.resize(90, 0);
    client.send(&choice);
    client.send(secret);
    client
}

#[test]
fn a_password_of_spreads_own_file_is_checked_at_once_though_others_take_long() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "ann:aZGJuE6EXrjEE\n").unwrap();
    let mut passwords = Passwords::default();
    passwords.set("bob", "secret").unwrap();
    passwords.import(&Passwords::load(file.path()).unwrap());
    let authentication = Authentication::deny_all().allow(Method::Password(passwords));
    let daemon = Daemon::builder().authentication(authentication).start().unwrap();
    let address = daemon.socket_addr();
    let mut slow: Vec<Client> = (0..30)
        .map(|number| begin_login(address, &format!("bob{number}"), &secret("bob", "secret")))
        .collect();
    // It is behind all the others.
    for number in 0..5 {
        let name = format!("ann{number}");
        let mut quick = begin_login(address, &name, &secret("ann", "test"));
        assert_eq!(quick.receive_up_to(2), [1, 1], "the password, and the session");
        let mut wrong = begin_login(address, "eve", &secret("ann", "guess"));
        assert_eq!(wrong.receive_up_to(2), [0, ErrorCode::RejectAuth.byte()]);
    }
    assert!(!slow.last().unwrap().has_input(), "it waited for the others");
    for client in &mut slow {
        assert_eq!(client.receive_up_to(2), [1, 1]);
    }
}
