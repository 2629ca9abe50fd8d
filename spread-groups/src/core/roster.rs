//! Who the members of a group are: what a view, which names clients, does not tell.
//!
//! The roster changes at places of the order only, by the same steps at every member:
//! [`Roster::admit`], [`Roster::depart`], [`Roster::expire`]. A [Form](super::exchange)
//! carries it whole. It knows the sessions, too: one for each incarnation, which outlives
//! its connections and ends by expiry.

use std::collections::VecDeque;

use bytes::Bytes;
use spread::Name;

use super::history::{History, Place, mix, mix_bytes};
use super::proto;
use super::voting::voters::Chain;

/// Members that a roster has at most, so that a Form is one message.
pub(crate) const MAX_MEMBERS: usize = 256;
/// Bytes of metadata that a member may bring.
pub(crate) const MAX_METADATA: usize = 256;
/// Sessions without a client. One more expires the oldest.
const MAX_ABSENT: usize = 512;
/// Expired sessions whose incarnations are remembered.
const MAX_EXPIRED: usize = 512;

/// Names a member from its join until it leaves, whatever it is connected to meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub [u8; 16]);

impl std::fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Incarnation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A member of the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The number of its session.
    pub session: u32,
    /// Which node it is.
    pub incarnation: Incarnation,
    /// Its current private group.
    pub name: Name,
    /// What the node told of itself.
    pub metadata: Bytes,
    /// Whether it takes no part in the replicated state.
    pub observer: bool,
    /// The newest version of this protocol that it speaks.
    pub protocol: u32,
    /// Which voter it is configured to be, in a group with voters. Whether it votes is told
    /// by the incarnation of the [voter](crate::voters::Voter).
    pub voter: Option<String>,
    /// Whether it has the replicated state.
    pub holds: bool,
    /// How often it has asked for another cut.
    pub(crate) attempts: u32,
}

/// Why a member is no longer in the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Departure {
    /// The network parted; it may be alive.
    Parted,
    /// It left the group.
    Left,
    /// Its connection ended.
    Crashed,
}

/// A change of the roster, at a place of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A member is new, the least senior of all.
    Joined {
        /// Its session.
        session: u32,
        /// Which node it is.
        incarnation: Incarnation,
        /// Whether it goes on with a session that it had before.
        resumed: bool,
        /// Whether it takes no part in the replicated state.
        observer: bool,
    },
    /// A member is gone; its session stays until it expires.
    Departed {
        /// Its session.
        session: u32,
        /// Why.
        cause: Departure,
    },
    /// A session has ended for good.
    Expired {
        /// Its number, which is not used again.
        session: u32,
    },
}

/// Whether a node may go on with what it has asked for under its former session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its session is the one it had, or it never had one that this history knows of.
    Known,
    /// Its session may have expired: what it asked for may have been executed.
    Expired,
}

/// Who asks to be admitted.
#[derive(Clone, Debug)]
pub(crate) struct Applicant {
    pub(crate) name: Name,
    pub(crate) incarnation: Incarnation,
    pub(crate) returning: bool,
    pub(crate) holds: bool,
    pub(crate) observer: bool,
    pub(crate) protocol: u32,
    pub(crate) metadata: Bytes,
    pub(crate) voter: Option<String>,
}

impl Applicant {
    fn member(&self, session: u32) -> Member {
        Member {
            session,
            incarnation: self.incarnation,
            name: self.name,
            metadata: self.metadata.clone(),
            observer: self.observer,
            protocol: self.protocol,
            voter: self.voter.clone(),
            holds: self.holds && !self.observer,
            attempts: 0,
        }
    }
}

/// Why someone is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The group speaks a newer protocol than the node.
    #[error("the group speaks a newer protocol than this node")]
    Outdated,
    /// The group has as many members as it can, which is 256. In a group with
    /// [voters](crate::voters) each voter that is away counts as a member, so that it, or its program
    /// once that has started again, always comes back.
    #[error(
        "the group has {MAX_MEMBERS} members with the voters that are away, which is the limit"
    )]
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Absent {
    session: u32,
    incarnation: Incarnation,
}

