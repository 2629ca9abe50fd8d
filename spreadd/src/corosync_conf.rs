//! A `corosync.conf` for the daemons of a `spread.conf`.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use crate::plan::{Outcome, address, read};

/// Returns a configuration of Corosync for the daemons of a file.
pub(crate) fn make(file: &Path) -> Outcome<String> {
    let conf = read(file)?;
    if conf.daemons.is_empty() {
        return Err(format!("{}: it has no daemon", file.display()).into());
    }
    let mut nodes = Vec::new();
    for daemon in &conf.daemons {
        nodes.push((&*daemon.name, address(daemon)?));
    }
    Ok(text(&nodes))
}

/// Returns the text for nodes of these names and addresses.
fn text(nodes: &[(&str, IpAddr)]) -> String {
    let mut out = String::from(
        "\
# The same file is for all hosts: /etc/corosync/corosync.conf
totem {
\tversion: 2
\tcluster_name: spread
\ttransport: knet
\t# With a key from corosync-keygen in /etc/corosync/authkey, on all hosts, messages
\t# are encrypted:
\t# crypto_cipher: aes256
\t# crypto_hash: sha256
\t# Milliseconds until a host is taken for lost; not below 1000 with knet (default: 3000):
\t# token: 1000
}

nodelist {
",
    );
    for (place, (name, address)) in nodes.iter().enumerate() {
        let _ = write!(
            out,
            "\tnode {{\n\t\tname: {name}\n\t\tnodeid: {}\n\t\tring0_addr: {address}\n\t}}\n",
            place + 1
        );
    }
    out.push_str(
        "\
}

# A user other than root that runs spreadd:
# uidgid {
# \tuid: spread
# }

logging {
\tto_syslog: yes
}
",
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_daemon_is_a_node_in_the_order_of_the_file() {
        let text = text(&[("d1", [10, 0, 0, 1].into()), ("d2", [10, 0, 0, 2].into())]);
        let first = "\tnode {\n\t\tname: d1\n\t\tnodeid: 1\n\t\tring0_addr: 10.0.0.1\n\t}\n";
        let second = "\tnode {\n\t\tname: d2\n\t\tnodeid: 2\n\t\tring0_addr: 10.0.0.2\n\t}\n";
        assert!(text.contains(&format!("nodelist {{\n{first}{second}}}\n")), "{text}");
    }
}
