//! Service types: what a message is, and which guarantees it has.

use bitflags::bitflags;

/// The guarantee a message is multicast with, weakest first.
///
/// Whatever the service, messages of one sender that are [`Fifo`](Self::Fifo)
/// or stronger come in the order sent, and [`Agreed`](Self::Agreed) and
/// [`Safe`](Self::Safe) messages come to all members of a group in one and the
/// same order, with the views in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u32)]
pub enum Service {
    /// May be lost, duplicated or reordered (`UNRELIABLE_MESS`).
    Unreliable = 0x01,
    /// Arrives, in no particular order (`RELIABLE_MESS`).
    Reliable = 0x02,
    /// Arrives, in the order of its sender (`FIFO_MESS`).
    Fifo = 0x04,
    /// Arrives after all messages that its sender had seen (`CAUSAL_MESS`).
    Causal = 0x08,
    /// Arrives at the same place of one total order everywhere (`AGREED_MESS`).
    Agreed = 0x10,
    /// As agreed, and only once every daemon has it (`SAFE_MESS`).
    Safe = 0x20,
}

impl Service {
    /// The six services, weakest first.
    pub const ALL: [Service; 6] = [
        Service::Unreliable,
        Service::Reliable,
        Service::Fifo,
        Service::Causal,
        Service::Agreed,
        Service::Safe,
    ];
}

impl From<Service> for ServiceType {
    fn from(service: Service) -> ServiceType {
        ServiceType::from_bits_retain(service as u32)
    }
}

bitflags! {
    /// The `type` of a header, as in `sp.h`, less the bits of the byte order.
    ///
    /// Bits that have no name are kept, so that a header survives a round trip.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ServiceType: u32 {
        /// See [`Service::Unreliable`].
        const UNRELIABLE = 0x0000_0001;
        /// See [`Service::Reliable`].
        const RELIABLE = 0x0000_0002;
        /// See [`Service::Fifo`].
        const FIFO = 0x0000_0004;
        /// See [`Service::Causal`].
        const CAUSAL = 0x0000_0008;
        /// See [`Service::Agreed`].
        const AGREED = 0x0000_0010;
        /// See [`Service::Safe`].
        const SAFE = 0x0000_0020;
        /// Any of the six services (`REGULAR_MESS`).
        const REGULAR = 0x0000_003f;
        /// The sender wants no copy.
        const SELF_DISCARD = 0x0000_0040;
        /// A membership message because of a join.
        const CAUSED_BY_JOIN = 0x0000_0100;
        /// A membership message because of a leave.
        const CAUSED_BY_LEAVE = 0x0000_0200;
        /// A membership message because a client went away.
        const CAUSED_BY_DISCONNECT = 0x0000_0400;
        /// A membership message because the daemons parted or merged.
        const CAUSED_BY_NETWORK = 0x0000_0800;
        /// A membership message with a new view.
        const REG_MEMB = 0x0000_1000;
        /// The signal that a view ends.
        const TRANSITION = 0x0000_2000;
        /// Any bit of a membership message (`MEMBERSHIP_MESS`).
        const MEMBERSHIP = 0x0000_3f00;
        /// A request to join; from client to daemon only.
        const JOIN = 0x0001_0000;
        /// A request to leave; from client to daemon only.
        const LEAVE = 0x0002_0000;
        /// A request to end the session; from client to daemon only.
        const KILL = 0x0004_0000;
        /// A message that the daemon refused to deliver.
        const REJECT = 0x0040_0000;
        /// An input flag of `SP_receive`; never on the wire.
        const DROP_RECV = 0x0100_0000;
    }
}

impl ServiceType {
    /// The type of an application's message.
    pub fn regular(service: Service, self_discard: bool) -> ServiceType {
        let mut service_type = ServiceType::from(service);
        service_type.set(ServiceType::SELF_DISCARD, self_discard);
        service_type
    }

    /// The service, if exactly one service bit is set.
    pub fn service(self) -> Option<Service> {
        let bits = (self & ServiceType::REGULAR).bits();
        // The services stand in the order of their bits.
        bits.is_power_of_two().then(|| Service::ALL[bits.trailing_zeros() as usize])
    }

    /// A message of an application (`Is_regular_mess`).
    pub fn is_regular(self) -> bool {
        self.intersects(ServiceType::REGULAR) && !self.is_reject()
    }

    /// A message about a group's members (`Is_membership_mess`).
    pub fn is_membership(self) -> bool {
        self.intersects(ServiceType::MEMBERSHIP) && !self.is_reject()
    }

    /// A message that came back to its sender (`Is_reject_mess`).
    pub fn is_reject(self) -> bool {
        self.contains(ServiceType::REJECT)
    }

    /// The answer to a leave, which has no view (`Is_self_leave`).
    pub fn is_self_leave(self) -> bool {
        self.contains(ServiceType::CAUSED_BY_LEAVE)
            && !self.intersects(ServiceType::REG_MEMB | ServiceType::TRANSITION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_service_bit_is_a_service_and_two_are_none() {
        for service in Service::ALL {
            assert_eq!(ServiceType::from(service).service(), Some(service));
            let flagged = ServiceType::from(service) | ServiceType::SELF_DISCARD;
            assert_eq!(flagged.service(), Some(service));
        }
        assert_eq!((ServiceType::AGREED | ServiceType::SAFE).service(), None);
        assert_eq!(ServiceType::JOIN.service(), None);
    }

    #[test]
    fn a_rejected_message_is_neither_regular_nor_membership() {
        let rejected = ServiceType::AGREED | ServiceType::REJECT;
        assert!(rejected.is_reject() && !rejected.is_regular() && !rejected.is_membership());
    }
}