/// The members and sessions of a group at a place of its history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    pub(crate) history: History,
    members: Vec<Member>,
    absent: VecDeque<Absent>,
    expired: VecDeque<Incarnation>,
    /// Whether some of the expired are no longer among `expired`.
    forgotten: bool,
    next_session: u32,
    protocol: u32,
}

impl Roster {
    /// Returns the members by seniority.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) fn protocol(&self) -> u32 {
        self.protocol
    }

    pub(crate) fn by_session(&self, session: u32) -> Option<&Member> {
        self.members.iter().find(|member| member.session == session)
    }

    pub(crate) fn by_name(&self, name: Name) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    pub(crate) fn by_incarnation(&self, incarnation: Incarnation) -> Option<&Member> {
        self.members.iter().find(|member| member.incarnation == incarnation)
    }

    /// Returns the sessions without a client, in the order of their going.
    pub(crate) fn absent(&self) -> impl Iterator<Item = u32> {
        self.absent.iter().map(|absent| absent.session)
    }

    /// Returns the members with the replicated state, by seniority.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.holds)
    }

    /// Returns the members that take part in the replicated state and do not have it.
    pub(crate) fn wanting(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !member.holds && !member.observer)
    }

    /// Returns who is to give a member the state: the senior holder, and after each
    /// attempt that failed the next one.
    pub(crate) fn donor_of(&self, session: u32) -> Option<&Member> {
        let target = self.by_session(session)?;
        let holders = self.holders().count();
        self.holders().nth(target.attempts as usize % holders.max(1))
    }

    pub(crate) fn member_mut(&mut self, session: u32) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.session == session)
    }

    /// Takes note that nobody holds the state of this place, as at the start of a branch.
    pub(crate) fn set_holders(&mut self, holds: impl Fn(&Member) -> bool) {
        for member in &mut self.members {
            member.holds = holds(member);
            member.attempts = 0;
        }
    }

    /// Admits an applicant as the least senior member of a group with these voters, if it has any;
    /// `changes` gets what changes. All members know the same voters at a place.
    ///
    /// # Errors
    ///
    /// [`Refusal`], and nothing changes.
    pub(crate) fn admit(
        &mut self,
        applicant: &Applicant,
        voters: &Chain,
        changes: &mut Vec<Change>,
    ) -> Result<Standing, Refusal> {
        let Applicant { name, incarnation, .. } = *applicant;
        if applicant.protocol < self.protocol {
            return Err(Refusal::Outdated);
        }
        // A client that has come back while its former session is still in the view, and
        // one with the name of a client that is gone.
        let former = self.members.iter().filter(|m| m.incarnation == incarnation || m.name == name);
        let former: Vec<u32> = former.map(|member| member.session).collect();
        if !self.has_room(&former, applicant, voters) {
            return Err(Refusal::Full);
        }
        for session in former {
            self.depart(session, Departure::Crashed, changes);
        }
        let known = self.absent.iter().position(|absent| absent.incarnation == incarnation);
        let resumed = known.and_then(|at| self.absent.remove(at)).map(|absent| absent.session);
        let doubtful = self.forgotten || self.expired.contains(&incarnation);
        let standing = match resumed {
            None if applicant.returning && doubtful => Standing::Expired,
            _ => Standing::Known,
        };
        let session = resumed.unwrap_or_else(|| {
            self.next_session += 1;
            self.next_session
        });
        self.members.push(applicant.member(session));
        let (resumed, observer) = (resumed.is_some(), applicant.observer);
        changes.push(Change::Joined { session, incarnation, resumed, observer });
        self.raise_protocol();
        Ok(standing)
    }

    /// Returns whether there is room for an applicant once its former sessions are gone. A place is
    /// kept for each voter that is away, unless somebody that goes by its name has taken it.
    fn has_room(&self, former: &[u32], applicant: &Applicant, voters: &Chain) -> bool {
        let stay = || self.members.iter().filter(|member| !former.contains(&member.session));
        let takes = |member: &Member, (name, incarnation): (&str, Incarnation)| {
            let goes_by = member.voter.as_deref() == Some(name);
            !member.observer && (member.incarnation == incarnation || goes_by)
        };
        let mut away = voters.all();
        away.retain(|voter| !stay().any(|member| takes(member, *voter)));
        let kept = away.len();
        let applicant = applicant.member(0);
        away.retain(|voter| !takes(&applicant, *voter));
        let most = if away.len() < kept { MAX_MEMBERS } else { MAX_MEMBERS.saturating_sub(kept) };
        stay().count() < most
    }

    /// Takes a member out of the roster; its session becomes absent.
    pub(crate) fn depart(&mut self, session: u32, cause: Departure, changes: &mut Vec<Change>) {
        let Some(at) = self.members.iter().position(|member| member.session == session) else {
            return;
        };
        let member = self.members.remove(at);
        changes.push(Change::Departed { session, cause });
        self.absent.push_back(Absent { session, incarnation: member.incarnation });
        if self.absent.len() > MAX_ABSENT
            && let Some(oldest) = self.absent.front()
        {
            self.expire(oldest.session, changes);
        }
        self.raise_protocol();
    }

    /// Ends a session that has no client.
    pub(crate) fn expire(&mut self, session: u32, changes: &mut Vec<Change>) {
        let Some(at) = self.absent.iter().position(|absent| absent.session == session) else {
            return;
        };
        if let Some(absent) = self.absent.remove(at) {
            self.expired.push_back(absent.incarnation);
        }
        if self.expired.len() > MAX_EXPIRED {
            self.expired.pop_front();
            self.forgotten = true;
        }
        changes.push(Change::Expired { session });
    }

    /// The protocol of a group is the newest that all its members speak, and is never
    /// lowered again.
    fn raise_protocol(&mut self) {
        let lowest = self.members.iter().map(|member| member.protocol).min();
        self.protocol = self.protocol.max(lowest.unwrap_or_default());
    }

    /// Returns a digest of all of it, to be compared between members.
    #[cfg(test)]
    pub(crate) fn digest(&self) -> u64 {
        mix_bytes(0, &prost::Message::encode_to_vec(&self.to_proto()))
    }

    pub(crate) fn to_proto(&self) -> proto::Roster {
        let member = |member: &Member| proto::Member {
            session: member.session,
            incarnation: incarnation_bytes(member.incarnation),
            name: name_bytes(member.name),
            holds: member.holds,
            attempts: member.attempts,
            observer: member.observer,
            protocol: member.protocol,
            metadata: member.metadata.clone(),
            voter: member.voter.clone().unwrap_or_default(),
        };
        let absent = |absent: &Absent| proto::Absent {
            session: absent.session,
            incarnation: incarnation_bytes(absent.incarnation),
        };
        proto::Roster {
            history: Some(self.history.to_proto()),
            members: self.members.iter().map(member).collect(),
            absent: self.absent.iter().map(absent).collect(),
            expired: self.expired.iter().flat_map(|incarnation| incarnation.0).collect(),
            forgotten: self.forgotten,
            next_session: self.next_session,
            protocol: self.protocol,
        }
    }

    /// Reads a roster; `None` if it is not one.
    pub(crate) fn from_proto(roster: proto::Roster) -> Option<Roster> {
        let member = |member: proto::Member| {
            Some(Member {
                session: member.session,
                incarnation: incarnation(&member.incarnation)?,
                name: Name::new(&member.name).ok()?,
                holds: member.holds,
                attempts: member.attempts,
                observer: member.observer,
                protocol: member.protocol,
                metadata: member.metadata,
                voter: voter(&member.voter),
            })
        };
        let absent = |absent: proto::Absent| {
            Some(Absent { session: absent.session, incarnation: incarnation(&absent.incarnation)? })
        };
        Some(Roster {
            history: roster.history?.into(),
            members: roster.members.into_iter().map(member).collect::<Option<_>>()?,
            absent: roster.absent.into_iter().map(absent).collect::<Option<_>>()?,
            expired: roster.expired.chunks(16).map(incarnation).collect::<Option<_>>()?,
            forgotten: roster.forgotten,
            next_session: roster.next_session,
            protocol: roster.protocol,
        })
    }
}

