//! Members of several versions of the protocol.

use super::world::{CLIENTS, DAEMONS, ROUNDS, World};
use crate::core::JoinFailed;
use crate::core::roster::Refusal;

/// Lets the members do what they can until nothing more happens.
fn settle(world: &mut World) {
    for _ in 0..4 {
        world.run(|_| true, ROUNDS);
        let deadlines = world.clients.iter().filter_map(|client| client.core.deadline());
        if let Some(due) = deadlines.min() {
            world.wait(due.saturating_sub(world.now).min(std::time::Duration::from_millis(100)));
        }
    }
    world.run(|_| true, ROUNDS);
    // Rosters at equal places are equal, and the version is a part of them.
    assert_eq!(world.violations, [""; 0]);
}

/// Returns the version of each client's group; `None` of clients without one.
fn versions(world: &World) -> Vec<Option<u32>> {
    let version = |client: &super::client::Client| {
        client.connection.as_ref().filter(|_| client.failed.is_none())?;
        Some(client.core.status().protocol)
    };
    world.clients.iter().map(version).collect()
}

fn join(world: &mut World, client: usize) {
    world.connect(client, client % DAEMONS);
    settle(world);
}

#[test]
fn a_group_speaks_what_all_its_members_do_and_switches_when_the_last_older_one_goes() {
    let mut world = World::of_versions([2, 1, 2, 1, 2]);
    [1, 0, 2, 3].into_iter().for_each(|client| join(&mut world, client));
    assert_eq!(versions(&world), [Some(1), Some(1), Some(1), Some(1), None]);
    world.cut(1, 0, false);
    settle(&mut world);
    assert_eq!(versions(&world)[0], Some(1), "one of them is still there");
    world.submit(0, 0);
    world.cut(3, 0, false);
    settle(&mut world);
    assert_eq!(versions(&world), [Some(2), None, Some(2), None, None]);
    join(&mut world, 1);
    assert_eq!(world.clients[1].failed, Some(JoinFailed::Refused(Refusal::Outdated)));
    join(&mut world, 4);
    assert_eq!(versions(&world), [Some(2), None, Some(2), None, Some(2)]);
    world.rest();
    world.check();
    assert_eq!(world.violations, [""; 0]);
}

#[test]
fn after_a_partition_the_version_is_that_of_the_side_that_stands() {
    // Of the clients at d1 and d2, or of the one at d3, some or all are of the older version.
    for (speak, alone, after) in [([1, 2, 2, 2, 2], 2, 1), ([2, 2, 1, 2, 2], 1, 2)] {
        let mut world = World::of_versions(speak);
        // One of the older version is there first.
        let older = speak.iter().position(|version| *version == 1);
        older.into_iter().chain(0..CLIENTS).for_each(|client| join(&mut world, client));
        assert_eq!(versions(&world), [Some(1); CLIENTS]);
        world.change(|daemons| daemons.partition(&[0, 0, 1]));
        settle(&mut world);
        let sides = versions(&world);
        assert_eq!((sides[2], sides[0]), (Some(alone), Some(after)));
        (0..CLIENTS).for_each(|client| world.submit(client, 0));
        world.change(|daemons| daemons.partition(&[0; DAEMONS]));
        settle(&mut world);
        let refused = world.clients[2].failed;
        if after == 1 {
            assert_eq!((refused, versions(&world)), (None, vec![Some(1); CLIENTS]));
        } else {
            assert_eq!(refused, Some(JoinFailed::Refused(Refusal::Outdated)));
            assert_eq!(versions(&world)[0], Some(2), "it is never lowered");
        }
        world.rest();
        world.check();
        assert_eq!(world.violations, [""; 0]);
    }
}
