//! A conversation: what lines ask for, and what is known of the groups. Without I/O.

use std::collections::BTreeMap;

use spread::{GroupName, Message, Name, Service, SessionEvent};

use crate::options::{service, service_name, target};
use crate::record::{Record, names};
use crate::text::count;

pub(super) const HELP: &str = "\
\x20 TEXT               say it to those you talk to; //TEXT begins with a slash
  /join GROUP        join a group, and talk there
  /leave [GROUP]     leave it; without a group, the one you talk to
  /to NAME...        talk to these groups or clients, such as #alice#localhost
  /msg NAME TEXT     say something to one group or client
  /members [GROUP]   who is there
  /groups            your groups
  /service NAME      unreliable, reliable, fifo, causal, agreed or safe
  /burst N TEXT      say it N times
  /me                your private group
  /quit              leave; so does ctrl-d";

const COMMANDS: [&str; 11] = [
    "/burst", "/groups", "/help", "/join", "/leave", "/me", "/members", "/msg", "/quit",
    "/service", "/to",
];

/// The most messages of a burst: so many wait for a client that does not read.
const MAX_BURST: usize = 1000;

/// What a line asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Join(GroupName),
    Leave(GroupName),
    Send { groups: Vec<Name>, text: String, times: usize },
    Show(String),
    Quit,
}

/// What a user knows and has chosen.
#[derive(Debug)]
pub(super) struct Chat {
    me: String,
    /// Whom to talk to.
    to: Vec<Name>,
    pub(super) service: Service,
    joined: Vec<GroupName>,
    /// The members of the groups whose views have come.
    members: BTreeMap<String, Vec<String>>,
}

impl Chat {
    pub(super) fn new(me: String, groups: &[GroupName]) -> Chat {
        let to = groups.first().map(|group| Name::from(*group)).into_iter().collect();
        let members = BTreeMap::new();
        Chat { me, to, service: Service::Agreed, joined: groups.to_vec(), members }
    }

    pub(super) fn prompt(&self) -> String {
        match &self.to[..] {
            [] => "> ".to_owned(),
            to => format!("{}> ", names(to).join(",")),
        }
    }

    /// Does what a line says to the conversation; returns what is to be done outside.
    pub(super) fn line(&mut self, line: &str) -> Action {
        let line = line.trim_end();
        let said = match line.strip_prefix('/') {
            None => line,
            Some(text) if text.starts_with('/') => text,
            Some(command) => {
                let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
                return self.command(word, rest.trim()).unwrap_or_else(Action::Show);
            }
        };
        match said {
            "" => Action::Show(String::new()),
            _ if self.to.is_empty() => {
                Action::Show("nobody to talk to: /join GROUP, or /to NAME".to_owned())
            }
            text => Action::Send { groups: self.to.clone(), text: text.to_owned(), times: 1 },
        }
    }

