//! An interactive client, with the letters of Spread's own spuser: join and
//! leave groups, send, and watch what comes.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;

use clap::Parser;
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use spread::{Cause, Error, Mailbox, Message, Name, SendOptions, Service};

const MENU: &str = "
==========
User Menu:
----------

  j <group>  join a group
  l <group>  leave a group

  s <group> [<group> ...]  send a message to one or more groups
  m <group>  send a message of several lines; an empty line ends it
  b <group>  send a burst of messages

  r  receive a message, however long it takes
  p  poll for a message
  e  receive on its own (as it does at first)
  d  receive only when told to

  q  quit
";

/// Bursts have ten messages, as with spuser.
const BURST: usize = 10;

const MAILBOX: Token = Token(0);
const STDIN: Token = Token(1);

/// An interactive client of a Spread daemon.
#[derive(Parser)]
struct Args {
    /// The client's private name, 1 to 10 bytes
    #[arg(short, value_name = "NAME", default_value = "user")]
    user: String,
    /// The daemon, as PORT or PORT@HOST
    #[arg(short, value_name = "ADDRESS", default_value = "4803")]
    spread: String,
    /// Take a name that the daemon makes up
    #[arg(short)]
    random: bool,
}

fn main() {
    let args = Args::parse();
    if let Err(error) = User::connect(&args).and_then(User::run) {
        eprintln!("user: {error}");
        std::process::exit(1);
    }
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

struct User {
    mailbox: Mailbox,
    input: BufReader<UnixStream>,
    /// What has been read of a line.
    line: String,
    /// Whether messages are received as they come.
    receiving: bool,
    /// Whether to quit.
    finished: bool,
    poll: Poll,
}

impl User {
    fn connect(args: &Args) -> Result<User> {
        let mut builder = Mailbox::builder(&args.spread);
        if !args.random {
            builder = builder.private_name(&args.user);
        }
        let mailbox = builder.connect()?;
        if let Some((major, minor, patch)) = spread::library_version() {
            println!("Spread library version is {major}.{minor}.{patch}");
        }
        let group = mailbox.private_group();
        println!("User: connected to {} with private group {group}", args.spread);

        let poll = Poll::new()?;
        let fd = mailbox.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), MAILBOX, Interest::READABLE)?;
        let mut input = stdin_as_stream()?;
        poll.registry().register(&mut input, STDIN, Interest::READABLE)?;
        let input = BufReader::new(input);
        Ok(User { mailbox, input, line: String::new(), receiving: true, finished: false, poll })
    }

    fn run(mut self) -> Result {
        println!("{MENU}");
        prompt()?;
        let mut events = Events::with_capacity(2);
        loop {
            // mio tells of what is new only, so all that is there is taken.
            while self.obey_next_line()? {
                prompt()?;
            }
            if self.finished {
                self.mailbox.disconnect()?;
                println!("\nBye.");
                return Ok(());
            }
            while self.receiving
                && let Some(message) = self.mailbox.try_receive()?
            {
                show(&message);
                prompt()?;
            }
            self.poll.poll(&mut events, None).or_else(unless_interrupted)?;
        }
    }

    /// Does what the next line says; `false` if there is none so far.
    fn obey_next_line(&mut self) -> Result<bool> {
        if self.finished || !self.read_line()? {
            return Ok(false);
        }
        let line = std::mem::take(&mut self.line);
        let mut words = line.split_whitespace();
        let letter = words.next().unwrap_or_default();
        match self.obey(letter, &words.collect::<Vec<_>>()) {
            Err(error) if is_closed(error.as_ref()) => return Err(error),
            Err(error) => println!("{error}"),
            Ok(()) => {}
        }
        Ok(true)
    }

    fn obey(&mut self, letter: &str, groups: &[&str]) -> Result {
        match (letter, groups) {
            ("", []) => {}
            // A blank in the name of a group is for the library to refuse.
            ("j", [_, ..]) => self.mailbox.join(groups.join(" "))?,
            ("l", [_, ..]) => self.mailbox.leave(groups.join(" "))?,
            ("s", [_, ..]) => {
                print!("enter message: ");
                io::stdout().flush()?;
                let text = self.ask()?;
                self.send(groups, &text)?;
            }
            ("m", [_, ..]) => {
                println!("enter message, with an empty line at its end:");
                let mut text = String::new();
                loop {
                    let line = self.ask()?;
                    if line.trim_end().is_empty() {
                        break;
                    }
                    text.push_str(&line);
                }
                self.send(groups, &text)?;
            }
            ("b", [_, ..]) => {
                for count in 1..=BURST {
                    self.send(groups, &format!("mess num {count}"))?;
                }
            }
            ("r", []) => show(&self.mailbox.receive()?),
            ("p", []) => match self.mailbox.try_receive()? {
                Some(message) => show(&message),
                None => println!("no message"),
            },
            ("e", []) => self.receiving = true,
            ("d", []) => self.receiving = false,
            ("q", []) => self.finished = true,
            _ => println!("unknown command\n{MENU}"),
        }
        Ok(())
    }

    fn send(&self, groups: &[&str], text: &str) -> Result {
        let options = SendOptions::new(Service::Safe).message_type(1);
        self.mailbox.multicast(options, groups, text)?;
        println!("sent message of {} bytes", text.len());
        Ok(())
    }

    /// Reads into `line` up to the end of a line; `false` if that has not come.
    fn read_line(&mut self) -> Result<bool> {
        match self.input.read_line(&mut self.line) {
            Ok(0) => self.finished = true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    /// Waits for a line, while messages wait, too.
    fn ask(&mut self) -> Result<String> {
        let mut poll = Poll::new()?;
        let fd = self.input.get_ref().as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), STDIN, Interest::READABLE)?;
        while !self.read_line()? {
            poll.poll(&mut Events::with_capacity(1), None).or_else(unless_interrupted)?;
        }
        Ok(std::mem::take(&mut self.line))
    }
}

