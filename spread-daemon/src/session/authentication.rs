//! The authentication of clients.

use std::collections::VecDeque;
use std::net::IpAddr;

use bytes::BytesMut;
use spread_wire::handshake::{AUTH_IP, AUTH_NULL};

use super::addresses::AddressList;
use super::login::Login;
#[cfg(feature = "passwords")]
use super::passwords::Passwords;

/// The name of [`Method::Password`].
#[cfg(feature = "passwords")]
const AUTH_PASSWORD: &str = "PWORD";

/// A way for a client to show that it may connect.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Method {
    /// `NULL`: anyone may.
    Anyone,
    /// `IP`: those that come from one of these addresses.
    Address(AddressList),
    /// `PWORD`: those that know the password of a user. It goes over the wire as
    /// it is, readable to anyone who can listen to the connection.
    #[cfg(feature = "passwords")]
    Password(Passwords),
}

/// A function that returns whether the password is that of the user.
pub(crate) type PasswordCheck = Box<dyn FnOnce(&Login) -> bool + Send>;

/// How a password is checked.
#[cfg_attr(not(feature = "passwords"), allow(dead_code, reason = "no method has it"))]
pub(crate) enum Checking {
    /// At once, with this result.
    Done(bool),
    /// By a function that takes tens of milliseconds.
    Slow(PasswordCheck),
}

/// A method without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Anyone,
    Address,
    #[cfg_attr(not(feature = "passwords"), allow(dead_code, reason = "no method has it"))]
    Password,
}

impl Method {
    /// Returns the name that clients know it by.
    pub fn name(&self) -> &'static str {
        match self {
            Method::Anyone => AUTH_NULL,
            Method::Address(_) => AUTH_IP,
            #[cfg(feature = "passwords")]
            Method::Password(_) => AUTH_PASSWORD,
        }
    }

    fn step(&self) -> Step {
        match self {
            Method::Anyone => Step::Anyone,
            Method::Address(_) => Step::Address,
            #[cfg(feature = "passwords")]
            Method::Password(_) => Step::Password,
        }
    }
}

/// The methods that a client must pass: one of the allowed methods, which the client
/// chooses, and all the required ones.
///
/// The default allows anyone. This is `AllowedAuthMethods` and
/// `RequiredAuthMethods` in the `spread.conf` of Spread.
#[derive(Clone, Debug)]
pub struct Authentication {
    methods: Vec<Method>,
    required: Vec<&'static str>,
}

impl Default for Authentication {
    fn default() -> Authentication {
        Authentication::deny_all().allow(Method::Anyone)
    }
}

impl Authentication {
    /// Returns an authentication without methods, with which no client can connect.
    pub fn deny_all() -> Authentication {
        Authentication { methods: Vec::new(), required: Vec::new() }
    }

    /// Adds a method that clients may choose; it replaces one of the same kind.
    pub fn allow(mut self, method: Method) -> Authentication {
        self.methods.retain(|known| known.name() != method.name());
        self.methods.push(method);
        self
    }

    /// Demands a method of all clients. Those that can show it without a word,
    /// by their address, need not choose it.
    pub fn require(self, method: Method) -> Authentication {
        let mut required = self.allow(method.clone());
        required.required.retain(|name| *name != method.name());
        required.required.push(method.name());
        required
    }

    /// Returns whether a client can connect without showing anything.
    pub fn admits_anyone(&self) -> bool {
        self.required.iter().all(|name| *name == AUTH_NULL)
            && self.methods.iter().any(|method| matches!(method, Method::Anyone))
    }

    /// Returns whether every client has to give the password of a user: `PWORD` is required, or it
    /// is the only method.
    pub fn demands_password(&self) -> bool {
        let is_password = |method: &Method| method.step() == Step::Password;
        let mut passwords = self.methods.iter().filter(|method| is_password(method));
        let is_required = passwords.any(|method| self.required.contains(&method.name()));
        is_required || matches!(&self.methods[..], [only] if is_password(only))
    }

    /// Returns the authentication of clients that have shown otherwise which users they are: they
    /// may give a password and need not.
    pub(crate) fn with_optional_password(&self) -> Authentication {
        #[cfg(feature = "passwords")]
        if self.methods.iter().any(|method| matches!(method, Method::Password(_))) {
            let mut optional = self.clone().allow(Method::Anyone);
            optional.required.retain(|name| *name != AUTH_PASSWORD);
            return optional;
        }
        self.clone()
    }

