//! Worlds whose members are sessions of agents, which ask language models.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dormouse::model::TokenPrice;
use dormouse::world_spec::{Announcement, Budget, Change, Deed, ProgramStep};
use dormouse::{
    Bundle, HostBuilder, ManualClock, NewBranch, NewExperiment, PauseCause, Record,
    SimulationHandle, SimulationStatus, WorldSpec,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::provider::{Asked, Play, ProviderServer};
use serde_json::json;
use tempfile::TempDir;

/// What each token costs: so that a call with the tokens of the provider costs 15 cents.
fn price() -> TokenPrice {
    let each = dormouse::NanoUsd(1_000_000_000_000);
    TokenPrice { input: each, output: each, ..TokenPrice::default() }
}

/// An amount in cents.
fn cents(amount: dormouse::NanoUsd) -> i64 {
    amount.0 / 10_000_000
}

/// Says yes to this part of all that it is asked, by the text alone.
fn agrees(asked: &Asked, part: f64) -> Play {
    let hash = asked.text.bytes().fold(14_695_981_039_346_656_037_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211)
    });
    let drawn = (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11) as f64 / (1_u64 << 53) as f64;
    Play::Says(if drawn < part { "Yes." } else { "No." }.to_owned())
}

/// People on a random graph, of whom the first knows a rumour.
fn rumour(count: u32, ticks: u64) -> WorldSpec {
    let text = format!(
        r#"
        name = "rumour"
        seed = 3
        ticks = {ticks}
        schedule = "by-event"
        aggregates = [
            {{ name = "reach", of = "people.heard", is = "mean" }},
            {{ name = "tellers", of = "people.told", is = "sum" }},
        ]

        [[members]]
        role = "people"
        agent = "persona"
        count = {count}
        columns = ["heard", "told"]
        config = {{ persona = "You are a careful person." }}
        each = [{{ rumour = "The bridge is closed." }}{}]
        topology = {{ kind = "random", p = {} }}
        "#,
        ", {}".repeat(count as usize - 1),
        (6.0 / f64::from(count)).min(1.0),
    );
    WorldSpec::from_toml(&text).unwrap()
}

/// Members that do a little of everything.
fn lives(of: u32, ticks: u64, schedule: &str) -> WorldSpec {
    let text = format!(
        r#"
        seed = 4
        ticks = {ticks}
        schedule = "{schedule}"
        aggregates = [{{ name = "sum", of = "beings.sum", is = "sum" }}]

        [[members]]
        role = "beings"
        agent = "lives_in_worlds"
        count = {of}
        columns = ["drawn", "sum"]
        reads = ["sum"]
        config = {{ writes = 1, of = {of}, asks = 30, life = 9 }}
        topology = {{ kind = "ring" }}
        "#
    );
    WorldSpec::from_toml(&text).unwrap()
}

async fn completed(world: &SimulationHandle) -> [u8; 32] {
    world.start(None).await.unwrap();
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Completed, "{:?}", record.reason);
    record.fingerprint.unwrap()
}

async fn kept(test: &TestHost, spec: WorldSpec) -> SimulationHandle {
    test.host.simulations().create(spec).await.unwrap()
}

/// A host on this directory that asks this provider.
async fn host(root: &TempDir, clock: &ManualClock, provider: &ProviderServer) -> TestHost {
    let change = |builder: HostBuilder| {
        let builder = builder.models(provider.catalog(price()));
        builder.configure(|options| options.max_world_instances = 400)
    };
    TestHost::built(root.path(), clock, change).await
}

/// A host that asks a provider which agrees to this part of all that it is asked.
async fn agreeing(part: f64) -> (TempDir, TestHost, ProviderServer) {
    let provider = ProviderServer::start(move |asked| agrees(asked, part)).await;
    let root = tempfile::tempdir().unwrap();
    let test = host(&root, &ManualClock::new(), &provider).await;
    test.upload(&guests::LIVES_IN_WORLDS).await;
    (root, test, provider)
}

