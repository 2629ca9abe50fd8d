//! The views that are current, kept from the messages as they come.

use std::collections::BTreeMap;

use spread_wire::Name;

use crate::{Message, View};

/// Follows the views of all groups of a mailbox.
///
/// Hand it every message, or at least those that are not regular:
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let mut mailbox = spread::Mailbox::connect(daemon.address())?;
/// use spread::Membership;
///
/// mailbox.join("chat")?;
/// let mut membership = Membership::new();
/// let message = mailbox.receive()?;
/// let former = membership.follow(&message);
/// assert_eq!(former, None, "the first view of the group");
/// assert!(membership.view("chat").is_some_and(|view| view.am_first()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Membership {
    groups: BTreeMap<Name, Group>,
}

#[derive(Clone, Debug)]
struct Group {
    view: View,
    transitional: bool,
}

impl Membership {
    /// Of no groups so far.
    pub fn new() -> Membership {
        Membership::default()
    }

    /// Takes note of a message; returns the view of its group that it ends, be it
    /// for a new one or because this mailbox has left.
    pub fn follow(&mut self, message: &Message) -> Option<View> {
        match message {
            Message::Membership(view) => {
                let group = Group { view: view.clone(), transitional: false };
                self.groups.insert(view.group, group).map(|former| former.view)
            }
            Message::Transitional(signal) => {
                if let Some(group) = self.groups.get_mut(&signal.group) {
                    group.transitional = true;
                }
                None
            }
            Message::SelfLeave(leave) => self.groups.remove(&leave.group).map(|former| former.view),
            Message::Regular(_) | Message::Rejected(_) => None,
        }
    }

    /// The current view of a group; `None` if this mailbox is not a member.
    pub fn view(&self, group: impl AsRef<[u8]>) -> Option<&View> {
        self.group(group).map(|group| &group.view)
    }

    /// Whether the view of a group is about to end: its transitional signal has
    /// come, and the next view has not.
    pub fn is_transitional(&self, group: impl AsRef<[u8]>) -> bool {
        self.group(group).is_some_and(|group| group.transitional)
    }

    /// The current views of all groups, in the order of their names.
    pub fn views(&self) -> impl ExactSizeIterator<Item = &View> {
        self.groups.values().map(|group| &group.view)
    }

    /// Forgets all groups, as when the connection is lost.
    pub fn clear(&mut self) {
        self.groups.clear();
    }

    fn group(&self, group: impl AsRef<[u8]>) -> Option<&Group> {
        self.groups.get(&Name::new(group).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use spread_wire::GroupId;

    use super::*;
    use crate::{Cause, SelfLeave, Transitional};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn view(index: i32, members: &[&str]) -> View {
        View {
            group: name("g"),
            id: GroupId { proc_id: 1, time: 2, index },
            members: members.iter().map(|member| name(member)).collect(),
            my_index: 0,
            cause: Cause::Joined(name(members[0])),
        }
    }

    #[test]
    fn the_last_view_is_the_current_one() {
        let mut membership = Membership::new();
        let (first, second) = (view(1, &["#a#d"]), view(2, &["#a#d", "#b#d"]));
        assert_eq!(membership.follow(&Message::Membership(first.clone())), None);
        let former = membership.follow(&Message::Membership(second.clone()));
        assert_eq!(former.as_ref(), Some(&first));
        assert_eq!(membership.view("g"), Some(&second));
        assert_eq!(second.new_since(&first), [name("#b#d")]);
        assert_eq!(first.gone_since(&second), [name("#b#d")]);
    }

    #[test]
    fn a_view_is_transitional_from_the_signal_to_the_next_view() {
        let mut membership = Membership::new();
        let first = view(1, &["#a#d"]);
        membership.follow(&Message::Membership(first.clone()));
        let signal = Transitional { group: first.group, id: first.id };
        membership.follow(&Message::Transitional(signal));
        assert!(membership.is_transitional("g"));
        membership.follow(&Message::Membership(view(2, &["#a#d"])));
        assert!(!membership.is_transitional("g"));
    }

    #[test]
    fn a_group_that_was_left_has_no_view() {
        let mut membership = Membership::new();
        let first = view(1, &["#a#d"]);
        membership.follow(&Message::Membership(first.clone()));
        let left = membership.follow(&Message::SelfLeave(SelfLeave { group: first.group }));
        assert_eq!(left, Some(first));
        assert_eq!(membership.view("g"), None);
        assert_eq!(membership.views().len(), 0);
    }
}
