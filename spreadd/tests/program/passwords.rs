//! Users and their passwords.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use spread_wire::handshake::Connect;

use crate::client::{self, Client};
use crate::support::{Folder, PROGRAM, Program, file};

#[test]
fn a_password_is_set_and_then_demanded() {
    let folder = Folder::new();
    let users = folder.0.join("users");
    let set = |user: &str, password: &str| set(&users, user, password).wait_with_output().unwrap();
    assert_eq!(set("ann", "secret").status.code(), Some(0));
    assert_eq!(set("bob", "guess").status.code(), Some(0));
    assert_eq!(set("eve", "much too long").status.code(), Some(1));
    let empty = set("eve", "");
    let said = String::from_utf8(empty.stderr).unwrap();
    assert_eq!(empty.status.code(), Some(1));
    assert!(
        said.contains("the first line of the standard input, the password, is empty"),
        "{said}"
    );
    let program = Program::start(folder.command(0).arg("--passwords").arg(&users));
    let mut secret = b"ann".to_vec();
    secret.resize(32, 0);
    secret.extend_from_slice(b"secret\0\0");
    let connect = || Connect::new(Some("ann".parse().unwrap()));
    let enter =
        |secret: &[u8]| Client::try_authenticate(program.address(), connect(), &["PWORD"], secret);
    enter(&secret).unwrap().join("town");
    secret[32] = b'S';
    assert!(enter(&secret).is_err());
    assert!(Client::try_connect(program.address(), connect()).is_err());
}

