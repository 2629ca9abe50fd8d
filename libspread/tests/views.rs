//! What the getters tell of membership messages.

mod common;

use std::ffi::c_char;
use std::ptr::{null, null_mut};

use bytes::BytesMut;
use common::*;
use libspread::*;
use spread_wire::{ByteOrder, GroupId, MembershipBody, Name};

const NETWORK: service = REG_MEMB_MESS | CAUSED_BY_NETWORK;
const JOIN: service = REG_MEMB_MESS | CAUSED_BY_JOIN;

fn body_of(vs_sets: &[&[&str]], my_vs_set: usize) -> Vec<u8> {
    let names = |set: &&[&str]| set.iter().map(|name| Name::new(name).unwrap()).collect();
    let body = MembershipBody {
        group_id: GroupId { proc_id: 7, time: 8, index: 9 },
        vs_sets: vs_sets.iter().map(names).collect(),
        my_vs_set,
    };
    let mut bytes = BytesMut::new();
    body.encode(ByteOrder::NATIVE, &mut bytes);
    bytes.to_vec()
}

/// What can be asked about one body.
struct Asked {
    info: fn(&Memory, service, *mut membership_info) -> i32,
    sets: fn(&Memory, *mut vs_set_info, i32, *mut u32) -> i32,
    members: fn(&Memory, *const vs_set_info, *mut [c_char; NAME_LEN], i32) -> i32,
}

/// A body in one piece, at an odd address, and in many.
struct Memory {
    one: Vec<u8>,
    many: Box<scatter>,
    _pieces: Vec<Vec<u8>>,
}

impl Memory {
    fn new(body: &[u8]) -> Memory {
        let mut one = vec![0];
        one.extend_from_slice(body);
        let mut pieces: Vec<Vec<u8>> =
            body.chunks(body.len().div_ceil(97).max(1)).map(Vec::from).collect();
        pieces.insert(pieces.len() / 2, Vec::new());
        let empty = scat_element { buf: null_mut(), len: 0 };
        let mut many = Box::new(scatter { num_elements: pieces.len(), elements: [empty; 100] });
        for (element, piece) in many.elements.iter_mut().zip(&mut pieces) {
            *element = scat_element { buf: piece.as_mut_ptr().cast(), len: piece.len() };
        }
        Memory { one, many, _pieces: pieces }
    }

    fn one(&self) -> *const c_char {
        self.one[1..].as_ptr().cast()
    }
}

/// Both families of functions.
const FAMILIES: [Asked; 2] = [
    Asked {
        // SAFETY: the body is whole or refused; the results have room.
        info: |m, service, to| unsafe { SP_get_memb_info(m.one(), service, to) },
        // SAFETY: the body is whole or refused; the results have room.
        sets: |m, to, room, own| unsafe { SP_get_vs_sets_info(m.one(), to, room, own) },
        // SAFETY: the body is whole or refused; the results have room.
        members: |m, set, to, room| unsafe { SP_get_vs_set_members(m.one(), set, to, room) },
    },
    Asked {
        // SAFETY: the body is whole or refused; the results have room.
        info: |m, service, to| unsafe { SP_scat_get_memb_info(&*m.many, service, to) },
        // SAFETY: the body is whole or refused; the results have room.
        sets: |m, to, room, own| unsafe { SP_scat_get_vs_sets_info(&*m.many, to, room, own) },
        // SAFETY: the body is whole or refused; the results have room.
        members: |m, set, to, room| unsafe { SP_scat_get_vs_set_members(&*m.many, set, to, room) },
    },
];

fn text(field: &[c_char; NAME_LEN]) -> String {
    field.iter().take_while(|&&c| c != 0).map(|&c| char::from(c as u8)).collect()
}

fn garbage() -> membership_info {
    let set = vs_set_info { num_members: 99, members_offset: 99 };
    membership_info {
        gid: group_id { id: [99; 3] },
        changed_member: [99; NAME_LEN],
        num_vs_sets: 99,
        my_vs_set: set,
    }
}

#[test]
fn a_view_tells_its_id_and_who_changed() {
    let memory = Memory::new(&body_of(&[&["#bob#d"]], 0));
    for Asked { info: ask, .. } in FAMILIES {
        for cause in [CAUSED_BY_JOIN, CAUSED_BY_LEAVE, CAUSED_BY_DISCONNECT] {
            let mut info = garbage();
            assert_eq!(ask(&memory, REG_MEMB_MESS | cause, &mut info), 1);
            assert_eq!(info.gid.id, [7, 8, 9]);
            assert_eq!(text(&info.changed_member), "#bob#d");
            assert_eq!(info.num_vs_sets, 1);
            assert_eq!((info.my_vs_set.num_members, info.my_vs_set.members_offset), (1, 24));
        }
    }
}