/// How many requests were answered, and whether each but once.
fn answered_once(provider: &ProviderServer) -> usize {
    let mut texts: Vec<String> = provider.answered().into_iter().map(|(asked, _)| asked).collect();
    let all = texts.len();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), all, "a call that was answered was made again");
    all
}

#[tokio::test]
async fn what_comes_of_members_that_think_does_not_depend_on_how_many_are_in_memory() {
    let (_root, test, _provider) = agreeing(0.5).await;
    for schedule in ["simultaneous", "by-event"] {
        let mut prints = Vec::new();
        for resident in [None, Some(3), Some(1)] {
            let mut spec = lives(24, 12, schedule);
            spec.members[0].resident = resident;
            let mut world = test.host.simulations().make(spec).await.unwrap();
            world.run(12).await.unwrap();
            assert!(world.steps() > 24, "nobody acts but in the first tick");
            assert!(world.instances() <= resident.map_or(24, |some| some as usize));
            prints.push(world.fingerprint().await.unwrap());
        }
        assert_eq!(prints[1..], [prints[0], prints[0]], "{schedule}");
        let mut other = lives(24, 12, schedule);
        other.seed += 1;
        let mut other = test.host.simulations().make(other).await.unwrap();
        other.run(12).await.unwrap();
        assert_ne!(other.fingerprint().await.unwrap(), prints[0]);
    }
}

#[tokio::test]
async fn a_bundle_with_its_recording_is_verified_without_a_call() {
    let (_root, test, provider) = agreeing(0.7).await;
    let mut world = test.host.simulations().make(rumour(60, 12)).await.unwrap();
    let mut record = Record::default();
    for summary in world.run(12).await.unwrap() {
        record.note(&summary);
    }
    record.fingerprint = world.fingerprint().await.unwrap();
    let reach = record.aggregates.iter().rev().find(|own| own.place == 0).unwrap().value.unwrap();
    assert!(reach > 0.2, "{reach}");
    let calls = answered_once(&provider);
    assert_eq!((record.calls.len(), world.calls().made), (calls, calls as u64));
    assert_eq!(cents(world.calls().cost), calls as i64 * 15);

    let bundle = world.bundle(record).await.unwrap();
    let mut file = Vec::new();
    bundle.write(&mut file).unwrap();
    let bundle = Bundle::read(file.as_slice()).unwrap();
    let silent = TestHost::new().await;
    let verify = async |bundle: &Bundle| silent.host.simulations().verify(bundle).await.unwrap();
    assert_eq!(verify(&bundle).await, None);

    let mut other = bundle.clone();
    other.record.calls[3].request[0] ^= 1;
    let told = verify(&other).await.unwrap();
    assert!(told.contains("asks a model for something else than recorded"), "{told}");
    let mut other = bundle.clone();
    other.record.calls.remove(3);
    let told = verify(&other).await.unwrap();
    assert!(told.contains("that is not recorded"), "{told}");
    let mut other = bundle.clone();
    let dormouse::model::ModelContent::Text(text) =
        &mut other.record.calls[3].answer.as_mut().unwrap().content[0]
    else {
        panic!("the provider says texts")
    };
    text.push('!');
    let told = verify(&other).await.unwrap();
    assert!(told.contains("is the first that comes out differently"), "{told}");
    let mut other = bundle.clone();
    let more = dormouse::RecordedCall { place: last(&bundle), ..bundle.record.calls[0].clone() };
    other.record.calls.push(more);
    let told = verify(&other).await.unwrap();
    assert!(told.contains("does not ask a model, as was recorded"), "{told}");
    assert_eq!(answered_once(&provider), calls);
}

/// A call behind all others, in the last tick.
fn last(bundle: &Bundle) -> dormouse::CallPlace {
    let last = bundle.record.calls.last().unwrap().place;
    dormouse::CallPlace { at: 11, member: 59, number: last.number + 1, ..last }
}

