//! Flush Spread at a daemon that is none.

mod common;

use std::ffi::CString;
use std::ptr::null_mut;

use common::*;
use libspread::*;
use spread_wire::{
    ByteOrder, Cause, Delivery, ErrorCode, GroupId, Groups, MembershipBody, Name, Regular, Service,
};

const VIEW: GroupId = GroupId { proc_id: 1, time: 2, index: 3 };

/// The type of a message of the layer that is sent in a view.
const IN_VIEW: i16 = i16::MIN + 2;

/// The first view of a group, with a member that never flushes it and sends in the view, on the
/// wire.
fn begin_of(group: &str) -> Vec<u8> {
    let [me, bob, group] = ["#alice#fake", "#bob#fake", group].map(|text| Name::new(text).unwrap());
    let body = MembershipBody { group_id: VIEW, vs_sets: vec![vec![me]], my_vs_set: 0 };
    let members = [bob, me];
    let members = Groups::from(&members[..]);
    let view =
        encode(ByteOrder::NATIVE, &Delivery::View { group, cause: Cause::Join, members, body });
    let message = encode(
        ByteOrder::NATIVE,
        &Delivery::Regular(Regular {
            sender: bob,
            service: Service::Fifo,
            self_discard: false,
            message_type: IN_VIEW,
            sender_order: ByteOrder::NATIVE,
            groups: Groups::from(&[group][..]),
            body: &[&[0; 130_002][..], &VIEW.encode(ByteOrder::NATIVE)].concat(),
        }),
    );
    [view, message.repeat(20)].concat()
}

#[test]
fn a_daemon_that_announces_ever_more_groups_ends_the_session() {
    for kind in KINDS {
        let daemon = FakeDaemon::start(kind, |mut stream| {
            let mut groups = (0..).map(|number: u32| begin_of(&format!("g{number}")));
            while stream.write_all(&groups.next().unwrap()).is_ok() {}
        });
        let address = CString::new(daemon.address.as_str()).unwrap();
        let (mut mbox, mut own) = (-1, [0; NAME_LEN]);
        // SAFETY: the names end in a zero, the results have room.
        let code = unsafe {
            FL_connect(address.as_ptr(), c"alice".as_ptr(), 0, &mut mbox, own.as_mut_ptr())
        };
        assert_eq!(code, ACCEPT_SESSION);
        let received = in_time(move || {
            let (mut service, mut count, mut number, mut mismatch) = (0, 0, 0, 0);
            let mut sender = [0; NAME_LEN];
            // SAFETY: the results have room, and the arrays are null and as long as told.
            unsafe {
                FL_receive(
                    mbox,
                    &mut service,
                    sender.as_mut_ptr(),
                    0,
                    &mut count,
                    null_mut(),
                    &mut number,
                    &mut mismatch,
                    0,
                    null_mut(),
                    null_mut(),
                )
            }
        });
        assert_eq!(received, ErrorCode::NetErrorOnSession.code());
        // SAFETY: takes a number only.
        unsafe { SP_kill(mbox) };
        daemon.finish();
    }
}
