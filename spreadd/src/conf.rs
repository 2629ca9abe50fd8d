//! The file that Spread's own daemon reads, `spread.conf`, as far as it concerns
//! one daemon.

use std::fmt;
use std::net::IpAddr;

/// The contents of the file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Conf {
    pub(crate) daemons: Vec<ConfDaemon>,
    pub(crate) max_session_messages: Option<usize>,
    pub(crate) event_log_file: Option<String>,
    pub(crate) event_priority: Option<&'static str>,
    pub(crate) allowed_methods: Option<Vec<String>>,
    pub(crate) required_methods: Vec<String>,
    /// Remarks on directives that are not understood or have no effect.
    pub(crate) warnings: Vec<Remark>,
}

/// A daemon of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ConfDaemon {
    pub(crate) name: String,
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
    /// Where it listens for clients, if its interfaces are listed.
    pub(crate) client_addresses: Option<Vec<IpAddr>>,
}

/// Something to say about a line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Remark {
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

const DEFAULT_PORT: u16 = 4803;

/// Bytes of a daemon's name, beyond which Spread cuts it.
const NAME_LEN: usize = spread_wire::limits::MAX_DAEMON_NAME;

/// What `EventPriority` can be.
const PRIORITIES: [&str; 6] = ["pDEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL"];

/// Directives with a value that counts.
const WITH_VALUE: [&str; 6] = [
    "AccessControlPolicy",
    "AllowedAuthMethods",
    "EventLogFile",
    "EventPriority",
    "MaxSessionMessages",
    "RequiredAuthMethods",
];

/// Directives that mean nothing to a daemon that speaks to no other, or that are
/// done in another way; real configurations are full of them.
const IRRELEVANT: &[&str] = &[
    "AcceleratedRing",
    "AcceleratedWindow",
    "ActiveIPVersion",
    "AliveTimeout",
    "DaemonGroup",
    "DaemonUser",
    "DangerousMonitor",
    "DebugFlags",
    "EventPreciseTimeStamp",
    "EventTimeStamp",
    "ExcludeSegAddrsFromHash",
    "FormTimeout",
    "GatherTimeout",
    "HurryTimeout",
    "IgnoreMulticastJoinErrors",
    "JoinTimeout",
    "LookupTimeout",
    "PersonalWindow",
    "RepTimeout",
    "RuntimeDir",
    "SegTimeout",
    "SocketPortReuse",
    "TokenTimeout",
    "WideAreaNetwork",
    "Window",
];