    fn command(&mut self, word: &str, rest: &str) -> Result<Action, String> {
        match (word, rest) {
            ("join", "") => Err("/join GROUP".to_owned()),
            ("join", group) => {
                let group = self.group(group)?;
                if !self.joined.contains(&group) {
                    self.joined.push(group);
                }
                self.to = vec![group.into()];
                Ok(Action::Join(group))
            }
            ("leave", group) => {
                let group = match (group, &self.to[..]) {
                    ("", [only]) => self.group(&only.to_string())?,
                    ("", _) => return Err("/leave GROUP".to_owned()),
                    (group, _) => self.group(group)?,
                };
                if !self.joined.contains(&group) {
                    return Err(format!("you are not in {group}"));
                }
                self.joined.retain(|joined| *joined != group);
                self.to.retain(|to| *to != group);
                if self.to.is_empty() {
                    self.to.extend(self.joined.first().map(|group| Name::from(*group)));
                }
                Ok(Action::Leave(group))
            }
            ("to", "") => Err("/to NAME...".to_owned()),
            ("to", rest) => {
                self.to = rest.split_whitespace().map(target).collect::<Result<_, _>>()?;
                Ok(Action::Show(String::new()))
            }
            ("msg", rest) => {
                let (name, text) = rest.split_once(' ').ok_or("/msg NAME TEXT")?;
                let (groups, text) = (vec![target(name)?], text.trim_start().to_owned());
                Ok(Action::Send { groups, text, times: 1 })
            }
            ("burst", rest) => {
                let (times, text) = rest.split_once(' ').ok_or("/burst N TEXT")?;
                let times = times.parse().ok().filter(|times| (1..=MAX_BURST).contains(times));
                let times =
                    times.ok_or_else(|| format!("a burst has 1 to {MAX_BURST} messages"))?;
                if self.to.is_empty() {
                    return Err("nobody to talk to: /join GROUP, or /to NAME".to_owned());
                }
                Ok(Action::Send { groups: self.to.clone(), text: text.to_owned(), times })
            }
            ("members", group) => self.show_members(group).map(Action::Show),
            ("groups", _) => {
                let groups: Vec<String> = self.joined.iter().map(GroupName::to_string).collect();
                Ok(Action::Show(match groups.is_empty() {
                    true => "you are in no group".to_owned(),
                    false => groups.join(" "),
                }))
            }
            ("service", "") => Ok(Action::Show(service_name(self.service))),
            ("service", name) => {
                self.service = service(name)?;
                Ok(Action::Show(String::new()))
            }
            ("me", _) => Ok(Action::Show(self.me.clone())),
            ("help", _) => Ok(Action::Show(HELP.to_owned())),
            ("quit", _) => Ok(Action::Quit),
            (other, _) => Err(format!("no command /{other}; /help lists them")),
        }
    }

    fn group(&self, text: &str) -> Result<GroupName, String> {
        match target(text)? {
            name if name.to_string().starts_with('#') => {
                Err(format!("{name} is a client, which cannot be joined or left"))
            }
            name => GroupName::new(name.to_string()).map_err(|error| error.to_string()),
        }
    }

    fn show_members(&self, group: &str) -> Result<String, String> {
        let group = match (group, &self.to[..]) {
            ("", [first, ..]) => first.to_string(),
            ("", []) => return Err("/members GROUP".to_owned()),
            (group, _) => group.to_owned(),
        };
        match self.members.get(&group) {
            Some(members) => {
                Ok(format!("{}: {}", count(members.len(), "member"), members.join(" ")))
            }
            None => Err(format!("{group}: only its members know; /join {group}")),
        }
    }

    /// Takes note of what has come; returns what is to be shown.
    pub(super) fn take(&mut self, event: &SessionEvent) -> Option<Record> {
        match event {
            SessionEvent::Message(Message::Membership(view)) => {
                self.members.insert(view.group.to_string(), names(&view.members));
            }
            SessionEvent::Message(Message::SelfLeave(leave)) => {
                self.members.remove(&leave.group.to_string());
            }
            SessionEvent::Lost { .. } => self.members.clear(),
            SessionEvent::Restored { private_group, .. } => self.me = private_group.to_string(),
            // The first failure says enough.
            SessionEvent::Retrying { attempt, .. } if *attempt > 1 => return None,
            _ => {}
        }
        Record::of(event)
    }

    /// Returns where the last word of a line begins, and what it may become.
    pub(super) fn candidates(&self, line: &str) -> (usize, Vec<String>) {
        let start = line.rfind(' ').map_or(0, |blank| blank + 1);
        let word = &line[start..];
        let mut all: Vec<String> = match (start, line.starts_with('/')) {
            (0, true) => COMMANDS.map(str::to_owned).to_vec(),
            (_, true) if line.starts_with("/service ") => Service::ALL.map(service_name).to_vec(),
            (0, false) => Vec::new(),
            _ => {
                let groups = self.joined.iter().map(GroupName::to_string);
                groups.chain(self.members.values().flatten().cloned()).collect()
            }
        };
        all.retain(|candidate| !word.is_empty() && candidate.starts_with(word));
        all.sort();
        all.dedup();
        (start, all)
    }
}

#[cfg(test)]
mod tests {
    use spread::{Cause, GroupId, PrivateGroup, View};

    use super::*;

    fn group(name: &str) -> GroupName {
        GroupName::new(name).unwrap()
    }

