//! A connection as the workloads use it.

use std::time::Duration;

use spread::{
    Batch, GroupName, Mailbox, Message, MessageBuffer, MessageRef, RegularRef, SendOptions,
    ToGroups,
};

use crate::options::{ClientArgs, Role};
use crate::{Result, fanout, flood, pingpong};

/// Is one of the clients of a workload.
pub(crate) fn run(args: &ClientArgs) -> Result {
    match args.role {
        Role::Flood => flood::run(args),
        Role::Send => fanout::send(args),
        Role::Receive => fanout::receive(args),
        Role::Ping => pingpong::ping(args),
        Role::Pong => pingpong::pong(args),
    }
}

pub(crate) struct Client {
    pub(crate) mailbox: Mailbox,
    pub(crate) options: SendOptions,
    pub(crate) payload: Vec<u8>,
    batch: Batch,
    buffer: MessageBuffer,
}

impl Client {
    pub(crate) fn connect(args: &ClientArgs) -> Result<Client> {
        let mut builder = Mailbox::builder(&args.daemon);
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
    pub(crate) fn join(&mut self, args: &ClientArgs, number: u64) -> Result<GroupName> {
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
    pub(crate) fn say_ready(&self) {
        println!("ready {}", self.mailbox.private_group());
    }

    /// Sends `count` messages; `group` says where each goes to. Several go in a batch,
    /// of which those that the daemon does not take at once are left for the next
    /// call; returns their number.
    pub(crate) fn send_some<G: ToGroups>(
        &mut self,
        count: u64,
        mut group: impl FnMut() -> G,
    ) -> Result<u64> {
        if count == 1 && self.batch.is_empty() {
            self.mailbox.multicast(self.options, group(), &self.payload)?;
            return Ok(0);
        }
        for _ in 0..count {
            self.batch.push(self.options, group(), &self.payload)?;
        }
        self.mailbox.multicast_batch(&mut self.batch)?;
        Ok(self.batch.len() as u64)
    }

    /// As [`send_some`](Client::send_some), but all of them.
    pub(crate) fn send_many<G: ToGroups>(
        &mut self,
        count: u64,
        group: impl FnMut() -> G,
    ) -> Result {
        self.send_some(count, group)?;
        while !self.batch.is_empty() {
            self.mailbox.multicast_batch(&mut self.batch)?;
        }
        Ok(())
    }

    /// Waits for the next message of a client, and passes it on.
    #[inline]
    pub(crate) fn receive<T>(&mut self, take: impl FnOnce(RegularRef<'_>) -> T) -> Result<T> {
        loop {
            match self.mailbox.receive_into(&mut self.buffer) {
                Ok(MessageRef::Regular(message)) => return Ok(take(message)),
                Ok(MessageRef::Other(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
