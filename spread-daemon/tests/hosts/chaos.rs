//! Clients that send while hosts part and come together, daemons and Corosync are killed,
//! and frames are lost.
//!
//! `SPREAD_CHAOS` is how many things happen, 400 if it is not set, `SPREAD_CHAOS_SECONDS` for
//! how long at most, and `SPREAD_CHAOS_SEED` chooses them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::str::FromStr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use spread_wire::{ByteOrder, Frame, Limits, Name, Request, Service};

use crate::properties::{Detours, Life, Told, check};
use crate::support::client::Client;
use crate::{Dice, Hosts};

/// A client of the chaos. Its thread takes what it is told, up to a message to itself.
struct Guest {
    client: Client,
    host: usize,
    life: Life,
    reader: JoinHandle<Vec<Told>>,
}

const GROUPS: [&str; 3] = ["a", "b", "c"];

impl Guest {
    fn connect(host: usize, number: usize) -> Guest {
        let client = Client::connect(Hosts::address(host), &format!("c{number}"));
        let (mut stream, own) = (client.stream.try_clone().unwrap(), client.private_group);
        stream.set_read_timeout(None).unwrap();
        let reader = thread::spawn(move || {
            let (mut told, mut input, mut buffer) = (Vec::new(), BytesMut::new(), [0; 65536]);
            loop {
                while let Some(frame) = Frame::decode(&mut input, Limits::FROM_DAEMON).unwrap() {
                    if frame.groups().iter().next() == Some(own)
                        && frame.header().service_type.is_regular()
                    {
                        return told;
                    }
                    told.push(Told::of(&frame));
                }
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => return told,
                    Ok(len) => input.extend_from_slice(&buffer[..len]),
                }
            }
        });
        let (told, sent, wanted, due) = Default::default();
        let name = client.private_group;
        let life = Life { name, told, sent, wanted, due, survives: true };
        Guest { client, host, life, reader }
    }

    /// Sends a request; it may fail only because the daemon was killed.
    fn ask(&mut self, request: &Request<'_>) {
        let mut bytes = BytesMut::new();
        request.encode(self.life.name, ByteOrder::NATIVE, &mut bytes);
        if self.client.stream.write_all(&bytes).is_err() {
            self.life.survives = false;
        }
    }

    fn join(&mut self, group: &str) {
        let group = Name::new(group).unwrap();
        self.life.wanted.insert(group);
        self.ask(&Request::Join(group));
    }

    fn leave(&mut self, group: &str) {
        let group = Name::new(group).unwrap();
        self.life.wanted.remove(&group);
        self.ask(&Request::Leave(group));
    }

    /// Sends a message of so many bytes, at least 4.
    fn send(&mut self, number: u32, len: usize, groups: Vec<Name>, service: Service) {
        if groups.iter().any(|group| self.life.wanted.contains(group)) {
            self.life.due.push(number);
        }
        let mut body = vec![0; len];
        body[..4].copy_from_slice(&number.to_le_bytes());
        self.ask(&Request::multicast(service, &groups[..], &body));
        self.life.sent.push((number, groups));
    }

    /// Returns the life of the client, which ends.
    fn end(mut self) -> Life {
        if self.life.survives {
            let own = [self.life.name];
            self.ask(&Request::multicast(Service::Agreed, &own, b""));
        } else {
            // Its daemon may be there no more.
            let _ = self.client.stream.shutdown(Shutdown::Both);
        }
        self.life.told = self.reader.join().unwrap();
        self.life
    }
}

/// Reads a number from the environment.
fn setting<T: FromStr<Err: Debug>>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// What goes on between the clients of the hosts.
struct Chaos {
    hosts: Hosts,
    dice: Dice,
    /// Three of each host.
    guests: Vec<Guest>,
    /// Those that are over.
    lives: Vec<Life>,
    /// Messages so far.
    number: u32,
    /// What has happened, and how often.
    happened: BTreeMap<&'static str, usize>,
}