#[tokio::test]
async fn a_fork_asks_again_only_where_something_is_different() {
    let (_root, test, provider) = agreeing(0.7).await;
    let world = kept(&test, rumour(80, 12)).await;
    let whole = completed(&world).await;
    let made = answered_once(&provider);
    assert_eq!(world.record().progress.calls.made, made as u64);
    assert_eq!(provider.asked().len(), made);

    // Who hears it late is told something else of the world.
    let calls = world.bundle().await.unwrap().record.calls;
    let late = calls.iter().rev().find(|call| call.place.at >= 4).unwrap().place.member;
    let change = |value: &str, members| Change {
        role: "people".to_owned(),
        config: [("name".to_owned(), json!(value))].into_iter().collect(),
        members,
        ..Change::default()
    };
    let branch = |set| NewBranch { set: vec![set], ..NewBranch::default() };
    let news = Announcement {
        role: "people".to_owned(),
        members: None,
        text: "The bridge is open.".to_owned(),
    };
    let branches = vec![
        NewBranch::default(),
        branch(change("Ann", Some(vec![late]))),
        NewBranch { send: vec![news], ..NewBranch::default() },
    ];
    let forks = world.fork(Some(4), branches).await.unwrap();
    let mut prints = Vec::new();
    let mut asked = Vec::new();
    for fork in &forks {
        let before = provider.asked().len();
        prints.push(completed(fork).await);
        let calls = fork.record().progress.calls;
        asked.push(provider.asked().len() - before);
        assert_eq!(calls.made as usize, asked[asked.len() - 1]);
        assert!(calls.inherited > 0 && calls.saved() > calls.cost(), "{calls:?}");
        let bundle = fork.bundle().await.unwrap();
        assert_eq!(test.host.simulations().verify(&bundle).await.unwrap(), None);
    }
    assert_eq!(prints[0], whole, "nothing was changed in the first");
    assert_eq!((asked[0], asked[1] >= 1, asked[1] < made / 2), (0, true, true), "{asked:?}");
    assert!(asked[2] >= 1 && prints[2] != whole && prints[1] != whole, "{asked:?}");
}

#[tokio::test]
async fn a_budget_that_is_reached_pauses_the_world_and_more_of_it_changes_nothing() {
    let (_root, test, provider) = agreeing(0.7).await;
    let whole = completed(&kept(&test, rumour(40, 10)).await).await;
    let all = answered_once(&provider);
    let (_root, test, again) = agreeing(0.7).await;
    let world = kept(&test, rumour(40, 10)).await;
    let mut budget = Budget { usd: Some(2.5), ..Budget::default() };
    let mut pauses = 0;
    loop {
        world.start(Some(budget)).await.unwrap();
        let record = world.wait().await;
        if record.status == SimulationStatus::Completed {
            assert_eq!(record.fingerprint, Some(whole));
            break;
        }
        let reason = record.reason.clone().unwrap_or_default();
        assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Money), "{reason}");
        assert!(reason.contains("is left of its budget; give it more"), "{reason}");
        let cost = record.progress.calls.cost().as_usd();
        assert!(cost <= budget.usd.unwrap(), "{cost} of {budget:?}");
        budget.usd = budget.usd.map(|usd| usd + 1.0);
        pauses += 1;
        assert!(pauses < 20, "{record:?}");
    }
    assert!(pauses >= 2, "{pauses}");
    assert_eq!(answered_once(&again), all, "each call is paid once");

    let world = kept(&test, rumour(41, 10)).await;
    let tokens = Budget { tokens: Some(400), ..Budget::default() };
    world.start(Some(tokens)).await.unwrap();
    let status = world.wait().await.status;
    assert_eq!(status, SimulationStatus::Paused(PauseCause::Tokens));
    let none = Budget { usd: Some(0.0), ..Budget::default() };
    world.start(Some(none)).await.unwrap();
    assert_eq!(world.wait().await.status, SimulationStatus::Paused(PauseCause::Money));
}

