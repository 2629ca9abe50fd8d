//! Writes what a model's daemons deliver into the lives of its clients.

use bytes::BytesMut;
use spread_wire::{Frame, Limits};

use super::properties::{Life, Told};
use super::{Deliver, SessionId};

pub(super) struct Pen<'a> {
    pub(super) lives: &'a mut Vec<Life>,
    /// Which life each client is in; a client's number is that of its session.
    pub(super) now: &'a [Option<usize>],
}

impl Deliver for Pen<'_> {
    fn deliver(&mut self, to: impl IntoIterator<Item = SessionId>, frame: &[u8]) {
        let frame = Frame::decode(&mut BytesMut::from(frame), Limits::FROM_DAEMON);
        let told = Told::of(&frame.unwrap().unwrap());
        for SessionId(client) in to {
            let life = self.now[client].expect("nobody is there to get it");
            self.lives[life].told.push(told.clone());
        }
    }
}
