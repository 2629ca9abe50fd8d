//! Every error says each thing once: what its source says, it does not say as well.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use spread::{AddressError, Error, NameError, PrivateGroup, ProtocolError};
use spread_core::ConnectError;
use spread_daemon::{AddressListError, ClusterError, PasswordError, StartError};
use spread_wire::handshake::ClientError;
use spread_wire::{
    DeliveryError, ErrorCode, FrameError, MembershipError, RequestError, ServiceType,
};

fn check(error: impl StdError) {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    for (place, text) in texts.iter().enumerate() {
        assert!(!text.is_empty(), "{error:?}");
        for other in texts[..place].iter().chain(&texts[place + 1..]) {
            assert!(!text.contains(other), "{texts:?}");
        }
    }
}

/// The error of a system call.
fn cause() -> io::Error {
    io::Error::from_raw_os_error(libc::ECONNRESET)
}

fn name_errors() -> [NameError; 4] {
    [
        NameError::Empty,
        NameError::TooLong { len: 40, max: 31 },
        NameError::IllegalByte { byte: b' ', at: 3 },
        NameError::NotPrivate,
    ]
}

fn frame_errors() -> [FrameError; 4] {
    [
        FrameError::ByteOrder,
        FrameError::Groups { count: -1, max: 100 },
        FrameError::Data { len: -1, max: 100 },
        FrameError::Total { len: 200, max: 100 },
    ]
}

fn membership_errors() -> [MembershipError; 3] {
    [
        MembershipError::Short { len: 3 },
        MembershipError::Long { extra: 3 },
        MembershipError::NoOwnSet { offset: 3 },
    ]
}

#[test]
fn the_client_says_each_thing_once() {
    let (text, methods) = (|| "given".to_owned(), || vec!["PWORD".to_owned()]);
    for reason in [
        AddressError::Port,
        AddressError::NoHost,
        AddressError::Host,
        AddressError::Brackets,
        AddressError::RelativePath,
        AddressError::Path,
    ] {
        check(reason);
        check(Error::IllegalAddress { address: text(), reason });
    }
    for source in name_errors() {
        check(Error::IllegalPrivateName { name: text(), source });
        check(Error::IllegalGroup { name: text(), source });
    }
    check(Error::PrivateGroup { name: PrivateGroup::new("#alice#host").unwrap() });
    check(Error::UnknownHost { address: text(), source: cause() });
    check(Error::Refused { address: text(), source: cause() });
    check(Error::Unreachable { address: text(), source: cause() });
    check(Error::ConnectTimeout { address: text(), timeout: Duration::from_secs(1) });
    check(Error::NotSpread { address: text(), reason: "it ends early".to_owned() });
    check(Error::SpeaksTls { address: text() });
    check(Error::ClosedInHandshake { address: text(), source: None });
    check(Error::ClosedInHandshake { address: text(), source: Some(cause()) });
    check(Error::IllegalKeepalive { time: Duration::ZERO });
    check(Error::NameInUse { name: text(), address: "4803@localhost".to_owned() });
    check(Error::TooManySessions);
    check(Error::IncompatibleVersion);
    for offered in [None, Some(Vec::new()), Some(methods())] {
        check(Error::NotAuthorized { wanted: methods(), offered: offered.clone() });
        check(Error::NotAuthorized { wanted: vec!["NULL".to_owned()], offered: offered.clone() });
        check(Error::Authentication { method: text(), offered, source: cause() });
    }
    check(Error::NoGroups);
    check(Error::TooManyGroups { count: 44, max: 43 });
    check(Error::MessageTooLong { len: 200_000, max: 143_151 });
    check(Error::ConnectionClosed { source: None });
    check(Error::ConnectionClosed { source: Some(cause()) });
    check(Error::ShutDown);
    check(Error::DisconnectTimeout);
    check(Error::TimedOut);
    check(Error::PartlySent);
    check(Error::ReceiverExists);
    check(Error::Interrupted);
    check(Error::Forked);
    check(Error::Resource(cause()));
    check(Error::Io(cause()));
    check(Error::Library { call: "SP_join", code: -19 });
    check(Error::Protocol(ProtocolError::Header));
    check(Error::Protocol(ProtocolError::TooLong(7)));
    check(Error::Protocol(ProtocolError::View));
    check(Error::Protocol(DeliveryError::ServiceType(ServiceType::JOIN).into()));
    for error in membership_errors() {
        check(Error::Protocol(error.into()));
        check(Error::Protocol(DeliveryError::from(error).into()));
    }
    for error in frame_errors() {
        check(Error::Protocol(error.into()));
    }
}

