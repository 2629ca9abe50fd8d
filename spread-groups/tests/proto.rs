//! The checked-in code for the messages is what prost makes of `proto/envelope.proto`.
//!
//! After a change of the `.proto`, `UPDATE_PROTO=1 cargo test -p spread-groups --test proto`
//! writes it anew.

use std::path::Path;

const CHECKED_IN: &str = "src/core/proto.rs";

#[test]
fn the_checked_in_code_is_that_of_the_proto_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let descriptors = protox::compile(["envelope.proto"], [root.join("proto")]).unwrap();
    prost_build::Config::new().bytes(["."]).out_dir(out.path()).compile_fds(descriptors).unwrap();
    let made = std::fs::read_to_string(out.path().join("spread.groups.v1.rs")).unwrap();
    let checked_in = root.join(CHECKED_IN);
    if std::env::var_os("UPDATE_PROTO").is_some() {
        std::fs::write(&checked_in, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&checked_in).unwrap();
    assert_eq!(kept, made, "{CHECKED_IN} is not what prost makes of the .proto");
}
