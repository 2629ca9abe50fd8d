//! What the binding makes of a library that is missing, is another one, or fails: against
//! fakes that a C compiler builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use spread_corosync::{Error, Event, Group, MAX_MESSAGE, Member, Ring, Sent};

/// Fakes of libcpg, in a folder of their own.
struct Fakes {
    dir: tempfile::TempDir,
}

impl Fakes {
    fn new() -> Fakes {
        Fakes { dir: tempfile::tempdir().unwrap() }
    }

    /// Builds a library whose functions return these codes.
    fn build(&self, name: &str, defines: &[(&str, &str)]) -> PathBuf {
        let path = self.dir.path().join(name);
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut command = Command::new(compiler);
        command.args(["-shared", "-fPIC", "-o"]).arg(&path);
        for (name, code) in [("INITIALIZE", "1"), ("JOIN", "1"), ("DISPATCH", "1")] {
            let given = defines.iter().find(|(define, _)| *define == name);
            command.arg(format!("-D{name}={}", given.map_or(code, |(_, code)| code)));
        }
        for (name, value) in defines.iter().filter(|(name, _)| name.starts_with("NO_")) {
            command.arg(format!("-D{name}={value}"));
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/cpg.c");
        assert!(command.arg(source).status().unwrap().success());
        path
    }

    fn join(&self, name: &str, defines: &[(&str, &str)]) -> Result<Group, Error> {
        Group::join_by(self.build(name, defines).to_str().unwrap(), "test")
    }
}

fn expect<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_group_tells_its_members_its_ring_and_messages() {
    let fakes = Fakes::new();
    let mut group = fakes.join("good.so", &[]).unwrap();
    let me = Member { node: 42, pid: std::process::id() };
    assert_eq!(group.member(), me);
    let members = Event::Members { members: vec![me], left: vec![], joined: vec![me] };
    assert_eq!(group.dispatch().unwrap(), Some(members));
    let ring = Event::Ring(Ring { node: 42, seq: 1234567890123 });
    assert_eq!(group.dispatch().unwrap(), Some(ring));
    assert_eq!(group.dispatch().unwrap(), None);
    assert_eq!(group.multicast(b"hello").unwrap(), Sent::Yes);
    assert_eq!(group.multicast(b"no room").unwrap(), Sent::Full);
    let message = Event::Message { from: me, bytes: b"hello".to_vec() };
    assert_eq!(group.dispatch().unwrap(), Some(message));
    assert_eq!(group.multicast(b"long").unwrap(), Sent::Yes);
    assert_eq!(group.dispatch().unwrap(), None, "more than a message may have");
    assert_eq!(group.multicast(b"room").unwrap(), Sent::Yes);
}

#[test]
fn a_message_that_is_too_long_is_an_error() {
    let mut group = Fakes::new().join("good.so", &[]).unwrap();
    let long = vec![0; MAX_MESSAGE + 1];
    let error = group.multicast(&long).unwrap_err();
    assert!(matches!(error, Error::TooLong { len } if len == MAX_MESSAGE + 1));
    let error = group.multicast(&long[..1000]).unwrap_err();
    assert!(matches!(error, Error::TooLong { len: 1000 }), "corosync's own limit");
}

#[test]
fn a_missing_library_is_named_with_its_package() {
    let said = expect(Group::join_by("libcpg-that-is-not-there.so.4", "test"));
    assert_eq!(
        said,
        "cannot open libcpg-that-is-not-there.so.4, the library of Corosync; on Debian it is in \
         the package libcpg4"
    );
}

#[test]
fn a_library_without_a_function_is_another_one() {
    let error = Fakes::new().join("short.so", &[("NO_DISPATCH", "1")]).unwrap_err();
    assert!(matches!(error, Error::Symbol { symbol: "cpg_dispatch", .. }), "{error}");
}

#[test]
fn a_group_name_has_a_length() {
    for len in [0, 129] {
        let error = Group::join_by("unused", &"x".repeat(len)).unwrap_err();
        assert!(matches!(error, Error::GroupName { len: l } if l == len));
    }
}

#[test]
fn a_service_that_does_not_run_refuses_or_fails_is_told_apart() {
    let fakes = Fakes::new();
    let said = expect(fakes.join("down.so", &[("INITIALIZE", "2")]));
    assert_eq!(said, "corosync does not run on this host (cpg_model_initialize: error 2)");
    let said = expect(fakes.join("access.so", &[("INITIALIZE", "11")]));
    assert!(said.contains("refuses this user") && said.contains("uidgid"), "{said}");
    let said = expect(fakes.join("exists.so", &[("JOIN", "14")]));
    assert_eq!(said, "corosync fails: cpg_join returns error 14");
    let mut group = fakes.join("gone.so", &[("DISPATCH", "2")]).unwrap();
    assert_eq!(
        expect(group.dispatch()),
        "corosync does not run on this host (cpg_dispatch: error 2)"
    );
}
