//! Finds clients in the daemon's network namespace that have closed their connections.
//!
//! The end of a TCP stream comes behind its data. So while a client is not read and the
//! buffers are full, nothing tells that it is gone, except the kernel's table of
//! sockets. It has the sockets of the daemon's own network namespace only.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};

use super::connection::ConnectionId;

/// Both addresses of a connection: the daemon's and the client's.
pub(crate) type Addresses = (SocketAddr, SocketAddr);

/// Returns the connections whose clients have closed them.
pub(crate) fn closed(connections: &[(ConnectionId, Addresses)]) -> Vec<ConnectionId> {
    let mut closed = Vec::new();
    for (file, form) in [("/proc/net/tcp", in_v4 as Form), ("/proc/net/tcp6", in_v6)] {
        let keys = connections
            .iter()
            .filter_map(|(id, (daemon, client))| Some(((form(*client)?, form(*daemon)?), *id)));
        let keys: HashMap<(String, String), ConnectionId> = keys.collect();
        // Without the table, or without IPv6, no such client is found.
        let table = fs::read_to_string(file).unwrap_or_default();
        closed.extend(find(&table, &keys));
    }
    closed
}

/// An address as a table shows it, if the table can have it.
type Form = fn(SocketAddr) -> Option<String>;

fn in_v4(address: SocketAddr) -> Option<String> {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port()))
        }
        IpAddr::V6(_) => None,
    }
}

fn in_v6(address: SocketAddr) -> Option<String> {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let octets = ip.octets();
    let (words, _) = octets.as_chunks::<4>();
    let words: String = words.iter().map(|w| format!("{:08X}", u32::from_ne_bytes(*w))).collect();
    Some(format!("{words}:{:04X}", address.port()))
}

/// Returns the connections whose client's socket is in the table and no longer
/// established.
fn find<'a>(
    table: &'a str,
    keys: &'a HashMap<(String, String), ConnectionId>,
) -> impl Iterator<Item = ConnectionId> + 'a {
    const ESTABLISHED: &str = "01";
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (own, other, state) = (fields.next()?, fields.next()?, fields.next()?);
        if state == ESTABLISHED {
            return None;
        }
        keys.get(&(own.to_owned(), other.to_owned())).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_whose_socket_waits_to_send_its_end_is_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
             0: 0100007F:12C3 00000000:0000 0A 00000000:00000000\n   \
             1: 0100007F:9C41 0100007F:12C3 04 00030D40:00000000\n   \
             2: 0100007F:9C42 0100007F:12C3 01 00000000:00000000\n";
        let daemon = SocketAddr::from(([127, 0, 0, 1], 4803));
        let client = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let id = |key| ConnectionId { key, serial: 1 };
        let keys: HashMap<_, _> = [(40001, 5), (40002, 6)]
            .map(|(port, key)| ((in_v4(client(port)).unwrap(), in_v4(daemon).unwrap()), id(key)))
            .into();
        if cfg!(target_endian = "little") {
            assert_eq!(find(table, &keys).collect::<Vec<_>>(), [id(5)]);
        }
    }

    #[test]
    fn an_address_has_the_form_of_its_table() {
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:4803".parse().unwrap();
        let plain: SocketAddr = "127.0.0.1:4803".parse().unwrap();
        assert_eq!((in_v4(mapped), in_v6(mapped)), (in_v4(plain), in_v6(plain)));
        assert_eq!(in_v4("[::1]:4803".parse().unwrap()), None);
        assert_eq!(in_v6("[::1]:4803".parse().unwrap()).unwrap().len(), 32 + 5);
    }
}
