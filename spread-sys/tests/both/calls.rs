// Calls of `library`, which the module that includes this file names, with plain
// results that can be compared.

use super::{Changed, Received};
use std::ffi::{CString, c_char};

#[derive(Debug)]
pub(crate) struct Session(library::mailbox);

pub(crate) fn text(field: &[c_char; 32]) -> String {
    field.iter().take_while(|&&c| c != 0).map(|&c| char::from(c as u8)).collect()
}

impl Session {
    pub(crate) fn connect(address: &str, name: &str) -> Result<Session, i32> {
        let (address, name) = (CString::new(address).unwrap(), CString::new(name).unwrap());
        let (mut mbox, mut group) = (-1, [0; 32]);
        let patience = library::sp_time { sec: 20, usec: 0 };
        // SAFETY: the names end in a zero, the results have room.
        let code = unsafe {
            let group = group.as_mut_ptr();
            library::SP_connect_timeout(
                address.as_ptr(),
                name.as_ptr(),
                0,
                1,
                &mut mbox,
                group,
                patience,
            )
        };
        if code == library::ACCEPT_SESSION { Ok(Session(mbox)) } else { Err(code) }
    }

    pub(crate) fn join(&self, group: &str) -> i32 {
        let group = CString::new(group).unwrap();
        // SAFETY: the name ends in a zero.
        unsafe { library::SP_join(self.0, group.as_ptr()) }
    }

    pub(crate) fn leave(&self, group: &str) -> i32 {
        let group = CString::new(group).unwrap();
        // SAFETY: the name ends in a zero.
        unsafe { library::SP_leave(self.0, group.as_ptr()) }
    }

    pub(crate) fn multicast(&self, service: i32, groups: &[&str], kind: i16, body: &[u8]) -> i32 {
        let mut fields = vec![[0 as c_char; 32]; groups.len()];
        for (field, group) in fields.iter_mut().zip(groups) {
            field.iter_mut().zip(group.bytes()).for_each(|(to, from)| *to = from as c_char);
        }
        let (count, len) = (groups.len() as i32, body.len() as i32);
        // SAFETY: groups and body are as long as told.
        unsafe {
            let (fields, body) = (fields.as_ptr(), body.as_ptr().cast());
            library::SP_multigroup_multicast(self.0, service, count, fields, kind, len, body)
        }
    }

    pub(crate) fn poll(&self) -> i32 {
        // SAFETY: takes a number only.
        unsafe { library::SP_poll(self.0) }
    }

    pub(crate) fn receive(&self, flags: i32, max_groups: usize, max_len: usize) -> Received {
        let (mut service, mut sender) = (flags, [0; 32]);
        let (mut num_groups, mut mess_type, mut mismatch) = (0, 0, 0);
        let (mut groups, mut body) = (vec![[0; 32]; max_groups], vec![0u8; max_len]);
        // SAFETY: the results have room, the arrays as much as told.
        let code = unsafe {
            library::SP_receive(
                self.0,
                &mut service,
                sender.as_mut_ptr(),
                max_groups as i32,
                &mut num_groups,
                groups.as_mut_ptr(),
                &mut mess_type,
                &mut mismatch,
                max_len as i32,
                body.as_mut_ptr().cast(),
            )
        };
        let changed = (code > 0 && service & library::MEMBERSHIP_MESS != 0)
            .then(|| changed(&body[..code as usize], service));
        body.truncate(usize::try_from(code).unwrap_or(max_len));
        let sender = text(&sender);
        let groups = groups.iter().map(text).collect();
        Received {
            code,
            service,
            sender,
            num_groups,
            groups,
            mess_type,
            mismatch,
            body,
            changed,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: takes a number only.
        unsafe { library::SP_kill(self.0) }
    }
}

fn changed(body: &[u8], service: i32) -> Changed {
    // The C library reads integers where they stand.
    let mut aligned = vec![0u32; body.len().div_ceil(4)];
    let bytes = aligned.iter_mut().zip(body.chunks(4));
    for (word, chunk) in bytes {
        let mut four = [0; 4];
        four[..chunk.len()].copy_from_slice(chunk);
        *word = u32::from_ne_bytes(four);
    }
    let body = aligned.as_ptr().cast();
    let mut info = library::membership_info::default();
    let mut sets = [library::vs_set_info::default(); 4];
    let mut own = u32::MAX;
    // SAFETY: the body is as it was received; the results have room.
    unsafe {
        let code = library::SP_get_memb_info(body, service, &mut info);
        let count = match service & library::REG_MEMB_MESS {
            0 => 0,
            _ => library::SP_get_vs_sets_info(body, sets.as_mut_ptr(), 4, &mut own),
        };
        let sets = sets.iter().take(count.max(0) as usize).map(|set| {
            let mut names = [[0; 32]; 8];
            let count = library::SP_get_vs_set_members(body, set, names.as_mut_ptr(), 8);
            (set.members_offset, names.iter().take(count.max(0) as usize).map(text).collect())
        });
        Changed {
            code,
            member: text(&info.changed_member),
            num_vs_sets: info.num_vs_sets,
            my_vs_set: (info.my_vs_set.num_members, info.my_vs_set.members_offset),
            count,
            sets: sets.collect(),
            own,
        }
    }
}