#[test]
fn a_network_change_tells_its_sets() {
    let sets: [&[&str]; 3] = [&["#a#d1", "#b#d1"], &[], &["#c#d2", "#d#d2", "#e#d2"]];
    let memory = Memory::new(&body_of(&sets, 2));
    for Asked { info: ask, sets: ask_sets, members: ask_members } in FAMILIES {
        let mut info = garbage();
        assert_eq!(ask(&memory, NETWORK, &mut info), 1);
        assert_eq!((text(&info.changed_member), info.num_vs_sets), (String::new(), 3));
        assert_eq!(info.my_vs_set.num_members, 3);

        let mut found = [vs_set_info::default(); 4];
        let mut own = 77;
        assert_eq!(ask_sets(&memory, found.as_mut_ptr(), 2, &mut own), BUFFER_TOO_SHORT);
        assert_eq!((own, found[0].members_offset), (77, 0), "nothing was written");
        assert_eq!(ask_sets(&memory, found.as_mut_ptr(), 4, &mut own), 3);
        assert_eq!(own, 2);
        assert_eq!(found[2].members_offset, info.my_vs_set.members_offset);
        for (set, names) in found.iter().zip(sets) {
            let mut members = [[0; NAME_LEN]; 4];
            let room = names.len() as i32;
            assert_eq!(ask_members(&memory, set, members.as_mut_ptr(), room), room);
            let members: Vec<String> = members.iter().map(text).collect();
            assert_eq!(members[..names.len()], *names);
            if room > 0 {
                let short = ask_members(&memory, set, null_mut(), room - 1);
                assert_eq!(short, BUFFER_TOO_SHORT);
            }
        }
    }
}

#[test]
fn a_transitional_message_tells_its_id_alone() {
    let memory = Memory::new(&body_of(&[&["#a#d"]], 0)[..12]);
    for Asked { info: ask, .. } in FAMILIES {
        let mut info = garbage();
        assert_eq!(ask(&memory, TRANSITION_MESS, &mut info), 1);
        assert_eq!(info.gid.id, [7, 8, 9]);
        assert_eq!((info.num_vs_sets, text(&info.changed_member)), (0, String::new()));
    }
}

#[test]
fn the_answer_to_a_leave_has_no_body_to_read() {
    let mut info = garbage();
    // SAFETY: of such a type no body is read.
    let codes = unsafe {
        let nowhere = std::ptr::without_provenance::<c_char>(1);
        [
            SP_get_memb_info(nowhere, CAUSED_BY_LEAVE, &mut info),
            SP_get_memb_info(null(), CAUSED_BY_LEAVE, &mut info),
            SP_scat_get_memb_info(null(), CAUSED_BY_LEAVE, &mut info),
        ]
    };
    assert_eq!(codes, [1; 3]);
    assert_eq!((info.gid.id, info.num_vs_sets), ([0; 3], 0));
    assert_eq!((info.changed_member, info.my_vs_set.num_members), ([0; NAME_LEN], 0));
}

#[test]
fn what_is_no_membership_message_is_refused() {
    let memory = Memory::new(&body_of(&[&["#a#d"]], 0));
    for Asked { info: ask, .. } in FAMILIES {
        for service in [0, AGREED_MESS, JOIN | REJECT_MESS] {
            assert_eq!(ask(&memory, service, &mut garbage()), ILLEGAL_MESSAGE, "{service:#x}");
        }
        assert_eq!(ask(&memory, JOIN, null_mut()), ILLEGAL_MESSAGE);
    }
}

#[test]
fn null_is_refused() {
    let memory = Memory::new(&body_of(&[&["#a#d"]], 0));
    let set = vs_set_info { num_members: 1, members_offset: 24 };
    let mut names = [[0; NAME_LEN]; 1];
    let mut own = 0;
    for Asked { sets, members, .. } in FAMILIES {
        assert_eq!(sets(&memory, null_mut(), 5, &mut own), ILLEGAL_MESSAGE);
        assert_eq!(sets(&memory, &mut vs_set_info::default(), 1, null_mut()), ILLEGAL_MESSAGE);
        assert_eq!(members(&memory, null(), names.as_mut_ptr(), 1), ILLEGAL_MESSAGE);
        assert_eq!(members(&memory, &set, null_mut(), 1), ILLEGAL_MESSAGE);
    }
    // SAFETY: null is allowed.
    unsafe {
        let (to, room) = (&mut garbage(), &mut vs_set_info::default());
        assert_eq!(SP_get_memb_info(null(), JOIN, to), ILLEGAL_MESSAGE);
        assert_eq!(SP_scat_get_memb_info(null(), JOIN, to), ILLEGAL_MESSAGE);
        assert_eq!(SP_get_vs_sets_info(null(), room, 1, &mut own), ILLEGAL_MESSAGE);
        assert_eq!(SP_scat_get_vs_sets_info(null(), room, 1, &mut own), ILLEGAL_MESSAGE);
        assert_eq!(SP_get_vs_set_members(null(), &set, &mut names[0], 1), ILLEGAL_MESSAGE);
        assert_eq!(SP_scat_get_vs_set_members(null(), &set, &mut names[0], 1), ILLEGAL_MESSAGE);
    }
}

