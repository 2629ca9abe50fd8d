//! What Flush Spread knows of one group: the view that the application has, and the views of
//! Spread that are still to come.
//!
//! Spread installs views without asking. Here each of them is *pending* until all its members
//! have flushed the group: then nobody sends in the former view any more, and everything that
//! was sent in it has come. A pending view in which somebody leaves without having flushed
//! can never be installed; it is dropped, and what it would have told becomes part of the
//! next one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use spread_wire::limits::NAME_FIELD;
use spread_wire::{GroupId, Name, ServiceType};

use super::machine::Outputs;
use super::packet::{CONFIRMED, FLUSH_OK, FLUSH_REQUEST, Message, NewView};

/// Flushes of one client for views that Spread has not delivered. A flush is FIFO and may
/// overtake a view; one whose view came before the receiver joined waits for nothing.
const MAX_AHEAD: usize = 100;

/// Clients with such flushes. They need not be members yet; a view has at most as many members.
const MAX_AHEAD_SENDERS: usize = 16_384;

/// Bytes of messages and views that may wait until members have flushed the group.
const MAX_WAITING: usize = 64 << 20;

/// Bytes that a group, a sender of such flushes and each of the flushes take at most, with what is
/// around them.
const GROUP: usize = 1024;
const AHEAD_SENDER: usize = 256;
const AHEAD_ID: usize = 24;

/// How far the receiver is a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    /// Spread has delivered a view with it, but no view has been installed.
    Joining,
    Joined,
    Leaving,
}

/// How far the change to the next view is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No view is pending, and all members have installed this one.
    Steady,
    /// No view is pending; some members may not have installed this one.
    Unconfirmed,
    /// The application has been asked to flush the group.
    Requested,
    /// The receiver has flushed the group for the first pending view.
    Flushed,
}

/// The view that the application has.
#[derive(Debug)]
struct View {
    id: GroupId,
    members: Vec<Name>,
    /// Those of the members that have not left since.
    present: BTreeSet<Name>,
    /// Whether the application knows that somebody has left.
    is_signalled: bool,
}

/// A view of Spread that has not been installed.
#[derive(Debug)]
struct Pending {
    view: NewView,
    present: BTreeSet<Name>,
    flushed: BTreeSet<Name>,
}

impl Pending {
    fn is_complete(&self) -> bool {
        self.view.members.iter().all(|member| self.flushed.contains(member))
    }

    /// Bytes that it takes at most: the names, in a list and two sets, and what is around them.
    fn len(&self) -> usize {
        (3 * self.view.members.len() + self.view.set.len()) * NAME_FIELD + 1024
    }
}

/// Flushes for views that have not come from Spread.
#[derive(Debug, Default)]
struct Ahead {
    senders: BTreeMap<Name, AheadOf>,
    /// The senders by the number of their last one.
    order: BTreeMap<u64, Name>,
    /// Flushes so far.
    count: u64,
    /// Flushes that are kept.
    kept: usize,
}

/// Those of one sender, the oldest first.
#[derive(Debug, Default)]
struct AheadOf {
    ids: VecDeque<GroupId>,
    /// The number of its last one.
    last: u64,
}

impl Ahead {
    /// Keeps a flush. A sender that has too many loses its own oldest one; if there are too
    /// many senders, the one that has been silent for longest loses all.
    fn insert(&mut self, sender: Name, id: GroupId) {
        if self.senders.len() >= MAX_AHEAD_SENDERS
            && !self.senders.contains_key(&sender)
            && let Some((_, silent)) = self.order.pop_first()
        {
            let forgotten = self.senders.remove(&silent);
            self.kept -= forgotten.map_or(0, |of| of.ids.len());
        }
        self.count += 1;
        let of = self.senders.entry(sender).or_default();
        self.order.remove(&of.last);
        of.last = self.count;
        self.order.insert(of.last, sender);
        if !of.ids.contains(&id) {
            of.ids.push_back(id);
            self.kept += 1;
        }
        if of.ids.len() > MAX_AHEAD {
            of.ids.pop_front();
            self.kept -= 1;
        }
    }

    /// Bytes that they take at most.
    fn len(&self) -> usize {
        self.senders.len() * AHEAD_SENDER + self.kept * AHEAD_ID
    }

    /// Whether a client has flushed for a view; forgets it.
    fn take(&mut self, sender: &Name, id: GroupId) -> bool {
        let Some(of) = self.senders.get_mut(sender) else { return false };
        let before = of.ids.len();
        of.ids.retain(|&other| other != id);
        let is_there = of.ids.len() < before;
        self.kept -= before - of.ids.len();
        if of.ids.is_empty() {
            self.order.remove(&of.last);
            self.senders.remove(sender);
        }
        is_there
    }
}

/// There is more than the machine keeps: more than 64 MiB of messages and views wait until members
/// have flushed a group, all groups take more than 256 MiB, or there are more than
/// [`MAX_REPLIES`](super::MAX_REPLIES) replies to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun;