#[test]
fn a_password_that_is_not_utf_8_and_a_wrong_name_are_told() {
    let folder = Folder::new();
    let users = folder.0.join("users");
    let set = |user: &str, password: &[u8]| {
        let mut command = Command::new(PROGRAM);
        command.arg("passwd").arg(&users).arg(user).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(password).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = set("ann", b"p\xfc\n");
    assert_eq!(said, "spreadd: the password is not UTF-8; nothing was changed\n");
    let said = set("a:b", b"secret\n");
    assert!(
        said.contains("\"a:b\" cannot be the name of a user: that has 1 to 32 bytes"),
        "{said}"
    );
    assert!(!users.exists());
}

/// Begins to set a password in a file.
fn set(users: &Path, user: &str, password: &str) -> Child {
    let mut command = Command::new(PROGRAM);
    command.arg("passwd").arg(users).arg(user);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    child
}

#[test]
fn a_file_keeps_its_owner_its_mode_and_the_link_to_it() {
    let folder = Folder::new();
    let (users, link) = (file(&folder, "users", ""), folder.0.join("link"));
    let others = file(&folder, "others", "ann:aZGJuE6EXrjEE\n");
    fs::set_permissions(&users, fs::Permissions::from_mode(0o640)).unwrap();
    // Only root may give a file away.
    let _ = chown(&users, Some(65534), Some(65534));
    symlink("users", &link).unwrap();
    let rights = || {
        let users = fs::metadata(&users).unwrap();
        (users.uid(), users.gid(), users.mode())
    };
    let before = rights();
    assert_eq!(set(&link, "ann", "secret").wait().unwrap().code(), Some(0));
    let mut import = Command::new(PROGRAM);
    import.arg("passwd").arg(&link).arg("--import").arg(others).arg("--force");
    assert_eq!(import.stdout(Stdio::null()).status().unwrap().code(), Some(0));
    assert_eq!(rights(), before);
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("users"));
    assert_eq!(fs::read_to_string(&users).unwrap(), "ann:aZGJuE6EXrjEE\n");

    let (new, dangling) = (folder.0.join("new"), folder.0.join("dangling"));
    symlink("new", &dangling).unwrap();
    assert_eq!(set(&dangling, "ann", "secret").wait().unwrap().code(), Some(0));
    assert_eq!(fs::symlink_metadata(&new).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn a_link_of_another_user_is_not_followed() {
    let folder = Folder::new();
    let (users, link) = (file(&folder, "users", "bob:abcva5N.A6D7I\n"), folder.0.join("link"));
    symlink("users", &link).unwrap();
    // Only root may give a link away.
    if lchown(&link, Some(65534), Some(65534)).is_err() {
        return;
    }
    let refused = set(&link, "ann", "secret").wait_with_output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("/link belongs to another user (65534)"), "{said}");
    assert_eq!(fs::read_to_string(&users).unwrap(), "bob:abcva5N.A6D7I\n");
}

#[test]
fn only_the_rights_to_a_file_are_kept() {
    let folder = Folder::new();
    let users = file(&folder, "users", "");
    fs::set_permissions(&users, fs::Permissions::from_mode(0o4750)).unwrap();
    assert_eq!(set(&users, "ann", "secret").wait().unwrap().code(), Some(0));
    assert_eq!(fs::metadata(&users).unwrap().mode() & 0o7777, 0o750);
}

#[test]
fn users_that_are_set_at_once_are_all_there() {
    let folder = Folder::new();
    let users = folder.0.join("users");
    let names: Vec<String> = (0..8).map(|number| format!("user{number}")).collect();
    let set = names.iter().map(|name| set(&users, name, "secret")).collect::<Vec<_>>();
    for child in set {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = fs::read_to_string(&users).unwrap();
    let found: Vec<&str> = text.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(found, names);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_folder_that_is_not_there_is_told_by_the_name_of_the_file() {
    let output = set(Path::new("/nonexist/users"), "ann", "secret").wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = "spreadd: cannot write the password file /nonexist/users: No such file or \
                    directory (os error 2)\n";
    assert_eq!((output.status.code(), &*said), (Some(1), expected));
}

#[test]
fn passwords_that_all_users_can_read_are_warned_of() {
    let folder = Folder::new();
    let users = file(&folder, "spread.access_pword", "ann:abJnggxhB/yWI\n");
    let conf =
        "Spread_Segment 127.0.0.255:4803 {\n here 127.0.0.1\n}\nAllowedAuthMethods = \"PWORD\"\n";
    let conf = file(&folder, "spread.conf", conf);
    let check = |mode: u32, options: [&str; 3], file: &Path| {
        fs::set_permissions(&users, fs::Permissions::from_mode(mode)).unwrap();
        let output = Command::new(PROGRAM).args(options).arg(file).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    };
    let by_option = ["--check", "--no-config", "--passwords"];
    let by_conf = ["--check", "--port=0", "--config"];
    let expected = format!("all users can read passwords in {0}: chmod o= {0}\n", users.display());
    for (options, file) in [(by_option, &users), (by_conf, &conf)] {
        assert_eq!(check(0o640, options, file), "");
        assert_eq!(check(0o644, options, file), format!("spreadd: warning: {expected}"));
    }
}

/// Runs `passwd` at a terminal, and types these lines.
fn type_passwords(users: &Path, lines: &str) -> Output {
    let terminal = users.with_extension("tty");
    let (program, name) = (PROGRAM, terminal.display());
    let passwd = format!("tty > '{name}'; exec '{program}' passwd '{}' ann", users.display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--echo", "always", "--command", &passwd, "/dev/null"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut typed = child.stdin.take().unwrap();
    let mut shown = child.stdout.take().unwrap();
    let mut said = Vec::new();
    for line in lines.lines() {
        let prompts = |said: &[u8]| said.iter().filter(|byte| **byte == b':').count();
        let before = prompts(&said);
        let mut byte = [0];
        while prompts(&said) == before && shown.read(&mut byte).unwrap() == 1 {
            said.extend(byte);
        }
        // It prompts first.
        let terminal = fs::read_to_string(&terminal).unwrap();
        let shows = || {
            let stty = Command::new("stty").args(["-a", "-F", terminal.trim()]).output().unwrap();
            !String::from_utf8_lossy(&stty.stdout).contains(" -echo ")
        };
        let start = Instant::now();
        while shows() {
            assert!(start.elapsed() < client::DEADLINE, "the terminal shows what is typed");
        }
        writeln!(typed, "{line}").unwrap();
    }
    shown.read_to_end(&mut said).unwrap();
    drop(typed);
    let mut output = child.wait_with_output().unwrap();
    output.stdout = said;
    output
}

#[test]
fn at_a_terminal_a_password_is_asked_for_twice_and_not_shown() {
    let folder = Folder::new();
    let users = folder.0.join("users");
    let output = type_passwords(&users, "secret\nsecrets\n");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("the two passwords differ"), "{said}");
    assert_eq!((output.status.code(), users.exists()), (Some(1), false));
    let output = type_passwords(&users, "\n");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("the password is empty; nothing was changed"), "{said}");
    assert_eq!((output.status.code(), users.exists()), (Some(1), false));
    let output = type_passwords(&users, "secret\nsecret\n");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!((output.status.code(), said.contains("secret")), (Some(0), false), "{said}");
    assert!(said.contains("Password of ann: ") && said.contains("Again: "), "{said}");
    assert!(fs::read_to_string(&users).unwrap().starts_with("ann:$argon2id$"));
}

#[test]
fn the_users_of_spread_are_imported() {
    let folder = Folder::new();
    let users = folder.0.join("users");
    let others = folder.0.join("spread.access_pword");
    fs::write(&others, "# of Spread\nann:aZGJuE6EXrjEE\n").unwrap();
    let import = |other: &Path| {
        let mut command = Command::new(PROGRAM);
        command.arg("passwd").arg(&users).arg("--import").arg(other).output().unwrap()
    };
    assert_eq!(import(&others).status.code(), Some(0));
    fs::write(&others, "ann:nothing\n").unwrap();
    let failed = import(&others);
    let said = String::from_utf8(failed.stderr).unwrap();
    assert!(said.contains("spread.access_pword:1: a line is USER:HASH; the hash is"), "{said}");
    let program = Program::start(folder.command(0).arg("--passwords").arg(&users));
    let mut secret = b"ann".to_vec();
    secret.resize(32, 0);
    secret.extend_from_slice(b"test\0\0\0\0");
    let connect = Connect::new(Some("ann".parse().unwrap()));
    let client = Client::try_authenticate(program.address(), connect, &["PWORD"], &secret);
    client.unwrap().join("town");
}

#[test]
fn force_demands_an_import_and_nothing_else() {
    let output = Command::new(PROGRAM).args(["passwd", "users", "--force"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("  --import <FILE>\n") && !said.contains("  <USER>\n"), "{said}");
}

#[test]
fn an_import_replaces_the_password_of_a_user_only_by_force() {
    let folder = Folder::new();
    let users = file(&folder, "users", "ann:abcva5N.A6D7I\nbob:abcva5N.A6D7I\n");
    let text = "ann:aZGJuE6EXrjEE\nbob:abcva5N.A6D7I\neve:aZGJuE6EXrjEE\n";
    let others = file(&folder, "others", text);
    let import = |force: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("passwd").arg(&users).arg("--import").arg(&others).args(force);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let [said, complained] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), said, complained)
    };
    let before = fs::read_to_string(&users).unwrap();
    let (code, said, complained) = import(&[]);
    assert_eq!((code, &*said), (Some(1), ""));
    assert!(complained.contains("of these users: ann (--force replaces them)"), "{complained}");
    assert_eq!(fs::read_to_string(&users).unwrap(), before, "nobody was imported");

    let (code, said, _) = import(&["--force"]);
    assert_eq!((code, &*said), (Some(0), "replaced the passwords of these users: ann\n"));
    assert_eq!(fs::read_to_string(&users).unwrap(), text);
    // Nothing is replaced when it is done again.
    assert_eq!(import(&[]), (Some(0), String::new(), String::new()));
}
