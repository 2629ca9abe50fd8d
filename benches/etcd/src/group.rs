//! The group with voters.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use spread::Mailbox;
use spread_groups::{Node, Pending, VotedGroup};

use crate::process::{Process, free_port};
use crate::{Result, key, timed};

const VOTERS: [&str; 3] = ["ann", "bob", "cid"];

/// A daemon and three voters, of which the first is in this process.
pub(crate) struct Voters {
    group: VotedGroup,
    _node: Node,
    _others: Vec<Process>,
    _daemon: Process,
}

impl Voters {
    pub(crate) fn start(spreadd: &Path) -> Result<Voters> {
        let port = free_port()?;
        let mut command = Command::new(spreadd);
        command.args(["--port", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut daemon = Process::start(&mut command)?;
        daemon.listens(port)?;
        let address = format!("{port}@127.0.0.1");
        let other = |name: &&str| {
            let mut command = Command::new(std::env::current_exe()?);
            Process::start(command.args(["--be-voter", name, &address]).stdin(Stdio::piped()))
        };
        let others = VOTERS[1..].iter().map(other).collect::<Result<_>>()?;
        let (node, group) = join(VOTERS[0], &address)?;
        group.confirm().wait()?;
        Ok(Voters { group, _node: node, _others: others, _daemon: daemon })
    }

    pub(crate) fn puts(&self, count: usize, window: usize, value: &[u8]) -> Result<Duration> {
        let map = self.group.map::<Vec<u8>>("map");
        let value = value.to_vec();
        timed(|| {
            let mut open = VecDeque::new();
            for number in 0..count {
                if open.len() == window {
                    open.pop_front().map(Pending::wait).transpose()?;
                }
                open.push_back(map.put(&key(number), &value).send());
            }
            open.into_iter().try_for_each(|put| put.wait().map(drop))?;
            Ok(())
        })
    }
}

fn join(name: &str, address: &str) -> Result<(Node, VotedGroup)> {
    let node = Node::connect(Mailbox::builder(address))?;
    let group = node.group("bench")?.voters(VOTERS).votes_as(name).join()?;
    Ok((node, group))
}

/// Votes until the end of the input.
pub(crate) fn be_voter(name: &str, address: &str) -> Result {
    let _voter = join(name, address)?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
