//! A sender that goes as fast as its window allows.

use super::Result;
use super::options::ClientArgs;

pub(super) trait Exchange {
    /// Sends so many messages after those that still wait to be sent; returns how many
    /// wait now. Then something can be received.
    fn send(&mut self, count: u64) -> Result<u64>;

    /// Waits for news of messages that have arrived; returns how many of those sent
    /// have arrived with everyone.
    fn receive(&mut self) -> Result<u64>;
}

/// Sends `count` messages, a batch whenever the window has room for it, and waits
/// until all have arrived.
pub(super) fn run(exchange: &mut impl Exchange, count: u64, args: &ClientArgs) -> Result {
    let batch = args.batch.min(args.window);
    let (mut sent, mut waiting, mut arrived) = (0, 0, 0);
    while arrived < count {
        let next = batch.min(count - sent);
        let has_room = next > 0 && sent - arrived + next <= args.window;
        if waiting > 0 {
            waiting = exchange.send(0)?;
        } else if has_room {
            waiting = exchange.send(next)?;
            sent += next;
        }
        if waiting > 0 || !has_room {
            arrived = exchange.receive()?;
        }
    }
    Ok(())
}