#[derive(Debug)]
pub(super) struct Group {
    name: Name,
    membership: Membership,
    phase: Phase,
    view: View,
    /// The members of the newest view of Spread.
    newest: Vec<Name>,
    pending: VecDeque<Pending>,
    /// Bytes of all pending views.
    pending_len: usize,
    ahead: Ahead,
    /// Who has confirmed the view, or the first pending one once it is flushed.
    confirmed: BTreeSet<Name>,
    /// Messages that were sent in the first pending view.
    postponed: Vec<Message>,
    postponed_len: usize,
}

impl Group {
    /// A group that `own` is joining: it has a view of its own, and agrees to all changes
    /// until it is installed in another one.
    pub(super) fn new(name: Name, own: Name) -> Group {
        let view = View {
            id: GroupId::default(),
            members: vec![own],
            present: BTreeSet::from([own]),
            is_signalled: true,
        };
        Group {
            name,
            membership: Membership::Joining,
            phase: Phase::Flushed,
            view,
            newest: vec![own],
            pending: VecDeque::new(),
            pending_len: 0,
            ahead: Ahead::default(),
            confirmed: BTreeSet::new(),
            postponed: Vec::new(),
            postponed_len: 0,
        }
    }

    /// Bytes that the group takes at most.
    pub(super) fn len(&self) -> usize {
        let view = self.view.members.len() + self.view.present.len();
        let names = view + self.newest.len() + self.confirmed.len();
        let waiting = self.pending_len + self.postponed_len;
        GROUP + names * NAME_FIELD + waiting + self.ahead.len()
    }

    /// Whether the application is a member that has not begun to leave.
    pub(super) fn is_joined(&self) -> bool {
        self.membership == Membership::Joined
    }

    /// Whether the application has begun to leave.
    pub(super) fn is_leaving(&self) -> bool {
        self.membership == Membership::Leaving
    }

    /// Whether the application has flushed the group and has no new view yet.
    pub(super) fn is_flushed(&self) -> bool {
        self.phase == Phase::Flushed
    }

    /// Whether a client was a member when the view was installed.
    pub(super) fn has_member(&self, name: &Name) -> bool {
        self.view.members.contains(name)
    }

    /// The view that a message has to carry, because a member may get it before that view.
    pub(super) fn view_to_carry(&self, service_type: ServiceType) -> Option<GroupId> {
        let weak = ServiceType::UNRELIABLE | ServiceType::RELIABLE | ServiceType::FIFO;
        let may_overtake = matches!(self.phase, Phase::Unconfirmed | Phase::Requested);
        (may_overtake && service_type.intersects(weak)).then_some(self.view.id)
    }

    /// The application leaves the group.
    pub(super) fn leave(&mut self) {
        self.membership = Membership::Leaving;
    }

    /// The view to flush for, if the application has been asked to flush.
    pub(super) fn requested(&self) -> Option<GroupId> {
        let first = self.pending.front().filter(|_| self.phase == Phase::Requested);
        first.map(|pending| pending.view.id)
    }

    /// The application has flushed the group.
    pub(super) fn flush(&mut self) {
        self.phase = Phase::Flushed;
    }