#[test]
fn the_core_says_each_thing_once() {
    check(ConnectError::UnknownHost(cause()));
    check(ConnectError::Unreachable(cause()));
    check(ConnectError::TimedOut);
    check(ConnectError::Closed(cause()));
    check(ConnectError::Local(cause()));
    check(ConnectError::NotAuthorized { wanted: Vec::new(), offered: None });
    check(ConnectError::Authentication { method: "M".into(), offered: None, source: cause() });
    check(spread_core::Error::Closed(None));
    check(spread_core::Error::Closed(Some(cause())));
    check(spread_core::Error::Resource(cause()));
    check(spread_core::Error::TimedOut);
    check(spread_core::Error::PartlySent);
    check(spread_core::Error::CutShort);
    check(spread_core::Error::Failed);
    check(spread_core::Error::ShutDown);
    for error in frame_errors() {
        check(spread_core::Error::Protocol(error));
    }
    for code in ErrorCode::ALL {
        check(ConnectError::from(ClientError::from(code)));
    }
}

#[test]
fn the_protocol_says_each_thing_once() {
    ErrorCode::ALL.into_iter().for_each(check);
    name_errors().into_iter().for_each(check);
    frame_errors().into_iter().for_each(check);
    membership_errors().into_iter().for_each(check);
    check(RequestError::ServiceType(ServiceType::JOIN));
    check(RequestError::Hint);
    check(ClientError::Protocol("it ends early"));
    check(ClientError::OtherProtocol { begin: b"SSH-2.0\r\n".to_vec() });
    check(ClientError::Rejected(ErrorCode::RejectQuota));
    check(ClientError::MethodNotPermitted { method: "NULL".into(), permitted: "IP".into() });
    for error in name_errors() {
        check(ClientError::PrivateGroup(error));
    }
}

#[test]
fn the_daemon_says_each_thing_once() {
    let (name, path) = (|| "one".to_owned(), || PathBuf::from("/tmp/4803"));
    for source in name_errors() {
        check(StartError::IllegalName { name: name(), source });
    }
    check(StartError::Daemons { count: 0, names: 0 });
    check(StartError::BusyPoll { time: Duration::from_secs(9) });
    check(StartError::PortTaken { address: SocketAddr::from(([127, 0, 0, 1], 4803)) });
    check(StartError::SocketInUse { path: path() });
    check(StartError::Locked { path: path() });
    check(StartError::Io { what: "listen".into(), source: cause() });
    check(ClusterError::NoSuchDaemon { name: name() });
    check(ClusterError::NoSuchClient { name: name() });
    check(ClusterError::NamedTwice { name: name() });
    check(ClusterError::Down { name: name() });
    check(ClusterError::Up { name: name() });
    check(ClusterError::Io { name: name(), source: cause() });
    check(ClusterError::OwnThread);
    check(ClusterError::Stopped);
    check(PasswordError::Io { what: "read", path: path(), source: cause() });
    check(PasswordError::Line { path: path(), line: 1 });
    check(PasswordError::User { name: name() });
    check(PasswordError::Password);
    check(PasswordError::Hash { reason: "none".into() });
    check(AddressListError { line: 1, text: "what".into() });
}
