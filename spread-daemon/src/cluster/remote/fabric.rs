//! A group communication in memory, with the deviations of Corosync's CPG.
//!
//! Hosts are in rings. A ring has one order of its packets and of the processes that come
//! and go, and each of its hosts receives that order at its own pace. When rings change:
//!
//! - hosts that go on together from a ring have received the same of it; what none of them
//!   has is lost to them;
//! - but one of them may lack the last of it; and one may hear before the last of it who is
//!   gone, and receive nothing more from these;
//! - what a process had sent and its host had not, may not reach those who are new to it;
//!   and neither may what the process sends before all of that has gone;
//! - a packet that goes with the rest of another program's message may not reach them,
//!   either, be it the first that is sent after the change; nor may the end of a process.
//!
//! A host has received what is before its own packets in the order. With Corosync it may
//! lack a packet for a moment; if hosts part in that moment, they deliver what follows the
//! gap, and nothing tells them of it.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::{MemberId, RingId, Told};

/// Decides by chance, the same for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed | 1)
    }

    /// Returns true once in `n` times.
    fn one_in(&mut self, n: u64) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11).is_multiple_of(n)
    }
}

/// Something that has its place in the order of a ring.
#[derive(Clone, Debug)]
enum Item {
    Packet {
        from: MemberId,
        bytes: Bytes,
        /// The hosts that it reaches whatever happens to others.
        reaches: BTreeSet<usize>,
    },
    Join(MemberId),
    Leave {
        member: MemberId,
        /// The hosts that are told of it.
        reaches: BTreeSet<usize>,
    },
}

#[derive(Debug)]
struct Ring {
    id: RingId,
    hosts: BTreeSet<usize>,
    /// What was sent, with its host.
    order: Vec<(usize, Item)>,
}

#[derive(Debug)]
struct Host {
    ring: usize,
    is_up: bool,
    process: Option<MemberId>,
    /// The number of its next process.
    pid: u32,
    /// How much of the order of the ring has been received.
    received: usize,
    /// The members as its process knows them.
    known: BTreeSet<MemberId>,
    /// What waits for the process.
    inbox: VecDeque<Told>,
    /// What the process has sent and the host has not; and whether it reaches only
    /// those hosts.
    unsent: VecDeque<(Bytes, Option<BTreeSet<usize>>)>,
    /// The rest of another program's message is to be sent, which only these know.
    foreign: Option<BTreeSet<usize>>,
}

/// All hosts and rings.
#[derive(Debug)]
pub(super) struct Fabric {
    hosts: Vec<Host>,
    rings: Vec<Ring>,
    chance: Chance,
}

impl Fabric {
    /// Returns hosts that are all in one ring, without processes.
    pub(super) fn new(hosts: usize, chance: Chance) -> Fabric {
        let id = RingId { node: 1, seq: 4 };
        let ring = Ring { id, hosts: (0..hosts).collect(), order: Vec::new() };
        let host = |_| Host {
            ring: 0,
            is_up: true,
            process: None,
            pid: 7,
            received: 0,
            known: BTreeSet::new(),
            inbox: VecDeque::new(),
            unsent: VecDeque::new(),
            foreign: None,
        };
        Fabric { hosts: (0..hosts).map(host).collect(), rings: vec![ring], chance }
    }

    /// Starts the process of a host, which joins the group.
    pub(super) fn start(&mut self, host: usize) -> MemberId {
        self.receive(host, usize::MAX);
        let member = MemberId { node: host as u32 + 1, pid: self.hosts[host].pid };
        let ring = &mut self.rings[self.hosts[host].ring];
        ring.order.push((host, Item::Join(member)));
        let this = &mut self.hosts[host];
        this.process = Some(member);
        this.inbox = VecDeque::from([Told::Ring(ring.id)]);
        member
    }

    /// Kills the process of a host. What it has sent goes out.
    pub(super) fn kill(&mut self, host: usize) {
        self.send(host, usize::MAX);
        if let Some(member) = self.hosts[host].process.take() {
            let ring = &mut self.rings[self.hosts[host].ring];
            let mut reaches = ring.hosts.clone();
            if self.chance.one_in(4) {
                reaches.retain(|other| *other == host || self.chance.one_in(2));
            }
            // The same process number again after a crash, as in a container, unless
            // someone would take it for the one before.
            self.hosts[host].pid += u32::from(reaches != ring.hosts);
            ring.order.push((host, Item::Leave { member, reaches }));
            // The host is through with it before it starts another.
            self.receive(host, usize::MAX);
            self.hosts[host].inbox.clear();
        }
    }

