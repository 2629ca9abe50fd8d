//! Reads the body of a membership message where C keeps it.
//!
//! [`spread_wire::MembershipBody`] parses a body whose length is known. C's
//! getters are not told it, or only the room that there was for the body; so
//! what they need is read field by field, each at an offset that is checked
//! against what is known.

use std::ffi::c_char;
use std::marker::PhantomData;
use std::ptr;

use spread_wire::limits::NAME_FIELD;
use spread_wire::{ErrorCode, GroupId, Limits};

use crate::convert::{elements, piece};
use crate::types::{group_id, scatter, vs_set_info};

/// Where the number of sets stands.
const NUM_SETS: usize = GroupId::LEN;
/// Where the offset of the receiver's own set stands.
const OWN_SET: usize = NUM_SETS + 4;
/// Where the first set begins, with the number of its members.
const FIRST_SET: usize = OWN_SET + 4;

/// The body of a membership message.
pub(crate) enum Body<'a> {
    /// It lies in these pieces.
    Pieces(Vec<&'a [u8]>),
    /// It begins here, and is as long as it says.
    From(*const u8, PhantomData<&'a [u8]>),
}

impl<'a> Body<'a> {
    /// A body in one piece.
    ///
    /// # Safety
    ///
    /// `mess` is null or the body of a membership message as it was received,
    /// which stays as it is while the result is used.
    pub(crate) unsafe fn from_one(mess: *const c_char) -> Result<Body<'a>, ErrorCode> {
        if mess.is_null() {
            return Err(ErrorCode::IllegalMessage);
        }
        Ok(Body::From(mess.cast(), PhantomData))
    }

    /// A body in several pieces.
    ///
    /// # Safety
    ///
    /// `scat` is null or a scatter with pieces that are null or as long as told,
    /// and stay as they are while the result is used.
    pub(crate) unsafe fn from_pieces(scat: *const scatter) -> Result<Body<'a>, ErrorCode> {
        // SAFETY: as the caller promises.
        let elements = unsafe { elements(scat)? };
        // SAFETY: as the caller promises.
        let pieces = elements.iter().map(|element| unsafe { piece(element) });
        Ok(Body::Pieces(pieces.collect::<Result<_, _>>()?))
    }

    /// The id of the view.
    pub(crate) fn group_id(&self) -> Result<group_id, ErrorCode> {
        Ok(group_id { id: [self.word(0)? as i32, self.word(4)? as i32, self.word(8)? as i32] })
    }

    /// The number of sets.
    pub(crate) fn num_sets(&self) -> Result<u32, ErrorCode> {
        self.word(NUM_SETS)
    }

    /// Where the receiver's own set begins.
    pub(crate) fn own_set(&self) -> Result<usize, ErrorCode> {
        FIRST_SET.checked_add(self.word(OWN_SET)? as usize).ok_or(ErrorCode::IllegalMessage)
    }

    /// The first member of the first set.
    pub(crate) fn first_member(&self) -> Result<[u8; NAME_FIELD], ErrorCode> {
        let mut name = [0; NAME_FIELD];
        self.read(FIRST_SET + 4, &mut name)?;
        Ok(name)
    }

    /// The set that begins there, all of whose members are within the body.
    pub(crate) fn set(&self, at: usize) -> Result<vs_set_info, ErrorCode> {
        let num_members = self.word(at)?;
        let members_offset = u32::try_from(at + 4).map_err(|_| ErrorCode::IllegalMessage)?;
        let set = vs_set_info { num_members, members_offset };
        self.members(&set)?;
        Ok(set)
    }

    /// All sets, and the place of the receiver's own among them.
    pub(crate) fn sets(&self) -> Result<(Vec<vs_set_info>, usize), ErrorCode> {
        let own_at = self.own_set()?;
        let mut own = None;
        let mut sets = Vec::new();
        let mut at = FIRST_SET;
        for index in 0..self.num_sets()? as usize {
            if at == own_at {
                own = Some(index);
            }
            let set = self.set(at)?;
            at += 4 + set.num_members as usize * NAME_FIELD;
            sets.push(set);
        }
        Ok((sets, own.ok_or(ErrorCode::IllegalMessage)?))
    }

    /// The number of members of a set, all of whom are within the body.
    pub(crate) fn members(&self, set: &vs_set_info) -> Result<usize, ErrorCode> {
        let count = set.num_members as usize;
        let len = count.checked_mul(NAME_FIELD).ok_or(ErrorCode::IllegalMessage)?;
        self.check(set.members_offset as usize, len)?;
        Ok(count)
    }

    fn word(&self, at: usize) -> Result<u32, ErrorCode> {
        let mut bytes = [0; 4];
        self.read(at, &mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    /// Copies bytes out of the body.
    pub(crate) fn read(&self, at: usize, to: &mut [u8]) -> Result<(), ErrorCode> {
        self.check(at, to.len())?;
        match self {
            Body::From(begin, _) => {
                // SAFETY: a body that is as it was received holds what it
                // announces, and nothing else is read; it is not where we write,
                // which is borrowed.
                unsafe { ptr::copy_nonoverlapping(begin.add(at), to.as_mut_ptr(), to.len()) };
            }
            Body::Pieces(pieces) => {
                let bytes = pieces.iter().copied().flatten().skip(at);
                to.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            }
        }
        Ok(())
    }

    /// Checks that the body can have so many bytes there.
    fn check(&self, at: usize, len: usize) -> Result<(), ErrorCode> {
        let most = match self {
            // No daemon sends a longer one.
            Body::From(..) => Limits::FROM_DAEMON.data,
            Body::Pieces(pieces) => {
                pieces.iter().fold(0, |sum: usize, piece| sum.saturating_add(piece.len()))
            }
        };
        let end = at.checked_add(len).ok_or(ErrorCode::IllegalMessage)?;
        if end > most { Err(ErrorCode::IllegalMessage) } else { Ok(()) }
    }
}
