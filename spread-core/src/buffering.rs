//! Sends that are buffered, to go with few system calls.

use spread_wire::{Name, ServiceType};

use crate::error::is_resource;
use crate::outbox::Buffered;
use crate::stream::Mode;
use crate::{Connection, Error};

impl Connection {
    /// Copies a message into the buffer of the connection, if that has room: at most
    /// [`BUFFER`](crate::BUFFER) bytes wait to be sent. Makes no system call.
    ///
    /// Messages are sent in the order in which they were taken or sent: all other calls send
    /// what is buffered first. What is buffered goes with [`try_flush`](Connection::try_flush),
    /// with the next call that sends, or with [`try_close`](Connection::try_close); a
    /// connection that is dropped without them loses it.
    ///
    /// # Errors
    ///
    /// As for [`multicast`](Connection::multicast): also if sending what was buffered before
    /// has failed.
    ///
    /// # Panics
    ///
    /// As for [`multicast`](Connection::multicast).
    #[inline]
    pub fn try_buffer(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        body: &[u8],
    ) -> Result<Buffered, Error> {
        let header = self.header(service_type, groups, message_type, body.len());
        let mut sending = self.sending()?;
        let buffered = sending.buffer(&header, groups, body);
        if buffered != Buffered::Full {
            self.traffic.add(1, header.frame_len());
        }
        Ok(buffered)
    }

    /// Copies a message into the buffer, whether or not it has room. The caller has seen
    /// [room](Connection::try_room) and takes one message for it, so that what waits is bounded.
    ///
    /// # Errors
    ///
    /// As for [`try_buffer`](Connection::try_buffer).
    ///
    /// # Panics
    ///
    /// As for [`multicast`](Connection::multicast).
    pub fn buffer_beyond(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        body: &[u8],
    ) -> Result<Buffered, Error> {
        let header = self.header(service_type, groups, message_type, body.len());
        let mut sending = self.sending()?;
        let buffered = sending.append(&header, groups, body);
        self.traffic.add(1, header.frame_len());
        Ok(buffered)
    }

    /// Whether less than [`BUFFER`](crate::BUFFER) bytes wait to be sent, after sending what
    /// there is room for if they are more.
    ///
    /// # Errors
    ///
    /// As for [`multicast`](Connection::multicast).
    pub fn try_room(&self) -> Result<bool, Error> {
        let mut sending = self.sending()?;
        if sending.has_room() {
            return Ok(true);
        }
        match sending.flush(&self.stream, Mode::Try) {
            Err(error) if !(is_resource(&error) && sending.has_room()) => Err(self.failed(error)),
            _ => Ok(sending.has_room()),
        }
    }

    /// The position behind all that is buffered, for [`try_flush_to`](Connection::try_flush_to).
    ///
    /// # Errors
    ///
    /// As for [`multicast`](Connection::multicast).
    pub fn buffered(&self) -> Result<u64, Error> {
        Ok(self.sending()?.taken())
    }

    /// Sends what is buffered, as far as there is room; says whether all that was up to a
    /// position has gone.
    ///
    /// # Errors
    ///
    /// As for [`multicast`](Connection::multicast).
    pub fn try_flush_to(&self, position: u64) -> Result<bool, Error> {
        let mut sending = self.sending()?;
        sending.flush_to(&self.stream, position).map_err(|e| self.failed(e))
    }

    /// Whether all that was taken up to a position has gone, also on a connection that has ended
    /// since.
    pub fn has_sent(&self, position: u64) -> bool {
        self.turns.take().has_sent(position)
    }
}
