use spread_groups::{Item, Message, Postcard};

use crate::support::*;

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Price {
    cents: u64,
}

impl Message for Price {
    const NAME: &'static str = "test.Price";
    type Codec = Postcard;
}

#[test]
fn subscribers_on_all_daemons_get_one_order() {
    let cluster = daemons();
    let members = ["d1", "d2", "d3"].map(|daemon| member(&cluster, daemon));
    let mut subscriptions: Vec<_> = members
        .iter()
        .map(|member| {
            member.group.ready().wait().unwrap();
            member.group.topic::<Price>("prices").subscribe()
        })
        .collect();
    // Every subscription is there before anything is published.
    members.iter().for_each(|member| drop(member.group.status().wait().unwrap()));
    for cents in 0..50 {
        for (member, place) in members.iter().zip(0..) {
            let price = Price { cents: 3 * cents + place };
            member.group.topic("prices").publish(&price).unwrap();
        }
    }
    let received: Vec<Vec<u64>> = subscriptions
        .iter_mut()
        .map(|subscription| {
            let items = subscription.take(150);
            items
                .map(|item| match item {
                    Item::Message(price, _) => price.cents,
                    other => panic!("{other:?}"),
                })
                .collect()
        })
        .collect();
    assert_eq!(received[0], received[1]);
    assert_eq!(received[0], received[2]);
    let mut sorted = received[0].clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..150).collect::<Vec<u64>>());
}

#[test]
fn what_a_subscriber_does_not_take_in_time_is_a_gap() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    member.group.ready().wait().unwrap();
    let topic = member.group.topic::<String>("news");
    let mut slow = topic.subscribe_with(2);
    let mut fast = topic.subscribe();
    for number in 0..5 {
        topic.publish(&number.to_string()).unwrap();
    }
    // The fast one has all: so the slow one's queue has got what it gets.
    assert_eq!(fast.by_ref().take(5).count(), 5);
    let texts = |item| match item {
        Some(Item::Message(text, _)) => text,
        Some(Item::Gap(Some(dropped))) => format!("gap of {dropped}"),
        other => panic!("{other:?}"),
    };
    assert_eq!([(); 3].map(|()| texts(slow.next())), ["0", "1", "gap of 3"]);
}

#[test]
fn a_topic_is_told_from_one_of_another_type() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    member.group.ready().wait().unwrap();
    let mut prices = member.group.topic::<Price>("news").subscribe();
    member.group.topic::<String>("news").publish(&String::from("text")).unwrap();
    member.group.topic::<Price>("news").publish(&Price { cents: 1 }).unwrap();
    let Some(Item::Message(price, meta)) = prices.next() else { panic!() };
    assert_eq!(price, Price { cents: 1 });
    assert_eq!(meta.from.to_string(), name(&member.group));
}

#[test]
fn a_payload_beyond_the_limit_is_refused_before_it_is_sent() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    let topic = member.group.topic::<Vec<u8>>("blobs");
    assert!(topic.publish(&vec![0; 128 * 1024]).is_ok());
    let error = topic.publish(&vec![0; 128 * 1024 + 1]).unwrap_err();
    assert!(matches!(error, spread_groups::Error::TooLarge { max: 131_072, .. }), "{error}");
}

#[test]
fn a_lost_connection_is_a_gap() {
    let cluster = cluster();
    let member = member(&cluster, "d1");
    member.group.ready().wait().unwrap();
    let topic = member.group.topic::<String>("news");
    let mut subscription = topic.subscribe();
    topic.publish(&String::from("before")).unwrap();
    let before = subscription.next();
    assert!(matches!(&before, Some(Item::Message(text, _)) if text == "before"), "{before:?}");
    cluster.disconnect(&name(&member.group)).unwrap();
    let gap = subscription.next();
    assert!(matches!(gap, Some(Item::Gap(None))), "{gap:?}");
    topic.publish(&String::from("after")).unwrap();
    let after = subscription.next();
    assert!(matches!(&after, Some(Item::Message(text, _)) if text == "after"), "{after:?}");
}

