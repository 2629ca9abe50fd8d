//! What happens between a transitional signal and the view that follows it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::BytesMut;
use spread::Mailbox;
use spread_groups::{Node, Standing};
use spread_wire::{Frame, Limits, ServiceType};

use crate::support::*;

/// The connection of a client to a daemon, which can be held behind signals.
struct Relay {
    address: SocketAddr,
    is_armed: Arc<AtomicBool>,
    held: Receiver<()>,
    release: Sender<()>,
    /// The sockets, which are closed when this is dropped.
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    fn new(daemon: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (is_armed, ends) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (holds, held) = channel();
        let (release, released) = channel();
        let (armed, open) = (is_armed.clone(), ends.clone());
        thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let daemon = TcpStream::connect(daemon).unwrap();
            open.lock().unwrap().extend([&client, &daemon].map(|end| end.try_clone().unwrap()));
            let (mut near, mut far) = (client.try_clone().unwrap(), daemon.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut near, &mut far));
            // It ends with the connection.
            pass_on(daemon, client, &armed, &holds, &released).ok();
        });
        Relay { address, is_armed, held, release, ends }
    }

    /// Holds what follows a signal, from here on. Nothing must be under way to the client.
    fn arm(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }

    fn wait_until_held(&self) {
        self.held.recv_timeout(LONG).expect("a signal comes");
    }

    fn release(&self) {
        self.release.send(()).unwrap();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for end in self.ends.lock().unwrap().iter() {
            // It may be closed already.
            end.shutdown(Shutdown::Both).ok();
        }
    }
}

fn pass_on(
    mut daemon: TcpStream,
    mut client: TcpStream,
    armed: &AtomicBool,
    holds: &Sender<()>,
    released: &Receiver<()>,
) -> io::Result<()> {
    let (mut bytes, mut waiting) = ([0; 4096], BytesMut::new());
    loop {
        let read = daemon.read(&mut bytes)?;
        if read == 0 {
            return client.shutdown(Shutdown::Both);
        }
        if !armed.load(Ordering::SeqCst) {
            client.write_all(&bytes[..read])?;
            continue;
        }
        waiting.extend_from_slice(&bytes[..read]);
        while let Some(frame) = Frame::decode(&mut waiting, Limits::FROM_DAEMON).unwrap() {
            client.write_all(frame.as_bytes())?;
            if frame.header().service_type.contains(ServiceType::TRANSITION) {
                holds.send(()).map_err(io::Error::other)?;
                released.recv().map_err(io::Error::other)?;
            }
        }
    }
}

#[test]
fn views_that_come_while_a_member_is_between_signal_and_view_lose_and_repeat_nothing() {
    const ROUNDS: usize = 6;
    let cluster = cluster();
    let relay = Relay::new(cluster.socket_addr("d2").unwrap());
    let [one, three] = ["d1", "d3"].map(|daemon| member(&cluster, daemon));
    one.group.wait_for_members(2, LONG).unwrap();
    let address = format!("{}@{}", relay.address.port(), relay.address.ip());
    let node = Node::connect(Mailbox::builder(address)).unwrap();
    let mut plant = node.group("plant").unwrap();
    let words = plant.replicate(Words::default()).unwrap();
    let group = plant.join().unwrap();
    let between = Participant::new(node, group, words);
    let members = [&one, &between, &three];
    members.iter().for_each(|member| drop(member.group.wait_for_members(3, LONG).unwrap()));
    members.iter().for_each(|member| member.group.ready().wait().unwrap());
    executed(&between);
    cluster.settle().unwrap();
    relay.arm();
    let mut pending = Vec::new();
    for round in 0..ROUNDS {
        // What is under way on a held link is delivered behind the signal, or not at all.
        cluster.hold("d1", "d2").unwrap();
        let submit = |member: usize, when: &str| {
            members[member].words.submit(&format!("{round} {member} {when}"))
        };
        pending.extend((0..3).map(|member| submit(member, "before")));
        cluster.settle().unwrap();
        cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
        relay.wait_until_held();
        let standing = || between.group.status().wait().unwrap().standing;
        eventually("it has the signal and no view", || standing() == Standing::Exchanging);
        pending.extend((0..3).map(|member| submit(member, "between")));
        // More views come while it is there; those with fewer daemons come with a signal.
        cluster.merge().unwrap();
        cluster.partition(&[&["d1"], &["d2", "d3"]]).unwrap();
        cluster.merge().unwrap();
        cluster.release("d1", "d2").unwrap();
        relay.release();
        relay.wait_until_held();
        pending.extend((0..3).map(|member| submit(member, "between again")));
        relay.release();
        let last = pending.split_off(pending.len() - 1);
        last.into_iter().for_each(|pending| drop(pending.wait().unwrap()));
    }
    pending.into_iter().for_each(|pending| drop(pending.wait().unwrap()));
    members.iter().for_each(|member| drop(member.group.wait_for_members(3, LONG).unwrap()));
    eventually("one state", || {
        let states = members.iter().map(|member| member.words.read(|words| words.0.clone()));
        let states: Vec<_> = states.collect();
        let each_once = states[0].iter().all(|(word, times)| word == "executed" || *times == 1);
        let all = states[0].len() == 1 + ROUNDS * 9;
        all && each_once && states.iter().all(|state| *state == states[0])
    });
}
