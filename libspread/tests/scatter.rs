//! Messages in several pieces.

mod common;

use std::ptr::{null, null_mut};

use common::*;
use libspread::*;

/// A scatter over these pieces.
fn scatter_of(pieces: &mut [Vec<u8>]) -> Box<scatter> {
    let empty = scat_element { buf: null_mut(), len: 0 };
    let mut scat = Box::new(scatter { num_elements: pieces.len(), elements: [empty; 100] });
    for (element, piece) in scat.elements.iter_mut().zip(pieces) {
        *element = scat_element { buf: piece.as_mut_ptr().cast(), len: piece.len() };
    }
    scat
}

fn pieces(lens: &[usize]) -> Vec<Vec<u8>> {
    lens.iter().map(|&len| vec![0xaa; len]).collect()
}

fn send(client: &Client, scat: *const scatter) -> i32 {
    let group = std::ffi::CString::new(client.private_group.as_str()).unwrap();
    // SAFETY: the name ends in a zero, the scatter is null or whole.
    unsafe { SP_scat_multicast(client.mbox, SAFE_MESS, group.as_ptr(), 5, scat) }
}

#[derive(Debug, PartialEq, Eq)]
struct Result {
    code: i32,
    num_groups: i32,
    mess_type: i16,
    mismatch: i32,
}

fn receive_in(client: &Client, flags: service, scat: *mut scatter) -> Result {
    let (mut service, mut num_groups, mut mess_type, mut mismatch) = (flags, 0, 0, 0);
    let mut sender = [0; NAME_LEN];
    let mut groups = [[0; NAME_LEN]; 4];
    // SAFETY: the results have room; the scatter is null or whole.
    let code = unsafe {
        SP_scat_receive(
            client.mbox,
            &mut service,
            sender.as_mut_ptr(),
            4,
            &mut num_groups,
            groups.as_mut_ptr(),
            &mut mess_type,
            &mut mismatch,
            scat,
        )
    };
    Result { code, num_groups, mess_type, mismatch }
}

const TEXT: &[u8] = b"a message in several pieces";

fn sender(address: &str) -> Client {
    Client::connect(address, "").expect("a session")
}

fn send_text(client: &Client) {
    let own = [client.private_group.as_str()];
    assert_eq!(client.multicast(SAFE_MESS, &own, 5, TEXT), TEXT.len() as i32);
}

#[test]
fn pieces_are_sent_in_order_and_empty_ones_are_nothing() {
    let daemon = daemon();
    let client = sender(&daemon.address);
    let mut parts: Vec<Vec<u8>> =
        [&TEXT[..1], b"", &TEXT[1..10], b"", b"", &TEXT[10..], b""].map(Vec::from).into();
    assert_eq!(send(&client, &*scatter_of(&mut parts)), TEXT.len() as i32);
    let received = client.receive();
    assert_eq!((received.body.as_slice(), received.mess_type), (TEXT, 5));

    let mut hundred: Vec<Vec<u8>> = (0..100).map(|i| vec![i; usize::from(i)]).collect();
    let whole = hundred.concat();
    assert_eq!(send(&client, &*scatter_of(&mut hundred)), whole.len() as i32);
    assert_eq!(client.receive().body, whole);

    assert_eq!(send(&client, &*scatter_of(&mut [])), 0);
    assert_eq!(client.receive().body, b"");
}

#[test]
fn several_pieces_go_to_several_groups() {
    let daemon = daemon();
    let client = sender(&daemon.address);
    let mut groups = [[0; NAME_LEN]; 2];
    for (to, from) in groups[0].iter_mut().zip(client.private_group.bytes()) {
        *to = from as _;
    }
    groups[1][0] = b'g' as _;
    let mut parts = [TEXT[..3].to_vec(), TEXT[3..].to_vec()];
    let scat = scatter_of(&mut parts);
    let send = |count| {
        // SAFETY: there are two groups, and the scatter is whole.
        unsafe {
            let groups = groups.as_ptr();
            SP_multigroup_scat_multicast(client.mbox, FIFO_MESS, count, groups, 5, &*scat)
        }
    };
    assert_eq!(send(2), TEXT.len() as i32);
    let received = client.receive();
    assert_eq!(received.groups, [client.private_group.as_str(), "g"]);
    assert_eq!(received.body, TEXT);
    assert_eq!(send(0), ILLEGAL_GROUP);
    assert_eq!(send(44), MESSAGE_TOO_LONG);
}

#[test]
fn a_body_fills_the_pieces_in_order() {
    let daemon = daemon();
    let client = sender(&daemon.address);
    for lens in [&[27][..], &[0, 5, 0, 0, 22, 0], &[1; 100], &[20, 200], &[30_000]] {
        send_text(&client);
        let mut parts = pieces(lens);
        let mut scat = scatter_of(&mut parts);
        let result = receive_in(&client, 0, &mut *scat);
        let whole = Result { code: TEXT.len() as i32, num_groups: 1, mess_type: 5, mismatch: 0 };
        assert_eq!(result, whole, "{lens:?}");
        // The scatter tells what room there is, before and after.
        assert_eq!(scat.elements[0].len, lens[0]);
        assert!(parts.concat().starts_with(TEXT));
        assert!(parts.concat()[TEXT.len()..].iter().all(|&b| b == 0xaa));
    }
}

#[test]
fn pieces_that_are_too_short_leave_the_message_or_cut_it() {
    let daemon = daemon();
    let client = sender(&daemon.address);
    send_text(&client);
    let mut parts = pieces(&[5, 0, 5]);
    let short = receive_in(&client, 0, &mut *scatter_of(&mut parts));
    assert_eq!((short.code, short.mismatch), (BUFFER_TOO_SHORT, -(TEXT.len() as i32)));
    assert!(parts.concat().iter().all(|&b| b == 0xaa), "nothing was written");
    let cut = receive_in(&client, DROP_RECV, &mut *scatter_of(&mut parts));
    assert_eq!((cut.code, cut.num_groups), (BUFFER_TOO_SHORT, 1));
    assert_eq!(parts.concat(), TEXT[..10]);
    assert_eq!(client.poll(), 0, "the rest is gone");
}

#[test]
fn a_scatter_that_is_none_is_refused() {
    let daemon = daemon();
    let client = sender(&daemon.address);
    send_text(&client);
    let mut parts = pieces(&[100]);
    let mut too_many = scatter_of(&mut parts);
    too_many.num_elements = 101;
    let mut without_memory = scatter_of(&mut parts);
    without_memory.elements[0].buf = null_mut();
    let mut endless = scatter_of(&mut parts);
    endless.elements[0].len = usize::MAX;
    for scat in [&mut too_many, &mut without_memory, &mut endless] {
        assert_eq!(send(&client, &**scat), ILLEGAL_MESSAGE);
        assert_eq!(receive_in(&client, 0, &mut **scat).code, ILLEGAL_MESSAGE);
    }
    assert_eq!(send(&client, null()), ILLEGAL_MESSAGE);
    assert_eq!(receive_in(&client, 0, null_mut()).code, ILLEGAL_MESSAGE);
    assert_eq!(client.receive().body, TEXT, "nothing was lost");
}

#[test]
fn pieces_that_are_too_long_together_are_not_sent() {
    let daemon = daemon();
    let client = sender(&daemon.address);
    let mut parts = pieces(&[143_000, 119, 1]);
    assert_eq!(send(&client, &*scatter_of(&mut parts)), MESSAGE_TOO_LONG);
    parts.pop();
    assert_eq!(send(&client, &*scatter_of(&mut parts)), 143_119);
    assert_eq!(client.receive().code, 143_119);
}