#[test]
fn a_subscriber_that_reads_nothing_does_not_get_its_node_cut_off() {
    let cluster = daemons();
    let [reads, floods] = ["d1", "d2"].map(|daemon| member(&cluster, daemon));
    reads.group.wait_for_members(2, LONG).unwrap();
    floods.group.ready().wait().unwrap();
    let mut unread = reads.group.topic::<String>("flood").subscribe_with(1);
    // The subscription is there before anything is published.
    drop(reads.group.status().wait().unwrap());
    let flood = floods.group.topic::<String>("flood");
    let mut published = 0;
    while published < 5_000 {
        match flood.publish(&String::from("x")) {
            Ok(()) => published += 1,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    // Behind the flood in the order.
    assert_eq!(floods.words.submit(&String::from("a")).wait().unwrap(), "1");
    assert_eq!(reads.words.submit(&String::from("a")).wait().unwrap(), "2");
    assert!(matches!(unread.next(), Some(Item::Message(..))));
    let gap = unread.next();
    assert!(matches!(gap, Some(Item::Gap(Some(4_999)))), "{gap:?}");
}

#[test]
fn a_late_subscriber_gets_the_retained_value_once_and_first() {
    let cluster = daemons();
    let [one, two, _three] = three_members(&cluster);
    let prices = |member: &Participant| member.group.topic::<String>("prices").retain_last();
    let mut early = prices(&one).subscribe();
    for price in ["1", "2", "3"] {
        prices(&two).publish(&price.to_string()).wait().unwrap();
    }
    // A member, and a newcomer that gets the value with the state.
    let newcomer = member(&cluster, "d1");
    let mut from_the_start = prices(&newcomer).subscribe();
    newcomer.group.ready().wait().unwrap();
    let mut late = [prices(&two).subscribe(), prices(&newcomer).subscribe()];
    prices(&one).publish(&String::from("4")).wait().unwrap();
    let text = |item: Option<Item<String>>| match item {
        Some(Item::Message(text, meta)) => (text, meta.from.to_string()),
        other => panic!("{other:?}"),
    };
    let texts = |subscription: &mut spread_groups::Subscription<String>, count| {
        subscription.take(count).map(|item| text(Some(item)).0).collect::<Vec<_>>()
    };
    assert_eq!(texts(&mut early, 4), ["1", "2", "3", "4"]);
    assert_eq!(texts(&mut from_the_start, 2), ["3", "4"]);
    for late in &mut late {
        assert_eq!(text(late.next()), (String::from("3"), name(&two.group)));
        assert_eq!(text(late.next()), (String::from("4"), name(&one.group)));
        assert!(late.next_timeout(std::time::Duration::ZERO).is_none());
    }
    assert_eq!(prices(&two).last().unwrap().unwrap(), "4");
}

#[test]
fn a_retained_value_that_was_removed_is_given_to_no_late_subscriber() {
    let cluster = daemons();
    let [one, two, _three] = three_members(&cluster);
    let prices = one.group.topic::<String>("prices").retain_last();
    prices.publish(&String::from("1")).wait().unwrap();
    let mut early = prices.subscribe();
    assert!(matches!(early.next(), Some(Item::Message(price, _)) if price == "1"));
    let others = two.group.topic::<String>("prices").retain_last();
    assert!(others.remove().wait().unwrap());
    assert!(!others.remove().wait().unwrap());
    assert_eq!(others.last().unwrap(), None);
    let mut late = others.subscribe();
    prices.publish(&String::from("2")).wait().unwrap();
    for subscription in [&mut early, &mut late] {
        assert!(matches!(subscription.next(), Some(Item::Message(price, _)) if price == "2"));
    }
}

#[test]
fn a_subscriber_that_was_away_gets_a_gap_and_the_last_value() {
    let cluster = cluster();
    let [one, away, _three] = three_members(&cluster);
    let prices = |member: &Participant| member.group.topic::<String>("prices").retain_last();
    prices(&one).publish(&String::from("1")).wait().unwrap();
    let mut subscription = prices(&away).subscribe();
    let text = |item: Option<Item<String>>| match item {
        Some(Item::Message(text, _)) => text,
        Some(Item::Gap(None)) => String::from("gap"),
        other => panic!("{other:?}"),
    };
    assert_eq!(text(subscription.next()), "1");
    cluster.partition(&[&["d1", "d3"], &["d2"]]).unwrap();
    one.group.wait_for_members(2, LONG).unwrap();
    for price in ["2", "3"] {
        prices(&one).publish(&price.to_string()).wait().unwrap();
    }
    cluster.merge().unwrap();
    assert_eq!([(); 2].map(|()| text(subscription.next())), ["gap", "3"]);
    prices(&one).publish(&String::from("4")).wait().unwrap();
    assert_eq!(text(subscription.next()), "4");
}

#[test]
fn a_publisher_waits_for_subscribers_instead_of_sleeping() {
    let cluster = cluster();
    let [publisher, one, other] = three_members(&cluster);
    let news = |member: &Participant| member.group.topic::<String>("news");
    let mut two = news(&publisher).subscribers().at_least(2);
    let mut first = news(&one).subscribe();
    let again = news(&one).subscribe();
    news(&publisher).subscribers().at_least(1).wait().unwrap();
    // What both have announced is executed before.
    executed(&one);
    executed(&publisher);
    assert!(matches!(two.wait_timeout(std::time::Duration::ZERO), Ok(None)));
    let mut second = news(&other).subscribe();
    two.wait().unwrap();
    news(&publisher).publish(&String::from("it rains")).unwrap();
    for subscription in [&mut first, &mut second] {
        assert!(matches!(subscription.next(), Some(Item::Message(..))));
    }
    drop(again);
    cluster.disconnect(&name(&other.group)).unwrap();
    eventually("it comes back, and is counted again", || {
        other.group.members().last().is_some_and(|m| m.incarnation == other.group.incarnation())
            && news(&publisher).subscribers().count() == 2
    });
    drop((first, second));
    eventually("nobody subscribes", || news(&publisher).subscribers().count() == 0);
}

#[test]
fn subscriptions_are_announced_also_by_a_member_with_too_much_under_way() {
    let cluster = cluster();
    let [publisher, one, _other] = three_members(&cluster);
    let own = name(&one.group);
    cluster.pause(&own).unwrap();
    let open: Vec<_> = (0..1_024).map(|n| one.words.submit(&n.to_string())).collect();
    let _subscription = one.group.topic::<String>("news").subscribe();
    let refused = one.words.submit(&String::from("one more")).wait();
    assert!(matches!(refused, Err(spread_groups::Error::Full)), "{refused:?}");
    cluster.resume(&own).unwrap();
    publisher.group.topic::<String>("news").subscribers().at_least(1).wait().unwrap();
    drop(open);
}
