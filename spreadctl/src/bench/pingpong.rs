//! One message that goes to another client and back.

use std::time::Instant;

use spread::PrivateGroup;

use super::Result;
use super::client::Client;
use super::meter::Meter;
use super::options::ClientArgs;
use super::outcome::Report;
use super::stats::Latency;

pub(super) fn ping(args: &ClientArgs) -> Result {
    let mut client = Client::connect(args)?;
    let peer = PrivateGroup::new(&args.peer)?;
    let mut times = Vec::with_capacity(args.count as usize);
    for _ in 0..args.warm_up {
        round_trip(&mut client, peer)?;
    }
    let meter = Meter::start(args.daemon_pid);
    for _ in 0..args.count {
        let begin = Instant::now();
        round_trip(&mut client, peer)?;
        times.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    let used = meter.stop();
    let messages = Some(2 * args.count);
    Report { messages, latency: Latency::of(&mut times), ..Report::of(used) }.print();
    Ok(client.mailbox.disconnect()?)
}

fn round_trip(client: &mut Client, peer: PrivateGroup) -> Result {
    client.send_many(1, || peer)?;
    client.receive(|_| ())
}

pub(super) fn pong(args: &ClientArgs) -> Result {
    let mut client = Client::connect(args)?;
    client.say_ready();
    for _ in 0..args.warm_up {
        answer(&mut client)?;
    }
    let meter = Meter::start(None);
    for _ in 0..args.count {
        answer(&mut client)?;
    }
    Report::of(meter.stop()).print();
    Ok(client.mailbox.disconnect()?)
}

fn answer(client: &mut Client) -> Result {
    let sender = client.receive(|message| message.sender())?;
    client.send_many(1, || sender)
}
