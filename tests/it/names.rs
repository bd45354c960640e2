//! What a name means depends on who says it, for programs that embed the host.

use dormouse::{
    AgentError, AgentOwner, AgentSelector, CreateError, Cursor, EventKind, Host, ManualClock,
    NewSession, Pattern, Principal, SessionHandle, StoreError, UpgradeError, Visibility,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;

fn named(reference: &str) -> AgentSelector {
    reference.parse().unwrap()
}

fn acting_as(test: &TestHost, principal: &str) -> Host {
    test.host.acting_as(Principal(principal.to_owned()))
}

async fn hybrid(host: &Host, agent: &str) -> Result<SessionHandle, CreateError> {
    host.sessions().create(NewSession::with_agent(named(agent)).pattern(Pattern::Hybrid)).await
}

#[tokio::test]
async fn uploads_of_another_principal_are_never_meant() {
    let test = TestHost::new().await;
    let (ann, ben) = (acting_as(&test, "ann"), acting_as(&test, "ben"));
    let anns = ann.agents().upload("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap().agent;
    for (name, version) in [("assistant", "999"), ("counter", "999")] {
        let refused = ben.agents().upload(name, version, guests::LOOPS_FOREVER.bytes).await;
        assert!(matches!(refused, Err(AgentError::Reserved(_))), "{refused:?}");
    }
    ben.agents().upload("mine", "0", guests::LOOPS_FOREVER.bytes).await.unwrap();
    ben.agents().upload("mine", "2", guests::LOOPS_FOREVER.bytes).await.unwrap();
    assert_eq!(ann.agents().get(named("mine")).await.unwrap(), anns);
    let session = ann.sessions().create(NewSession::default()).await.unwrap();
    let agent = session.info().await.unwrap().session.profile.agent.clone();
    assert_eq!((agent.owner, agent.name.as_str()), (AgentOwner::Host, "assistant"));
    let digest = anns.reference.digest.to_string();
    for reference in ["ann/mine", "ann/mine@1", "mine@1", &digest] {
        let unseen = ben.agents().get(named(reference)).await;
        assert!(matches!(unseen, Err(AgentError::NotFound(_))), "{reference}: {unseen:?}");
    }
    test.shut_down().await;
}

#[tokio::test]
async fn bytes_that_somebody_else_has_uploaded_are_compiled_as_if_nobody_had() {
    let cache = tempfile::tempdir().unwrap();
    // By the real clock: what is compiled takes a millisecond at least, and what is cached none.
    let host = Host::builder().in_memory().compiled_cache(cache.path().join("c"), [7; 32]);
    let host = host.configure(|options| options.max_residents = 64).build().await.unwrap();
    let by = |name: &str| host.acting_as(Principal(name.to_owned()));
    let upload = async |owner: &str, version: &str| {
        let agents = by(owner).agents();
        let uploaded = agents.upload("mine", version, guests::SPENDS_FUEL.bytes).await.unwrap();
        uploaded.agent.compile_ms > 0
    };
    assert!(upload("ann", "1").await, "nobody has it");
    assert!(!upload("ann", "2").await, "ann knows that she has it");
    assert!(upload("ben", "1").await, "ben cannot know");
    by("ann").agents().set_visibility(named("mine"), Visibility::Public).await.unwrap();
    assert!(!upload("cat", "1").await, "it is public");
    for owner in ["ann", "ben", "cat"] {
        for agent in by(owner).agents().list().await.unwrap() {
            if agent.is_owned_by(&Principal(owner.to_owned())) {
                by(owner).agents().remove(named(&agent.reference.to_string())).await.unwrap();
            }
        }
    }
    assert!(upload("dan", "1").await, "nobody has it any more");
    host.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_name_alone_means_the_latest_version_of_the_callers_own() {
    let test = TestHost::new().await;
    let agents = test.host.agents();
    let mut tens = Vec::new();
    for (version, guest) in [
        ("1.10", &guests::SPENDS_FUEL),
        ("1.9", &guests::LOOPS_FOREVER),
        ("1.010", &guests::LOGS_FOREVER),
    ] {
        tens.push(agents.upload("mine", version, guest.bytes).await.unwrap().agent);
        let latest = agents.get(named("mine")).await.unwrap();
        let expected = if version == "1.9" { &tens[0] } else { tens.last().unwrap() };
        assert_eq!(latest, *expected, "after {version}");
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_goes_on_when_its_agent_is_private_again_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let (ann, ben) = (acting_as(&test, "ann"), acting_as(&test, "ben"));
    ann.agents().upload("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap();
    let public = ann.agents().set_visibility(named("mine"), Visibility::Public).await.unwrap();
    assert_eq!(ben.agents().get(named("ann/mine")).await.unwrap(), public);
    let session = hybrid(&ben, "ann/mine").await.unwrap();
    session.send("one").await.unwrap();
    let not_owner = ben.agents().set_visibility(named("ann/mine"), Visibility::Private).await;
    assert!(matches!(not_owner, Err(AgentError::NotOwner(_))), "{not_owner:?}");
    ann.agents().set_visibility(named("mine"), Visibility::Private).await.unwrap();
    let id = session.id();
    drop((ann, ben, session));
    test.shut_down().await;

    let test = TestHost::on(directory.path(), &clock).await;
    let (ann, ben) = (acting_as(&test, "ann"), acting_as(&test, "ben"));
    let refused = hybrid(&ben, "ann/mine").await.err();
    assert!(matches!(refused, Some(CreateError::Agent(AgentError::NotFound(_)))), "{refused:?}");
    let session = ben.sessions().get(id);
    assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");
    let fork = session.fork(Default::default()).await.unwrap().remove(0);
    let fork = ben.sessions().get(fork.session.id);
    assert_eq!(fork.send("three").await.unwrap().text(), "turn 3: three");
    let in_use = ann.agents().remove(named("mine")).await;
    assert!(matches!(in_use, Err(AgentError::Store(StoreError::AgentInUse(2)))), "{in_use:?}");
    fork.delete().await.unwrap();
    session.delete().await.unwrap();
    ann.agents().remove(named("mine")).await.unwrap();
    test.shut_down().await;
}

#[tokio::test]
async fn an_upgrade_takes_an_agent_that_the_caller_can_name_and_goes_back_without_asking() {
    let test = TestHost::new().await;
    let (ann, ben) = (acting_as(&test, "ann"), acting_as(&test, "ben"));
    ann.agents().upload("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap();
    ann.agents().set_visibility(named("mine"), Visibility::Public).await.unwrap();
    ben.agents().upload("next", "1", guests::TRAPS_WHEN_TOLD.bytes).await.unwrap();
    let session = hybrid(&ben, "ann/mine").await.unwrap();
    session.send("one").await.unwrap();
    let refused = ann.sessions().get(session.id()).upgrade(named("mine")).await;
    assert!(refused.is_err(), "it is ben's");
    ann.agents().upload("hers", "1", guests::TRAPS_WHEN_TOLD.bytes).await.unwrap();
    let refused = session.upgrade(named("ann/hers@1")).await;
    assert!(matches!(refused, Err(UpgradeError::Agent(AgentError::NotFound(_)))), "{refused:?}");
    session.upgrade(named("next")).await.unwrap();
    ann.agents().set_visibility(named("mine"), Visibility::Private).await.unwrap();
    session.send("trap").await.unwrap_err();
    let after = session.info().await.unwrap().session.profile.agent.clone();
    assert_eq!(after.to_string(), "ann/mine@1");
    assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");
    test.shut_down().await;
}

#[tokio::test]
async fn a_caller_sees_the_events_of_its_own_agents_and_sessions_also_when_they_are_gone() {
    let test = TestHost::new().await;
    let (ann, ben) = (acting_as(&test, "ann"), acting_as(&test, "ben"));
    ann.agents().upload("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap();
    let gone = hybrid(&ann, "mine").await.unwrap();
    hybrid(&ben, "counter").await.unwrap();
    gone.delete().await.unwrap();
    ann.agents().remove(named("mine")).await.unwrap();
    let kinds = async |host: &Host| {
        let slice = host.events_after(Cursor(0), 100).await.unwrap();
        let of_host = Some(AgentOwner::Host);
        let own = slice.events.into_iter().filter(|logged| logged.event.owner != of_host);
        (own.map(|logged| logged.event.kind()).collect::<Vec<_>>(), slice.next)
    };
    let all = test.host.operating().events_after(Cursor(0), 100).await.unwrap();
    let end = all.next;
    let (uploaded, created) = (EventKind::AgentUploaded, EventKind::SessionCreated);
    let (deleted, removed) = (EventKind::SessionDeleted, EventKind::AgentDeleted);
    // What is gone is told of to who had it, and to nobody else.
    assert_eq!(kinds(&ann).await, (vec![uploaded, created, deleted, removed], end));
    assert_eq!(kinds(&ben).await, (vec![created], end));
    assert_eq!(kinds(&test.host).await, (vec![], end));
    let cursors: Vec<u64> = all.events.iter().map(|logged| logged.cursor.0).collect();
    assert_eq!((cursors, all.more), ((1..=end.0).collect(), false), "the operator sees all of it");
    test.shut_down().await;
}
