//! A client's way to its session: greeting, authentication, admission.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use spread_wire::handshake::{Daemon, DaemonStep};
use spread_wire::{ErrorCode, PrivateGroup, PrivateName};

use super::authentication::{Authentication, Checking, Exchange, Progress};
use super::login::Login;

/// The state of a client on its way to a session.
#[derive(Debug)]
pub(crate) struct Handshake {
    wire: Daemon,
    /// The methods as they were when the client connected.
    authentication: Arc<Authentication>,
    private_name: Option<PrivateName>,
    membership: bool,
    /// The client has been sent the methods.
    is_greeted: bool,
    /// The methods that the client has still to pass, once it has chosen.
    exchange: Option<Exchange>,
    user: Option<String>,
}

/// The next action for a client.
#[derive(PartialEq, Eq)]
pub(crate) enum Action {
    /// Wait for more bytes.
    Receive,
    /// Reject the client if the name is in use, else send what
    /// [`Handshake::greet`] returns. The name is not reserved yet.
    Greet(Option<PrivateName>),
    /// Check the password, then call [`Handshake::pass`] if it is right.
    Check(Login),
    /// Open a session if there is room, then send what [`Handshake::accept`]
    /// returns.
    Admit(Applicant),
    /// Send the code and close.
    Reject(ErrorCode),
}

/// A client that has passed all methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applicant {
    /// The name it asks for, if it asks for one.
    pub(crate) private_name: Option<PrivateName>,
    /// Whether it wants membership messages.
    pub(crate) membership: bool,
    /// The user whose password it gave, or that its transport has authenticated.
    pub(crate) user: Option<String>,
}

impl Handshake {
    pub(crate) fn new(authentication: Arc<Authentication>) -> Handshake {
        Handshake {
            wire: Daemon::new(&authentication.names()),
            authentication,
            private_name: None,
            membership: false,
            is_greeted: false,
            exchange: None,
            user: None,
        }
    }

    /// For a client that has shown otherwise which user it is.
    pub(crate) fn of_user(authentication: &Authentication, user: String) -> Handshake {
        let authentication = Arc::new(authentication.with_optional_password());
        Handshake { user: Some(user), ..Handshake::new(authentication) }
    }

    /// Goes on as far as the bytes that came allow, and takes those that it needs.
    pub(crate) fn advance(&mut self, input: &mut BytesMut, address: Option<SocketAddr>) -> Action {
        let authentication = &self.authentication;
        let chosen = match self.wire.handle(input) {
            DaemonStep::Receive | DaemonStep::Done => return Action::Receive,
            DaemonStep::Greet(request) => {
                self.private_name = request.private_name;
                self.membership = request.membership;
                return Action::Greet(request.private_name);
            }
            DaemonStep::Reject(code) => {
                if code == ErrorCode::RejectAuth {
                    let (address, permitted) = (shown(address), self.permitted());
                    tracing::warn!(
                        %address,
                        "rejected a client: it has no authentication method of these: {permitted}"
                    );
                }
                return Action::Reject(code);
            }
            DaemonStep::Authenticate(chosen) => chosen,
        };
        let exchange = self.exchange.get_or_insert_with(|| Exchange::new(authentication, &chosen));
        match exchange.advance(authentication, input, address.map(|address| address.ip())) {
            Progress::Receive => Action::Receive,
            Progress::Check(login) => Action::Check(login),
            Progress::WrongAddress => {
                let address = shown(address);
                tracing::warn!(%address, "rejected a client: its address is not in the list");
                Action::Reject(ErrorCode::RejectAuth)
            }
            Progress::Passed => Action::Admit(Applicant {
                private_name: self.private_name,
                membership: self.membership,
                user: self.user.clone(),
            }),
        }
    }

    /// Begins the authentication; returns the bytes to send.
    pub(crate) fn greet(&mut self) -> Vec<u8> {
        self.is_greeted = true;
        self.wire.greet()
    }

    /// Returns whether the client has been sent the methods and has chosen none. Clients of
    /// Spread close the connection when they have none of them.
    pub(crate) fn is_undecided(&self) -> bool {
        self.is_greeted && self.exchange.is_none()
    }

    /// Returns the names of the methods that the client may choose.
    pub(crate) fn permitted(&self) -> String {
        match self.authentication.names()[..] {
            [] => "none".to_owned(),
            ref names => names.join(" "),
        }
    }

    /// Begins to check a password, if that is a method.
    pub(crate) fn check(&self, login: &Login) -> Option<Checking> {
        self.authentication.check(login)
    }

    /// Notes that the password of a user was right. The user that the transport has authenticated
    /// stays.
    pub(crate) fn pass(&mut self, user: String) {
        self.user.get_or_insert(user);
        self.exchange.iter_mut().for_each(Exchange::pass);
    }

