//! Fences: what storage checks, so that a former leader or holder changes nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The place in the log of the request for a lock, or of the confirmation of a term, given with
/// each lock and leadership of a group with [voters](crate::voters). A later holder of one lock
/// has a greater fence, and so has a later term.
///
/// A member learns late that it leads no more, or that its lock has another holder: a stalled
/// process or a slow network makes the two overlap in time. What excludes them is the storage that
/// they write to. It keeps the greatest fence that it has seen for each resource, in one
/// transaction with the write, and refuses a smaller one. `fence` is `NOT NULL`, at first `''`:
///
/// ```sql
/// UPDATE boiler SET setting = $1, fence = $2 WHERE id = 7 AND fence <= $2;  -- no row: refused
/// ```
///
/// Compare fences of one lock, or of the leadership, and guard each resource by one of them: those
/// of two locks say nothing of each other, since a lock can be granted long after its request.
///
/// A fence is ordered, and so are its text of 33 characters (`to_string`) and its 16 bytes
/// ([`to_bytes`](Fence::to_bytes)), which a column or an object's metadata can hold. Storage that
/// cannot compare is not protected.
///
/// Storage compares; it seldom has to make a fence again of what it keeps. For that there are
/// `FromStr`, [`from_bytes`](Fence::from_bytes) and serde (`Serialize`, `Deserialize`). The text is
/// 16 hexadecimal digits of the epoch, a hyphen, and 16 of the index:
///
/// ```
/// use spread_groups::Fence;
///
/// let fence = Fence::from_bytes([7; 16]);
/// assert_eq!(fence.to_string(), "0707070707070707-0707070707070707");
/// assert_eq!("0707070707070707-0707070707070707".parse(), Ok(fence));
/// "".parse::<Fence>().unwrap_err();
/// ```
///
/// For a [read-write lock](crate::RwLock), storage keeps two fences: that of the last write, and
/// the greatest of all. A write below the greatest of all is refused; a read below that of the last
/// write is refused; a read raises only the greatest of all.
///
/// ```
/// use spread_groups::Fence;
///
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let node = spread_groups::Node::connect(spread::Mailbox::builder(daemon.address()))?;
/// # let plant = node.group("plant")?.voters(["ann"]).votes_as("ann").join()?;
/// let former: Fence = plant.mutex("boiler").lock().wait()?.fence();
/// let next: Fence = plant.mutex("boiler").lock().wait()?.fence();
/// assert!(former < next && former.to_string() < next.to_string());
/// assert_eq!(Fence::from_bytes(next.to_bytes()), next);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The order goes on while a majority of the voters keeps its state, and after
/// [`force_primary`](crate::VotedGroup::force_primary) with the members that it was forced with. If
/// all members end, the next ones found another group, whose fences begin anew. If a side was forced
/// while the other one lived, and its members end before the two meet, the other one's are smaller.
/// In both cases the storage has to forget its own, once no former member can write any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence {
    pub(crate) epoch: u64,
    pub(crate) index: u64,
}

impl Fence {
    /// Returns the epoch under which the operation was logged: a number that is raised whenever a
    /// majority forms anew.
    pub fn epoch(self) -> u64 {
        self.epoch
    }

    /// Returns the index of the operation in the log.
    pub fn index(self) -> u64 {
        self.index
    }

    /// Returns the fence as bytes, which are ordered as fences are.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.epoch) << 64 | u128::from(self.index)).to_be_bytes()
    }

    /// Returns the fence of [`to_bytes`](Fence::to_bytes).
    pub fn from_bytes(bytes: [u8; 16]) -> Fence {
        let both = u128::from_be_bytes(bytes);
        Fence { epoch: (both >> 64) as u64, index: both as u64 }
    }
}

impl fmt::Display for Fence {
    /// Writes both numbers as 16 hexadecimal digits each, so that texts are ordered as fences are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.epoch, self.index)
    }
}

/// A text is not that of a [`Fence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fence is 16 lower-case hexadecimal digits, a hyphen, and 16 more")]
pub struct ParseFenceError(());

impl FromStr for Fence {
    type Err = ParseFenceError;

    /// Reads what `to_string` returns, and nothing else: texts that differ are different fences.
    fn from_str(text: &str) -> Result<Fence, ParseFenceError> {
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        let both = text.split_once('-');
        both.and_then(|(epoch, index)| Some(Fence { epoch: number(epoch)?, index: number(index)? }))
            .filter(|fence| fence.to_string() == text)
            .ok_or(ParseFenceError(()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_and_bytes_are_ordered_as_fences_are(one: (u64, u64), other: (u64, u64)) {
            let [one, other] = [one, other].map(|(epoch, index)| Fence { epoch, index });
            let order = one.cmp(&other);
            prop_assert_eq!(one.to_string().cmp(&other.to_string()), order);
            prop_assert_eq!(one.to_bytes().cmp(&other.to_bytes()), order);
            prop_assert_eq!(Fence::from_bytes(one.to_bytes()), one);
            prop_assert_eq!(one.to_string().parse(), Ok(one));
            let encoded = postcard::to_allocvec(&one).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Fence>(&encoded).unwrap(), one);
        }
    }

    #[test]
    fn only_the_text_of_a_fence_is_one() {
        let text = Fence::from_bytes([0xa7; 16]).to_string();
        let near = ["", "-", "a7-a7", &text.to_uppercase(), &text[1..], &format!("{text} ")];
        let signed = ["+7a7a7a7a7a7a7a7-a7a7a7a7a7a7a7a7", "a7a7a7a7a7a7a7a7a-7a7a7a7a7a7a7a7"];
        for wrong in near.into_iter().chain(signed) {
            assert_eq!(wrong.parse::<Fence>(), Err(ParseFenceError(())), "{wrong:?}");
        }
    }
}