    fn chat() -> Chat {
        Chat::new("#me#d".to_owned(), &[group("news")])
    }

    fn shown(action: Action) -> String {
        let Action::Show(text) = action else { panic!("{action:?}") };
        text
    }

    fn send(to: &str, text: &str, times: usize) -> Action {
        Action::Send { groups: vec![target(to).unwrap()], text: text.to_owned(), times }
    }

    #[test]
    fn a_text_goes_to_those_who_were_chosen() {
        let mut chat = chat();
        assert_eq!(chat.line("hello"), send("news", "hello", 1));
        assert_eq!(chat.line("//slash"), send("news", "/slash", 1));
        assert_eq!(chat.line("/msg #bob#d psst now"), send("#bob#d", "psst now", 1));
        assert_eq!(chat.line("/burst 3 hi"), send("news", "hi", 3));
        assert_eq!(chat.line("/join a"), Action::Join(group("a")));
        assert_eq!(chat.line("hello"), send("a", "hello", 1));
        chat.line("/to b #c#d");
        assert_eq!(chat.prompt(), "b,#c#d> ");
    }

    #[test]
    fn who_leaves_talks_to_a_group_that_is_left() {
        let mut chat = chat();
        chat.line("/join a");
        assert_eq!(chat.line("/leave"), Action::Leave(group("a")));
        assert_eq!(chat.prompt(), "news> ");
        assert_eq!(chat.line("/leave news"), Action::Leave(group("news")));
        assert!(shown(chat.line("anyone?")).starts_with("nobody to talk to"));
        assert_eq!(chat.line("/quit"), Action::Quit);
    }

    #[test]
    fn what_cannot_be_done_is_explained() {
        let mut chat = chat();
        for (line, text) in [
            ("/dance", "no command /dance"),
            ("/join two words", "a group is"),
            ("/join #a#d", "cannot be joined"),
            ("/leave other", "you are not in other"),
            ("/burst 0 x", "1 to 1000"),
            ("/service best", "one of unreliable"),
            ("/msg bob", "/msg NAME TEXT"),
        ] {
            let shown = shown(chat.line(line));
            assert!(shown.contains(text), "{line}: {shown}");
        }
    }

    #[test]
    fn members_are_those_of_the_last_view() {
        let mut chat = chat();
        let member = |name: &str| PrivateGroup::new(name).unwrap();
        let id = GroupId { proc_id: 1, time: 2, index: 3 };
        let members = [member("#bob#d"), member("#me#d")];
        let view = View::new(group("news"), id, members, 1, Cause::Joined(members[1].into()));
        let event = SessionEvent::Message(Message::Membership(view));
        assert!(matches!(chat.take(&event), Some(Record::View { .. })));
        assert_eq!(shown(chat.line("/members")), "2 members: #bob#d #me#d");
        assert_eq!(chat.candidates("/msg #b"), (5, vec!["#bob#d".to_owned()]));
        assert_eq!(chat.candidates("/me"), (0, vec!["/me".to_owned(), "/members".to_owned()]));
        assert_eq!(chat.candidates("/service sa"), (9, vec!["safe".to_owned()]));
        assert_eq!(chat.candidates("hello"), (0, Vec::new()));
    }

    proptest::proptest! {
        #[test]
        fn any_lines_are_understood_or_explained(lines in proptest::collection::vec(
            proptest::prop_oneof![
                "\\PC*",
                "/(join|leave|to|msg|burst|members|service|me|dance) ?[#a-c ]{0,4}( 3)?( x)?",
            ],
            0..20,
        )) {
            let mut chat = chat();
            for line in &lines {
                match chat.line(line) {
                    Action::Send { groups, times, .. } => {
                        assert!(!groups.is_empty() && (1..=MAX_BURST).contains(&times));
                    }
                    Action::Join(group) => assert!(chat.joined.contains(&group)),
                    Action::Leave(group) => assert!(!chat.joined.contains(&group)),
                    Action::Show(_) | Action::Quit => {}
                }
                let (start, _) = chat.candidates(line);
                assert!(line.is_char_boundary(start));
                chat.prompt();
            }
        }
    }
}