    /// Accepts the client under a private group; returns the bytes to send.
    pub(crate) fn accept(&mut self, private_group: PrivateGroup) -> Vec<u8> {
        self.wire.accept(private_group)
    }
}

/// Returns the address of a client as the log shows it.
pub(crate) fn shown(address: Option<SocketAddr>) -> String {
    address.map_or("unix".to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use spread_wire::handshake::Connect;

    use super::*;
    use crate::session::authentication::Method;

    fn choice(method: &str) -> Vec<u8> {
        let mut choice = method.as_bytes().to_vec();
        choice.resize(90, 0);
        choice
    }

    #[test]
    fn a_client_is_greeted_then_chooses_and_is_admitted() {
        let mut handshake = Handshake::new(Arc::default());
        let name: PrivateName = "ann".parse().unwrap();
        let mut input = BytesMut::new();
        let mut advance = |handshake: &mut Handshake, bytes: &[u8]| {
            input.extend_from_slice(bytes);
            handshake.advance(&mut input, None)
        };
        let request = Connect::new(Some(name)).encode();
        assert!(advance(&mut handshake, &request[..4]) == Action::Receive);
        assert!(advance(&mut handshake, &request[4..]) == Action::Greet(Some(name)));
        assert_eq!(handshake.greet(), b"\x05NULL ");
        assert!(advance(&mut handshake, b"") == Action::Receive);
        let applicant = Applicant { private_name: Some(name), membership: true, user: None };
        assert!(advance(&mut handshake, &choice("NULL")) == Action::Admit(applicant));
        let group = PrivateGroup::of(name, "here").unwrap();
        assert_eq!(handshake.accept(group), b"\x01\x05\x00\x01\x09#ann#here");
    }

    #[test]
    #[cfg(feature = "passwords")]
    fn a_known_user_needs_no_password_and_the_right_address() {
        use crate::session::passwords::Passwords;

        let list = "10.0.0.0/8".parse().unwrap();
        let authentication = Authentication::deny_all()
            .require(Method::Password(Passwords::default()))
            .require(Method::Address(list));
        for (address, is_in) in [([10, 1, 1, 1], true), ([11, 1, 1, 1], false)] {
            let mut handshake = Handshake::of_user(&authentication, "ann".to_owned());
            let mut input = BytesMut::from(&Connect::new(None).encode()[..]);
            let address = Some(SocketAddr::from((address, 4000)));
            assert!(handshake.advance(&mut input, address) == Action::Greet(None));
            assert_eq!(handshake.greet(), b"\x0ePWORD IP NULL ");
            input.extend_from_slice(&choice("NULL"));
            let user = Some("ann".to_owned());
            let applicant = Applicant { private_name: None, membership: true, user };
            let expected = match is_in {
                true => Action::Admit(applicant),
                false => Action::Reject(ErrorCode::RejectAuth),
            };
            assert!(handshake.advance(&mut input, address) == expected);
        }
    }

    #[test]
    #[cfg(feature = "passwords")]
    fn a_known_user_may_give_a_password_all_the_same() {
        use crate::session::passwords::Passwords;

        let authentication =
            Authentication::deny_all().require(Method::Password(Passwords::default()));
        let mut handshake = Handshake::of_user(&authentication, "ann".to_owned());
        let mut input = BytesMut::from(&Connect::new(None).encode()[..]);
        assert!(handshake.advance(&mut input, None) == Action::Greet(None));
        assert_eq!(handshake.greet(), b"\x0bPWORD NULL ");
        input.extend_from_slice(&choice("PWORD"));
        assert!(handshake.advance(&mut input, None) == Action::Receive);
        let mut login = b"bob".to_vec();
        login.resize(32, 0);
        login.extend_from_slice(b"secret\0\0");
        input.extend_from_slice(&login);
        let Action::Check(login) = handshake.advance(&mut input, None) else {
            panic!("the password is not checked");
        };
        handshake.pass(login.user);
        let user = Some("ann".to_owned());
        let applicant = Applicant { private_name: None, membership: true, user };
        assert!(handshake.advance(&mut input, None) == Action::Admit(applicant));
    }

    #[test]
    fn a_client_from_elsewhere_is_rejected() {
        let list = "10.0.0.0/8".parse().unwrap();
        let authentication = Authentication::default().require(Method::Address(list));
        let authentication = Arc::new(authentication);
        for (address, is_in) in [([10, 1, 1, 1], true), ([11, 1, 1, 1], false)] {
            let mut handshake = Handshake::new(Arc::clone(&authentication));
            let mut input = BytesMut::from(&Connect::new(None).encode()[..]);
            let address = Some(SocketAddr::from((address, 4000)));
            assert!(handshake.advance(&mut input, address) == Action::Greet(None));
            handshake.greet();
            input.extend_from_slice(&choice("NULL"));
            let action = handshake.advance(&mut input, address);
            assert_eq!(action == Action::Reject(ErrorCode::RejectAuth), !is_in);
        }
    }
}