    /// A member has flushed for a view.
    pub(super) fn flush_ok(&mut self, sender: Name, id: GroupId, out: &mut Outputs) {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.view.id == id) {
            if pending.present.contains(&sender) {
                pending.flushed.insert(sender);
            }
        } else {
            self.ahead.insert(sender, id);
        }
        let is_complete = self.pending.front().is_some_and(Pending::is_complete);
        if self.phase == Phase::Flushed && is_complete {
            self.install(out);
        }
    }

    /// A member has installed a view.
    pub(super) fn confirm(&mut self, sender: Name, id: GroupId) {
        match self.phase {
            Phase::Unconfirmed if id == self.view.id && self.has_member(&sender) => {
                self.confirmed.insert(sender);
                if self.view.members.iter().all(|member| self.confirmed.contains(member)) {
                    self.phase = Phase::Steady;
                }
            }
            Phase::Flushed => {
                let next = self.pending.front().filter(|next| next.view.id == id);
                if next.is_some_and(|next| next.view.members.contains(&sender)) {
                    self.confirmed.insert(sender);
                }
            }
            _ => {}
        }
    }

    /// A message to the group: it is delivered in this view, in the next one, or not at all.
    ///
    /// # Errors
    ///
    /// [`Overrun`] if more than 64 MiB wait.
    pub(super) fn data(
        &mut self,
        view: Option<GroupId>,
        message: Message,
        out: &mut Outputs,
    ) -> Result<(), Overrun> {
        let next = self.pending.front().filter(|_| self.phase == Phase::Flushed);
        if let Some(next) = next.filter(|next| view == Some(next.view.id)) {
            if next.present.contains(&message.sender) {
                self.postponed_len += message.len();
                self.postponed.push(message);
            }
            return self.check_waiting();
        }
        if self.view.present.contains(&message.sender) {
            out.deliver(message);
        }
        Ok(())
    }

    /// A view of Spread.
    ///
    /// # Errors
    ///
    /// [`Overrun`] if more than 64 MiB wait.
    pub(super) fn new_view(&mut self, view: NewView, out: &mut Outputs) -> Result<(), Overrun> {
        let left = self.left_by(&view);
        let before = self.view.present.len();
        self.view.present.retain(|member| !left.contains(member));
        let current = self.pending.front().map(|pending| pending.view.id);
        let view = self.without_hopeless(&left, view);

        self.newest.clone_from(&view.members);
        let present: BTreeSet<_> = view.members.iter().copied().collect();
        let mut flushed = present.clone();
        flushed.retain(|member| self.ahead.take(member, view.id));
        self.pending.push_back(Pending { view, present, flushed });
        self.pending_len = self.pending.iter().map(Pending::len).sum();

        if self.pending.front().map(|pending| pending.view.id) != current {
            // What was sent in a view that is not to be came from others.
            self.postponed.clear();
            self.postponed_len = 0;
            self.next_view(out);
        }
        if self.view.present.len() < before {
            self.signal(out);
        }
        self.check_waiting()
    }

    fn check_waiting(&self) -> Result<(), Overrun> {
        if self.postponed_len + self.pending_len > MAX_WAITING { Err(Overrun) } else { Ok(()) }
    }

    /// A signal of Spread, or somebody has left: told once in a view.
    pub(super) fn signal(&mut self, out: &mut Outputs) {
        if !self.view.is_signalled {
            self.view.is_signalled = true;
            out.deliver(Message::about(self.name, ServiceType::TRANSITION));
        }
    }

    /// Who of the newest view of Spread is not in the one after it.
    fn left_by(&self, view: &NewView) -> BTreeSet<Name> {
        if view.service_type.contains(ServiceType::CAUSED_BY_NETWORK) {
            let newest = self.newest.iter().copied();
            return newest.filter(|member| !view.set.contains(member)).collect();
        }
        if view.service_type.contains(ServiceType::CAUSED_BY_JOIN) {
            return BTreeSet::new();
        }
        view.set.first().copied().into_iter().collect()
    }

    /// Drops pending views that somebody has left without a flush. The next one, which may
    /// be `newest`, then stands for several changes.
    fn without_hopeless(&mut self, left: &BTreeSet<Name>, mut newest: NewView) -> NewView {
        let several = ServiceType::REG_MEMB | ServiceType::CAUSED_BY_NETWORK;
        let mut has_dropped = false;
        self.pending.retain_mut(|pending| {
            let mut gone = left.iter().filter(|&member| pending.present.contains(member));
            if gone.any(|member| !pending.flushed.contains(member)) {
                has_dropped = true;
                return false;
            }
            for member in left {
                pending.present.remove(member);
            }
            if std::mem::take(&mut has_dropped) {
                pending.view.service_type = several;
            }
            true
        });
        if has_dropped {
            newest.service_type = several;
        }
        newest
    }

    /// Begins with the change to the first pending view.
    fn next_view(&mut self, out: &mut Outputs) {
        self.confirmed.clear();
        match self.phase {
            Phase::Steady | Phase::Unconfirmed => {
                self.phase = Phase::Requested;
                out.deliver(Message::about(self.name, FLUSH_REQUEST));
            }
            Phase::Requested => {}
            Phase::Flushed => {
                // Whoever is leaving is waited for by nobody.
                if let Some(next) = self.pending.front()
                    && self.membership != Membership::Leaving
                {
                    out.reply(self.name, FLUSH_OK, next.view.id);
                }
            }
        }
    }

    /// Installs the first pending view.
    fn install(&mut self, out: &mut Outputs) {
        let Some(next) = self.pending.pop_front() else { return };
        self.pending_len -= next.len();
        out.deliver(self.view_message(&next.view));
        let NewView { id, members, .. } = next.view;
        self.view = View { id, members, present: next.present, is_signalled: false };
        if self.membership == Membership::Joining {
            self.membership = Membership::Joined;
        }
        self.phase = Phase::Unconfirmed;
        if self.pending.is_empty() {
            out.reply(self.name, CONFIRMED, id);
        } else {
            self.next_view(out);
        }
        if self.view.present.len() < self.view.members.len() {
            self.signal(out);
        }
        self.postponed_len = 0;
        for message in self.postponed.drain(..) {
            out.deliver(message);
        }
    }

    /// The view for the application. Its body has the id, the number of names, and the names:
    /// of who joined or left, or of those who have come with the receiver.
    fn view_message(&self, view: &NewView) -> Message {
        let together = |member: &&Name| self.view.present.contains(*member);
        let names: Vec<_> = match view.service_type.contains(ServiceType::CAUSED_BY_NETWORK) {
            true => self.view.members.iter().filter(together).collect(),
            false => view.set.iter().take(1).collect(),
        };
        let mut body = Vec::with_capacity(GroupId::LEN + 4 + names.len() * NAME_FIELD);
        body.extend(view.id.encode(spread_wire::ByteOrder::NATIVE));
        body.extend((names.len() as u32).to_ne_bytes());
        names.iter().for_each(|name| body.extend(name.as_field()));
        Message {
            groups: view.members.clone(),
            message_type: view.index,
            body,
            ..Message::about(self.name, view.service_type)
        }
    }
}
