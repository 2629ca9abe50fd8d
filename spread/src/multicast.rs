//! What goes into a multicast besides its payload: options and groups.

use spread_wire::limits::{MAX_BODY_AND_GROUPS, MAX_GROUPS, NAME_FIELD};
use spread_wire::{GroupName, Name, NameError, PrivateGroup, PrivateName, Service, ServiceType};

use crate::Error;

/// How a message is multicast. A [`Service`] alone will do in most cases.
///
/// ```
/// use spread::{SendOptions, Service};
///
/// let options = SendOptions::new(Service::Safe).message_type(7).self_discard(true);
/// ```
///
/// A message has one service. A daemon closes the connection of a client that sets
/// two, as the bits of the C interface allow:
///
/// ```compile_fail,E0369
/// # use spread::{SendOptions, Service};
/// let options = SendOptions::new(Service::Agreed | Service::Safe);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendOptions {
    service: Service,
    message_type: i16,
    self_discard: bool,
}

impl SendOptions {
    /// A message with this guarantee and message type 0, of which its sender
    /// gets a copy, too, if it is a member of the group.
    pub fn new(service: Service) -> SendOptions {
        SendOptions { service, message_type: 0, self_discard: false }
    }

    /// Gives the message a number that means what applications agree on.
    pub fn message_type(self, message_type: i16) -> SendOptions {
        SendOptions { message_type, ..self }
    }

    /// Whether the message is kept from its sender (`SELF_DISCARD`).
    pub fn self_discard(self, self_discard: bool) -> SendOptions {
        SendOptions { self_discard, ..self }
    }

    pub(crate) fn service_type(self) -> ServiceType {
        ServiceType::regular(self.service, self.self_discard)
    }

    pub(crate) fn number(self) -> i16 {
        self.message_type
    }
}

impl From<Service> for SendOptions {
    fn from(service: Service) -> SendOptions {
        SendOptions::new(service)
    }
}

/// A message to be sent later: its options, its groups, checked, and its payload. The
/// sinks of async mailboxes take it.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use futures_util::SinkExt;
/// use spread::{AsyncMailbox, Mailbox, Outgoing, Service};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let mut mailbox = AsyncMailbox::connect(Mailbox::builder(address)).await?;
/// for line in ["one", "two"] {
///     mailbox.feed(Outgoing::new(Service::Agreed, "lines", line)?).await?;
/// }
/// mailbox.flush().await?;
/// # Ok::<(), spread::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "tokio")]
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub(crate) options: SendOptions,
    pub(crate) groups: GroupList,
    pub(crate) payload: Vec<u8>,
}

#[cfg(feature = "tokio")]
impl Outgoing {
    /// Checks what [`Sender::multicast`](crate::Sender::multicast) would.
    ///
    /// # Errors
    ///
    /// [`IllegalGroup`](Error::IllegalGroup), [`NoGroups`](Error::NoGroups),
    /// [`TooManyGroups`](Error::TooManyGroups) and
    /// [`MessageTooLong`](Error::MessageTooLong).
    pub fn new(
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl Into<Vec<u8>>,
    ) -> Result<Outgoing, Error> {
        let (groups, payload) = (GroupList::of(groups)?, payload.into());
        groups.check_payload(payload.len())?;
        Ok(Outgoing { options: options.into(), groups, payload })
    }
}

/// Where a message can go: the name of a group or a private group, or several.
///
/// Implemented for texts and for the types of names, and for arrays, slices and
/// vectors of them. A message to several groups comes to each client once.
pub trait ToGroups: sealed::Sealed {
    #[doc(hidden)]
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error>;
}

mod sealed {
    pub trait Sealed {}
}

/// The checked groups of one multicast.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct GroupList {
    names: Names,
    /// As given, though more than are allowed are not kept.
    count: usize,
}

/// Most messages go to one group, and need no memory for it.
#[derive(Clone, Debug)]
enum Names {
    One(Name),
    Several(Vec<Name>),
}

impl GroupList {
    #[inline]
    pub(crate) fn of(groups: impl ToGroups) -> Result<GroupList, Error> {
        let mut list = GroupList { names: Names::One(Name::EMPTY), count: 0 };
        groups.add_to(&mut list)?;
        match list.count {
            0 => Err(Error::NoGroups),
            count if count > MAX_GROUPS => Err(Error::TooManyGroups { count, max: MAX_GROUPS }),
            _ => Ok(list),
        }
    }

    pub(crate) fn names(&self) -> &[Name] {
        match &self.names {
            Names::One(name) => std::slice::from_ref(name),
            Names::Several(names) => names,
        }
    }

    /// Checks that a payload of `len` bytes can go to these groups.
    pub(crate) fn check_payload(&self, len: usize) -> Result<(), Error> {
        let len = len.saturating_add(self.count * NAME_FIELD);
        if len > MAX_BODY_AND_GROUPS {
            return Err(Error::MessageTooLong { len, max: MAX_BODY_AND_GROUPS });
        }
        Ok(())
    }