#[tokio::test]
async fn a_provider_that_fails_pauses_the_world_and_no_member_learns_of_it() {
    let fails = Arc::new(AtomicBool::new(false));
    let (failing, count) = (fails.clone(), AtomicUsize::new(0));
    let provider = ProviderServer::start(move |asked| {
        if failing.load(Ordering::Relaxed) && count.fetch_add(1, Ordering::Relaxed) % 3 == 0 {
            return Play::Refuses(401, json!({ "error": { "message": "no such key" } }), None);
        }
        agrees(asked, 0.7)
    })
    .await;
    let root = tempfile::tempdir().unwrap();
    let test = host(&root, &ManualClock::new(), &provider).await;
    let (_calm, calm, _provider) = agreeing(0.7).await;
    let whole = completed(&kept(&calm, rumour(50, 10)).await).await;
    fails.store(true, Ordering::Relaxed);
    let world = kept(&test, rumour(50, 10)).await;
    let mut pauses = 0;
    loop {
        world.start(None).await.unwrap();
        let record = world.wait().await;
        if record.status == SimulationStatus::Completed {
            assert_eq!(record.fingerprint, Some(whole));
            break;
        }
        let reason = record.reason.clone().unwrap_or_default();
        assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Model), "{reason}");
        pauses += 1;
        fails.store(pauses < 8, Ordering::Relaxed);
    }
    assert!(pauses >= 3, "{pauses}");
    answered_once(&provider);
}

#[tokio::test]
async fn a_world_whose_host_ends_in_the_middle_of_ticks_pays_for_no_answer_twice() {
    let spec = || {
        let mut spec = lives(30, 40, "simultaneous");
        spec.members[0].config.insert("life".to_owned(), json!(1_000));
        spec
    };
    let (_calm, calm, _provider) = agreeing(0.6).await;
    let whole = completed(&kept(&calm, spec()).await).await;
    let provider = ProviderServer::start(|asked| match agrees(asked, 0.6) {
        Play::Says(text) => Play::SaysLater(Duration::from_millis(5), text),
        play => play,
    })
    .await;
    let (root, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let mut test = host(&root, &clock, &provider).await;
    test.upload(&guests::LIVES_IN_WORLDS).await;
    let world = kept(&test, spec()).await;
    world.start(None).await.unwrap();
    let id = world.id();
    drop(world);
    let (mut random, mut cut_off) = (7_u64, 0);
    for _ in 0..12 {
        random = random * 48_271 % 2_147_483_647;
        // Until a few more calls were answered, whichever tick that is.
        let until = provider.answered().len() + (random % 25) as usize;
        for _ in 0..400 {
            if provider.answered().len() >= until && provider.open() > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        clock.advance(Duration::from_millis(random % 1_500));
        cut_off += u32::from(provider.open() > 0);
        drop(test);
        test = host(&root, &clock, &provider).await;
    }
    assert!(cut_off >= 4, "of 12 ends {cut_off} were in the middle of a call");
    let world = test.host.simulations().get(id).unwrap();
    if world.wait().await.status.can_go_on() {
        world.start(None).await.unwrap();
    }
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Completed, "{:?}", record.reason);
    assert_eq!(record.fingerprint, Some(whole));
    let bundle = world.bundle().await.unwrap();
    let calls = bundle.record.calls.len();
    assert_eq!(calls as u64, record.progress.calls.made);
    // An answer that was under way when the host ended is lost, and each call that was noted is asked for once.
    let answered = provider.answered().len();
    let lost = provider.asked().len() - calls;
    assert!(answered >= calls && lost <= 12 * 30, "{answered} of {calls} calls, {lost} lost");
    assert_eq!(test.host.simulations().verify(&bundle).await.unwrap(), None);
}

#[tokio::test]
async fn members_that_are_sessions_are_specified_as_sessions() {
    let test = TestHost::new().await;
    let wrong = |change: fn(&mut WorldSpec), told: &'static str| {
        let mut spec = rumour(4, 2);
        change(&mut spec);
        (spec, told)
    };
    let cases = [
        wrong(
            |spec| spec.schedule = dormouse::world_spec::ScheduleSpec::Random,
            "let the schedule be `simultaneous` or `by-event`",
        ),
        wrong(|spec| spec.members[0].each.push(Default::default()), "there are 5 for 4 members"),
        wrong(|spec| spec.members[0].columns.push("a b".to_owned()), "`a b` is no name"),
        wrong(|spec| spec.members[0].fuel_per_turn = Some(0), "a turn needs fuel"),
        wrong(|spec| spec.members[0].from = Some("a.csv".to_owned()), "only `dormouse sim` reads"),
        wrong(
            |spec| {
                spec.members[0].count = 100_001;
                spec.members[0].topology = dormouse::world_spec::TopologySpec::None;
            },
            "at most 100000 members",
        ),
        wrong(|spec| spec.budget.usd = Some(-1.0), "an amount of US dollars is 0 or more"),
        wrong(
            |spec| {
                let mail = Announcement { role: "people".into(), members: None, text: "".into() };
                spec.program.push(ProgramStep { at: 1, deed: Deed::Send(mail) });
            },
            "a mail has 1 to",
        ),
        wrong(
            |spec| {
                let change = Change {
                    role: "people".into(),
                    members: Some(vec![4]),
                    config: [("name".to_owned(), json!("x"))].into_iter().collect(),
                    ..Change::default()
                };
                spec.program.push(ProgramStep { at: 1, deed: Deed::Set(change) });
            },
            "there is no member 4",
        ),
    ];
    for (spec, told) in cases {
        let error = test.host.simulations().create(spec).await.unwrap_err().to_string();
        assert!(error.contains(told), "{told}: {error}");
    }
    let mut spec = rumour(4, 2);
    spec.members[0].fuel_per_turn = Some(1_000);
    let mut world = test.host.simulations().make(spec).await.unwrap();
    let error = world.run(1).await.unwrap_err().to_string();
    assert!(error.contains("tick 0: member 0 of the role `people` failed"), "{error}");
}