    /// Takes a packet of a host's process; returns whether there was room.
    pub(super) fn multicast(&mut self, host: usize, bytes: &[u8]) -> bool {
        if self.chance.one_in(16) {
            return false;
        }
        let this = &mut self.hosts[host];
        let before = this.unsent.back().and_then(|(_, reaches)| reaches.clone());
        let reaches = before.or(this.foreign.take());
        this.unsent.push_back((Bytes::copy_from_slice(bytes), reaches));
        true
    }

    /// Lets a host send some of what its process has given it.
    pub(super) fn send(&mut self, host: usize, packets: usize) -> bool {
        if self.hosts[host].unsent.is_empty() {
            return false;
        }
        self.receive(host, usize::MAX);
        let mut has_sent = false;
        for _ in 0..packets {
            let this = &mut self.hosts[host];
            let (Some(from), Some((bytes, reaches))) = (this.process, this.unsent.pop_front())
            else {
                break;
            };
            has_sent = true;
            let ring = &mut self.rings[this.ring];
            let reaches = reaches.unwrap_or_else(|| ring.hosts.clone());
            // Some who may lack it have it all the same.
            let mut all = ring.hosts.clone();
            all.retain(|other| reaches.contains(other) || !self.chance.one_in(2));
            ring.order.push((host, Item::Packet { from, bytes, reaches: all }));
        }
        has_sent
    }

    /// Lets a host receive some of what its ring has sent.
    pub(super) fn receive(&mut self, host: usize, items: usize) -> bool {
        let ring = self.hosts[host].ring;
        let from = self.hosts[host].received;
        let to = self.rings[ring].order.len().min(from.saturating_add(items));
        for place in from..to {
            self.deliver(host, self.rings[ring].order[place].1.clone());
        }
        self.hosts[host].received = to;
        from < to
    }

    /// Returns what the process of a host is told next.
    pub(super) fn dispatch(&mut self, host: usize) -> Option<Told> {
        self.hosts[host].inbox.pop_front()
    }

    fn deliver(&mut self, host: usize, item: Item) {
        let this = &mut self.hosts[host];
        let (left, joined) = match item {
            Item::Packet { from, bytes, reaches } => {
                if reaches.contains(&host) && this.known.contains(&from) {
                    this.tell(Told::Message { from, bytes });
                }
                return;
            }
            Item::Join(member) => {
                this.known.insert(member);
                (vec![], vec![member])
            }
            Item::Leave { member, reaches } => {
                if !reaches.contains(&host) || !this.known.remove(&member) {
                    return;
                }
                (vec![member], vec![])
            }
        };
        this.tell_members(left, joined);
    }

    /// Puts the hosts into rings, each of them by the number of its part.
    pub(super) fn part(&mut self, parts: &[u8]) {
        let numbers: BTreeSet<u8> = self.up().map(|host| parts[host]).collect();
        for number in numbers {
            let hosts: BTreeSet<usize> = self.up().filter(|host| parts[*host] == number).collect();
            let former: BTreeSet<usize> = hosts.iter().map(|host| self.hosts[*host].ring).collect();
            let is_new = match (former.len(), former.first()) {
                (1, Some(ring)) => self.rings[*ring].hosts != hosts,
                _ => true,
            };
            if is_new {
                self.form(hosts, former);
            }
        }
    }

    /// Stops a host with its process.
    pub(super) fn stop(&mut self, host: usize, parts: &[u8]) {
        let this = &mut self.hosts[host];
        this.is_up = false;
        this.process = None;
        this.inbox.clear();
        this.unsent.clear();
        this.foreign = None;
        this.known.clear();
        self.part(parts);
    }

    /// Starts a host, in a ring of its own.
    pub(super) fn boot(&mut self, host: usize) {
        let seq = 4 * (self.rings.len() as u64 + 1);
        let id = RingId { node: host as u32 + 1, seq };
        self.rings.push(Ring { id, hosts: BTreeSet::from([host]), order: Vec::new() });
        let this = &mut self.hosts[host];
        this.is_up = true;
        this.ring = self.rings.len() - 1;
        this.received = 0;
    }

    pub(super) fn is_up(&self, host: usize) -> bool {
        self.hosts[host].is_up
    }

