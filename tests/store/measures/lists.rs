//! How long it takes to list very many sessions, by each filter, and to add them up.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dormouse::{
    AgentFilter, Between, Pattern, Principal, Session, SessionOrder, StatisticsQuery, Status,
};
use dormouse_store::{SessionQuery, Store};
use dormouse_tests::load::report::{Figure, Times};

use crate::table;
use crate::world::{OWNERS, TAGS, USERS, World, has_thread, is_hybrid, is_idle, thread};

/// Sessions on a page.
const PAGE: usize = 50;
/// How often a page is asked for, at most, and for how long.
const ASKED: usize = 100;
/// See [`ASKED`].
const ASKING: Duration = Duration::from_secs(1);

/// A filter, and whether a session passes it. No session has had a turn.
type Filter = (&'static str, SessionQuery, Box<dyn Fn(u32) -> bool>);

fn filters(world: &World, count: u32) -> Vec<Filter> {
    let all = || SessionQuery { limit: PAGE, ..SessionQuery::default() };
    let of = |owner: u32| SessionQuery { owner: Some(world.owner(owner)), ..all() };
    let is_of = |owner: u32| move |session: u32| session % OWNERS == owner;
    let after = |session: u32| Between { after: Some(world.created_at(session)), before: None };
    let tag = |number: u32| format!("tag-{}", number % TAGS);
    let few = count - count / 100;
    let agent = world.agent();
    let agent = AgentFilter::Named {
        owner: Some(agent.owner.clone()),
        name: agent.name.clone(),
        version: None,
    };
    let pattern = |query: SessionQuery| SessionQuery { pattern: Some(Pattern::Hybrid), ..query };
    let status = |query: SessionQuery| SessionQuery { status: Some(Status::Idle), ..query };
    vec![
        ("all", all(), Box::new(|_| true)),
        ("an owner", of(7), Box::new(is_of(7))),
        ("a pattern", pattern(all()), Box::new(is_hybrid)),
        ("a status", status(all()), Box::new(is_idle)),
        (
            "an owner, a pattern, a status",
            status(pattern(of(3))),
            Box::new(move |it| is_of(3)(it) && is_hybrid(it) && is_idle(it)),
        ),
        (
            "a user",
            SessionQuery { user_id: Some("user-77".to_owned()), ..all() },
            Box::new(|session| session % USERS == 77),
        ),
        (
            "one of two tags",
            SessionQuery { tags: vec![tag(3), tag(4)], ..all() },
            Box::new(|session| [3, 4].contains(&(session % TAGS))),
        ),
        (
            "a tag, a status",
            status(SessionQuery { tags: vec![tag(3)], ..all() }),
            Box::new(|session| session % TAGS == 3 && is_idle(session)),
        ),
        (
            "a thread",
            SessionQuery { thread_key: Some(thread(16)), ..of(16) },
            Box::new(|session| session == 16),
        ),
        (
            "a conversation",
            SessionQuery { conversation_id: Some("24".to_owned()), ..of(24) },
            Box::new(|session| session == 24 && has_thread(session)),
        ),
        ("an agent", SessionQuery { agent: Some(agent), ..all() }, Box::new(|_| true)),
        (
            "created last, 1 in 100",
            SessionQuery { created: after(few), ..all() },
            Box::new(move |session| session > few),
        ),
        (
            "active last, 1 in 100",
            SessionQuery { active: after(few), ..all() },
            Box::new(move |session| session > few),
        ),
        (
            "by activity",
            SessionQuery { order: SessionOrder::MostRecentlyActive, ..all() },
            Box::new(|_| true),
        ),
        (
            "by activity: a status",
            SessionQuery { order: SessionOrder::LeastRecentlyActive, ..status(all()) },
            Box::new(is_idle),
        ),
        (
            "by activity: a user",
            SessionQuery {
                order: SessionOrder::MostRecentlyActive,
                user_id: Some("user-77".to_owned()),
                ..all()
            },
            Box::new(|session| session % USERS == 77),
        ),
    ]
}

/// The first page, the one in the middle by its number, and the one behind it by its cursor.
pub async fn pages(world: &World, store: &dyn Store, count: u32) -> Result<()> {
    table::head("a page of 50", &["of", "first p50", "first max", "middle p50", "cursor p50"]);
    for (name, query, passes) in filters(world, count) {
        let expected = (0..count).filter(|session| passes(*session)).count();
        let middle = SessionQuery { offset: expected / 2, ..query.clone() };
        let next = store.sessions(SessionQuery { limit: 1, ..middle.clone() }).await?.next;
        let behind = SessionQuery { after: next, ..query.clone() };
        let mut columns = vec![expected.to_string()];
        for (query, parts) in [(&query, &[0.5, 1.0][..]), (&middle, &[0.5]), (&behind, &[0.5])] {
            let times = Times::new();
            let begun = Instant::now();
            for _ in 0..ASKED {
                let page = times.time(store.sessions(query.clone())).await?;
                ensure!(page.total == expected, "{name}: {} and not {expected}", page.total);
                ensure!(are_in_order(query.order, &page.sessions), "{name}: not in order");
                if begun.elapsed() > ASKING {
                    break;
                }
            }
            columns.extend(parts.iter().map(|part| Figure::Time(times.at(*part)).show()));
        }
        table::line(name, &columns);
    }
    // That what is listed is what was asked for, and in its order, one page shows.
    let newest = store.sessions(SessionQuery { limit: PAGE, ..SessionQuery::default() }).await?;
    for (session, record) in (0..count).rev().zip(newest.sessions) {
        ensure!(record.id == world.id(session), "the newest sessions are not listed first");
    }
    Ok(())
}

fn are_in_order(order: SessionOrder, page: &[Session]) -> bool {
    match order {
        SessionOrder::Newest => page.is_sorted_by_key(|it| std::cmp::Reverse(it.id)),
        SessionOrder::Oldest => page.is_sorted_by_key(|it| it.id),
        SessionOrder::MostRecentlyActive => {
            page.is_sorted_by_key(|it| std::cmp::Reverse((it.last_activity_at, it.id)))
        }
        SessionOrder::LeastRecentlyActive => {
            page.is_sorted_by_key(|it| (it.last_activity_at, it.id))
        }
    }
}

/// What statistics are asked for, and whether a session of the owner counts in them.
type Asked = (&'static str, StatisticsQuery, fn(u32) -> bool);

/// What the sessions of an owner come to.
pub async fn statistics(world: &World, store: &dyn Store, count: u32) -> Result<()> {
    table::head("statistics of an owner", &["sessions", "p50", "max"]);
    let all = StatisticsQuery::of(world.owner(7));
    let is_own = |session: &u32| session % OWNERS == 7;
    let queries: [Asked; 4] = [
        ("all", all.clone(), |_| true),
        ("a user", StatisticsQuery { user_id: Some("user-7".to_owned()), ..all.clone() }, |it| {
            it % USERS == 7
        }),
        ("a tag", StatisticsQuery { tags: vec!["tag-7".to_owned()], ..all.clone() }, |it| {
            it % TAGS == 7
        }),
        ("a pattern", StatisticsQuery { pattern: Some(Pattern::Hybrid), ..all }, is_hybrid),
    ];
    for (name, query, passes) in queries {
        let own = (0..count).filter(is_own);
        let expected = own.filter(|session| passes(*session)).count() as u64;
        let times = Times::new();
        for _ in 0..ASKED {
            let found = times.time(store.statistics(query.clone())).await?.total().total();
            let found = found.sessions();
            ensure!(found == expected, "{name}: {found} and not {expected}");
        }
        let mut columns = vec![expected.to_string()];
        columns.extend([0.5, 1.0].map(|part| Figure::Time(times.at(part)).show()));
        table::line(name, &columns);
    }
    let nobody = StatisticsQuery::of(Principal("nobody".to_owned()));
    ensure!(store.statistics(nobody).await?.by_pattern.is_empty(), "nobody has sessions");
    Ok(())
}
