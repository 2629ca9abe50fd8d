//! What a mailbox with view synchrony receives.

use spread_core::flush::{FLUSH_REQUEST, Message};
use spread_wire::{Cause as WireCause, DeliveryError, Name, ServiceType};

use crate::{Cause, ProtocolError, RegularMessage, RejectedMessage, SelfLeave, View};

/// What a [`Mailbox`](super::Mailbox) with view synchrony receives.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message of an application, in the view in which it was sent.
    Message {
        /// The group in whose view it was sent; the own private group if it was sent to that.
        group: Name,
        /// The message; its `groups` are the receivers if it was sent to a subgroup.
        message: RegularMessage,
    },
    /// A group is about to have a new view: send what is to be sent in the present one, then
    /// [flush](super::Mailbox::flush). The other members wait for that.
    FlushRequest(FlushRequest),
    /// A group has a new view: all its members have flushed the group.
    ///
    /// Of a [`Cause::Network`], `vs_sets` has one set: the members that have come together with
    /// this mailbox. It is also the cause of views that stand for several changes.
    View(View),
    /// A member of the group's view is gone: messages that follow in this view may not have
    /// reached it.
    Transitional {
        /// The group.
        group: Name,
    },
    /// The mailbox has left a group.
    SelfLeave(SelfLeave),
    /// The daemon refused to deliver a message of this mailbox.
    Rejected(RejectedMessage),
}

/// The request to flush a group before its next view, to be answered by
/// [`Mailbox::flush`](super::Mailbox::flush) once: the other members wait for it.
///
/// The flush uses it up, so a group is flushed when it is asked for, and once:
///
/// ```compile_fail,E0382
/// # fn answer(mailbox: &mut spread::flush::Mailbox, request: spread::flush::FlushRequest)
/// # -> Result<(), spread::flush::Error> {
/// mailbox.flush(request)?;
/// mailbox.flush(request)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the other members of the group wait for the flush"]
pub struct FlushRequest {
    group: Name,
}

impl FlushRequest {
    /// The group that is to be flushed.
    pub fn group(&self) -> Name {
        self.group
    }
}

impl Event {
    /// Makes an event of what the machine delivers.
    pub(super) fn of(message: Message) -> Result<Event, ProtocolError> {
        let (flags, group) = (message.service_type, message.sender);
        if flags.is_reject() {
            let rejected =
                RejectedMessage::new(message.groups, flags - ServiceType::REJECT, message.body);
            return Ok(Event::Rejected(rejected.with_message_type(message.message_type)));
        }
        if let Some((id, names)) = message.view() {
            let cause = match (WireCause::of(flags), names.first()) {
                (Some(WireCause::Join), Some(member)) => Cause::Joined(*member),
                (Some(WireCause::Leave), Some(member)) => Cause::Left(*member),
                (Some(WireCause::Disconnect), Some(member)) => Cause::Disconnected(*member),
                (Some(WireCause::Network), _) => Cause::Network { vs_sets: vec![names], mine: 0 },
                _ => return Err(ProtocolError::View),
            };
            let my_index = usize::try_from(message.message_type).unwrap_or(usize::MAX);
            if my_index >= message.groups.len() {
                return Err(ProtocolError::View);
            }
            return Ok(Event::View(View::new(group, id, message.groups, my_index, cause)));
        }
        if flags == FLUSH_REQUEST {
            return Ok(Event::FlushRequest(FlushRequest { group }));
        }
        if flags.is_membership() {
            return Ok(match flags.is_self_leave() {
                true => Event::SelfLeave(SelfLeave::new(group)),
                false => Event::Transitional { group },
            });
        }
        Event::regular(message)
    }

    fn regular(mut message: Message) -> Result<Event, ProtocolError> {
        let flags = message.service_type;
        let unknown = DeliveryError::ServiceType(flags);
        let service = flags.service().ok_or(ProtocolError::Delivery(unknown))?;
        let group = message.take_group();
        let sent = RegularMessage::new(message.sender, message.groups, service, message.body)
            .with_message_type(message.message_type)
            .with_self_discard(flags.contains(ServiceType::SELF_DISCARD))
            .with_endian_mismatch(message.foreign_sender);
        Ok(Event::Message { group, message: sent })
    }
}
