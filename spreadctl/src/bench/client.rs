//! A connection as the workloads use it.

use std::time::Duration;

use spread::{
    Batch, GroupName, Mailbox, Message, MessageBuffer, MessageRef, RegularRef, SendOptions,
    ToGroups,
};

use super::options::{ClientArgs, Role};
use super::{Result, fanout, flood, pingpong};

/// Is one of the clients of a workload.
pub(super) fn run(args: &ClientArgs) -> Result {
    match args.role {
        Role::Flood => flood::run(args),
        Role::Send => fanout::send(args),
        Role::Receive => fanout::receive(args),
        Role::Ping => pingpong::ping(args),
        Role::Pong => pingpong::pong(args),
    }
}

pub(super) struct Client {
    pub(super) mailbox: Mailbox,
    pub(super) options: SendOptions,
    pub(super) payload: Vec<u8>,
    batch: Batch,
    buffer: MessageBuffer,
}

impl Client {
    pub(super) fn connect(args: &ClientArgs) -> Result<Client> {
        let mut builder = args.builder.clone().ok_or("no daemon")?;
        if let Some(time) = args.coalesce {
            builder = builder.coalesce(Duration::from_micros(time));
        }
        Ok(Client {
            mailbox: builder.connect()?,
            options: SendOptions::new(args.service),
            payload: vec![0; args.size],
            batch: Batch::new(),
            buffer: MessageBuffer::new(),
        })
    }

    /// Joins a group of the run; when this returns, it is a member.
    pub(super) fn join(&mut self, args: &ClientArgs, number: u64) -> Result<GroupName> {
        let name = format!("{}-{number}", args.group);
        self.mailbox.join(&name)?;
        loop {
            if let MessageRef::Other(Message::Membership(view)) =
                self.mailbox.receive_into(&mut self.buffer)?
                && view.group == name.as_str()
            {
                return Ok(GroupName::new(&name)?);
            }
        }
    }

    /// Tells who started this client that others can find it now.
    pub(super) fn say_ready(&self) {
        println!("ready {}", self.mailbox.private_group());
    }

    /// Sends `count` messages; `group` says where each goes to. Several go in a batch,
    /// of which those that the daemon does not take at once are left for the next
    /// call; returns their number.
    pub(super) fn send_some<G: ToGroups>(
        &mut self,
        count: u64,
        mut group: impl FnMut() -> G,
    ) -> Result<u64> {
        if count == 1 && self.batch.is_empty() {
            self.mailbox.multicast(self.options, group(), &self.payload)?;
            return Ok(0);
        }
        self.push(count, group)?;
        self.mailbox.try_multicast_batch(&mut self.batch)?;
        // What comes back is waited for, so nothing may be left half-way.
        while !self.mailbox.try_flush()? {
            std::thread::yield_now();
        }
        Ok(self.batch.len() as u64)
    }

    fn push<G: ToGroups>(&mut self, count: u64, mut group: impl FnMut() -> G) -> Result {
        for _ in 0..count {
            self.batch.push(self.options, group(), &self.payload)?;
        }
        Ok(())
    }

    /// As [`send_some`](Client::send_some), but all of them.
    pub(super) fn send_many<G: ToGroups>(
        &mut self,
        count: u64,
        mut group: impl FnMut() -> G,
    ) -> Result {
        if count == 1 && self.batch.is_empty() {
            self.mailbox.multicast(self.options, group(), &self.payload)?;
            return Ok(());
        }
        self.push(count, group)?;
        Ok(self.mailbox.multicast_batch(&mut self.batch)?)
    }

    /// Waits for the next message of a client, and passes it on.
    #[inline]
    pub(super) fn receive<T>(&mut self, take: impl FnOnce(RegularRef<'_>) -> T) -> Result<T> {
        loop {
            match self.mailbox.receive_into(&mut self.buffer) {
                Ok(MessageRef::Regular(message)) => return Ok(take(message)),
                Ok(MessageRef::Other(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
