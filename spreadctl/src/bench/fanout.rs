//! One client that sends, and several that receive.
//!
//! Each receiver tells the sender by a private message how many messages it has: at
//! every quarter of the window, so that the sender need not wait for it, and at the
//! end. The type of that message is the receiver's number.

use spread::{GroupName, PrivateGroup};

use super::Result;
use super::client::Client;
use super::exchange::{self, Exchange};
use super::meter::Meter;
use super::options::ClientArgs;
use super::outcome::Report;

pub(super) fn send(args: &ClientArgs) -> Result {
    let mut client = Client::connect(args)?;
    client.say_ready();
    // The first word of each is that it has joined.
    for _ in 0..args.receivers {
        client.receive(|_| ())?;
    }
    let group = GroupName::new(group_name(args))?;
    let mut fanout = Fanout { client, group, arrived: vec![0; args.receivers as usize], before: 0 };
    exchange::run(&mut fanout, args.warm_up, args)?;
    fanout.before = args.warm_up;

    let meter = Meter::start(args.daemon_pid);
    exchange::run(&mut fanout, args.count, args)?;
    let used = meter.stop();
    Report { messages: Some(args.count * args.receivers), ..Report::of(used) }.print();
    // Receivers stay until they are told, so that no view of one who leaves comes
    // between.
    fanout.send(1)?;
    Ok(fanout.client.mailbox.disconnect()?)
}

fn group_name(args: &ClientArgs) -> String {
    format!("{}-0", args.group)
}

struct Fanout {
    client: Client,
    group: GroupName,
    /// Messages that each of the receivers has, with those before this exchange.
    arrived: Vec<u64>,
    before: u64,
}

impl Exchange for Fanout {
    /// Sends them all: receivers have nothing to say of less.
    fn send(&mut self, count: u64) -> Result<u64> {
        let group = self.group;
        self.client.send_many(count, || group)?;
        Ok(0)
    }

    fn receive(&mut self) -> Result<u64> {
        let (index, arrived) =
            self.client.receive(|word| (word.message_type(), count_in(word.payload())))?;
        let known = usize::try_from(index).ok().and_then(|index| self.arrived.get_mut(index));
        *known.ok_or("a word from a receiver that there is not")? =
            arrived.ok_or("a word without a count")?;
        let slowest = self.arrived.iter().min().copied().unwrap_or_default();
        Ok(slowest.saturating_sub(self.before))
    }
}

fn count_in(payload: &[u8]) -> Option<u64> {
    payload.try_into().ok().map(u64::from_ne_bytes)
}

pub(super) fn receive(args: &ClientArgs) -> Result {
    let mut client = Client::connect(args)?;
    client.join(args, 0)?;
    let sender = PrivateGroup::new(&args.peer)?;
    let options = client.options.message_type(args.index);
    let tell = |client: &Client, count: u64| {
        client.mailbox.multicast(options, sender, count.to_ne_bytes())
    };
    tell(&client, 0)?;

    let step = (args.window / 4).max(1);
    let mut received = 0;
    let mut until = |client: &mut Client, count: u64| -> Result {
        while received < count {
            client.receive(|_| ())?;
            received += 1;
            if received.is_multiple_of(step) || received == count {
                tell(client, received)?;
            }
        }
        Ok(())
    };
    until(&mut client, args.warm_up)?;
    let meter = Meter::start(None);
    until(&mut client, args.warm_up + args.count)?;
    Report::of(meter.stop()).print();
    client.receive(|_| ())?;
    Ok(client.mailbox.disconnect()?)
}