impl Change {
    /// Returns a word that tells it from other changes.
    pub(crate) fn digest(&self) -> u64 {
        match self {
            Change::Joined { session, incarnation, resumed, observer: _ } => {
                mix_bytes(mix(1 + u64::from(*resumed), (*session).into()), &incarnation.0)
            }
            Change::Departed { session, cause } => mix(3 + *cause as u64, (*session).into()),
            Change::Expired { session } => mix(6, (*session).into()),
        }
    }
}

/// Returns a number by which a branch is told from all others. The id of a view would not do:
/// a group that was empty counts its views anew, and an author that has missed its own Form
/// may send another one for the same base.
pub(crate) fn branch(base: &History, form: &[u8], author: Name, of: Incarnation) -> u64 {
    let Place { branch, index } = base.place();
    let words = [branch, index, base.digest()].into_iter().fold(0, mix);
    let author = mix_bytes(mix_bytes(words, &of.0), author.as_bytes());
    // 0 is the place before the first Form.
    mix_bytes(author, form).max(1)
}

/// Returns the name of a voter as it is sent; `None` if it is empty.
pub(crate) fn voter(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}

pub(crate) fn incarnation(bytes: &[u8]) -> Option<Incarnation> {
    bytes.try_into().ok().map(Incarnation)
}

