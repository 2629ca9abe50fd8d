//! The client of Spread, with plain sends and with buffered ones.

use spread::{AsyncMailbox, GroupName, Mailbox, Message, Service};

use crate::Result;
use crate::client::Client;

/// A client whose sends return when the kernel has the message.
pub(crate) struct Plain(AsyncMailbox);

/// A client whose sends return when the message is in the buffer of the connection.
pub(crate) struct Buffered(AsyncMailbox);

async fn connect(address: &str, to: GroupName) -> Result<AsyncMailbox> {
    let mut mailbox = AsyncMailbox::connect(Mailbox::builder(address)).await?;
    mailbox.join(to.as_str()).await?;
    // Its view is the first message of the group.
    mailbox.receive().await?;
    Ok(mailbox)
}

async fn receive<T>(mailbox: &mut AsyncMailbox, look: impl FnOnce(&[u8]) -> T) -> Result<T> {
    loop {
        if let Message::Regular(message) = mailbox.receive().await? {
            return Ok(look(message.payload()));
        }
    }
}

impl Client for Plain {
    type To = GroupName;
    type Payload = Vec<u8>;

    fn to(name: &str) -> Result<GroupName> {
        Ok(GroupName::new(name)?)
    }

    fn payload(bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    async fn connect(address: &str, to: &GroupName) -> Result<Plain> {
        Ok(Plain(connect(address, *to).await?))
    }

    async fn send(&mut self, to: &GroupName, payload: &Vec<u8>) -> Result {
        Ok(self.0.multicast(Service::Agreed, *to, payload).await?)
    }

    async fn receive<T: Send>(&mut self, look: impl FnOnce(&[u8]) -> T + Send) -> Result<T> {
        receive(&mut self.0, look).await
    }

    async fn end(self) -> Result {
        Ok(self.0.disconnect().await?)
    }
}

impl Client for Buffered {
    type To = GroupName;
    type Payload = Vec<u8>;

    fn to(name: &str) -> Result<GroupName> {
        Ok(GroupName::new(name)?)
    }

    fn payload(bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    async fn connect(address: &str, to: &GroupName) -> Result<Buffered> {
        Ok(Buffered(connect(address, *to).await?))
    }

    async fn send(&mut self, to: &GroupName, payload: &Vec<u8>) -> Result {
        Ok(self.0.multicast_buffered(Service::Agreed, *to, payload).await?)
    }

    async fn receive<T: Send>(&mut self, look: impl FnOnce(&[u8]) -> T + Send) -> Result<T> {
        receive(&mut self.0, look).await
    }

    async fn end(self) -> Result {
        Ok(self.0.disconnect().await?)
    }
}
