//! A sender that goes as fast as its window allows.

use crate::Result;
use crate::options::ClientArgs;

pub(crate) trait Exchange {
    /// Sends so many messages in a row.
    fn send(&mut self, count: u64) -> Result;

    /// Waits for news of messages that have arrived; returns how many of those sent
    /// have arrived with everyone.
    fn receive(&mut self) -> Result<u64>;
}

/// Sends `count` messages, a batch whenever the window has room for it, and waits
/// until all have arrived.
pub(crate) fn run(exchange: &mut impl Exchange, count: u64, args: &ClientArgs) -> Result {
    let batch = args.batch.min(args.window);
    let (mut sent, mut arrived) = (0, 0);
    while arrived < count {
        let next = batch.min(count - sent);
        if next > 0 && sent - arrived + next <= args.window {
            exchange.send(next)?;
            sent += next;
        } else {
            arrived = exchange.receive()?;
        }
    }
    Ok(())
}