#[tokio::test]
async fn a_world_that_is_changed_in_the_middle_of_a_tick_goes_on_with_what_it_has_paid_for() {
    let fails = Arc::new(AtomicBool::new(true));
    let (failing, count) = (fails.clone(), AtomicUsize::new(0));
    let provider = ProviderServer::start(move |asked| {
        if failing.load(Ordering::Relaxed) && count.fetch_add(1, Ordering::Relaxed) > 9 {
            return Play::Refuses(401, json!({ "error": { "message": "no such key" } }), None);
        }
        agrees(asked, 0.9)
    })
    .await;
    let root = tempfile::tempdir().unwrap();
    let test = host(&root, &ManualClock::new(), &provider).await;
    let world = kept(&test, rumour(60, 8)).await;
    world.start(None).await.unwrap();
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Model), "{:?}", record.reason);
    let noted = provider.answered().len() as u64 - record.progress.calls.made;
    assert!(noted > 0, "no call of the tick was answered");
    // Whoever has not asked yet hears something else, and whoever has asks for something else.
    let news = Announcement { role: "people".into(), members: None, text: "Stay at home.".into() };
    assert_eq!(world.send(news).await.unwrap(), record.progress.ticks);
    let rows = Change {
        role: "people".into(),
        parameters: [("p".to_owned(), dormouse::world_spec::ParameterSpec::Flag(true))].into(),
        ..Change::default()
    };
    let error = world.set(rows).await.unwrap_err().to_string();
    assert!(error.contains("its members are sessions: they have a configuration"), "{error}");
    fails.store(false, Ordering::Relaxed);
    let whole = completed(&world).await;
    // All that was answered is paid for, also what nobody can use any more.
    let answered = provider.answered().len();
    assert_eq!(cents(world.record().progress.calls.cost()), answered as i64 * 15);
    let bundle = world.bundle().await.unwrap();
    assert!(bundle.record.calls.len() < answered);
    assert_eq!(test.host.simulations().verify(&bundle).await.unwrap(), None);

    let (_calm, calm, _provider) = agreeing(0.9).await;
    let undisturbed = kept(&calm, bundle.spec.clone()).await;
    assert_eq!(completed(&undisturbed).await, whole);
}

