//! Receiving in groups of Flush Spread.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_short};

use spread_core::MEMORY_PAUSE;
use spread_core::flush::{Message, SUBGROUP};
use spread_wire::{ErrorCode, ServiceType};

use super::{count, discard_closed};
use crate::convert::{NAME_LEN, flags_of, results_of, room, room_in_pieces, write_name};
use crate::flush;
use crate::held::{self, Held, Receiving};
use crate::receive::{Buffers, Outcome, Received, copy, copy_in_pieces};
use crate::session::Flushed;
use crate::table;
use crate::types::{DONT_BLOCK, ILLEGAL_PARAM, WOULD_BLOCK, mailbox, scatter, service};
use crate::wait::{Step, Wait, attempt, complete};

/// Receives the next message, and waits for it; returns the bytes of its body. See
/// `FL_receive(3)`.
///
/// `*serv_type` is also read: with `DROP_RECV` a message that does not fit is cut, with
/// `DONT_BLOCK` the call does not wait. `more_msgs` is null or gets the number of messages
/// that can be received without looking at the descriptor, which they do not make readable.
///
/// The layer answers some messages by itself, and sends that within the calls. Unless more can
/// be received, the call waits for room for an answer before it returns a message. With
/// `DONT_BLOCK` it does not: then a program that waits for the descriptor to be readable, and
/// finds that it is not writable, has to wait for that, too, and call again; otherwise other
/// members may wait for the answer.
///
/// A view has the members in `groups` and the client's index in `mess_type`; its body has the
/// id, the number of names, and the names: of the member that changed, or after a network
/// change of those who came with the client.
///
/// # Errors
///
/// - `WOULD_BLOCK`: there is none, and `DONT_BLOCK` was asked for.
/// - `ILLEGAL_PARAM`: `max_groups` is negative.
/// - `GROUPS_TOO_SHORT`, `BUFFER_TOO_SHORT`: as for [`SP_receive`](crate::SP_receive); with
///   `DROP_RECV` also the first, and the last name that is received is the group.
/// - `NET_ERROR_ON_SESSION`: more than 64 MiB of messages and views wait until members have
///   flushed a group, all groups take more than 256 MiB, or the daemon does not take what the
///   layer sends by itself; kill the mailbox.
/// - `CONNECTION_CLOSED`: the connection has ended, and the mailbox with it.
/// - `ILLEGAL_SESSION`: no mailbox of [`FL_connect`](crate::FL_connect).
/// - `ILLEGAL_MESSAGE`: as for [`SP_receive`](crate::SP_receive).
///
/// # Safety
///
/// As for [`SP_receive`](crate::SP_receive); `more_msgs` is null or can be written through.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn FL_receive(
    mbox: mailbox,
    serv_type: *mut service,
    sender_name: *mut c_char,
    max_groups: c_int,
    num_groups: *mut c_int,
    group_names: *mut [c_char; NAME_LEN],
    mess_type: *mut c_short,
    endian_mismatch: *mut c_int,
    max_mess_len: c_int,
    mess: *mut c_char,
    more_msgs: *mut c_int,
) -> c_int {
    let results = Results {
        service_type: serv_type,
        sender: sender_name,
        num_groups,
        mess_type,
        endian_mismatch,
        more_msgs,
    };
    receive(mbox, max_groups, results, |message, is_cut| {
        // SAFETY: as the caller promises.
        unsafe {
            let mut body = [room(mess.cast(), max_mess_len)];
            let groups = room(group_names.cast(), max_groups);
            Ok(results.write(message, is_cut, Buffers { groups, body: &mut body }))
        }
    })
}

/// As [`FL_receive`], into a body that lies in several pieces, which are filled in order.
///
/// # Errors
///
/// As for [`FL_receive`] and [`SP_scat_receive`](crate::SP_scat_receive).
///
/// # Safety
///
/// As for [`SP_scat_receive`](crate::SP_scat_receive); `more_msgs` is null or can be written
/// through.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn FL_scat_receive(
    mbox: mailbox,
    serv_type: *mut service,
    sender_name: *mut c_char,
    max_groups: c_int,
    num_groups: *mut c_int,
    group_names: *mut [c_char; NAME_LEN],
    mess_type: *mut c_short,
    endian_mismatch: *mut c_int,
    scat_mess: *mut scatter,
    more_msgs: *mut c_int,
) -> c_int {
    let results = Results {
        service_type: serv_type,
        sender: sender_name,
        num_groups,
        mess_type,
        endian_mismatch,
        more_msgs,
    };
    receive(mbox, max_groups, results, |message, is_cut| {
        // SAFETY: as the caller promises.
        unsafe {
            let mut body = room_in_pieces(scat_mess)?;
            let groups = room(group_names.cast(), max_groups);
            Ok(results.write(message, is_cut, Buffers { groups, body: &mut body }))
        }
    })
}

/// Where a receive tells what it received.
#[derive(Clone, Copy)]
struct Results {
    service_type: *mut service,
    sender: *mut c_char,
    num_groups: *mut c_int,
    mess_type: *mut c_short,
    endian_mismatch: *mut c_int,
    more_msgs: *mut c_int,
}

impl Results {
    fn are_there(&self) -> bool {
        let numbers = [self.service_type, self.num_groups, self.endian_mismatch];
        !(numbers.iter().any(|p| p.is_null()) || self.sender.is_null() || self.mess_type.is_null())
    }