pub(crate) fn incarnation_bytes(incarnation: Incarnation) -> Bytes {
    Bytes::copy_from_slice(&incarnation.0)
}

pub(crate) fn name_bytes(name: Name) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::voting::voters::{MAX_NAME, MAX_VOTERS, Voter, VoterChange, Voters};

    fn applicant(number: u16, protocol: u32) -> Applicant {
        let mut incarnation = [0; 16];
        incarnation[..2].copy_from_slice(&number.to_be_bytes());
        Applicant {
            name: Name::new(format!("#c{number}#d")).unwrap(),
            incarnation: Incarnation(incarnation),
            returning: false,
            holds: false,
            observer: false,
            protocol,
            metadata: Bytes::new(),
            voter: None,
        }
    }

    fn admit(roster: &mut Roster, applicant: &Applicant) -> Result<Standing, Refusal> {
        roster.admit(applicant, &Chain::default(), &mut Vec::new())
    }

    fn sessions(roster: &Roster) -> Vec<u32> {
        roster.members().iter().map(|member| member.session).collect()
    }

    #[test]
    fn seniority_is_the_order_of_joining_and_a_session_is_resumed() {
        let mut roster = Roster::default();
        for number in [9, 3, 5] {
            admit(&mut roster, &applicant(number, 0)).unwrap();
        }
        let mut changes = Vec::new();
        roster.depart(1, Departure::Crashed, &mut changes);
        roster.admit(&applicant(9, 0), &Chain::default(), &mut changes).unwrap();
        assert_eq!(sessions(&roster), [2, 3, 1]);
        let incarnation = applicant(9, 0).incarnation;
        let back = Change::Joined { session: 1, incarnation, resumed: true, observer: false };
        assert_eq!(changes, [Change::Departed { session: 1, cause: Departure::Crashed }, back]);
    }

    #[test]
    fn a_client_that_comes_back_before_it_is_missed_loses_its_seniority() {
        let mut roster = Roster::default();
        admit(&mut roster, &applicant(1, 0)).unwrap();
        admit(&mut roster, &applicant(2, 0)).unwrap();
        let name = Name::new("#other#d").unwrap();
        admit(&mut roster, &Applicant { name, ..applicant(1, 0) }).unwrap();
        assert_eq!(sessions(&roster), [2, 1]);
        assert_eq!(roster.by_name(name).map(|member| member.session), Some(1));
    }

    #[test]
    fn who_comes_back_after_its_session_expired_is_told() {
        let mut roster = Roster::default();
        let returning = Applicant { returning: true, ..applicant(1, 0) };
        assert_eq!(admit(&mut roster, &returning), Ok(Standing::Known), "from another group");
        roster.depart(1, Departure::Left, &mut Vec::new());
        roster.expire(1, &mut Vec::new());
        assert_eq!(admit(&mut roster, &returning), Ok(Standing::Expired));
        assert_eq!(sessions(&roster), [2], "a number is used once");
    }

    #[test]
    fn where_expired_sessions_are_forgotten_everybody_may_have_had_one() {
        let mut roster = Roster::default();
        for number in 0..=MAX_EXPIRED as u16 {
            admit(&mut roster, &applicant(number, 0)).unwrap();
            let session = u32::from(number) + 1;
            roster.depart(session, Departure::Left, &mut Vec::new());
            roster.expire(session, &mut Vec::new());
        }
        let unknown = Applicant { returning: true, ..applicant(5_000, 0) };
        assert_eq!(admit(&mut roster, &unknown), Ok(Standing::Expired));
        assert_eq!(admit(&mut roster, &applicant(5_001, 0)), Ok(Standing::Known), "a new one");
    }

    #[test]
    fn one_absent_session_too_many_expires_the_oldest() {
        let mut roster = Roster::default();
        let mut changes = Vec::new();
        for number in 0..=MAX_ABSENT as u16 {
            admit(&mut roster, &applicant(number, 0)).unwrap();
            roster.depart(u32::from(number) + 1, Departure::Parted, &mut changes);
        }
        assert_eq!(roster.absent().count(), MAX_ABSENT);
        assert_eq!(changes.last(), Some(&Change::Expired { session: 1 }));
    }

    #[test]
    fn the_protocol_is_the_lowest_of_the_members_and_never_lowered() {
        let mut roster = Roster::default();
        admit(&mut roster, &applicant(1, 2)).unwrap();
        assert_eq!(roster.protocol(), 2);
        assert_eq!(admit(&mut roster, &applicant(2, 1)), Err(Refusal::Outdated));
        admit(&mut roster, &applicant(3, 4)).unwrap();
        assert_eq!(roster.protocol(), 2);
        roster.depart(1, Departure::Left, &mut Vec::new());
        assert_eq!(roster.protocol(), 4, "raised at the place of the departure");
    }

    #[test]
    fn a_place_is_kept_for_a_voter_that_is_away() {
        let ann = Applicant { voter: Some("ann".into()), ..applicant(1, 0) };
        let bob = Applicant { voter: Some("bob".into()), ..applicant(2, 0) };
        let of = |applicant: &Applicant| {
            let incarnation = applicant.incarnation;
            (applicant.voter.clone().unwrap(), Voter { incarnation, weight: 1 })
        };
        let voters = Chain::new(Voters::new([of(&ann), of(&bob)].into(), 1));
        let mut roster = Roster::default();
        let admit = |roster: &mut Roster, applicant: &Applicant| {
            roster.admit(applicant, &voters, &mut Vec::new())
        };
        admit(&mut roster, &ann).unwrap();
        for number in 0..MAX_MEMBERS as u16 - 2 {
            admit(&mut roster, &applicant(100 + number, 0)).unwrap();
        }
        assert_eq!(roster.members().len(), MAX_MEMBERS - 1);
        let other = applicant(3, 0);
        assert_eq!(admit(&mut roster, &other), Err(Refusal::Full));
        let namesake = Applicant { voter: bob.voter.clone(), ..applicant(4, 0) };
        let observer = Applicant { observer: true, ..namesake.clone() };
        assert_eq!(admit(&mut roster, &observer), Err(Refusal::Full));
        for returns in [&bob, &namesake] {
            admit(&mut roster, returns).unwrap();
            assert_eq!(admit(&mut roster, &other), Err(Refusal::Full));
            roster.depart(roster.next_session, Departure::Crashed, &mut Vec::new());
            assert_eq!(admit(&mut roster, &other), Err(Refusal::Full));
        }
        // A voter's name with the daemon is another client's before the voter is missed.
        let client = Applicant { name: ann.name, ..other.clone() };
        assert_eq!(admit(&mut roster, &client), Err(Refusal::Full));
        let again = Applicant { name: ann.name, voter: ann.voter.clone(), ..other };
        admit(&mut roster, &again).unwrap();
        admit(&mut roster, &bob).unwrap();
        assert_eq!(roster.members().len(), MAX_MEMBERS);
    }

    /// Each number is the largest, and so is each text, also where they exclude each other.
    #[test]
    fn the_largest_form_fits_into_a_message() {
        use crate::core::envelope::{ExchangeId, Form, Frame};

        let place = proto::Place { branch: u64::MAX, index: u64::MAX };
        let history = proto::History {
            place: Some(place),
            digest: u64::MAX,
            epoch: u64::MAX,
            lineage: vec![place; 1000],
            founded: u64::MAX,
            forced: u64::MAX,
        };
        let sessions = 2 * (MAX_ABSENT + MAX_EXPIRED + MAX_MEMBERS) as u32;
        let mut roster = Roster {
            history: history.into(),
            next_session: u32::MAX - sessions,
            ..Roster::default()
        };
        let name = |number: u16| Name::new(format!("#{number:010}#{:019}", 0)).unwrap();
        assert_eq!(name(0).as_bytes().len(), spread::MAX_GROUP_NAME);
        let voter_name = |number: usize| format!("{number:0MAX_NAME$}");
        let full = |number: u16| Applicant {
            name: name(number),
            metadata: Bytes::from(vec![7; MAX_METADATA]),
            voter: Some(voter_name(number.into())),
            observer: true,
            ..applicant(number, u32::MAX)
        };
        for number in 0..(MAX_ABSENT + MAX_EXPIRED + 1) as u16 {
            admit(&mut roster, &full(number)).unwrap();
            roster.depart(roster.next_session, Departure::Left, &mut Vec::new());
        }
        for number in 0..MAX_MEMBERS as u16 {
            admit(&mut roster, &full(10_000 + number)).unwrap();
        }
        assert_eq!(admit(&mut roster, &full(20_000)), Err(Refusal::Full));
        assert_eq!((roster.absent.len(), roster.expired.len()), (MAX_ABSENT, MAX_EXPIRED));
        assert!(roster.forgotten);
        for member in &mut roster.members {
            (member.holds, member.attempts) = (true, u32::MAX);
        }
        let of = |number: u16| Voter {
            incarnation: applicant(10_000 + number, 0).incarnation,
            weight: u32::MAX,
        };
        let voters = (0..MAX_VOTERS as u16).map(|n| (voter_name(n.into()), of(n))).collect();
        let mut chain = Chain::new(Voters::new(voters, u64::MAX - 1));
        let changed = VoterChange {
            version: u64::MAX - 1,
            name: voter_name(0),
            voter: of(MAX_VOTERS as u16),
        };
        assert!(chain.log(u64::MAX, &changed.encode(), |_| true));
        let another = VoterChange { version: u64::MAX, ..changed };
        assert!(!chain.log(u64::MAX, &another.encode(), |_| true), "there is one change at most");
        let departed = roster.members().iter();
        let departed = departed.map(|member| (member.session, Departure::Crashed)).collect();
        let view = spread::GroupId { proc_id: i32::MIN, time: i32::MIN, index: i32::MIN };
        let form = Form {
            exchange: ExchangeId { view, attempt: u32::MAX },
            epoch: u64::MAX,
            said: (0..MAX_MEMBERS as u16).map(|number| name(20_000 + number)).collect(),
            base: Some(roster),
            departed,
            voters: chain,
            forced: true,
        };
        let len = Frame::Form(form).encode().len();
        // The group that it is sent to takes its part.
        let most = spread::MAX_BODY_AND_GROUPS - (spread::MAX_GROUP_NAME + 1);
        assert!(len <= most, "{len} of {most} bytes");
    }

    #[test]
    fn a_donor_is_the_senior_holder_and_then_the_next() {
        let mut roster = Roster::default();
        for number in 1..=4 {
            let holds = number != 3;
            admit(&mut roster, &Applicant { holds, ..applicant(number, 0) }).unwrap();
        }
        let donor = |roster: &Roster| roster.donor_of(3).map(|member| member.session);
        assert_eq!(donor(&roster), Some(1));
        for next in [2, 4, 1] {
            roster.member_mut(3).unwrap().attempts += 1;
            assert_eq!(donor(&roster), Some(next));
        }
    }
}