#[tokio::test]
async fn forks_of_forks_inherit_what_was_asked_before() {
    let (_root, test, provider) = agreeing(0.7).await;
    let world = kept(&test, rumour(60, 10)).await;
    let whole = completed(&world).await;
    let all = provider.asked().len();
    let fork = world.fork(Some(3), vec![NewBranch::default()]).await.unwrap().remove(0);
    fork.step(2).await.unwrap();
    fork.wait().await;
    // From before it was forked, from what it has run, and from what it has not.
    for at in [1, 4, 5] {
        let again = fork.fork(Some(at), vec![NewBranch::default()]).await.unwrap().remove(0);
        assert_eq!(completed(&again).await, whole, "at {at}");
    }
    assert_eq!(completed(&fork).await, whole);
    assert_eq!(provider.asked().len(), all);
}

#[tokio::test]
async fn members_are_asked_without_a_trace() {
    let (_root, test, provider) = agreeing(0.7).await;
    let world = kept(&test, rumour(30, 8)).await;
    world.step(4).await.unwrap();
    world.wait().await;
    let question = || vec![dormouse::Part::Text("Do you know it?".to_owned())];
    let survey = world.survey("people", &[0, 7, 29], question()).await.unwrap();
    assert_eq!((survey.ticks, survey.replies.len()), (4, 3));
    assert!(survey.replies.iter().all(Result::is_ok), "{survey:?}");
    assert_eq!(cents(survey.cost), 3 * 15);
    let asked = provider.asked();
    let of_first = &asked[asked.len() - 3..].iter().find(|own| own.text.contains("The bridge"));
    assert!(of_first.is_some(), "the first knows the rumour");
    let error = world.survey("people", &[30], question()).await.unwrap_err().to_string();
    assert!(error.contains("no member 30"), "{error}");
    let surveyed = completed(&world).await;
    let same = kept(&test, rumour(30, 8)).await;
    assert_eq!(completed(&same).await, surveyed);
    let mut embedded = test.host.simulations().make(rumour(30, 8)).await.unwrap();
    embedded.run(3).await.unwrap();
    assert!(embedded.survey("people", &[99], question()).await.is_err());
    let survey = embedded.survey("people", &[1, 2], question()).await.unwrap();
    assert_eq!(survey.replies.len(), 2);
    embedded.run(9).await.unwrap();
    assert_eq!(embedded.fingerprint().await.unwrap(), surveyed);
}

#[tokio::test]
async fn what_an_owner_may_spend_bounds_all_of_its_worlds() {
    let provider = ProviderServer::start(|asked| agrees(asked, 0.9)).await;
    let root = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let budget = dormouse::NanoUsd::from_usd(9.0).unwrap();
    let start = || {
        let change = |builder: HostBuilder| {
            let builder = builder.models(provider.catalog(price()));
            builder.configure(|options| {
                options.max_world_instances = 400;
                options.quotas.budget_per_principal = Some(budget);
            })
        };
        TestHost::built(root.path(), &clock, change)
    };
    let test = start().await;
    let spent = || provider.answered().len() as f64 * 0.15;
    let world = kept(&test, rumour(300, 8)).await;
    world.start(None).await.unwrap();
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Money), "{:?}", record.reason);
    assert!(record.reason.clone().unwrap().contains("what its owner may spend"));
    assert!((0.15..=9.0).contains(&spent()), "{}", spent());
    // Neither another world, nor another start of the host, nor its removal gives it more.
    drop((world, test));
    let before = spent();
    let test = start().await;
    for seed in 0..3 {
        let mut spec = rumour(300, 8);
        spec.seed = seed;
        let other = kept(&test, spec).await;
        other.start(None).await.unwrap();
        assert_eq!(other.wait().await.status, SimulationStatus::Paused(PauseCause::Money));
        other.delete().await.unwrap();
    }
    for left in test.host.simulations().list(None, 10).simulations {
        test.host.simulations().get(left.id).unwrap().delete().await.unwrap();
    }
    let other = kept(&test, rumour(301, 8)).await;
    other.start(None).await.unwrap();
    assert_eq!(other.wait().await.status, SimulationStatus::Paused(PauseCause::Money));
    assert!(spent() - before < 1.0 && spent() <= 9.0, "{before} and then {}", spent());
}

