//! What it costs to take a multicast off a stream, as a daemon does.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use spread_wire::{ByteOrder, Frame, Limits, Name, Request, Service};

const FRAMES: u64 = 64;

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for size in [64, 1024, 16 * 1024] {
        let stream = stream(size);
        group.throughput(Throughput::Elements(FRAMES));
        group.bench_with_input(BenchmarkId::from_parameter(size), &stream, |bencher, stream| {
            bencher.iter_batched(
                || BytesMut::from(&stream[..]),
                |mut stream| {
                    while let Ok(Some(frame)) = Frame::decode(&mut stream, Limits::FROM_CLIENT) {
                        black_box(Request::parse(&frame).is_ok());
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn stream(size: usize) -> BytesMut {
    let sender = Name::from_field(*b"#alice#localhost\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let groups =
        [Name::from_field(*b"chat\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")];
    let body = vec![0; size];
    let mut stream = BytesMut::new();
    for _ in 0..FRAMES {
        Request::multicast(Service::Agreed, &groups, &body).encode(
            sender,
            ByteOrder::NATIVE,
            &mut stream,
        );
    }
    stream
}

criterion_group!(benches, decode);
criterion_main!(benches);
