//! Daemons over TLS, and certificates for them.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    SanType, date_time_ymd,
};
use spread::TlsConfig;
use tempfile::TempDir;

use super::program::Program;

/// An authority that signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub(crate) struct Certificate {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = common_name(name);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The certificate of the authority itself, as PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for hosts, which may be IP addresses.
    pub(crate) fn of_hosts(&self, hosts: &[&str]) -> Certificate {
        self.sign(for_hosts(hosts))
    }

    /// A certificate for hosts that was valid in the year 2001.
    pub(crate) fn expired(&self, hosts: &[&str]) -> Certificate {
        let mut params = for_hosts(hosts);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2001, 12, 31);
        self.sign(params)
    }

    /// A certificate of a user.
    pub(crate) fn of_user(&self, name: &str) -> Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        self.sign(params)
    }

    /// A certificate without a common name, for these DNS names.
    pub(crate) fn without_common_name(&self, names: &[&str]) -> Certificate {
        let mut params = for_hosts(names);
        params.distinguished_name = DistinguishedName::new();
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        Certificate { chain, key: key.serialize_pem() }
    }

    /// What a client trusts.
    pub(crate) fn config(&self) -> TlsConfig {
        TlsConfig::new(self.pem()).unwrap()
    }
}

fn for_hosts(hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    CertificateParams::new(hosts).unwrap()
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// A `spreadd` that serves TLS, in a process of its own.
pub(crate) struct TlsDaemon {
    pub(crate) program: Program,
    /// The address over TLS.
    pub(crate) address: String,
    /// The address without.
    pub(crate) plain: String,
    /// The directory of its certificate and key, which are `cert.pem` and `key.pem`.
    pub(crate) dir: TempDir,
}

impl TlsDaemon {
    /// Starts it with a certificate and further options; `CA` in one of them stands for the file of
    /// the authority's certificate.
    pub(crate) fn start(authority: &Authority, own: &Certificate, options: &[&str]) -> TlsDaemon {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        write(&dir, own);
        let file = |name: &str| dir.path().join(name).display().to_string();
        let has_port = options.iter().any(|option| option.starts_with("--tls-port"));
        let has_config = options.iter().any(|option| option.starts_with("--config"));
        let fixed = [
            if has_config { "--log-format=text" } else { "--no-config" },
            "--port=0",
            &format!("--unix-dir={}", dir.path().display()),
            &format!("--tls-cert={}", file("cert.pem")),
            &format!("--tls-key={}", file("key.pem")),
        ];
        let options: Vec<_> = options.iter().map(|o| o.replace("CA", &file("ca.pem"))).collect();
        let free_port = (!has_port).then_some("--tls-port=0");
        let options = options.iter().map(String::as_str).chain(free_port);
        let options = fixed.iter().copied().chain(options);
        let mut program = daemon(&options.collect::<Vec<_>>());
        let ready = program.line_with(&[" is ready at "]);
        let plain = word_after(&ready, " is ready at ");
        let tls = program.line_with(&["TLS is at "]);
        TlsDaemon { program, address: word_after(&tls, "TLS is at "), plain, dir }
    }

    /// Returns the path of a file in its directory.
    pub(crate) fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Runs a command of the daemon's program for this daemon.
    pub(crate) fn ask(&self, command: &[&str]) -> Program {
        let (port, _) = self.plain.split_once('@').unwrap();
        let at = ["--port", port, "--unix-dir", self.dir.path().to_str().unwrap()];
        Program::start(&built("spreadd"), &[command, &at[..]].concat(), &[])
    }

    /// Replaces its certificate and key on the disk.
    pub(crate) fn replace(&self, certificate: &Certificate) {
        write(&self.dir, certificate);
    }
}

fn write(dir: &TempDir, certificate: &Certificate) {
    fs::write(dir.path().join("cert.pem"), &certificate.chain).unwrap();
    fs::write(dir.path().join("key.pem"), &certificate.key).unwrap();
}

fn word_after(line: &str, text: &str) -> String {
    let (_, rest) = line.split_once(text).unwrap();
    rest.split(' ').next().unwrap().to_owned()
}

/// Starts a `spreadd` with these options, which logs what it does.
pub(crate) fn daemon(options: &[&str]) -> Program {
    let path = built("spreadd");
    assert!(path.exists(), "no {}: run ci/tls.sh, which builds it", path.display());
    let options: Vec<&str> = options.to_vec();
    Program::start(&path, &options, &[("RUST_LOG", "debug")])
}

/// The path of a program of the workspace that was built beside the tests.
pub(crate) fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    test.ancestors().nth(2).expect("the folder of the build").join(name)
}

/// The authority of the daemons that tests of a transport use.
static SHARED: LazyLock<Authority> = LazyLock::new(|| Authority::new("of all tests"));

/// The addresses of these daemons.
static ADDRESSES: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// A daemon of the shared authority.
pub(crate) struct Shared(TlsDaemon);

impl Shared {
    pub(crate) fn start() -> Shared {
        let own = SHARED.of_hosts(&["127.0.0.1"]);
        let daemon = TlsDaemon::start(&SHARED, &own, &[]);
        ADDRESSES.lock().unwrap().get_or_insert_default().insert(daemon.address.clone());
        Shared(daemon)
    }

    /// Its address over TLS.
    pub(crate) fn address(&self) -> &str {
        &self.0.address
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Before its port is free for another daemon.
        if let Some(addresses) = &mut *ADDRESSES.lock().unwrap() {
            addresses.remove(&self.0.address);
        }
    }
}

/// What to trust at an address, if it is one of a daemon of the shared authority.
pub(crate) fn trusted_at(address: &str) -> Option<TlsConfig> {
    let addresses = ADDRESSES.lock().unwrap();
    addresses.as_ref()?.contains(address).then(|| SHARED.config())
}
