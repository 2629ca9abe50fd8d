//! Connections that the program has accepted itself.

use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use spread_daemon::{
    Access, AccessPolicy, Authentication, ClientInfo, Daemon, Incoming, Method, Passwords,
};
use spread_wire::ErrorCode;
use spread_wire::handshake::{Client, ClientError, ClientStep, Connect};

/// After this long, what a test waits for is not going to happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// Does the handshake of a client.
fn connect(mut stream: &UnixStream, name: &str) -> Result<String, ClientError> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut client = Client::new(Connect::new(Some(name.parse().unwrap())), &["NULL"]);
    loop {
        match client.next_step() {
            ClientStep::Send(bytes) => stream.write_all(&bytes).unwrap(),
            ClientStep::Receive(len) => {
                let mut bytes = Vec::new();
                stream.take(len as u64).read_to_end(&mut bytes).unwrap();
                client.handle(&bytes)?;
            }
            ClientStep::Authenticate => client.authenticated(),
            ClientStep::Done(accepted) => return Ok(accepted.private_group.to_string()),
        }
    }
}

/// Waits for the end of a stream.
fn end(mut stream: &UnixStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        // What it had not read makes the end a reset.
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => {}
    }
}

/// Lets in the user `ann` alone, and notes who has come.
#[derive(Clone, Debug, Default)]
struct OnlyAnn(Arc<Mutex<Vec<ClientInfo>>>);

impl AccessPolicy for OnlyAnn {
    fn connect(&self, client: &ClientInfo) -> Access {
        self.0.lock().unwrap().push(client.clone());
        match client.user.as_deref() {
            Some("ann") => Access::Allowed,
            _ => Access::Refused,
        }
    }
}

#[test]
fn the_policy_and_the_status_have_the_address_and_the_user_that_the_program_tells() {
    let policy = OnlyAnn::default();
    let passwords = Method::Password(Passwords::default());
    let daemon = Daemon::builder()
        .authentication(Authentication::deny_all().require(passwords))
        .access_policy(policy.clone())
        .start()
        .unwrap();
    let address: IpAddr = [192, 0, 2, 7].into();
    let admit = |user: Option<&str>| {
        let (daemons, ours) = UnixStream::pair().unwrap();
        let incoming = Incoming::new(daemons).address((address, 4000)).transport("tls");
        daemon.admit_handle().admit(match user {
            Some(user) => incoming.user(user),
            None => incoming,
        });
        ours
    };
    let ann = admit(Some("ann"));
    assert_eq!(connect(&ann, "a").unwrap(), "#a#localhost");
    let status = daemon.status().unwrap();
    let session = &status.sessions[0];
    assert_eq!((&*session.address, session.port), ("192.0.2.7", Some(4000)));
    assert_eq!((&*session.transport, session.user.as_deref()), ("tls", Some("ann")));
    let refused = connect(&admit(Some("bob")), "b").unwrap_err();
    assert_eq!(refused, ClientError::Rejected(ErrorCode::RejectAuth));
    // Who has shown nothing is asked for a password.
    let refused = connect(&admit(None), "c").unwrap_err();
    assert!(matches!(refused, ClientError::MethodNotPermitted { .. }), "{refused}");
    let seen = policy.0.lock().unwrap();
    let seen: Vec<_> = seen.iter().map(|client| (client.user.as_deref(), client.address)).collect();
    assert_eq!(seen, [(Some("ann"), Some(address)), (Some("bob"), Some(address))]);
}

#[test]
fn the_program_learns_of_the_end_though_there_is_something_to_be_read() {
    let daemon = Daemon::builder().start().unwrap();
    let (daemons, ours) = UnixStream::pair().unwrap();
    let (guard, ended) = mpsc::channel::<()>();
    daemon.admit_handle().admit(Incoming::new(daemons).guard(guard));
    connect(&ours, "a").unwrap();
    assert_eq!(ended.try_recv(), Err(mpsc::TryRecvError::Empty));
    assert!(daemon.kick("a").is_some());
    assert_eq!(ended.recv_timeout(DEADLINE), Err(mpsc::RecvTimeoutError::Disconnected));
    end(&ours);
}

#[test]
fn the_handshake_has_its_time_and_a_daemon_that_ends_takes_nothing() {
    let daemon = Daemon::builder().handshake_timeout(Duration::from_millis(50)).start().unwrap();
    let handle = daemon.admit_handle();
    let admit = || {
        let (daemons, ours) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(DEADLINE)).unwrap();
        let (guard, ended) = mpsc::channel::<()>();
        handle.admit(Incoming::new(daemons).guard(guard));
        (ours, ended)
    };
    let begin = Instant::now();
    let (silent, _) = admit();
    end(&silent);
    assert!(begin.elapsed() >= Duration::from_millis(50));
    daemon.stop();
    let (late, ended) = admit();
    end(&late);
    assert_eq!(ended.recv_timeout(DEADLINE), Err(mpsc::RecvTimeoutError::Disconnected));
}
