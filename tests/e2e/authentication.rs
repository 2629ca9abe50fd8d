//! Who one is: by user and password, by a method of one's own, or not at all.

use std::io;
use std::time::Duration;

use crate::support::{block_on, chain, library};
use spread::{
    AsyncMailbox, AuthExchange, AuthStep, Authenticator, Builder, Error, Library, Mailbox, Service,
    UserPassword,
};
use spread_daemon::{Authentication, Daemon, Method, Passwords};

/// A connect that authenticates waits for those of all other tests, and to check a
/// password takes long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn builder(daemon: &Daemon) -> Builder {
    crate::support::builder(daemon.address()).timeout(PATIENCE)
}

fn daemon_with_passwords() -> Daemon {
    let mut passwords = Passwords::default();
    passwords.set("ann", "secret").unwrap();
    let authentication = Authentication::deny_all().allow(Method::Password(passwords));
    Daemon::builder().authentication(authentication).start().unwrap()
}

#[test]
fn a_user_with_the_right_password_is_let_in() {
    let daemon = daemon_with_passwords();
    let ann = builder(&daemon).authenticate(UserPassword::new("ann", "secret")).connect().unwrap();
    ann.multicast(Service::Agreed, "g", b"x").unwrap();
    ann.disconnect().unwrap();
}

#[test]
fn a_wrong_password_is_told_and_a_right_one_is_taken_after_it() {
    let daemon = daemon_with_passwords();
    let enter = |password: &str| {
        let user = UserPassword::new("ann", password);
        builder(&daemon).authenticate(user).connect()
    };
    let error = enter("guess").unwrap_err();
    assert!(
        matches!(&error, Error::Authentication { method, .. } if method == "PWORD"),
        "{error:?}"
    );
    assert_eq!(error.to_string(), "wrong user or password (method PWORD)");
    assert_eq!(error.code(), Some(-9));
    enter("secret").unwrap();
}

#[test]
fn without_authentication_one_is_told_so() {
    let daemon = daemon_with_passwords();
    let error = builder(&daemon).connect().unwrap_err();
    let Error::NotAuthorized { wanted, offered } = &error else { panic!("{error:?}") };
    assert_eq!(*wanted, ["NULL"]);
    let text = error.to_string();
    match library() {
        Library::Native => {
            assert_eq!(offered.as_deref(), Some(&["PWORD".to_owned()][..]));
            assert!(text.contains("a user and password (PWORD); none was given"), "{text}");
        }
        // libspread does not tell.
        _ => assert!(offered.is_none() && text.contains("none was given"), "{text}"),
    }
}

#[test]
fn a_password_for_a_daemon_that_asks_for_none_is_told_so() {
    let daemon = Daemon::builder().start().unwrap();
    let user = UserPassword::new("ann", "secret");
    let error = builder(&daemon).authenticate(user).connect().unwrap_err();
    assert!(matches!(error, Error::NotAuthorized { .. }), "{error:?}");
    if library() == Library::Native {
        assert!(error.to_string().contains("the daemon asks for no password"), "{error}");
    }
}

#[test]
fn an_authentication_leaves_other_connects_alone() {
    let (closed, open) = (daemon_with_passwords(), Daemon::builder().start().unwrap());
    std::thread::scope(|scope| {
        let authenticating = [(); 4].map(|()| {
            scope.spawn(|| {
                let user = UserPassword::new("ann", "secret");
                builder(&closed).authenticate(user).connect().unwrap();
                builder(&open).connect().unwrap();
            })
        });
        while authenticating.iter().any(|thread| !thread.is_finished()) {
            builder(&open).connect().unwrap();
        }
    });
}

#[test]
fn credentials_that_are_too_long_are_refused_before_they_are_sent() {
    let daemon = daemon_with_passwords();
    let user = UserPassword::new("ann", "nine byte");
    let error = builder(&daemon).authenticate(user).connect().unwrap_err();
    assert!(chain(&error).contains("a password at most 8"), "{error}");
}

/// A method under the name of another, which does what it likes.
#[derive(Debug)]
struct Own(fn() -> io::Result<AuthStep>);

impl Authenticator for Own {
    fn method(&self) -> &str {
        "PWORD"
    }

    fn begin(&self) -> Box<dyn AuthExchange> {
        Box::new(Own(self.0))
    }
}

impl AuthExchange for Own {
    fn next(&mut self, _received: &[u8]) -> io::Result<AuthStep> {
        (self.0)()
    }
}

#[test]
fn a_method_of_ones_own_may_give_up_or_wait_in_vain() {
    let daemon = daemon_with_passwords();
    let patient = builder(&daemon);
    let connect =
        |builder: &Builder, own| builder.clone().authenticate(Own(own)).connect().unwrap_err();
    let error = connect(&patient, || Err(io::Error::other("no key at hand")));
    assert!(chain(&error).contains("no key at hand"), "{error}");
    let impatient = patient.timeout(Duration::from_millis(50));
    let error = connect(&impatient, || Ok(AuthStep::Receive(1)));
    assert!(matches!(error, Error::ConnectTimeout { .. }), "{error:?}");
}

#[test]
fn more_methods_than_the_protocol_has_room_for_are_refused_before_anything_is_sent() {
    let daemon = daemon_with_passwords();
    let user = || UserPassword::new("ann", "secret");
    let many = (0..4).fold(builder(&daemon), |builder, _| builder.authenticate(user()));
    let error = many.connect().unwrap_err();
    assert!(chain(&error).contains("at most 3 methods"), "{error}");
}

#[test]
fn a_method_that_never_ends_ends_with_the_time() {
    let daemon = daemon_with_passwords();
    let impatient = builder(&daemon).timeout(Duration::from_millis(50));
    for step in [|| Ok(AuthStep::Send(Vec::new())), || Ok(AuthStep::Receive(0))] {
        let endless = impatient.clone().authenticate(Own(step));
        let error = endless.connect().unwrap_err();
        assert!(matches!(error, Error::ConnectTimeout { .. }), "{error:?}");
        let error = block_on(AsyncMailbox::connect(endless)).unwrap_err();
        assert!(matches!(error, Error::ConnectTimeout { .. }), "{error:?}");
    }
}

#[test]
fn a_password_does_not_show_in_debug_output() {
    let user = UserPassword::new("ann", "secret");
    let shown = format!("{:?}", Mailbox::builder("4803").authenticate(user));
    assert!(shown.contains("ann") && !shown.contains("secret"), "{shown}");
}