#[test]
fn nothing_beyond_the_pieces_is_read() {
    let whole = body_of(&[&["#a#d", "#b#d"], &["#c#d"]], 1);
    let [_, Asked { info, sets, members }] = FAMILIES;
    for len in 0..whole.len() {
        let memory = Memory::new(&whole[..len]);
        let mut found = [vs_set_info::default(); 2];
        assert_eq!(info(&memory, NETWORK, &mut garbage()), ILLEGAL_MESSAGE, "{len}");
        assert_eq!(sets(&memory, found.as_mut_ptr(), 2, &mut 0), ILLEGAL_MESSAGE, "{len}");
        let set = vs_set_info { num_members: 1, members_offset: whole.len() as u32 - 32 };
        let mut name = [0; NAME_LEN];
        assert_eq!(members(&memory, &set, &mut name, 1), ILLEGAL_MESSAGE, "{len}");
    }
}

#[test]
fn what_no_body_can_say_is_refused() {
    let whole = body_of(&[&["#a#d"]], 0);
    let with = |at: usize, word: u32| {
        let mut body = whole.clone();
        body[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        Memory::new(&body)
    };
    let huge = [1 << 27, 1 << 31, u32::MAX];
    for Asked { info, sets, members } in FAMILIES {
        for word in huge {
            let mut found = vs_set_info::default();
            // The offset of the own set, and its members.
            for at in [16, 20] {
                let memory = with(at, word);
                assert_eq!(info(&memory, NETWORK, &mut garbage()), ILLEGAL_MESSAGE);
                assert_eq!(sets(&memory, &mut found, 1, &mut 0), ILLEGAL_MESSAGE);
            }
            assert_eq!(sets(&with(12, word), &mut found, 1, &mut 0), BUFFER_TOO_SHORT);
            let set = vs_set_info { num_members: 1, members_offset: word };
            let mut name = [0; NAME_LEN];
            assert_eq!(members(&with(12, 1), &set, &mut name, 1), ILLEGAL_MESSAGE);
        }
        let no_set = with(12, 0);
        assert_eq!(sets(&no_set, &mut vs_set_info::default(), 1, &mut 0), ILLEGAL_MESSAGE);
    }
}

#[test]
fn names_without_an_end_are_ended() {
    let mut body = body_of(&[&["#a#d"]], 0);
    body[24..56].fill(b'x');
    let memory = Memory::new(&body);
    for Asked { info: ask, members, .. } in FAMILIES {
        let mut info = garbage();
        assert_eq!(ask(&memory, JOIN, &mut info), 1);
        assert_eq!(text(&info.changed_member), "x".repeat(31));
        let mut name = [0; NAME_LEN];
        assert_eq!(members(&memory, &info.my_vs_set, &mut name, 1), 1);
        assert_eq!(text(&name), "x".repeat(31));
    }
}

#[test]
fn a_body_that_was_received_is_understood() {
    let daemon = daemon();
    let alice = Client::connect(&daemon.address, "").unwrap();
    let group = format!("v{}", alice.private_group.replace('#', "-"));
    assert_eq!(alice.join(&group), 0);
    let view = alice.receive();
    let memory = Memory::new(&view.body);
    for Asked { info: ask, .. } in FAMILIES {
        let mut info = garbage();
        assert_eq!(ask(&memory, view.service, &mut info), 1);
        assert_eq!(text(&info.changed_member), alice.private_group);
        assert_eq!(info.my_vs_set.num_members, 1);
    }
    assert_eq!(alice.leave(&group), 0);
    let left = alice.receive();
    assert_eq!((left.service, left.code), (CAUSED_BY_LEAVE, 0));
    let memory = Memory::new(&left.body);
    for Asked { info: ask, .. } in FAMILIES {
        assert_eq!(ask(&memory, left.service, &mut garbage()), 1);
    }
}