/// Whoever hears it tells it to all friends, with probability 0.2, and has ten of these: it reaches a part z of all, of which
/// z = 1 - e^(-2z) is true.
#[tokio::test]
async fn a_rumour_reaches_as_many_as_theory_says() {
    let (_root, test, _provider) = agreeing(0.2).await;
    let mut reached = Vec::new();
    for seed in 0..8 {
        let mut spec = rumour(1_000, 60);
        spec.seed = seed;
        spec.members[0].topology = dormouse::world_spec::TopologySpec::Random { p: 0.01 };
        for (place, each) in spec.members[0].each.iter_mut().enumerate() {
            // Other people, who decide otherwise.
            each.insert("name".to_owned(), json!(format!("person {place} of town {seed}")));
            if place < 10 {
                each.insert("rumour".to_owned(), json!("The bridge is closed."));
            }
        }
        let mut world = test.host.simulations().make(spec).await.unwrap();
        let last = world.run(60).await.unwrap().pop().unwrap();
        reached.push(last.aggregates[0].value.unwrap());
    }
    let count = reached.len() as f64;
    let mean = reached.iter().sum::<f64>() / count;
    let variance =
        reached.iter().map(|own| (own - mean) * (own - mean)).sum::<f64>() / (count - 1.0);
    let error = (variance / count).sqrt().max(0.003);
    assert!((mean - 0.797).abs() < 4.0 * error, "{mean} ± {error}: {reached:?}");
}

#[tokio::test]
async fn a_sleep_takes_no_time_in_a_world_and_moves_the_clocks_of_the_member_on() {
    let (_root, test, _provider) = agreeing(0.5).await;
    let mut spec = lives(5, 3, "simultaneous");
    spec.members[0].config.insert("sleeps".to_owned(), json!(100_000));
    spec.members[0].columns.push("slept".to_owned());
    let mut world = test.host.simulations().make(spec).await.unwrap();
    world.run(3).await.unwrap();
    let slept = world.column("beings", "slept").await.unwrap();
    assert_eq!(slept, dormouse::Column::Numbers(vec![100_000.0; 5]));
}