/// Standard input as a stream that can be polled, even if it is a file.
fn stdin_as_stream() -> io::Result<UnixStream> {
    let (mut sender, receiver) = std::os::unix::net::UnixStream::pair()?;
    receiver.set_nonblocking(true)?;
    std::thread::spawn(move || {
        // Ends with standard input or with the program.
        let _ = io::copy(&mut io::stdin().lock(), &mut sender);
    });
    Ok(UnixStream::from_std(receiver))
}

fn unless_interrupted(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

fn is_closed(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<Error>().is_some_and(Error::is_closed)
}

fn prompt() -> io::Result<()> {
    print!("\nUser> ");
    io::stdout().flush()
}

fn show(message: &Message) {
    println!("\n============================");
    match message {
        Message::Regular(m) => {
            println!(
                "received {} message from {}, of type {}, (endian {}) to {} groups\n({} bytes): {}",
                format!("{:?}", m.service()).to_uppercase(),
                m.sender(),
                m.message_type(),
                u8::from(m.endian_mismatch()),
                m.groups().len(),
                m.payload().len(),
                String::from_utf8_lossy(m.payload())
            );
        }
        Message::Membership(view) => {
            println!(
                "received REGULAR membership for group {} with {} members, where I am member {}:",
                view.group,
                view.members.len(),
                view.my_index
            );
            list(&view.members);
            println!("group id is {}", view.id);
            match &view.cause {
                Cause::Joined(member) => println!("due to the JOIN of {member}"),
                Cause::Left(member) => println!("due to the LEAVE of {member}"),
                Cause::Disconnected(member) => println!("due to the DISCONNECT of {member}"),
                Cause::Network { vs_sets, mine } => {
                    println!("due to NETWORK change with {} VS sets", vs_sets.len());
                    for (index, set) in vs_sets.iter().enumerate() {
                        let whose = if index == *mine { "LOCAL" } else { "OTHER" };
                        println!("{whose} VS set {index} has {} members:", set.len());
                        list(set);
                    }
                }
            }
        }
        Message::Transitional(signal) => {
            println!("received TRANSITIONAL membership for group {}", signal.group);
        }
        Message::SelfLeave(leave) => {
            println!("received membership message that left group {}", leave.group);
        }
        other => println!("received {other:?}"),
    }
}

fn list(members: &[Name]) {
    for member in members {
        println!("\t{member}");
    }
}
