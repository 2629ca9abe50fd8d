//! How clients show who they are.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use spread_wire::handshake::{AUTH_IP, AUTH_NULL};

use crate::passwords::Passwords;

/// A way for a client to show that it may connect.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Method {
    /// `NULL`: anyone may.
    Anyone,
    /// `IP`: those that come from one of these addresses.
    Address(AddressList),
    /// `PWORD`: those that know the password of a user. It goes over the wire as
    /// it is, so that whoever can listen to the connection knows it, too.
    Password(Passwords),
}

/// A method without what it needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Anyone,
    Address,
    Password,
}

impl Method {
    /// The name that clients know it by.
    pub fn name(&self) -> &'static str {
        match self {
            Method::Anyone => AUTH_NULL,
            Method::Address(_) => AUTH_IP,
            Method::Password(_) => "PWORD",
        }
    }

    fn step(&self) -> Step {
        match self {
            Method::Anyone => Step::Anyone,
            Method::Address(_) => Step::Address,
            Method::Password(_) => Step::Password,
        }
    }
}

/// What clients must show: one of the allowed methods, which a client chooses,
/// and all the required ones.
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
        Authentication::none().allow(Method::Anyone)
    }
}

impl Authentication {
    /// No method, with which no client can connect: to be added to.
    pub fn none() -> Authentication {
        Authentication { methods: Vec::new(), required: Vec::new() }
    }

    /// Lets clients choose a method; one of that kind is replaced.
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

    /// Whether a client can connect without showing anything.
    pub fn admits_anyone(&self) -> bool {
        self.required.iter().all(|name| *name == AUTH_NULL)
            && self.methods.iter().any(|method| matches!(method, Method::Anyone))
    }

    /// The names of the methods that clients may choose.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.methods.iter().map(Method::name).collect()
    }

    pub(crate) fn passwords(&self) -> Option<&Passwords> {
        self.methods.iter().find_map(|method| match method {
            Method::Password(passwords) => Some(passwords),
            _ => None,
        })
    }

    /// Whether a client may come from an address.
    pub(crate) fn admits(&self, address: Option<IpAddr>) -> bool {
        self.methods.iter().any(|method| match method {
            Method::Address(list) => list.contains(address),
            _ => false,
        })
    }

    /// What a client has to go through that has chosen these methods: them, and
    /// then the required ones that it did not choose.
    pub(crate) fn steps(&self, chosen: &[String]) -> VecDeque<Step> {
        let others = self.required.iter().filter(|name| !chosen.iter().any(|c| c == *name));
        let names = chosen.iter().map(String::as_str).chain(others.copied());
        let method = |name| self.methods.iter().find(|method| method.name() == name);
        names.filter_map(method).map(Method::step).collect()
    }
}

/// Addresses from which clients may connect, as in Spread's `spread.access_ip`.
///
/// ```
/// # use spread_daemon::AddressList;
/// let list: AddressList = "unix\nlocal\n192.168.1.0/24  # our office".parse()?;
/// assert!(list.contains(None));
/// assert!(list.contains(Some([192, 168, 1, 7].into())));
/// assert!(!list.contains(Some([192, 168, 2, 7].into())));
/// # Ok::<(), spread_daemon::AddressListError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressList {
    unix: bool,
    /// With the number of bits in front that count.
    networks: Vec<(IpAddr, u8)>,
}

/// A line of an address list says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text:?} is not \"unix\", \"local\", an address or ADDRESS/BITS")]
pub struct AddressListError {
    /// The number of the line, from 1.
    pub line: usize,
    /// What stands in it.
    pub text: String,
}

impl AddressList {
    /// Whether a client may connect from an address; `None` is the unix socket.
    pub fn contains(&self, address: Option<IpAddr>) -> bool {
        match address.map(|address| address.to_canonical()) {
            None => self.unix,
            Some(address) => self.networks.iter().any(|net| is_in(address, *net)),
        }
    }
}

/// One entry a line: `unix`, `local` for the host's own loopback addresses, an
/// address, or a network as `ADDRESS/BITS`. `#` begins a comment.
impl FromStr for AddressList {
    type Err = AddressListError;

    fn from_str(text: &str) -> Result<AddressList, AddressListError> {
        let mut list = AddressList::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            match line {
                "" => {}
                "unix" => list.unix = true,
                "local" => list.networks.extend([
                    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
                    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
                ]),
                line => {
                    list.networks.push(network(line).ok_or_else(|| AddressListError {
                        line: number + 1,
                        text: line.to_owned(),
                    })?)
                }
            }
        }
        Ok(list)
    }
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(all);
    (bits <= all).then_some((address, bits))
}

fn is_in(address: IpAddr, (network, bits): (IpAddr, u8)) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            (a.to_bits() ^ n.to_bits()).leading_zeros() >= u32::from(bits)
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            (a.to_bits() ^ n.to_bits()).leading_zeros() >= u32::from(bits)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_network_by_its_first_bits() {
        let list: AddressList = "10.0.0.0/8\n192.168.1.5\nfd00::/16".parse().unwrap();
        for (address, is_in) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.168.1.5", true),
            ("192.168.1.6", false),
            ("fd00:1::9", true),
            ("fd01::9", false),
            ("::ffff:10.1.1.1", true),
        ] {
            assert_eq!(list.contains(Some(address.parse().unwrap())), is_in, "{address}");
        }
        assert!(!list.contains(None));
        assert!(!AddressList::default().contains(Some(Ipv4Addr::LOCALHOST.into())));
        let all: AddressList = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(Some([8, 8, 8, 8].into())));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for wrong in ["10.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "somewhere"] {
            let list: Result<AddressList, _> = format!("# all\n\n{wrong}").parse();
            assert_eq!(list, Err(AddressListError { line: 3, text: wrong.to_owned() }));
        }
    }

    #[test]
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
