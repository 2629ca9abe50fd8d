//! What the clients do, the same for each library.

use std::time::Instant;

use crate::Result;
use crate::client::Client;

/// One workload with its sizes.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) size: usize,
    pub(crate) count: usize,
    pub(crate) window: usize,
    pub(crate) receivers: usize,
}

impl Case {
    fn warm_up(self) -> usize {
        self.count / 20
    }
}

/// A client sends to itself, with at most a window of messages under way. Returns messages
/// a second.
pub(crate) async fn flood<C: Client>(address: &str, case: Case) -> Result<f64> {
    let to = C::to("flood")?;
    let mut client = C::connect(address, &to).await?;
    let payload = C::payload(vec![7; case.size]);
    let mut begin = Instant::now();
    for count in [case.warm_up(), case.count] {
        begin = Instant::now();
        let (mut sent, mut received) = (0, 0);
        while received < count {
            while sent < count && sent - received < case.window {
                client.send(&to, &payload).await?;
                sent += 1;
            }
            let len = client.receive(<[u8]>::len).await?;
            if len != case.size {
                return Err("a message of another length".into());
            }
            received += 1;
        }
    }
    let rate = case.count as f64 / begin.elapsed().as_secs_f64();
    client.end().await?;
    Ok(rate)
}

/// A client sends, and several receive, at the pace of the slowest: each tells the sender at
/// every quarter of the window. Returns deliveries a second.
pub(crate) async fn fan_out<C: Client>(address: &str, case: Case) -> Result<f64> {
    let (to, back) = (C::to("fanout")?, C::to("words")?);
    let mut sender = C::connect(address, &back).await?;
    let mut tasks = Vec::new();
    for index in 0..case.receivers {
        let receiver = C::connect(address, &to).await?;
        tasks.push(tokio::spawn(receive(receiver, index, back.clone(), case)));
    }
    let payload = C::payload(vec![7; case.size]);
    let mut begin = Instant::now();
    let (mut sent, mut arrived) = (0, vec![0; case.receivers]);
    for count in [case.warm_up(), case.warm_up() + case.count] {
        begin = Instant::now();
        loop {
            let slowest = arrived.iter().copied().min().unwrap_or(count);
            if slowest == count {
                break;
            }
            while sent < count && sent - slowest < case.window {
                sender.send(&to, &payload).await?;
                sent += 1;
            }
            let (index, count) = sender.receive(word).await??;
            arrived[index] = count;
        }
    }
    let rate = (case.count * case.receivers) as f64 / begin.elapsed().as_secs_f64();
    for task in tasks {
        task.await??;
    }
    sender.end().await?;
    Ok(rate)
}

/// A receiver, which tells how far it has come.
async fn receive<C: Client>(mut client: C, index: usize, back: C::To, case: Case) -> Result {
    let step = (case.window / 4).max(1);
    let marks = [case.warm_up(), case.warm_up() + case.count];
    for received in 1..=marks[1] {
        let len = client.receive(<[u8]>::len).await?;
        if len != case.size {
            return Err("a message of another length".into());
        }
        if received % step == 0 || marks.contains(&received) {
            let numbers = [index, received].map(usize::to_ne_bytes);
            client.send(&back, &C::payload(numbers.concat())).await?;
        }
    }
    client.end().await
}

/// The receiver that a word is from, and how many messages it has.
fn word(payload: &[u8]) -> Result<(usize, usize)> {
    let (numbers, []) = payload.as_chunks() else {
        return Err("a word of another length".into());
    };
    let [index, count] = numbers else { return Err("a word of another length".into()) };
    Ok((usize::from_ne_bytes(*index), usize::from_ne_bytes(*count)))
}

/// A message goes to another client and back. Returns the median of the round trips in
/// microseconds.
pub(crate) async fn ping_pong<C: Client>(address: &str, case: Case) -> Result<f64> {
    let count = case.count / 20;
    let (here, there) = (C::to("here")?, C::to("there")?);
    let mut client = C::connect(address, &here).await?;
    let mut other = C::connect(address, &there).await?;
    let (payload, answer) = (C::payload(vec![7; case.size]), C::payload(vec![8; case.size]));
    let answering = tokio::spawn(async move {
        for _ in 0..count {
            other.receive(<[u8]>::len).await?;
            other.send(&here, &answer).await?;
        }
        other.end().await
    });
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        client.send(&there, &payload).await?;
        client.receive(<[u8]>::len).await?;
        times.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    answering.await??;
    client.end().await?;
    times.sort_by(f64::total_cmp);
    times.get(count / 2).copied().ok_or_else(|| "no round trip".into())
}