    /// Hands a message over; returns the code, and whether the message is received.
    ///
    /// # Safety
    ///
    /// None of the results is null, and all can be written through.
    unsafe fn write(
        &self,
        message: &Message,
        is_cut: bool,
        buffers: Buffers<'_, '_>,
    ) -> (c_int, bool) {
        let room = buffers.body.iter().fold(0, |sum: usize, piece| sum.saturating_add(piece.len()));
        let groups_short = message.groups.len() > buffers.groups.len();
        let body_short = message.body.len() > room;
        let is_received = is_cut || !(groups_short || body_short);
        let outcome = if is_received {
            copy_in_pieces(&message.body, buffers.body);
            for (to, from) in buffers.groups.iter_mut().zip(&message.groups) {
                copy(from.as_field(), to);
            }
            // The group of a message to a subgroup is there, if there is room for one name.
            if let (Some(to), Some(group)) = (buffers.groups.last_mut(), message.groups.last())
                && groups_short
                && message.service_type.contains(SUBGROUP)
            {
                copy(group.as_field(), to);
            }
            Outcome::Delivered {
                groups: message.groups.len(),
                groups_cut: groups_short,
                data_len: message.body.len(),
                data_cut: body_short,
                foreign_sender: message.foreign_sender,
            }
        } else {
            Outcome::TooShort {
                groups: groups_short.then_some(message.groups.len()),
                data_len: body_short.then_some(message.body.len()),
            }
        };
        let received = Received {
            outcome,
            service_type: message.service_type,
            sender: message.sender,
            message_type: message.message_type,
        };
        let (code, count, mismatch) = results_of(&received);
        // SAFETY: as the caller promises.
        unsafe {
            self.service_type.write(message.service_type.bits() as service);
            write_name(self.sender, message.sender);
            self.mess_type.write(message.message_type);
            self.num_groups.write(count);
            self.endian_mismatch.write(mismatch);
        }
        (if groups_short { ErrorCode::GroupsTooShort.code() } else { code }, is_received)
    }
}

/// Receives until `write` has handed a message over.
fn receive(
    mbox: mailbox,
    max_groups: c_int,
    results: Results,
    write: impl Fn(&Message, bool) -> Result<(c_int, bool), ErrorCode> + Copy,
) -> c_int {
    if max_groups < 0 {
        return ILLEGAL_PARAM;
    }
    if !results.are_there() {
        return ErrorCode::IllegalMessage.code();
    }
    // SAFETY: not null, so it can be read.
    let flags = flags_of(unsafe { results.service_type.read() });
    let is_cut = flags.contains(ServiceType::DROP_RECV);
    let may_wait = flags.bits() & DONT_BLOCK as u32 == 0;
    let has_replied = Cell::new(false);
    let go_on = || {
        let (session, is_readable) = match held::take() {
            Some(Held::Receiving(receiving)) => {
                let is_readable = receiving.is_readable();
                (receiving.session, is_readable)
            }
            _ => (table::get(mbox)?, false),
        };
        let layer = session.flush_layer()?;
        let mut machine = layer.lock();
        let received = flush::receive(&session, &mut machine);
        has_replied.set(has_replied.get() || machine.reply().is_some());
        let sent = flush::send_replies(&session, &mut machine);
        // What is not sent goes with the next call. The program makes one if more can be
        // received; otherwise it may wait for others, which wait for this reply.
        let is_last = machine.deliveries() == 1 && !is_readable;
        let is_unsent = matches!(sent, Ok(Flushed::NoRoom | Flushed::NoMemory));
        let waits_first = may_wait && is_last && is_unsent && has_replied.get();
        if let Some(message) = machine.delivery().filter(|_| !waits_first) {
            let written = write(message, is_cut);
            if matches!(written, Ok((_, true))) {
                machine.delivered();
            }
            layer.tell_others(&machine);
            let (code, _) = written?;
            if !results.more_msgs.is_null() {
                // SAFETY: not null, so it can be written through.
                unsafe { results.more_msgs.write(count(machine.deliveries())) };
            }
            return Ok(Step::Done(code));
        }
        layer.tell_others(&machine);
        drop(machine);
        let (has_memory, flushed) = match received.and_then(|read| Ok((read, sent?))) {
            Ok(ended) => ended,
            Err(error) => {
                discard_closed(&session, error);
                return Err(error);
            }
        };
        if !may_wait {
            return Ok(Step::Done(WOULD_BLOCK));
        }
        // Of memory no event tells, and without it the socket stays readable.
        let to_read = if has_memory { libc::POLLIN } else { 0 };
        let to_write = if flushed == Flushed::NoRoom { libc::POLLOUT } else { 0 };
        // The layer's descriptor tells of the message that is here.
        let layer = if waits_first { -1 } else { layer.waiting() };
        let receiving = Receiving::new(session.clone(), to_read | to_write, layer);
        held::hold(Held::Receiving(Box::new(receiving)))?;
        let lacks_memory = !has_memory || flushed == Flushed::NoMemory;
        let time = lacks_memory.then_some(MEMORY_PAUSE);
        Ok(Step::Wait(Wait::held(time)))
    };
    complete(|_| attempt(go_on))
}
