//! The envelope of dividere, compared with what Python's protobuf package writes.

use std::io::Write;
use std::process::{Command, Stdio};

use spread_groups::{Codec, Dividere, dividere::Envelope};

#[derive(Clone, PartialEq, prost::Message)]
struct Msg01 {
    #[prost(int32, tag = "1")]
    field1: i32,
    #[prost(string, tag = "2")]
    field2: String,
}

impl prost::Name for Msg01 {
    const NAME: &'static str = "Msg01";
    const PACKAGE: &'static str = "";
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reading {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(sint64, tag = "2")]
    offset: i64,
    #[prost(double, tag = "3")]
    value: f64,
    #[prost(bool, tag = "4")]
    valid: bool,
    #[prost(bytes = "vec", tag = "5")]
    raw: Vec<u8>,
    #[prost(int32, repeated, tag = "6")]
    counts: Vec<i32>,
    #[prost(string, repeated, tag = "7")]
    tags: Vec<String>,
    #[prost(message, optional, tag = "8")]
    source: Option<Msg01>,
    #[prost(fixed32, tag = "9")]
    stamp: u32,
}

impl prost::Name for Reading {
    const NAME: &'static str = "Reading";
    const PACKAGE: &'static str = "";
}

/// What the script `ci/dividere.py write` prints.
const RECORDED: &str = "\
small 0a054d7367303112260a19747970652e676f6f676c65617069732e636f6d2f4d736730311209080712\
    0568656c6c6f
empty 0a054d73673031121b0a19747970652e676f6f676c65617069732e636f6d2f4d73673031
negative 0a054d7367303112310a19747970652e676f6f676c65617069732e636f6d2f4d73673031121408f\
    fffffffffffffffff0112074772c3bcc39f65
all 0a0752656164696e6712f1020a1b747970652e676f6f676c65617069732e636f6d2f52656164696e6712\
    d102088080808080808080800110d70419000000000000f83f20012a8002000102030405060708090a0b0c0d\
    0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f30313233343536373839\
    3a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465\
    666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f9091\
    92939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbd\
    bebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9\
    eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff320f0001ffffffffffffffffff01f0a2043a003a0161\
    3a026263421408ffffffffffffffffff0112074772c3bcc39f654d04000000
empty-inside 0a0752656164696e6712230a1b747970652e676f6f676c65617069732e636f6d2f526561646\
    96e6712043a004200
";

/// Returns the cases of the script, by their names, encoded here and read back.
fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let small = Msg01 { field1: 7, field2: String::from("hello") };
    let negative = Msg01 { field1: -1, field2: String::from("Grüße") };
    let all = Reading {
        id: 1 << 63,
        offset: -300,
        value: 1.5,
        valid: true,
        raw: (0..=255).collect(),
        counts: vec![0, 1, -1, 70_000],
        tags: ["", "a", "bc"].map(String::from).to_vec(),
        source: Some(negative.clone()),
        stamp: 4,
    };
    let empty_inside =
        Reading { source: Some(Msg01::default()), tags: vec![String::new()], ..Reading::default() };
    vec![
        ("small", encoded(&small)),
        ("empty", encoded(&Msg01::default())),
        ("negative", encoded(&negative)),
        ("all", encoded(&all)),
        ("empty-inside", encoded(&empty_inside)),
    ]
}

fn encoded<T: prost::Message + prost::Name + Default + PartialEq>(value: &T) -> Vec<u8> {
    let bytes = Dividere::encode(value).unwrap();
    let read: T = Dividere::decode(&bytes).unwrap();
    assert!(read == *value);
    bytes.to_vec()
}

fn lines() -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    cases().iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect()
}

#[test]
fn bytes_are_those_that_python_has_written() {
    assert_eq!(lines(), RECORDED);
}

#[test]
fn a_message_of_another_type_is_an_error() {
    let reading = Dividere::encode(&Reading::default()).unwrap();
    assert!(<Dividere as Codec<Msg01>>::decode(&reading).is_err());
    // The name and the type have to agree.
    let mut bytes = Dividere::encode(&Msg01::default()).unwrap().to_vec();
    let last = bytes.len() - 1;
    bytes[last] = b'2';
    assert!(<Dividere as Codec<Msg01>>::decode(&bytes).is_err());
    assert!(<Dividere as Codec<Msg01>>::decode(b"").is_err());
    assert!(<Dividere as Codec<Msg01>>::decode(b"\x0a\x05Msg01").is_err());
}

#[test]
fn an_envelope_tells_types_apart() {
    let envelope = Envelope::pack(&Msg01 { field1: 1, field2: String::new() });
    assert_eq!(envelope.name(), "Msg01");
    assert_eq!(envelope.open::<Msg01>().unwrap().field1, 1);
    assert!(envelope.open::<Reading>().is_err());
}

/// Run by `ci/dividere.sh`, which names a Python that has protobuf.
#[test]
#[ignore = "needs Python with the package protobuf"]
fn python_writes_the_same_and_reads_it() {
    let python = std::env::var_os("DIVIDERE_PYTHON").expect("DIVIDERE_PYTHON names it");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../ci/dividere.py");
    let written = Command::new(&python).args([script, "write"]).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    assert_eq!(String::from_utf8(written.stdout).unwrap(), lines());

    let mut reads = Command::new(&python);
    let mut reads = reads.args([script, "read"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = reads.stdin.take().unwrap();
    stdin.write_all(lines().as_bytes()).unwrap();
    drop(stdin);
    assert!(reads.wait().unwrap().success());
}