impl Chaos {
    fn new() -> Chaos {
        let hosts = Hosts::new();
        Chaos {
            hosts,
            dice: Dice(setting("SPREAD_CHAOS_SEED").unwrap_or(4803)),
            guests: (0..9).map(|number| Guest::connect(number % 3 + 1, number)).collect(),
            lives: Vec::new(),
            number: 0,
            happened: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        let place = self.dice.roll(self.guests.len());
        let group = GROUPS[self.dice.roll(GROUPS.len())];
        let what = match self.dice.roll(160) {
            0..4 => {
                let lone = self.dice.roll(3) + 1;
                let others: Vec<String> =
                    (1..4).filter(|host| *host != lone).map(|host| host.to_string()).collect();
                self.hosts.partition(&[&others.join(" "), &lone.to_string()]);
                "partitions"
            }
            4..12 => {
                self.hosts.run("net.sh", &["merge"]);
                "merges"
            }
            12 => self.restart("spreadd", "kills of daemons"),
            13 => self.restart("corosync", "kills of Corosync"),
            14 => {
                let percent = ["0", "2"][self.dice.roll(2)];
                assert!(self.hosts.run("net.sh", &["loss", percent]));
                "changes of the loss"
            }
            15..18 => {
                let count = 100 + self.dice.roll(400);
                self.send(place, count, 1024);
                "floods"
            }
            18..48 => {
                self.guests[place].join(group);
                "joins"
            }
            48..60 => {
                self.guests[place].leave(group);
                "leaves"
            }
            _ => {
                let count = self.dice.roll(40);
                self.send(place, count, 4);
                "bursts"
            }
        };
        *self.happened.entry(what).or_default() += 1;
        thread::sleep(Duration::from_millis(self.dice.roll(60) as u64));
    }

    fn send(&mut self, place: usize, count: usize, len: usize) {
        let services = [Service::Fifo, Service::Agreed, Service::Safe];
        for _ in 0..count {
            let bits = self.dice.roll(7) + 1;
            let groups = GROUPS.iter().enumerate().filter(|(g, _)| bits >> g & 1 != 0);
            let groups = groups.map(|(_, group)| Name::new(group).unwrap()).collect();
            self.number += 1;
            self.guests[place].send(self.number, len, groups, services[self.dice.roll(3)]);
        }
    }

    /// Kills a daemon, or the Corosync below it, and starts it again. Its clients are
    /// disconnected, and others come.
    fn restart(&mut self, program: &str, what: &'static str) -> &'static str {
        let host = self.dice.roll(3) + 1;
        self.hosts.kill(program, host);
        let is_here = |guest: &mut Guest| guest.host == host;
        for mut guest in self.guests.extract_if(.., is_here).collect::<Vec<_>>() {
            guest.life.survives = false;
            self.lives.push(guest.end());
        }
        self.hosts.start(program, host);
        let until = Instant::now() + Duration::from_secs(30);
        while self.hosts.seen_by(host).is_none_or(|(_, configuration)| configuration == 0) {
            assert!(Instant::now() < until, "d{host} is in no configuration");
            thread::sleep(Duration::from_millis(10));
        }
        let absent = (0..9).filter(|number| number % 3 + 1 == host);
        self.guests.extend(absent.map(|number| Guest::connect(host, number)));
        what
    }

    fn end(mut self) -> Vec<Life> {
        self.hosts.run("net.sh", &["loss", "0"]);
        self.hosts.run("net.sh", &["merge"]);
        self.hosts.wait_for(&[&[1, 2, 3]]);
        for guest in self.guests {
            assert!(guest.life.survives, "{} was disconnected", guest.life.name);
            self.lives.push(guest.end());
        }
        println!("{} messages, {:?}", self.number, self.happened);
        self.lives
    }
}

#[test]
#[ignore = "needs the hosts of ci/cluster/test.sh"]
fn chaos_keeps_extended_virtual_synchrony() {
    let steps = setting("SPREAD_CHAOS").unwrap_or(400);
    let seconds = setting("SPREAD_CHAOS_SECONDS").unwrap_or(3600);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut chaos = Chaos::new();
    (0..steps).take_while(|_| Instant::now() < until).for_each(|_: usize| chaos.step());
    let lives = chaos.end();
    let told: usize = lives.iter().map(|life| life.told.len()).sum();
    let views = |life: &Life| {
        let told = life.told.iter();
        told.filter(|told| matches!(told, Told::View { .. } | Told::Signal { .. })).count()
    };
    let views: usize = lives.iter().map(views).sum();
    println!("{} lives were told {told} things, {views} of them views and signals", lives.len());
    check(&lives, Detours::Possible);
}
