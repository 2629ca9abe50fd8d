//! The views that are current, kept from the messages as they come.

use std::collections::{BTreeMap, HashSet};

use spread_wire::Name;

use crate::{Message, ToGroup, View};

/// Follows the views of all groups of a mailbox.
///
/// Hand it every message, or at least those that are not regular:
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let mut mailbox = spread::Mailbox::connect(daemon.address())?;
/// use spread::Views;
///
/// mailbox.join("chat")?;
/// let mut views = Views::new();
/// let message = mailbox.receive()?;
/// let former = views.follow(&message);
/// assert_eq!(former, None, "the first view of the group");
/// assert!(views.of("chat").is_some_and(|view| view.am_first()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Views {
    groups: BTreeMap<Name, Group>,
}

#[derive(Clone, Debug)]
struct Group {
    view: View,
    transitional: bool,
    /// The members, those that have been there for longest first, as far as was seen.
    seniority: Vec<Name>,
}

impl Views {
    /// Of no groups so far.
    pub fn new() -> Views {
        Views::default()
    }

    /// Takes note of a message; returns the view of its group that it ends, be it
    /// for a new one or because this mailbox has left.
    pub fn follow(&mut self, message: &Message) -> Option<View> {
        match message {
            Message::Membership(view) => {
                let former = self.groups.remove(&view.group);
                let seniority = seniority(former.as_ref(), view);
                let group = Group { view: view.clone(), transitional: false, seniority };
                self.groups.insert(view.group, group);
                former.map(|former| former.view)
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
    pub fn of(&self, group: impl ToGroup) -> Option<&View> {
        self.group(group).map(|group| &group.view)
    }

    /// Returns the member that has been in a group for longest, as far as this client saw;
    /// `None` if this mailbox is not a member.
    ///
    /// It stays the same while that member stays, unlike [`View::first`]. Those who were there
    /// before this client, or came in one view, count in the order of the view. So clients
    /// that joined at different times may name different members until those that were there
    /// before have gone, and after a partition each side names one of its own. Where at most one
    /// may act, ask a majority, or keep the order of joining in replicated state.
    pub fn longest_member(&self, group: impl ToGroup) -> Option<Name> {
        self.group(group)?.seniority.first().copied()
    }

    /// Whether the view of a group is about to end: its transitional signal has
    /// come, and the next view has not.
    pub fn is_transitional(&self, group: impl ToGroup) -> bool {
        self.group(group).is_some_and(|group| group.transitional)
    }

    /// The current views of all groups, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &View> {
        self.groups.values().map(|group| &group.view)
    }

    /// Forgets all groups, as when the connection is lost.
    pub fn clear(&mut self) {
        self.groups.clear();
    }

    fn group(&self, group: impl ToGroup) -> Option<&Group> {
        self.groups.get(group.group_bytes())
    }
}

/// Those who stay, in their order, and behind them those who are new.
fn seniority(former: Option<&Group>, view: &View) -> Vec<Name> {
    let former = former.map_or(&[][..], |former| &former.seniority);
    let stay: HashSet<_> = view.members.iter().collect();
    let known: HashSet<_> = former.iter().collect();
    let old = former.iter().filter(|member| stay.contains(member));
    old.chain(view.members.iter().filter(|member| !known.contains(member))).copied().collect()
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
        let id = GroupId { proc_id: 1, time: 2, index };
        let members: Vec<_> = members.iter().map(|member| name(member)).collect();
        let cause = Cause::Joined(members[0]);
        View::new(name("g"), id, members, 0, cause)
    }

    #[test]
    fn the_last_view_is_the_current_one() {
        let mut views = Views::new();
        let (first, second) = (view(1, &["#a#d"]), view(2, &["#a#d", "#b#d"]));
        assert_eq!(views.follow(&Message::Membership(first.clone())), None);
        let former = views.follow(&Message::Membership(second.clone()));
        assert_eq!(former.as_ref(), Some(&first));
        assert_eq!(views.of("g"), Some(&second));
        assert_eq!(second.new_since(&first), [name("#b#d")]);
        assert_eq!(first.gone_since(&second), [name("#b#d")]);
    }

    #[test]
    fn a_view_is_transitional_from_the_signal_to_the_next_view() {
        let mut views = Views::new();
        let first = view(1, &["#a#d"]);
        views.follow(&Message::Membership(first.clone()));
        let signal = Transitional { group: first.group, id: first.id };
        views.follow(&Message::Transitional(signal));
        assert!(views.is_transitional("g"));
        views.follow(&Message::Membership(view(2, &["#a#d"])));
        assert!(!views.is_transitional("g"));
    }

    #[test]
    fn a_group_that_was_left_has_no_view() {
        let mut views = Views::new();
        let first = view(1, &["#a#d"]);
        views.follow(&Message::Membership(first.clone()));
        let left = views.follow(&Message::SelfLeave(SelfLeave { group: first.group }));
        assert_eq!(left, Some(first));
        assert_eq!(views.of("g"), None);
        assert_eq!(views.iter().len(), 0);
    }

    #[test]
    fn a_group_is_asked_for_in_any_form_whatever_its_name() {
        let mut views = Views::new();
        let odd = Name::new("two words").unwrap();
        let of_odd = View { group: odd, ..view(1, &["#a#d"]) };
        for view in [view(1, &["#a#d"]), of_odd] {
            views.follow(&Message::Membership(view));
        }
        assert!(views.of("g").is_some() && views.of(String::from("g")).is_some());
        assert!(views.of(b"g").is_some() && views.of("h").is_none() && views.of("").is_none());
        assert_eq!(views.of(odd).map(|view| view.group), Some(odd));
    }

    #[test]
    fn the_longest_member_stays_until_it_goes() {
        let mut views = Views::new();
        let longest = |views: &mut Views, index, members: &[&str]| {
            views.follow(&Message::Membership(view(index, members)));
            views.longest_member("g").unwrap()
        };
        assert_eq!(longest(&mut views, 1, &["#m#d"]), "#m#d");
        assert_eq!(longest(&mut views, 2, &["#a#d", "#m#d"]), "#m#d", "a joins and comes first");
        assert_eq!(longest(&mut views, 3, &["#a#d", "#b#c", "#m#d"]), "#m#d");
        assert_eq!(longest(&mut views, 4, &["#b#c", "#a#d"]), "#a#d", "m has gone");
        assert_eq!(views.longest_member("other"), None);
    }
}