/// People are rows, and each is like one of eight kinds, which ask a model once. Half of the kinds tell the rumour: so with ten friends
/// and a chance of 0.4 it reaches a part z of all, of which z = 1 - e^(-2z) is true.
#[tokio::test]
async fn rows_do_what_their_archetypes_decide_with_a_call_each() {
    let provider = ProviderServer::start(|asked| {
        let tells = asked.text.contains("talkative");
        Play::Says(if tells { "Yes." } else { "No." }.to_owned())
    })
    .await;
    let root = tempfile::tempdir().unwrap();
    let test = host(&root, &ManualClock::new(), &provider).await;
    let spec = |seed: u64, rows: u32| {
        let each: Vec<String> = (0..8)
            .map(|kind| {
                let character = if kind % 2 == 0 { "talkative" } else { "silent" };
                format!(r#"{{ name = "a {character} person, {kind} of {seed}" }}"#)
            })
            .collect();
        let text = format!(
            r#"
            seed = {seed}
            ticks = 60
            schedule = "by-event"
            aggregates = [
                {{ name = "tell", of = "kinds.told", is = "sum" }},
                {{ name = "reach", of = "people.state", is = {{ share = 2 }} }},
            ]
            [[members]]
            role = "kinds"
            agent = "persona"
            count = 8
            columns = ["heard", "told"]
            config = {{ rumour = "The bridge is closed." }}
            each = [{}]
            topology = {{ kind = "ring" }}

            [[members]]
            role = "people"
            agent = "epidemic"
            count = 10000
            rows = {rows}
            parameters = {{ kinds = "kinds", transmission = 0.4 }}
            attributes = {{ kind = {{ integers = [0, 7] }}, infected = {{ exactly = 20 }} }}
            topology = {{ kind = "random", p = 0.001 }}
            "#,
            each.join(", ")
        );
        WorldSpec::from_toml(&text).unwrap()
    };
    let mut reached = Vec::new();
    for seed in 0..8 {
        let mut world = test.host.simulations().make(spec(seed, 10_000)).await.unwrap();
        let last = world.run(60).await.unwrap().pop().unwrap();
        assert_eq!(last.aggregates[0].value, Some(4.0));
        reached.push(last.aggregates[1].value.unwrap());
    }
    assert_eq!(answered_once(&provider), 8 * 8);
    let mean = reached.iter().sum::<f64>() / reached.len() as f64;
    // The standard deviation of one is about 0.008, and those who know it at the beginning add 0.001.
    assert!((mean - 0.797).abs() < 0.013, "{mean}: {reached:?}");

    // Neither rows nor replay change anything.
    let (whole, small) = (kept(&test, spec(0, 10_000)).await, kept(&test, spec(0, 700)).await);
    assert_eq!(completed(&whole).await, completed(&small).await);
    let (asked, bundle) = (provider.asked().len(), small.bundle().await.unwrap());
    assert_eq!(test.host.simulations().verify(&bundle).await.unwrap(), None);
    assert_eq!(provider.asked().len(), asked, "a recording is replayed without a call");
}

#[tokio::test]
async fn a_member_sends_nothing_out_of_its_world_and_is_told_so() {
    let (_root, test, _provider) = agreeing(0.5).await;
    test.upload(&guests::FETCHES).await;
    let spec = WorldSpec::from_toml(
        r#"
        ticks = 2
        [[members]]
        role = "beings"
        agent = "fetches"
        count = 2
        columns = ["denied"]
        config = { always = "get http://127.0.0.1:9/" }
        "#,
    );
    let mut world = test.host.simulations().make(spec.unwrap()).await.unwrap();
    world.run(2).await.unwrap();
    let denied = world.column("beings", "denied").await.unwrap();
    assert_eq!(denied, dormouse::Column::Numbers(vec![1.0; 2]));
}

#[tokio::test]
async fn whoever_has_ended_gets_no_mail_and_its_sender_is_told() {
    let (_root, test, _provider) = agreeing(0.5).await;
    let mut spec = lives(24, 12, "simultaneous");
    spec.members[0].config.insert("life".to_owned(), json!(3));
    spec.members[0].columns.push("ended".to_owned());
    let mut world = test.host.simulations().make(spec).await.unwrap();
    world.run(12).await.unwrap();
    let dormouse::Column::Numbers(ended) = world.column("beings", "ended").await.unwrap() else {
        panic!("samples are numbers");
    };
    assert!(ended.contains(&1.0), "nobody wrote to anybody who had ended: {ended:?}");
}

#[tokio::test]
async fn an_experiment_of_members_that_think_pays_for_each_answer_once_and_within_its_budget() {
    let (_root, test, provider) = agreeing(1.0).await;
    let experiment = serde_json::from_value(json!({ "replicates": 6 })).unwrap();
    // Each run asks 30 times for 15 cents, and all together may spend less than that.
    let budget = Budget { usd: Some(10.0), ..Budget::default() };
    let new = NewExperiment { budget, ..NewExperiment::new(rumour(30, 12), experiment) };
    let experiment = test.host.experiments().create(new).await.unwrap();
    let paused = experiment.wait().await;
    assert_eq!(paused.status, SimulationStatus::Paused(PauseCause::Money), "{:?}", paused.reason);
    let asked = provider.asked().len();
    assert!(asked * 15 <= 1_000 && asked > 30, "{asked} calls within 10 dollars");
    let spends_more = Budget { usd: Some(100.0), ..Budget::default() };
    experiment.resume(Some(spends_more)).await.unwrap();
    let record = experiment.wait().await;
    assert_eq!(record.status, SimulationStatus::Completed, "{:?}", record.reason);
    let runs = experiment.runs(0, 9).await.unwrap();
    let results: Vec<_> = runs.into_iter().map(|(_, result)| result.unwrap()).collect();
    let calls: u64 = results.iter().map(|result| result.calls).sum();
    assert_eq!(provider.asked().len() as u64, calls, "a call was paid for twice");
    assert_eq!((results.len(), record.progress.calls.made), (6, calls));
    for result in &results {
        assert_eq!((&result.error, cents(result.cost())), (&None, result.calls as i64 * 15));
    }
    assert_eq!(cents(record.progress.calls.cost()), calls as i64 * 15);
}
