//! What the workloads ask of a client library.

use crate::Result;

/// A client that receives what is sent to one name.
pub(crate) trait Client: Sized + Send + 'static {
    /// A name that messages go to, checked once.
    type To: Clone + Send + Sync;
    /// A payload, made once.
    type Payload: Send + Sync;

    fn to(name: &str) -> Result<Self::To>;

    fn payload(bytes: Vec<u8>) -> Self::Payload;

    /// Connects, and receives what is sent to `to` from then on.
    fn connect(address: &str, to: &Self::To) -> impl Future<Output = Result<Self>> + Send;

    fn send(
        &mut self,
        to: &Self::To,
        payload: &Self::Payload,
    ) -> impl Future<Output = Result> + Send;

    /// Receives a message, and hands its payload over.
    fn receive<T: Send>(
        &mut self,
        look: impl FnOnce(&[u8]) -> T + Send,
    ) -> impl Future<Output = Result<T>> + Send;

    /// Ends the connection once the server has everything.
    fn end(self) -> impl Future<Output = Result> + Send;
}
