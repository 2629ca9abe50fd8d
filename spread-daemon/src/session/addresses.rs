//! The addresses from which clients may connect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

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
    networks: Vec<IpNet>,
}

/// A line of an address list says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text:?} is not \"unix\", \"local\", an address or ADDRESS/BITS")]
pub struct AddressListError {
    /// The number of the line, from 1.
    pub line: usize,
    /// The text of the line.
    pub text: String,
}

impl AddressList {
    /// Returns whether a client may connect from an address; `None` is the unix socket.
    pub fn contains(&self, address: Option<IpAddr>) -> bool {
        match address.map(|address| address.to_canonical()) {
            None => self.unix,
            Some(address) => self.networks.iter().any(|network| network.contains(&address)),
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
                "local" => list.networks.extend(LOCAL),
                line => {
                    let error = || AddressListError { line: number + 1, text: line.to_owned() };
                    list.networks.push(network(line).ok_or_else(error)?);
                }
            }
        }
        Ok(list)
    }
}

/// The loopback addresses.
const LOCAL: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];

fn network(text: &str) -> Option<IpNet> {
    match text.contains('/') {
        true => text.parse().ok(),
        false => text.parse::<IpAddr>().ok().map(IpNet::from),
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
}
