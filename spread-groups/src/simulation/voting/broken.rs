//! Rules that are broken on purpose, and noticed.
//!
//! Most are found by the random schedules, some of them at once. For each there is a schedule,
//! made smaller, which violates a property with the broken rule, and none with the right one.

use super::schedule::Act::{self, Lose, Operate, Return, Turns, World};
use super::schedule::{VOTERS, changes, run, schedule};
use crate::core::Broken;
use crate::simulation::objects::Op;
use crate::simulation::schedule::Step::{Connect, Cut, Hold, Partition, Replace, Run, Submit};
use crate::simulation::schedule::is_found;

macro_rules! found_at_random {
    ($($name:ident: $rule:ident breaks $property:literal at seed $seed:literal;)*) => {$(
        #[test]
        fn $name() {
            let violations = |schedule: &_| run(schedule, Some(Broken::$rule)).violations;
            assert!(is_found($seed, &schedule(), $property, violations));
        }
    )*};
}

found_at_random! {
    forming_without_a_majority_is_found: FormsInMinorities breaks "primary|commit|state|linear"
        at seed 1;
    numbers_that_were_accepted_before_are_found: NumbersAboveTheBase
        breaks "primary|commit|state" at seed 253;
    committing_at_once_is_found: CommitsAtOnce breaks "commit|state|linear|answers" at seed 208;
    a_snapshot_without_the_tail_is_found: ForgetsTheTail breaks "commit|state|linear|answers"
        at seed 1;
    reading_without_a_majority_is_found: ReadsLocally breaks "linear" at seed 66;
    logging_in_exchanges_is_found: CountsInExchanges breaks "commit|state|roster|primary"
        at seed 21;
}

#[test]
fn mixing_groups_is_found() {
    let violations = |schedule: &_| run(schedule, Some(Broken::MixesGroups)).violations;
    assert!(is_found(154, &changes(), "groups", violations));
}

/// Checks that a schedule violates a property once the rule is broken, and only then.
fn shows(broken: Broken, property: &str, first: u8, acts: Vec<Act>) {
    let schedule = (first, acts);
    let violations = run(&schedule, Some(broken)).violations;
    assert!(violations.first().is_some_and(|found| found.starts_with(property)), "{violations:?}");
    assert_eq!(run(&schedule, None).violations, [""; 0]);
}

macro_rules! shown {
    ($($(#[$attribute:meta])* $name:ident: $rule:ident breaks $property:literal in $first:expr, [$($act:expr),* $(,)?];)*) => {$(
        #[test]
        $(#[$attribute])*
        fn $name() {
            shows(Broken::$rule, $property, $first, vec![$($act),*]);
        }
    )*};
}

shown! {
    /// Each side of a partition forms.
    a_form_takes_a_majority: FormsInMinorities breaks "primary" in VOTERS, [
        World(Partition([0, 1, 0])),
        World(Run(0b00010, 1)),
        World(Run(0b00101, 2)),
    ];
    /// The Form of one voter has not come to the other at its daemon when they part.
    a_form_stands_where_a_majority_has_accepted_it: StandsAtTheForm breaks "primary" in VOTERS, [
        World(Partition([2, 0, 2])),
        World(Hold(0, 2)),
        World(Run(0b00101, 2)),
        World(Partition([1, 0, 0])),
        World(Run(0b00110, 2)),
    ];
    /// One voter has more of the log than the others, and it alone has seen the Form which that
    /// log is the base of. The others commit under the same number.
    a_log_takes_a_number_where_a_majority_has_accepted_it: TakesTheNumberAtTheForm breaks "commit"
        in 0b01111, [
        World(Submit(3, 0)),
        World(Submit(3, 0)),
        World(Submit(3, 0)),
        World(Submit(3, 0)),
        World(Submit(3, 0)),
        World(Submit(3, 0)),
        Turns(0b01000, 6),
        Lose(0b00110, false),
        Return,
        Turns(0b01111, 13),
        Turns(0b01000, 2),
        Lose(0b00110, false),
        World(Partition([0, 1, 1])),
        Return,
        World(Run(0b00110, 5)),
    ];
    /// Two voters accept a number; one of them forms with the third.
    a_number_is_above_all_that_were_accepted: NumbersAboveTheBase breaks "primary" in VOTERS, [
        Lose(0b00010, false),
        Return,
        Turns(0b00110, 4),
        Turns(0b00111, 3),
        Turns(0b00110, 3),
        Lose(0b00101, false),
        Return,
        Turns(0b00011, 5),
    ];
    a_majority_commits: CommitsAtOnce breaks "commit" in 0b10111, [
        Return,
        Turns(0b11111, 9),
        Lose(0b10101, false),
        Return,
        Turns(0b01111, 32),
        World(Partition([1, 0, 1])),
        Turns(0b01101, 7),
    ];
    /// Two voters go on; the third has more members beside it.
    the_greatest_label_stands: TakesTheLargestSide breaks "commit" in 0b01111, [
        Lose(0b00110, false),
        World(Partition([1, 0, 0])),
        Return,
        Turns(0b00110, 6),
        Turns(0b00110, 3),
    ];
    /// A voter is beside a node that has the name of another one.
    incarnations_vote: CountsNames breaks "primary" in VOTERS, [
        World(Partition([1, 0, 0])),
        Turns(0b00111, 6),
        World(Replace(3)),
        Return,
        Turns(0b01001, 6),
    ];
    /// A node has taken the name of a voter that is away, and the voters that decided it are not
    /// a majority of those before.
    a_change_of_the_voters_takes_a_majority_of_those_before: ChangesVotersAtOnce breaks "commit"
        in VOTERS, [
        World(Replace(3)),
        World(Connect(3, 0)),
        World(Run(0b01111, 5)),
        World(Partition([0, 1, 0])),
        Turns(0b01101, 11),
        Lose(0b00100, false),
        World(Partition([0, 1, 1])),
        Return,
        World(Run(0b01111, 5)),
    ];
    nothing_is_logged_after_a_signal: CountsAfterSignal breaks "roster" in 0b10111, [
        World(Hold(2, 1)),
        Lose(0b00100, false),
        Operate(1, Op::Break),
        World(Cut(1, 2, false)),
        World(Partition([0, 1, 2])),
    ];
    nothing_is_logged_in_an_exchange: CountsInExchanges breaks "roster" in 0b10111, [
        Lose(0b00100, false),
        World(Submit(4, 0)),
    ];
    a_snapshot_has_the_tail: ForgetsTheTail breaks "state" in VOTERS, [];
    a_read_is_an_operation: ReadsLocally breaks "linear" in VOTERS, [
        Operate(2, Op::Put(0, 3)),
        World(Run(0b00101, 2)),
        Operate(4, Op::Get(0)),
    ];
}
