//! Any bytes are frames or an error, from either side, and what a frame says goes
//! back to the bytes that it came from or to ones that say the same.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use spread_wire::{Delivery, Frame, Limits, Request};

fuzz_target!(|data: &[u8]| {
    let mut stream = BytesMut::from(data);
    while let Ok(Some(frame)) = Frame::decode(&mut stream, Limits::FROM_CLIENT) {
        let Ok(request) = Request::parse(&frame) else {
            continue;
        };
        let mut bytes = BytesMut::new();
        request.encode(frame.header().name, frame.header().order, &mut bytes);
        let again = Frame::decode(&mut bytes, Limits::FROM_CLIENT);
        let again = again.expect("a request is a frame").expect("a whole one");
        match &request {
            // Bits that mean nothing to them are not kept.
            Request::Join(_) | Request::Leave(_) | Request::Disconnect(_) => {}
            Request::Multicast(_) => {
                assert_eq!(again.body(), frame.body());
                assert_eq!(again.groups(), frame.groups());
            }
        }
    }
    let mut stream = BytesMut::from(data);
    while let Ok(Some(frame)) = Frame::decode(&mut stream, Limits::FROM_DAEMON) {
        let Ok(delivery) = Delivery::parse(&frame) else {
            continue;
        };
        let mut bytes = BytesMut::new();
        delivery.encode(frame.header().order, &mut bytes);
        let again = Frame::decode(&mut bytes, Limits::FROM_DAEMON);
        let again = again.expect("a delivery is a frame").expect("a whole one");
        assert_eq!(Delivery::parse(&again).as_ref(), Ok(&delivery));
    }
});