impl Conf {
    /// Understands a file. Its text is UTF-8, with or without a mark in front, or Latin-1.
    ///
    /// # Errors
    ///
    /// The first place where it cannot be read on.
    pub(crate) fn parse_bytes(bytes: &[u8]) -> Result<Conf, Remark> {
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || bytes.contains(&0) {
            return Err(remark(1, "the file is in UTF-16, or no text: save it as UTF-8"));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        match str::from_utf8(bytes) {
            Ok(text) => Conf::parse(text),
            Err(_) => Conf::parse(&bytes.iter().copied().map(char::from).collect::<String>()),
        }
    }

    /// Understands the text of a file.
    ///
    /// # Errors
    ///
    /// The first place where it cannot be read on.
    pub(crate) fn parse(text: &str) -> Result<Conf, Remark> {
        let mut reader = Reader { tokens: tokens(text)?, at: 0 };
        let mut conf = Conf::default();
        // The directives with a value, and the line of each.
        let mut lines: Vec<(&str, usize)> = Vec::new();
        while let Some((line, token)) = reader.next() {
            match &token {
                Token::Word(word) => {
                    let known = WITH_VALUE.into_iter().find(|name| word.eq_ignore_ascii_case(name));
                    let first = lines.iter().find(|(name, _)| Some(*name) == known);
                    if let Some((name, first)) = first {
                        let text = format!("{name} is in line {first}, too: the last one counts");
                        conf.warnings.push(remark(line, text));
                    }
                    lines.extend(known.map(|name| (name, line)));
                    conf.directive(line, word, &mut reader)?;
                }
                other => return Err(other.unexpected(line)),
            }
        }
        Ok(conf)
    }

    fn directive(&mut self, line: usize, word: &str, reader: &mut Reader) -> Result<(), Remark> {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        if is("Spread_Segment") {
            return self.segment(line, reader);
        }
        if WITH_VALUE.into_iter().any(is) && !reader.next_is(&Token::Equals) {
            return Err(remark(line, format!("there is no = behind {word}")));
        }
        if !IRRELEVANT.iter().any(|name| is(name)) && reader.next_begins_segment() {
            return Err(remark(line, format!("unknown directive {word}; is it Spread_Segment?")));
        }
        let value = reader.value()?;
        let text = value.join(" ");
        if is("MaxSessionMessages") {
            let number = text.parse().ok().filter(|number| *number > 0);
            let wrong = || remark(line, format!("{text:?} is no number of messages"));
            self.max_session_messages = Some(number.ok_or_else(wrong)?);
        } else if is("EventLogFile") {
            self.event_log_file = Some(text);
        } else if is("EventPriority") {
            self.event_priority = PRIORITIES.into_iter().find(|known| *known == text);
            if self.event_priority.is_none() {
                let known = PRIORITIES.join(", ");
                let text = format!("unknown EventPriority {text:?}: it is one of {known}");
                self.warnings.push(remark(line, text));
            }
        } else if is("AllowedAuthMethods") {
            self.allowed_methods = Some(methods(line, &text)?);
        } else if is("RequiredAuthMethods") {
            self.required_methods = methods(line, &text)?;
        } else if is("AccessControlPolicy") {
            if text != "PERMIT" {
                return Err(remark(line, format!("there is no access control policy {text:?}")));
            }
        } else if !IRRELEVANT.iter().any(|name| is(name)) {
            self.warnings.push(remark(line, format!("unknown directive {word}")));
        }
        Ok(())
    }

    /// Reads a segment, behind `Spread_Segment`.
    fn segment(&mut self, line: usize, reader: &mut Reader) -> Result<(), Remark> {
        let port = match reader.next() {
            Some((line, Token::Word(address))) => segment_port(line, &address)?,
            other => return Err(unexpected(other, line)),
        };
        // Further addresses of the segment are for the daemons.
        loop {
            match reader.next() {
                Some((_, Token::Open)) => break,
                Some((_, Token::Word(word))) if ip(&word).is_some() => {}
                other => return Err(unexpected(other, line)),
            }
        }
        // Whether the next address belongs to the last daemon.
        let mut has_name_only = false;
        let mut in_segment = Vec::new();
        loop {
            match reader.next() {
                Some((_, Token::Close)) => break,
                Some((_, Token::Separator)) => has_name_only = false,
                Some((line, Token::Open)) => {
                    let daemon: &mut ConfDaemon = in_segment
                        .last_mut()
                        .ok_or_else(|| remark(line, "interfaces of no daemon"))?;
                    let Interfaces { clients, daemons } = interfaces(line, reader)?;
                    if let Some(own) = daemon.address
                        && !daemons.iter().any(|ip| *ip == own || ip.is_unspecified())
                    {
                        let name = &daemon.name;
                        let text =
                            format!("the interfaces of {name} lack D {own}, its own address");
                        self.warnings.push(remark(line, text));
                    }
                    daemon.client_addresses = Some(clients);
                    has_name_only = false;
                }
                Some((line, Token::Word(word))) if word.eq_ignore_ascii_case("VirtualID") => {
                    reader.expect(Token::Equals, line)?;
                    reader.next();
                    has_name_only = false;
                }
                Some((line, Token::Word(word))) => match (ip(&word), in_segment.last_mut()) {
                    (Some(address), Some(daemon)) if has_name_only => {
                        daemon.address = Some(address);
                        has_name_only = false;
                    }
                    (address, _) => {
                        let name: String = word.chars().take(NAME_LEN).collect();
                        if name.len() < word.len() && address.is_none() {
                            let text = format!("daemon {word} is called {name}");
                            self.warnings.push(remark(line, text));
                        }
                        has_name_only = address.is_none();
                        in_segment.push(ConfDaemon { name, address, port, client_addresses: None });
                    }
                },
                other => return Err(unexpected(other, line)),
            }
        }
        for daemon in in_segment {
            if self.daemons.iter().any(|other| other.name == daemon.name) {
                let text = format!("there are two daemons {} in the file", daemon.name);
                return Err(remark(line, text));
            }
            self.daemons.push(daemon);
        }
        Ok(())
    }
}

/// The interfaces in the braces behind a daemon.
#[derive(Default)]
struct Interfaces {
    clients: Vec<IpAddr>,
    daemons: Vec<IpAddr>,
}

/// Reads the interfaces of a daemon. The letters in front of an address say what it is for:
/// `C` clients, `D` daemons, `M` the monitor; without a letter it is for all of them.
fn interfaces(line: usize, reader: &mut Reader) -> Result<Interfaces, Remark> {
    let mut interfaces = Interfaces::default();
    let mut letters = String::new();
    let mut count = 0;
    loop {
        match reader.next() {
            Some((line, Token::Close)) => {
                return match count {
                    0 => Err(remark(line, "there are no interfaces in the braces")),
                    _ if !letters.is_empty() => Err(Token::Close.unexpected(line)),
                    _ => Ok(interfaces),
                };
            }
            Some((line, Token::Word(word))) => match ip(&word) {
                Some(address) => {
                    let is_for = |letter| letters.is_empty() || letters.contains(letter);
                    if is_for('C') && !interfaces.clients.contains(&address) {
                        interfaces.clients.push(address);
                    }
                    interfaces.daemons.extend(is_for('D').then_some(address));
                    letters.clear();
                    count += 1;
                }
                None if ["C", "D", "M"].contains(&&*word.to_ascii_uppercase()) => {
                    letters.push_str(&word.to_ascii_uppercase());
                }
                None => return Err(remark(line, format!("{word:?} is no address"))),
            },
            other => return Err(unexpected(other, line)),
        }
    }
}

/// Returns the port in `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
fn segment_port(line: usize, text: &str) -> Result<u16, Remark> {
    if ip(text).is_some() {
        return Ok(DEFAULT_PORT);
    }
    let port = text.rsplit_once(':').filter(|(address, _)| ip(address).is_some());
    let port = port.and_then(|(_, port)| port.parse().ok());
    port.ok_or_else(|| remark(line, format!("{text:?} is no address of a segment")))
}

fn ip(text: &str) -> Option<IpAddr> {
    let text = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    // The interface that may follow an address is of no interest.
    text.split('%').next()?.parse().ok()
}

fn methods(line: usize, text: &str) -> Result<Vec<String>, Remark> {
    let methods: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    match methods.iter().find(|method| !["NULL", "IP", "PWORD"].contains(&method.as_str())) {
        Some(other) => Err(remark(line, format!("there is no authentication method {other}"))),
        None => Ok(methods),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Open,
    Close,
    Equals,
    Separator,
}

impl Token {
    fn unexpected(&self, line: usize) -> Remark {
        let text = match self {
            Token::Word(word) => word,
            Token::Open => "{",
            Token::Close => "}",
            Token::Equals => "=",
            Token::Separator => ";",
        };
        remark(line, format!("{text:?} is not expected here"))
    }
}

fn remark(line: usize, text: impl Into<String>) -> Remark {
    Remark { line, text: text.into() }
}

/// Returns the remark on a token that is wrong or missing; `line` is where it began.
fn unexpected(token: Option<(usize, Token)>, line: usize) -> Remark {
    match token {
        Some((line, token)) => token.unexpected(line),
        None => remark(line, "what begins here does not end"),
    }
}

struct Reader {
    tokens: Vec<(usize, Token)>,
    at: usize,
}

impl Reader {
    fn next(&mut self) -> Option<(usize, Token)> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn next_is(&self, token: &Token) -> bool {
        self.tokens.get(self.at).is_some_and(|(_, next)| next == token)
    }

    /// Returns whether the next token is what follows `Spread_Segment`.
    fn next_begins_segment(&self) -> bool {
        match self.tokens.get(self.at) {
            Some((_, Token::Open)) => true,
            Some((line, Token::Word(word))) => segment_port(*line, word).is_ok(),
            _ => false,
        }
    }

    fn expect(&mut self, token: Token, line: usize) -> Result<(), Remark> {
        match self.next() {
            Some((_, next)) if next == token => Ok(()),
            other => Err(unexpected(other, line)),
        }
    }

    /// Returns the value of a directive: nothing, a word, or words in braces.
    fn value(&mut self) -> Result<Vec<String>, Remark> {
        if !self.next_is(&Token::Equals) {
            return Ok(Vec::new());
        }
        let line = self.next().map_or(0, |(line, _)| line);
        match self.next() {
            Some((_, Token::Word(word))) => Ok(vec![word]),
            Some((line, Token::Open)) => {
                let mut words = Vec::new();
                loop {
                    match self.next() {
                        Some((_, Token::Word(word))) => words.push(word),
                        Some((_, Token::Close)) => return Ok(words),
                        other => return Err(unexpected(other, line)),
                    }
                }
            }
            other => Err(unexpected(other, line)),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Remark> {
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let single = match first {
                '#' => break,
                '{' => Some(Token::Open),
                '}' => Some(Token::Close),
                '=' => Some(Token::Equals),
                ';' => Some(Token::Separator),
                _ => None,
            };
            let (token, len) = if let Some(token) = single {
                (token, 1)
            } else if let Some(quoted) = rest.strip_prefix(['"', '\'']) {
                let end = quoted.find(first).ok_or_else(|| remark(number, "a text without end"))?;
                (Token::Word(quoted[..end].to_owned()), end + 2)
            } else {
                let ends = |c: char| c.is_whitespace() || "#{}=;\"".contains(c);
                let len = rest.find(ends).unwrap_or(rest.len());
                (Token::Word(rest[..len].to_owned()), len)
            };
            tokens.push((number, token));
            rest = rest[len..].trim_start();
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(name: &str, address: Option<[u8; 4]>, port: u16) -> ConfDaemon {
        let address = address.map(IpAddr::from);
        ConfDaemon { name: name.to_owned(), address, port, client_addresses: None }
    }

    #[test]
    fn a_daemon_has_a_name_an_address_or_both() {
        let conf = Conf::parse(
            "Spread_Segment 127.0.0.255 { localhost 127.0.0.1 }\n\
             Spread_Segment 225.0.1.1:5000 {\n  10.0.0.1\n  alone ; 10.0.0.2 # a comment\n\
             ewok 10.0.0.3 VirtualID = 5 last }",
        )
        .unwrap();
        let expected = [
            daemon("localhost", Some([127, 0, 0, 1]), 4803),
            daemon("10.0.0.1", Some([10, 0, 0, 1]), 5000),
            daemon("alone", None, 5000),
            daemon("10.0.0.2", Some([10, 0, 0, 2]), 5000),
            daemon("ewok", Some([10, 0, 0, 3]), 5000),
            daemon("last", None, 5000),
        ];
        assert_eq!((conf.daemons, conf.warnings), (expected.to_vec(), vec![]));
    }

    #[test]
    fn interfaces_are_for_what_the_letters_in_front_of_them_say() {
        let clients = |interfaces: &str| {
            let text =
                format!("Spread_Segment [ff02::1:2]:4804 {{ m fd00::1 {{ {interfaces} }} }}");
            let conf = Conf::parse(&text)?;
            assert_eq!(conf.daemons[0].port, 4804);
            let warnings = conf.warnings.iter().map(Remark::to_string).collect::<Vec<_>>();
            let texts = conf.daemons[0].client_addresses.iter().flatten();
            Ok::<_, Remark>((texts.map(IpAddr::to_string).collect::<Vec<_>>(), warnings))
        };
        for (interfaces, expected) in [
            ("D fd00::1 C 192.168.0.5\nc 127.0.0.1", &["192.168.0.5", "127.0.0.1"][..]),
            ("C D fd00::1", &["fd00::1"]),
            ("D C fd00::1 M 10.0.0.1", &["fd00::1"]),
            ("fd00::1 10.0.0.1", &["fd00::1", "10.0.0.1"]),
            ("D fd00::1 C 10.0.0.1 M C 10.0.0.1", &["10.0.0.1"]),
            ("D fd00::1 C 0.0.0.0", &["0.0.0.0"]),
            ("D ::", &[]),
        ] {
            let (told, warnings) = clients(interfaces).unwrap();
            assert!(told == expected && warnings.is_empty(), "{interfaces}: {told:?} {warnings:?}");
        }
        let (_, warnings) = clients("C fd00::1 D 10.0.0.1").unwrap();
        assert_eq!(warnings, ["line 1: the interfaces of m lack D fd00::1, its own address"]);
        for (interfaces, expected) in [
            ("", "line 1: there are no interfaces in the braces"),
            ("D fd00::1 C", "line 1: \"}\" is not expected here"),
            ("X fd00::1", "line 1: \"X\" is no address"),
        ] {
            assert_eq!(clients(interfaces).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_segment_may_have_several_addresses() {
        let conf = Conf::parse("Spread_Segment 225.0.1.1:5000 10.0.0.255 { a 10.0.0.1 }").unwrap();
        assert_eq!(conf.daemons, [daemon("a", Some([10, 0, 0, 1]), 5000)]);
    }

    #[test]
    fn a_file_is_in_utf_8_with_or_without_a_mark_or_in_latin_1() {
        let text = "# Küche\nSpread_Segment 127.0.0.255 { a 127.0.0.1 }\nEventLogFile = 'ü'\n";
        let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
        let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
        for bytes in [text.as_bytes(), &latin, &marked] {
            let conf = Conf::parse_bytes(bytes).unwrap();
            assert_eq!(conf.event_log_file.as_deref(), Some("ü"));
            assert_eq!(conf.daemons, [daemon("a", Some([127, 0, 0, 1]), 4803)]);
        }
    }

    #[test]
    fn no_file_makes_it_panic() {
        // Every cut of a file, with a byte that is none of its letters in front of the end.
        let text = "Spread_Segment 1.2.3.4:5 { a 1.2.3.4 { C D 1.2.3.4 } VirtualID = 5 ; b }\n\
                    MaxSessionMessages = 5 EventLogFile = \"x\" DebugFlags = { A 'B' }\n";
        for end in 0..text.len() {
            for last in [&b""[..], b"\xff", b"\0", b"{", b"}", b"=", b"\"", b"[", b"%"] {
                let bytes = [&text.as_bytes()[..end], last].concat();
                let _ = Conf::parse_bytes(&bytes);
            }
        }
    }

    #[test]
    fn directives_are_understood_passed_over_or_warned_of() {
        let conf = Conf::parse(
            "DebugFlags = { PRINT EXIT }\nMaxSessionMessages = 5000\nEventTimeStamp\n\
             EventLogFile = \"log of %h.txt\"\nNovelty = { a b }\n\nMore = 1\n\
             AllowedAuthMethods = \"NULL IP\"\nRequiredAuthMethods = \"   \"\n\
             EventPriority = INFO\nAccessControlPolicy = \"PERMIT\"",
        )
        .unwrap();
        assert_eq!(conf.max_session_messages, Some(5000));
        assert_eq!(conf.event_log_file.as_deref(), Some("log of %h.txt"));
        assert_eq!(conf.event_priority, Some("INFO"));
        assert_eq!(conf.allowed_methods, Some(vec!["NULL".to_owned(), "IP".to_owned()]));
        assert!(conf.required_methods.is_empty());
        let warnings: Vec<String> = conf.warnings.iter().map(Remark::to_string).collect();
        assert_eq!(
            warnings,
            ["line 5: unknown directive Novelty", "line 7: unknown directive More"]
        );
    }

    #[test]
    fn of_a_directive_that_is_there_twice_the_last_one_counts_with_a_warning() {
        let text = "MaxSessionMessages = 5\nWindow = 1\nWindow = 2\nmaxsessionmessages = 6\n\
                    EventLogFile = a\nMaxSessionMessages = 7\n";
        let conf = Conf::parse(text).unwrap();
        assert_eq!(conf.max_session_messages, Some(7));
        let expected = [
            "line 4: MaxSessionMessages is in line 1, too: the last one counts",
            "line 6: MaxSessionMessages is in line 1, too: the last one counts",
        ];
        assert_eq!(conf.warnings.iter().map(Remark::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_file_in_utf_16_is_told() {
        let text = "Spread_Segment 127.0.0.255 { a 127.0.0.1 }";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [little.clone(), [b"\xff\xfe", &little[..]].concat(), b"\xfe\xff".to_vec()] {
            let error = Conf::parse_bytes(&bytes).unwrap_err().to_string();
            assert!(error.contains("UTF-16"), "{error}");
        }
    }

    #[test]
    fn a_priority_that_there_is_not_is_warned_of() {
        for text in ["DEBUG", "debug", "info", "LOUD", "5", ""] {
            let conf = Conf::parse(&format!("\nEventPriority = \"{text}\"\n")).unwrap();
            assert_eq!(conf.event_priority, None);
            let expected = format!(
                "line 2: unknown EventPriority {text:?}: it is one of pDEBUG, INFO, WARNING, ERROR, \
                 CRITICAL, FATAL"
            );
            assert_eq!(conf.warnings.iter().map(Remark::to_string).collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn what_cannot_be_understood_is_named_with_its_line() {
        for (text, expected) in [
            ("}", "line 1: \"}\" is not expected here"),
            ("\nSpread_Segment here {}", "line 2: \"here\" is no address of a segment"),
            (
                "Spread_Segment 1.2.3.4:70000 {}",
                "line 1: \"1.2.3.4:70000\" is no address of a segment",
            ),
            ("Spread_Segment 1.2.3.4 {\n a", "line 1: what begins here does not end"),
            ("Spread_Segment 1.2.3.4 { { } }", "line 1: interfaces of no daemon"),
            ("MaxSessionMessages = many", "line 1: \"many\" is no number of messages"),
            ("MaxSessionMessages = 0", "line 1: \"0\" is no number of messages"),
            ("\nMaxSessionMessages 30", "line 2: there is no = behind MaxSessionMessages"),
            ("EventPriority\nWindow = 5", "line 1: there is no = behind EventPriority"),
            (
                "Window = 5\nSpread_Segmnet 1.2.3.4:4803 {\n}",
                "line 2: unknown directive Spread_Segmnet; is it Spread_Segment?",
            ),
            ("Segment { a }", "line 1: unknown directive Segment; is it Spread_Segment?"),
            (
                "Spread_Segment 1.2.3.4 { a b }\n\nSpread_Segment 1.2.3.5 { a }",
                "line 3: there are two daemons a in the file",
            ),
            ("Spread_Segment 1.2.3.4 { a a }", "line 1: there are two daemons a in the file"),
            ("AllowedAuthMethods = \"KRB\"", "line 1: there is no authentication method KRB"),
            ("DebugFlags = { a", "line 1: what begins here does not end"),
            ("EventLogFile = \"x", "line 1: a text without end"),
        ] {
            assert_eq!(Conf::parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }
}
