//! One who joins late gets the state at its place in the order.
//!
//! The members write a story together: whoever receives a word appends it, and
//! since all receive the words in one order, all have the same story. One who
//! joins has missed its beginning. But the join stands in the same order as the
//! words: when a member sees it, its story holds exactly the words from before,
//! and it sends it to the newcomer. The newcomer keeps the words that come after
//! its join, and appends them to the story when it arrives: no word is missing
//! and none is there twice, however many are written in the meantime.
//!
//! Every member sends its story, so that it arrives even if one crashes; the
//! newcomer takes the first. A large state is better asked for from one member,
//! and from the next when a view says that this one is gone. Members that come
//! together after a partition have two stories; to make one of them is up to the
//! application.
//!
//! Without `--daemon` one program plays it through; with it, the program is one
//! member, which writes what it reads from standard input.

use std::io;
use std::thread;

use clap::Parser;
use spread::{Cause, Mailbox, Message, Name, Receiver, SendOptions, Sender, Service};
use spread_daemon::Daemon;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The message types.
const WORD: i16 = 1;
const STORY: i16 = 2;

/// Members of a group that write a story together.
#[derive(Parser)]
struct Args {
    /// The daemon at which to be one member, as PORT@HOST or PORT; without it,
    /// several members at a daemon of their own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// The group that writes
    #[arg(long, default_value = "story")]
    group: String,
    /// The member's private name, 1 to 10 bytes
    #[arg(long, default_value = "ann")]
    name: String,
}

fn main() -> Result {
    let args = Args::parse();
    match &args.daemon {
        Some(address) => one_member(address, &args),
        None => all_members(&args.group),
    }
}

fn one_member(address: &str, args: &Args) -> Result {
    let mut member = Member::join(address, &args.name, &args.group)?;
    let (sender, group) = (member.sender.clone(), args.group.clone());
    // Ends with the input, or with the program.
    thread::spawn(move || -> Result {
        for line in io::stdin().lines() {
            write(&sender, &group, &line?)?;
        }
        Ok(())
    });
    member.read_to(".")
}

fn all_members(group: &str) -> Result {
    let daemon = Daemon::builder().start()?;
    let address = daemon.address();
    let mut ann = Member::join(&address, "ann", group)?;
    write(&ann.sender, group, "Once upon a time")?;
    let mut bob = Member::join(&address, "bob", group)?;
    // Nobody waits: the join may come before, after or among these words.
    write(&ann.sender, group, "there was a member")?;
    ann.read_to("member")?;
    write(&bob.sender, group, "that joined late")?;
    let mut cid = Member::join(&address, "cid", group)?;
    ann.read_to("late")?;
    write(&cid.sender, group, "and missed nothing.")?;
    [&mut ann, &mut bob, &mut cid].into_iter().try_for_each(|member| member.read_to("."))
}

struct Member {
    me: Name,
    sender: Sender,
    receiver: Receiver,
    /// What all have written so far, once it is known.
    story: Option<String>,
    /// The words that have come before the story.
    early: Vec<String>,
}

impl Member {
    fn join(address: &str, name: &str, group: &str) -> Result<Member> {
        let mailbox = Mailbox::builder(address).private_name(name).connect()?;
        mailbox.join(group)?;
        let me = mailbox.private_group().into();
        let (sender, receiver) = mailbox.split();
        Ok(Member { me, sender, receiver, story: None, early: Vec::new() })
    }

    /// Takes part until the story ends like this.
    fn read_to(&mut self, end: &str) -> Result {
        while !self.story.as_ref().is_some_and(|story| story.ends_with(end)) {
            let message = self.receiver.receive()?;
            self.heed(message)?;
        }
        println!("{} has:{}", self.me, self.story.as_deref().unwrap_or_default());
        Ok(())
    }

    fn heed(&mut self, message: Message) -> Result {
        match message {
            Message::Regular(message) => {
                let text = String::from_utf8_lossy(message.payload()).into_owned();
                match (message.message_type(), &mut self.story) {
                    (WORD, Some(story)) => append(story, &text),
                    (WORD, None) => self.early.push(text),
                    (STORY, None) => self.begin(text, message.sender()),
                    // From another member, and the same.
                    _ => {}
                }
            }
            Message::Membership(view) => match (&view.cause, &self.story) {
                // Alone: whoever had a story is gone.
                (_, None) if view.members.len() == 1 => self.begin(String::new(), self.me),
                (Cause::Joined(newcomer), Some(story)) => {
                    println!("{} sends {newcomer} the story:{story}", self.me);
                    // Agreed, like the words: what is sent because of the join
                    // comes after the join.
                    let options = SendOptions::new(Service::Agreed).message_type(STORY);
                    self.sender.multicast(options, *newcomer, story)?;
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, mut story: String, author: Name) {
        println!("{} gets the story from {author}:{story}", self.me);
        println!("{} has kept: {}", self.me, self.early.join(" "));
        self.early.drain(..).for_each(|word| append(&mut story, &word));
        self.story = Some(story);
    }
}

fn append(story: &mut String, word: &str) {
    story.push(' ');
    story.push_str(word);
}

fn write(sender: &Sender, group: &str, words: &str) -> Result {
    let options = SendOptions::new(Service::Agreed).message_type(WORD);
    words.split_whitespace().try_for_each(|word| Ok(sender.multicast(options, group, word)?))
}