    fn up(&self) -> impl Iterator<Item = usize> {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].is_up)
    }

    /// Makes a ring of hosts that come from several.
    fn form(&mut self, hosts: BTreeSet<usize>, former: BTreeSet<usize>) {
        let sides: Vec<BTreeSet<usize>> = former
            .iter()
            .map(|ring| hosts.iter().copied().filter(|h| self.hosts[*h].ring == *ring).collect())
            .collect();
        let processes = |of: &BTreeSet<usize>| -> BTreeSet<MemberId> {
            of.iter().filter_map(|host| self.hosts[*host].process).collect()
        };
        let all = processes(&hosts);
        let of_side: Vec<_> = sides.iter().map(processes).collect();
        sides.iter().zip(&of_side).for_each(|(side, own)| self.recover(side, own));
        let seq = 4 * (self.rings.len() as u64 + 1);
        let node = hosts.first().map_or(0, |host| *host as u32 + 1);
        let id = RingId { node, seq };
        for (side, own) in sides.iter().zip(&of_side) {
            for host in side {
                self.change(*host, side, own, &all, id);
            }
        }
        self.rings.push(Ring { id, hosts, order: Vec::new() });
        let ring = self.rings.len() - 1;
        let hosts = self.rings[ring].hosts.clone();
        for host in hosts {
            self.hosts[host].ring = ring;
            self.hosts[host].received = 0;
        }
    }

    /// Hands the rest of a ring to those who go on together.
    fn recover(&mut self, side: &BTreeSet<usize>, own: &BTreeSet<MemberId>) {
        let Some(first) = side.first() else {
            return;
        };
        let ring = self.hosts[*first].ring;
        let known = side.iter().map(|host| self.hosts[*host].received).max().unwrap_or_default();
        for host in side {
            let may_lack = self.chance.one_in(8);
            let mut lacks = false;
            for place in self.hosts[*host].received..self.rings[ring].order.len() {
                let (sender, item) = self.rings[ring].order[place].clone();
                if self.chance.one_in(16) {
                    self.leave(*host, own);
                }
                let is_of_another = sender != *host && matches!(item, Item::Packet { .. });
                lacks |= may_lack && is_of_another && self.chance.one_in(3);
                if lacks && is_of_another {
                    continue;
                }
                // What a host has sent itself it will receive, though it has not yet.
                if place < known || side.contains(&sender) {
                    self.deliver(*host, item);
                }
            }
        }
    }

    /// Tells a process who is gone, if someone is not among these.
    fn leave(&mut self, host: usize, own: &BTreeSet<MemberId>) {
        let this = &mut self.hosts[host];
        let left: Vec<MemberId> = this.known.difference(own).copied().collect();
        if !left.is_empty() {
            this.known.retain(|member| own.contains(member));
            this.tell_members(left, vec![]);
        }
    }

    /// Tells a process who is there in a new ring.
    fn change(
        &mut self,
        host: usize,
        side: &BTreeSet<usize>,
        own: &BTreeSet<MemberId>,
        all: &BTreeSet<MemberId>,
        id: RingId,
    ) {
        let at_once = self.chance.one_in(3);
        let foreign = self.chance.one_in(4).then(|| side.clone());
        let this = &mut self.hosts[host];
        // What has not gone out is known to those who come along, if to them.
        for (_, reaches) in &mut this.unsent {
            match reaches {
                Some(known) => known.retain(|other| side.contains(other)),
                None => *reaches = Some(side.clone()),
            }
        }
        this.foreign = foreign;
        let left: Vec<MemberId> = this.known.difference(own).copied().collect();
        let joined: Vec<MemberId> = all.difference(own).copied().collect();
        if at_once {
            if !left.is_empty() || !joined.is_empty() {
                this.known = all.clone();
                this.tell_members(left, joined);
            }
        } else {
            self.leave(host, own);
            let this = &mut self.hosts[host];
            for member in joined {
                this.known.insert(member);
                this.tell_members(vec![], vec![member]);
            }
        }
        self.hosts[host].tell(Told::Ring(id));
    }
}

impl Host {
    fn tell_members(&mut self, left: Vec<MemberId>, joined: Vec<MemberId>) {
        let members = self.known.iter().copied().collect();
        self.tell(Told::Members { members, left, joined });
    }

    /// A process is told nothing before it has joined.
    fn tell(&mut self, told: Told) {
        if self.process.is_some_and(|process| self.known.contains(&process)) {
            self.inbox.push_back(told);
        }
    }
}
