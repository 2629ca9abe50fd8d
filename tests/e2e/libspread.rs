//! A part of the suite over libspread, since `cargo test` goes over the core. `ci/test.sh` runs all.

use std::env;
use std::process::Command;

#[test]
fn messages_and_membership_go_over_libspread() {
    if env::var_os("SPREAD_LIBRARY").is_some() {
        return;
    }
    let program = env::current_exe().unwrap();
    let modules = ["end_to_end::", "membership::", "receiving::"];
    let mut suite = Command::new(program);
    // Not over TLS, which libspread does not have.
    suite.args(modules).env("SPREAD_LIBRARY", "sys").env_remove("SPREAD_TRANSPORT");
    let output = suite.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    for module in modules {
        assert!(said.contains(&format!("test {module}")), "no test of {module} in: {said}");
    }
}