    #[inline]
    fn push(&mut self, name: Name) {
        match &mut self.names {
            Names::One(first) if self.count == 0 => *first = name,
            Names::One(first) => self.names = Names::Several(vec![*first, name]),
            Names::Several(names) if names.len() < MAX_GROUPS => names.push(name),
            Names::Several(_) => {}
        }
        self.count += 1;
    }
}

/// Checks a text that is to be a destination: a group or a private group.
fn destination(text: &[u8]) -> Result<Name, NameError> {
    match text.first() {
        Some(b'#') => PrivateGroup::new(text).map(Name::from),
        _ => GroupName::new(text).map(Name::from),
    }
}

/// Says which name is the illegal one.
pub(crate) fn illegal_group(text: &[u8]) -> impl FnOnce(NameError) -> Error + use<'_> {
    |source| Error::IllegalGroup { name: text.escape_ascii().to_string(), source }
}

impl sealed::Sealed for str {}

impl ToGroups for str {
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
        list.push(destination(self.as_bytes()).map_err(illegal_group(self.as_bytes()))?);
        Ok(())
    }
}

impl sealed::Sealed for String {}

impl ToGroups for String {
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
        self.as_str().add_to(list)
    }
}

impl sealed::Sealed for Name {}

impl ToGroups for Name {
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
        list.push(destination(self.as_bytes()).map_err(illegal_group(self.as_bytes()))?);
        Ok(())
    }
}

impl sealed::Sealed for GroupName {}

impl ToGroups for GroupName {
    #[inline]
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
        list.push((*self).into());
        Ok(())
    }
}

impl sealed::Sealed for PrivateGroup {}

impl ToGroups for PrivateGroup {
    #[inline]
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
        list.push((*self).into());
        Ok(())
    }
}

impl<T: ToGroups> sealed::Sealed for [T] {}

impl<T: ToGroups> ToGroups for [T] {
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
        self.iter().try_for_each(|group| group.add_to(list))
    }
}

impl<T: ToGroups, const N: usize> sealed::Sealed for [T; N] {}

impl<T: ToGroups, const N: usize> ToGroups for [T; N] {
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
        self.as_slice().add_to(list)
    }
}

impl<T: ToGroups> sealed::Sealed for Vec<T> {}

impl<T: ToGroups> ToGroups for Vec<T> {
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
        self.as_slice().add_to(list)
    }
}

impl<T: ToGroups + ?Sized> sealed::Sealed for &T {}

impl<T: ToGroups + ?Sized> ToGroups for &T {
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
        (**self).add_to(list)
    }
}

/// The name of a group, as it is given to join and to leave it.
pub(crate) fn group_name(group: impl AsRef<[u8]>) -> Result<GroupName, Error> {
    let text = group.as_ref();
    GroupName::new(text).map_err(illegal_group(text))
}

/// The name of a client, as it is given to connect it.
pub(crate) fn private_name(name: &str) -> Result<PrivateName, Error> {
    PrivateName::new(name)
        .map_err(|source| Error::IllegalPrivateName { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(groups: impl ToGroups) -> Vec<String> {
        GroupList::of(groups).unwrap().names().iter().map(Name::to_string).collect()
    }

    #[test]
    fn groups_are_given_in_any_form() {
        let group = GroupName::new("chat").unwrap();
        let client = PrivateGroup::new("#alice#host").unwrap();
        assert_eq!(names("chat"), ["chat"]);
        assert_eq!(names("#alice#host"), ["#alice#host"]);
        assert_eq!(names(group), ["chat"]);
        assert_eq!(names(Name::from(client)), ["#alice#host"]);
        assert_eq!(names(["a", "b"]), ["a", "b"]);
        assert_eq!(names(vec![String::from("a")]), ["a"]);
        assert_eq!(names(&[Name::from(group), client.into()][..]), ["chat", "#alice#host"]);
    }

    #[test]
    fn an_illegal_group_is_named_in_the_error() {
        for wrong in ["", "two words", "#alice", "x#y", "\u{e4}", &"x".repeat(32)] {
            let error = GroupList::of(["fine", wrong]).unwrap_err();
            assert!(matches!(error, Error::IllegalGroup { .. }), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_message_goes_to_1_to_43_groups() {
        assert!(matches!(GroupList::of(Vec::<Name>::new()), Err(Error::NoGroups)));
        assert!(GroupList::of(["x"; 43]).is_ok());
        let error = GroupList::of(["x"; 44]).unwrap_err();
        assert!(matches!(error, Error::TooManyGroups { count: 44, max: 43 }), "{error}");
    }

    #[test]
    fn body_and_groups_share_one_limit() {
        let list = GroupList::of(["a", "b"]).unwrap();
        assert!(list.check_payload(143_151 - 64).is_ok());
        let error = list.check_payload(143_152 - 64).unwrap_err();
        assert!(matches!(error, Error::MessageTooLong { len: 143_152, max: 143_151 }), "{error}");
    }
}
