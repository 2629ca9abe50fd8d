//! Receiving in groups with view synchrony.

use std::time::{Duration, Instant};

use spread_core::flush::{MAX_REPLIES, Packet, Received};

use super::{Error, Event, Mailbox};
use crate::connection::Wait;
use crate::message::sender_order;

impl Mailbox {
    /// Waits for the next event, as `FL_receive(3)` does.
    ///
    /// What the mailbox has to answer by itself is sent within the receives: to the members that
    /// wait for a view, for example while this mailbox joins.
    ///
    /// # Errors
    ///
    /// - [`Overrun`](Error::Overrun) if there is more than the mailbox keeps.
    /// - [`Spread`](Error::Spread): those of
    ///   [`spread::Receiver::receive`](crate::Receiver::receive).
    pub fn receive(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.take(Wait::Forever)? {
                return Ok(event);
            }
        }
    }

    /// Waits for the next event for as long as `timeout`; `None` if none came.
    ///
    /// # Errors
    ///
    /// Those of [`receive`](Mailbox::receive), where they are listed.
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        // A time that is out of reach is no deadline at all.
        self.take(Wait::until(Instant::now().checked_add(timeout)))
    }

    /// Waits for the next event until `deadline`; `None` if none came.
    ///
    /// # Errors
    ///
    /// Those of [`receive`](Mailbox::receive), where they are listed.
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<Event>, Error> {
        self.take(Wait::Until(deadline))
    }

    /// Receives an event if that needs no waiting; `None` otherwise. What gives no event, such as
    /// a message of a client that is no member, is read as long as there is some. An
    /// [`Interrupter`](crate::Interrupter) has no effect on it.
    ///
    /// # Errors
    ///
    /// Those of [`receive`](Mailbox::receive), where they are listed.
    pub fn try_receive(&mut self) -> Result<Option<Event>, Error> {
        self.take(Wait::No)
    }

    fn take(&mut self, wait: Wait) -> Result<Option<Event>, Error> {
        loop {
            let answered = self.try_send_answers();
            let is_answered = matches!(answered, Ok(true));
            if self.machine.delivery().is_some() {
                // The program may wait for others before it receives again, and they for the
                // answer.
                let is_last = self.machine.deliveries() == 1;
                let may_wait = !matches!(wait, Wait::No) && !wait.is_over();
                if matches!(answered, Ok(false)) && is_last && may_wait {
                    if !self.receiver.wait_either(wait)? {
                        continue;
                    }
                    match self.read(Wait::No) {
                        // It is told when everything has been delivered.
                        Err(Error::Spread(_)) => {}
                        read => {
                            read?;
                            continue;
                        }
                    }
                }
                if let Some(event) = self.deliver()? {
                    return Ok(Some(event));
                }
                continue;
            }
            // What has come before the end of the connection is received.
            let may_wait = if is_answered { wait } else { Wait::No };
            if self.read(may_wait)? {
                // Others may send without end what gives no event.
                let is_silent = self.machine.delivery().is_none() && !matches!(wait, Wait::No);
                if is_silent && self.connection().wake()?.take() {
                    return Err(Error::Spread(crate::Error::Interrupted));
                }
                if is_silent && wait.is_over() {
                    return Ok(None);
                }
                continue;
            }
            if answered? || matches!(wait, Wait::No) {
                return Ok(None);
            }
            if !self.receiver.wait_either(wait)? && wait.is_over() {
                return Ok(None);
            }
        }
    }

    /// Gives a message to the machine, if one comes.
    fn read(&mut self, wait: Wait) -> Result<bool, Error> {
        let has_come = self.receiver.take_into(wait, &mut self.buffer)?;
        if has_come {
            self.input()?;
        }
        Ok(has_come)
    }

    /// The next event; `None` if it asks for a flush of a group that the mailbox is leaving.
    fn deliver(&mut self) -> Result<Option<Event>, Error> {
        let Some(message) = self.machine.take_delivery() else { return Ok(None) };
        let event = Event::of(message).map_err(|error| self.connection().broken(error))?;
        Ok(match &event {
            Event::FlushRequest(request) if self.machine.may_leave(&request.group()).is_err() => {
                None
            }
            _ => Some(event),
        })
    }

    /// Gives what has been received to the machine.
    fn input(&mut self) -> Result<(), Error> {
        let (received, groups, body) = self.buffer.buffers.parts();
        let received = Received {
            service_type: received.service_type,
            sender: received.sender,
            groups,
            message_type: received.message_type,
            sender_order: sender_order(received.endian_mismatch),
            order: received.order,
            body,
        };
        // What Flush Spread does not send is another program's, with a type of the layer.
        let Some(packet) = Packet::read(&received, self.sender.private_group()) else {
            return Ok(());
        };
        let taken = self.machine.input(packet);
        if taken.is_err() || self.answers.len() > MAX_REPLIES {
            self.sender.shut_down();
            return Err(Error::Overrun);
        }
        Ok(())
    }
}