    /// Returns the names of the methods that clients may choose.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.methods.iter().map(Method::name).collect()
    }

    /// Begins to check the password of a user, if that is a method.
    pub(crate) fn check(&self, login: &Login) -> Option<Checking> {
        self.methods.iter().find_map(|method| match method {
            #[cfg(feature = "passwords")]
            Method::Password(passwords) => {
                if let Some(is_right) = passwords.verify_quickly(&login.user, &login.password) {
                    return Some(Checking::Done(is_right));
                }
                let passwords = passwords.clone();
                let check = move |login: &Login| passwords.verify(&login.user, &login.password);
                Some(Checking::Slow(Box::new(check)))
            }
            _ => {
                let _ = login;
                None
            }
        })
    }

    /// Returns whether a client may come from an address.
    pub(crate) fn admits(&self, address: Option<IpAddr>) -> bool {
        self.methods.iter().any(|method| match method {
            Method::Address(list) => list.contains(address),
            _ => false,
        })
    }

    /// Returns the steps of a client that has chosen these methods: them, and then the
    /// required ones that it did not choose.
    pub(crate) fn steps(&self, chosen: &[String]) -> VecDeque<Step> {
        let others = self.required.iter().filter(|name| !chosen.iter().any(|c| c == *name));
        let names = chosen.iter().map(String::as_str).chain(others.copied());
        let method = |name| self.methods.iter().find(|method| method.name() == name);
        names.filter_map(method).map(Method::step).collect()
    }
}

/// The steps that a client has still to pass.
#[derive(Debug)]
pub(crate) struct Exchange {
    left: VecDeque<Step>,
}

/// The state of a client in its exchange.
#[derive(PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has passed all methods.
    Passed,
    /// More bytes must come.
    Receive,
    /// The password is to be checked; then [`Exchange::pass`], if it is right.
    Check(Login),
    /// The client comes from an address that is not in the list.
    WrongAddress,
}

impl Exchange {
    /// Returns the methods that a client chose, and then the required ones that it did
    /// not.
    pub(crate) fn new(authentication: &Authentication, chosen: &[String]) -> Exchange {
        Exchange { left: authentication.steps(chosen) }
    }

    /// Goes on as far as the bytes that came allow, and takes those that it needs.
    pub(crate) fn advance(
        &mut self,
        authentication: &Authentication,
        input: &mut BytesMut,
        address: Option<IpAddr>,
    ) -> Progress {
        while let Some(step) = self.left.front() {
            match step {
                Step::Anyone => {}
                Step::Address if authentication.admits(address) => {}
                Step::Address => return Progress::WrongAddress,
                Step::Password => {
                    return Login::decode(input).map_or(Progress::Receive, Progress::Check);
                }
            }
            self.pass();
        }
        Progress::Passed
    }

    /// Notes that the client has passed the next method.
    pub(crate) fn pass(&mut self) {
        self.left.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "passwords")]
    fn a_password_is_demanded_if_no_other_method_is_enough() {
        let password = || Method::Password(Passwords::default());
        let address = || Method::Address(AddressList::default());
        let none = Authentication::deny_all;
        for (authentication, demands) in [
            (Authentication::default(), false),
            (none().allow(address()), false),
            (none().allow(Method::Anyone).allow(password()), false),
            (none().allow(password()).allow(address()), false),
            (none().allow(password()), true),
            (none().require(password()).require(address()), true),
            (Authentication::default().require(password()), true),
        ] {
            assert_eq!(authentication.demands_password(), demands, "{authentication:?}");
        }
    }

    #[test]
    #[cfg(feature = "passwords")]
    fn required_methods_follow_those_that_are_chosen() {
        let authentication = Authentication::default()
            .require(Method::Address(AddressList::default()))
            .require(Method::Password(Passwords::default()));
        assert_eq!(authentication.names(), ["NULL", "IP", "PWORD"]);
        assert!(!authentication.admits_anyone() && Authentication::default().admits_anyone());
        let steps = |chosen: &[&str]| {
            let chosen: Vec<String> = chosen.iter().map(|c| c.to_string()).collect();
            authentication.steps(&chosen)
        };
        assert_eq!(steps(&["NULL"]), [Step::Anyone, Step::Address, Step::Password]);
        assert_eq!(steps(&["PWORD", "NULL"]), [Step::Password, Step::Anyone, Step::Address]);
    }
}
