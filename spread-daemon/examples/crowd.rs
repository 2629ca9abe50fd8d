//! Fills a daemon with clients and has it fan messages out to them; tells how
//! long that takes and how much memory the daemon needs.
//!
//!     crowd PORT PROCESS-ID [SESSIONS [GROUP-SIZE [MESSAGES]]]
//!
//! The daemon is one that runs at 127.0.0.1, and so needs `--max-sessions`; it
//! and this program need a file descriptor for each session (`ulimit -n`).

use std::env;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use bytes::BytesMut;
use mio::{Events, Interest, Poll, Token};
use spread_wire::handshake::{self, ClientStep, Connect};
use spread_wire::{ByteOrder, Name, Request, Service};

/// Bytes of the body of each message.
const BODY: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let number = |place: usize, default: usize| match env::args().nth(place) {
        Some(text) => text.parse(),
        None => Ok(default),
    };
    let (port, process) = (number(1, 4803)? as u16, number(2, 0)?);
    let (sessions, size, messages) = (number(3, 2000)?, number(4, 10)?, number(5, 100_000)?);
    println!("the daemon has {} before", resident(process)?);

    let start = Instant::now();
    let mut clients = Vec::new();
    for place in 0..sessions {
        let (mut stream, name) = connect(port, &format!("c{place}"))?;
        send(&mut stream, name, &Request::Join(group(place / size)?))?;
        clients.push(stream);
    }
    println!("{sessions} sessions in {:?}; the daemon has {}", start.elapsed(), resident(process)?);

    let (mut sender, name) = connect(port, "sender")?;
    let groups = sessions.div_ceil(size);
    let start = Instant::now();
    let mut readers = Vec::new();
    // A message has a header, the name of its group, and its body.
    let expected = messages / groups * (48 + 32 + BODY);
    for share in split(clients, 2) {
        readers.push(thread::spawn(move || read(share, expected)));
    }
    let mut bytes = BytesMut::new();
    let body = [7; BODY];
    for _ in 0..messages / groups {
        for place in 0..groups {
            let to = [group(place)?];
            let message = Request::multicast(Service::Agreed, &to, &body);
            message.encode(name, ByteOrder::NATIVE, &mut bytes);
        }
        sender.write_all(&bytes)?;
        bytes.clear();
    }
    for reader in readers {
        reader.join().map_err(|_| "a reader panicked")??;
    }
    let (sent, time) = (messages / groups * groups, start.elapsed());
    println!(
        "{sent} messages to {size} members each, {} deliveries, in {time:?}; the daemon has {}",
        messages / groups * sessions,
        resident(process)?
    );
    Ok(())
}

fn group(place: usize) -> Result<Name, Box<dyn Error>> {
    Ok(Name::new(format!("g{place}"))?)
}

/// Splits a list into as many parts.
fn split<T>(mut list: Vec<T>, parts: usize) -> Vec<Vec<T>> {
    let size = list.len().div_ceil(parts);
    let mut split = Vec::new();
    while list.len() > size {
        split.push(list.split_off(list.len() - size));
    }
    split.push(list);
    split
}

/// Connects without membership messages.
fn connect(port: u16, name: &str) -> Result<(TcpStream, Name), Box<dyn Error>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let mut connect = Connect::new(Some(name.parse()?));
    connect.membership = false;
    let mut handshake = handshake::Client::unauthenticated(connect);
    loop {
        match handshake.next_step() {
            ClientStep::Send(bytes) => stream.write_all(&bytes)?,
            ClientStep::Receive(len) => {
                let mut bytes = vec![0; len];
                stream.read_exact(&mut bytes)?;
                handshake.handle(&bytes)?;
            }
            ClientStep::Authenticate => handshake.authenticated(),
            ClientStep::Done(accepted) => return Ok((stream, accepted.private_group.into())),
        }
    }
}

fn send(stream: &mut TcpStream, name: Name, request: &Request<'_>) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    request.encode(name, ByteOrder::NATIVE, &mut bytes);
    stream.write_all(&bytes)
}

/// Reads until each of the streams has given as many bytes.
fn read(streams: Vec<TcpStream>, expected: usize) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut clients = Vec::new();
    for (place, stream) in streams.into_iter().enumerate() {
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(place), Interest::READABLE)?;
        clients.push((stream, expected));
    }
    let mut left = clients.len();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 1 << 16];
    while left > 0 {
        poll.poll(&mut events, None)?;
        for event in &events {
            let (stream, missing) = &mut clients[event.token().0];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(len) => {
                        *missing -= len;
                        left -= usize::from(*missing == 0);
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e),
                }
            }
        }
    }
    Ok(())
}

/// Returns the memory that a process has, as the kernel tells it.
fn resident(process: usize) -> io::Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let (now, most) = (line("VmRSS:"), line("VmHWM:"));
    Ok(format!("{} (at most {})", now.unwrap_or("?"), most.unwrap_or("?")))
}
