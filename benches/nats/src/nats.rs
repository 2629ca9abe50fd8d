//! async-nats.

use async_nats::{Client as Connection, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::Result;
use crate::client::Client;

pub(crate) struct Nats {
    connection: Connection,
    messages: Subscriber,
}

impl Client for Nats {
    type To = Subject;
    /// Sent without a copy in the program.
    type Payload = Bytes;

    fn to(name: &str) -> Result<Subject> {
        Ok(Subject::from(name))
    }

    fn payload(bytes: Vec<u8>) -> Bytes {
        bytes.into()
    }

    async fn connect(address: &str, to: &Subject) -> Result<Nats> {
        let connection = async_nats::connect(address).await?;
        let messages = connection.subscribe(to.clone()).await?;
        // A flush does not wait for the server, but what comes back has followed the subscription.
        let inbox = Subject::from(connection.new_inbox());
        let mut echo = connection.subscribe(inbox.clone()).await?;
        connection.publish(inbox, Bytes::new()).await?;
        echo.next().await.ok_or("the connection has ended")?;
        Ok(Nats { connection, messages })
    }

    async fn send(&mut self, to: &Subject, payload: &Bytes) -> Result {
        Ok(self.connection.publish(to.clone(), payload.clone()).await?)
    }

    async fn receive<T: Send>(&mut self, look: impl FnOnce(&[u8]) -> T + Send) -> Result<T> {
        let message = self.messages.next().await.ok_or("the subscription has ended")?;
        Ok(look(&message.payload))
    }

    async fn end(self) -> Result {
        Ok(self.connection.flush().await?)
    }
}
