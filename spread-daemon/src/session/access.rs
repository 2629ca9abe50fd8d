//! The access policy, and the rejected messages by which its refusals reach a client.

use std::any::Any;
use std::fmt::Debug;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::BytesMut;
use spread_wire::{
    ByteOrder, Cause, Delivery, FrameRef, Groups, Multicast, Name, PrivateGroup, Reject, Request,
    Service, ServiceType,
};

/// The decision of an [`AccessPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// The client may.
    Allowed,
    /// The client may not.
    Refused,
}

/// A client, as its daemon knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// Its private group, which tells its name and its daemon.
    pub private_group: PrivateGroup,
    /// The user whose password it knew, if it was asked for one, or that the program has
    /// authenticated ([`Incoming::user`](crate::Incoming::user)).
    pub user: Option<String>,
    /// Its address; `None` for the unix socket.
    pub address: Option<IpAddr>,
}

/// A message that a client wants to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sending<'a> {
    /// The groups it goes to, private groups among them.
    pub groups: Groups<'a>,
    /// The guarantee it is sent with.
    pub service: Service,
    /// The type that the application gave it.
    pub message_type: i16,
}

/// Decides what clients may do. Methods that are not overridden allow everything.
///
/// A client that is refused its connection gets `REJECT_AUTH`. Any other refused
/// request comes back to the client as a rejected message, and has no other effect.
/// A client can always disconnect.
///
/// The methods are called in the daemon's only thread, so that all its clients wait
/// for the answer: a method should decide without I/O. A method that panics refuses
/// the request, and the panic is logged. [`Daemon::status`](crate::Daemon::status)
/// returns `None` inside a method, because the daemon cannot answer meanwhile.
///
/// ```
/// use spread_daemon::{Access, AccessPolicy, ClientInfo, Daemon, Sending};
///
/// /// Lets only `admin` send to the group `orders`.
/// #[derive(Debug)]
/// struct Orders;
///
/// impl AccessPolicy for Orders {
///     fn multicast(&self, client: &ClientInfo, message: &Sending<'_>) -> Access {
///         let to_orders = message.groups.iter().any(|group| group == "orders");
///         match to_orders && client.private_group.private_name() != "admin" {
///             true => Access::Refused,
///             false => Access::Allowed,
///         }
///     }
/// }
///
/// let daemon = Daemon::builder().access_policy(Orders).start()?;
/// # Ok::<(), spread_daemon::StartError>(())
/// ```
pub trait AccessPolicy: Debug + Send + Sync {
    /// Decides whether an authenticated client gets its session.
    fn connect(&self, client: &ClientInfo) -> Access {
        let _ = client;
        Access::Allowed
    }

    /// Decides whether a client may join a group.
    fn join(&self, client: &ClientInfo, group: Name) -> Access {
        let _ = (client, group);
        Access::Allowed
    }

    /// Decides whether a client may leave a group.
    fn leave(&self, client: &ClientInfo, group: Name) -> Access {
        let _ = (client, group);
        Access::Allowed
    }

    /// Decides whether a client may send to groups, at least one of which is not a
    /// private group.
    fn multicast(&self, client: &ClientInfo, message: &Sending<'_>) -> Access {
        let _ = (client, message);
        Access::Allowed
    }

    /// Decides whether a client may send to groups, at least one of which is private.
    fn private_send(&self, client: &ClientInfo, message: &Sending<'_>) -> Access {
        let _ = (client, message);
        Access::Allowed
    }
}

/// The [`AccessPolicy`] of a daemon; its panics are refusals.
#[derive(Clone, Debug)]
pub(crate) struct Policy(Arc<dyn AccessPolicy>);

impl Policy {
    pub(crate) fn new(policy: impl AccessPolicy + 'static) -> Policy {
        Policy(Arc::new(policy))
    }

    /// Returns whether a client gets its session.
    pub(crate) fn connect(&self, client: &ClientInfo) -> Access {
        self.ask(|policy| policy.connect(client))
    }

    /// Returns whether a client may do what it asks.
    pub(crate) fn judge(&self, client: &ClientInfo, request: &Request<'_>) -> Access {
        self.ask(|policy| match request {
            Request::Join(group) => policy.join(client, *group),
            Request::Leave(group) => policy.leave(client, *group),
            Request::Disconnect(_) => Access::Allowed,
            Request::Multicast(multicast) => judge_multicast(policy, client, multicast),
        })
    }

    fn ask(&self, decide: impl FnOnce(&dyn AccessPolicy) -> Access) -> Access {
        catch_unwind(AssertUnwindSafe(|| decide(&*self.0))).unwrap_or_else(|panic| {
            let panic = panic_message(&*panic);
            tracing::error!(panic, "the access policy panicked, which refuses the request");
            Access::Refused
        })
    }
}

fn judge_multicast(
    policy: &dyn AccessPolicy,
    client: &ClientInfo,
    multicast: &Multicast<'_>,
) -> Access {
    let Multicast { groups, service, message_type, .. } = *multicast;
    let sending = Sending { groups, service, message_type };
    let is_private = |group: &Name| group.as_field()[0] == b'#';
    let private = groups.iter().filter(is_private).count();
    if private > 0 && policy.private_send(client, &sending) == Access::Refused {
        return Access::Refused;
    }
    match groups.len() > private {
        true => policy.multicast(client, &sending),
        false => Access::Allowed,
    }
}

/// Returns the text that a panic carries.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Returns the rejected message that answers a refused request.
///
/// As Spread does it, the sender stands behind the groups; the last of them
/// gives way if there are too many. A join or leave comes back as its cause.
pub(crate) fn rejected(frame: FrameRef<'_>) -> BytesMut {
    let header = frame.header();
    let mut groups: Vec<Name> = frame.groups().iter().collect();
    groups.truncate(spread_wire::limits::MAX_GROUPS_PER_MESSAGE - 1);
    groups.push(header.name);
    let mut old_type = header.service_type;
    for (asked, cause) in [(ServiceType::JOIN, Cause::Join), (ServiceType::LEAVE, Cause::Leave)] {
        if old_type.contains(asked) {
            old_type.remove(asked);
            old_type.insert(cause.flag());
        }
    }
    let mut out = BytesMut::new();
    let reject = Reject {
        old_type,
        sender: header.name,
        self_discard: header.service_type.contains(ServiceType::SELF_DISCARD),
        message_type: header.hint.message_type(),
        sender_order: header.hint.sender_order(),
        groups: Groups::from(&groups[..]),
        body: frame.body(),
    };
    Delivery::Rejected(reject).encode(ByteOrder::NATIVE, &mut out);
    out
}
