//! Data directories that earlier versions have written are opened, and everything in them goes on.

use std::path::Path;

use dormouse::{
    AgentError, AgentOwner, AgentSelector, Cursor, EventKind, EventSubject, Host, ManualClock,
    NewSession, Pattern, Principal, SendError, SessionHandle, StartFrom, Status, Visibility,
    upkeep,
};
use dormouse_tests::{TestHost, unpack};
use serde_json::Value;

/// What the release of 21 November 2026 has written.
const NOVEMBER: &str = "data-2026-11-21";

/// What builds after it have written, of states of many parts: with layout 5, which listed them in one piece, with
/// layout 7, whose sessions say nothing of how long a state is kept and when they were in memory, and with layout 8,
/// which has no journals and no accounts.
const LATER: [&str; 3] = ["data-layout-5", "data-layout-7", "data-layout-8"];

/// A host on what an earlier version has left, and what that has answered.
struct Earlier {
    test: TestHost,
    told: Value,
    directory: tempfile::TempDir,
    name: &'static str,
}

impl Earlier {
    async fn open(fixture: &str, name: &'static str) -> Earlier {
        let directory = tempfile::tempdir().unwrap();
        let told = unpack(fixture, directory.path()).unwrap()[name].clone();
        let data = directory.path().join(name);
        assert_well(&data);
        let test = TestHost::on(&data, &ManualClock::new()).await;
        Earlier { test, told, directory, name }
    }

    fn acting_as(&self, principal: &str) -> Host {
        self.test.host.acting_as(Principal(principal.to_owned()))
    }

    fn session(&self, name: &str) -> SessionHandle {
        let told = &self.told[name];
        let owner = self.acting_as(told["owner"].as_str().unwrap());
        owner.sessions().get(told["id"].as_str().unwrap().parse().unwrap())
    }

    fn answers(&self, name: &str) -> Vec<String> {
        let answers = self.told[name]["answers"].as_array().unwrap();
        answers.iter().map(|answer| answer.as_str().unwrap().to_owned()).collect()
    }

    /// That this session has this agent and all its turns, and answers a message like this.
    async fn goes_on(&self, name: &str, agent: &str, prompt: &str, answer: &str) {
        let session = self.session(name);
        let record = session.info().await.unwrap().session;
        assert_eq!(record.profile.agent.to_string(), agent, "{name}");
        let turns = session.turns(0, 100).await.unwrap().entries;
        assert_eq!(turns.len(), self.answers(name).len(), "{name}");
        let found = session.send(prompt).await.unwrap().text();
        assert_eq!(found, answer, "{name}");
    }

    async fn shut_down(self) {
        self.test.shut_down().await;
        assert_well(&self.directory.path().join(self.name));
    }
}

fn assert_well(data: &Path) {
    let report = upkeep::check(data, dormouse::StoreOptions::default()).unwrap();
    assert!(report.is_well(), "{:?}", report.findings);
    assert_eq!(report.read.set_aside, 0);
}

fn named(reference: &str) -> AgentSelector {
    reference.parse().unwrap()
}

/// The agents of a principal, by their references.
async fn own(host: &Host, principal: &str) -> Vec<String> {
    let listed = host.agents().list().await.unwrap().into_iter();
    let own = listed.filter(|agent| agent.is_owned_by(&Principal(principal.to_owned())));
    own.map(|agent| {
        assert_eq!(agent.visibility, Visibility::Private);
        agent.reference.to_string()
    })
    .collect()
}

#[tokio::test]
async fn sessions_of_the_release_of_november_go_on_where_they_were() {
    let earlier = Earlier::open(NOVEMBER, "closed").await;
    let sum = earlier.answers("bens").pop().unwrap();
    for (name, agent, prompt, answer) in [
        ("counter", "counter@0.1.0", "x", "turn 4: x"),
        ("unspoken", "counter@0.1.0", "x", "turn 1: x"),
        ("mine", "ann/mine@1", "x", "turn 3: x"),
        ("memo", "ben/memo@1", "x", "turn 2: x"),
        ("taken over", "ben/assistant@999", "x", "turn 2: x"),
        ("bens", "ben/mine@2", "sum", sum.as_str()),
        ("of another", "ben/mine@2", "sum", sum.as_str()),
        ("fork", "ann/mine@1", "x", "turn 3: x"),
        ("rewound", "ann/mine@1", "x", "turn 2: x"),
        // That release took the last upload of the same bytes for the agent of a template.
        ("from a template", "ann/next@1.9", "x", "turn 4: x"),
    ] {
        earlier.goes_on(name, agent, prompt, answer).await;
    }
    let unspoken = earlier.session("unspoken").info().await.unwrap().session;
    assert_eq!(
        (unspoken.profile.tags.clone(), unspoken.profile.user_id.clone()),
        (vec!["t".into()], Some("u".into()))
    );
    assert_eq!(unspoken.profile.pattern, Pattern::Ephemeral);

    let dice = earlier.session("dice");
    let turns = dice.turns(0, 100).await.unwrap().entries;
    let failed =
        turns.iter().filter(|turn| matches!(turn.outcome, dormouse::TurnOutcome::Failed(_)));
    assert_eq!((turns.len(), failed.count()), (3, 1));
    let drawn = dice.send("[{\"random\":16}]").await.unwrap().text();
    let number = |answer: &str| answer.split(' ').nth(2).unwrap().to_owned();
    let answers = earlier.answers("dice");
    assert!(drawn.starts_with("turn 3: "), "{drawn}");
    assert!(
        answers.iter().filter(|it| it.starts_with("turn")).all(|it| number(it) != number(&drawn))
    );

    let upgraded = earlier.session("upgraded");
    let record = upgraded.info().await.unwrap().session;
    let before = record.before_upgrade.as_ref().unwrap().agent.to_string();
    assert_eq!(
        (record.profile.agent.to_string().as_str(), before.as_str()),
        ("ann/next@1.10", "ann/next@1.9")
    );
    assert_eq!(upgraded.send("x").await.unwrap().text(), "turn 3: x");

    let ended = earlier.session("ended");
    let state = ended.info().await.unwrap().session.state.clone();
    assert_eq!(
        (state.status(), state.reason().unwrap().0.as_str()),
        (Status::Terminated, "enough")
    );
    assert!(matches!(ended.send("x").await, Err(SendError::Denied(_))));
    let paused = earlier.session("paused");
    assert_eq!(paused.info().await.unwrap().session.state.status(), Status::Paused);
    paused.resume(None).await.unwrap();
    assert_eq!(paused.send("x").await.unwrap().text(), "turn 2: x");
    earlier.shut_down().await;
}

#[tokio::test]
async fn agents_of_the_release_of_november_belong_to_who_uploaded_them() {
    let earlier = Earlier::open(NOVEMBER, "closed").await;
    let (ann, ben) = (earlier.acting_as("ann"), earlier.acting_as("ben"));
    let anns = ["ann/dice@1", "ann/mine@1", "ann/next@1.9", "ann/next@1.10"];
    assert_eq!(own(&ann, "ann").await, anns);
    let bens = ["ben/assistant@999", "ben/counter@999", "ben/memo@1", "ben/mine@2"];
    assert_eq!(own(&ben, "ben").await, bens);

    // A bundled name means the component of this build, for everybody; what was uploaded under it is
    // its owner's, by its full name.
    for host in [&ann, &ben] {
        for name in ["assistant", "counter"] {
            let agent = host.agents().get(named(name)).await.unwrap();
            assert_eq!(agent.reference.owner, AgentOwner::Host);
        }
    }
    let session = ann.sessions().create(NewSession::default()).await.unwrap();
    let agent = session.info().await.unwrap().session.profile.agent.clone();
    assert_eq!((agent.owner, agent.name.as_str()), (AgentOwner::Host, "assistant"));
    ben.agents().get(named("ben/counter@999")).await.unwrap();
    for reference in ["counter@999", "ben/counter@999", "ben/counter", "memo", "mine@2"] {
        let unseen = ann.agents().get(named(reference)).await;
        assert!(matches!(unseen, Err(AgentError::NotFound(_))), "{reference}: {unseen:?}");
    }
    let latest = ann.agents().get(named("next")).await.unwrap().reference;
    assert_eq!(latest.to_string(), "ann/next@1.10");
    let in_use = ben.agents().remove(named("ben/assistant@999")).await;
    assert!(in_use.is_err(), "a session of ann's has it");
    ben.agents().remove(named("ben/counter@999")).await.unwrap();

    for (host, agent) in [(&ann, "ann/next@1.9"), (&ben, "ben/mine@2")] {
        let templates = host.templates().list().await.unwrap();
        assert_eq!(templates.len(), 1);
        assert_eq!(
            (templates[0].name.as_str(), templates[0].agent.to_string().as_str()),
            ("warm", agent)
        );
        let start = StartFrom::Template("warm".to_owned());
        let warm = NewSession { start, ..NewSession::default() };
        let session = host.sessions().create(warm).await.unwrap();
        assert_eq!(session.info().await.unwrap().session.profile.agent.to_string(), agent);
    }
    let all = earlier.test.host.operating().events_after(Cursor(0), 10_000).await.unwrap();
    let anns = ann.events_after(Cursor(0), 10_000).await.unwrap();
    assert_eq!(anns.next, all.next);
    assert!(anns.events.len() > 50 && anns.events.len() < all.events.len());
    earlier.shut_down().await;
}

#[tokio::test]
async fn what_a_killed_host_of_november_has_answered_is_there() {
    let earlier = Earlier::open(NOVEMBER, "killed").await;
    for (name, agent) in [("first", "ben/mine@1"), ("second", "counter@0.1.0")] {
        let turns = earlier.session(name).turns(0, 100).await.unwrap().entries;
        let told: Vec<_> = turns
            .iter()
            .map(|turn| match &turn.outcome {
                dormouse::TurnOutcome::Answered { content, .. } => dormouse::text_of(content),
                dormouse::TurnOutcome::Failed(failure) => failure.message.clone(),
            })
            .collect();
        assert_eq!(told, earlier.answers(name));
        earlier.goes_on(name, agent, "x", "turn 21: x").await;
    }
    earlier.shut_down().await;
}

#[tokio::test]
async fn a_directory_that_was_opened_once_is_opened_again() {
    let earlier = Earlier::open(NOVEMBER, "closed").await;
    earlier.goes_on("mine", "ann/mine@1", "x", "turn 3: x").await;
    let Earlier { test, told, directory, name } = earlier;
    test.shut_down().await;
    let data = directory.path().join(name);
    let test = TestHost::on(&data, &ManualClock::new()).await;
    let again = Earlier { test, told, directory, name };
    assert_eq!(again.session("mine").send("y").await.unwrap().text(), "turn 4: y");
    assert_eq!(own(&again.acting_as("ben"), "ben").await.len(), 4);
    again.shut_down().await;
}

#[tokio::test]
async fn every_event_of_the_release_of_november_is_read_and_told_to_who_has_its_session() {
    for (name, written, told) in [("closed", 88, "mine"), ("killed", 90, "first")] {
        let earlier = Earlier::open(NOVEMBER, name).await;
        let operator = earlier.test.host.operating();
        let all = operator.events_after(Cursor(0), 10_000).await.unwrap().events;
        let cursors: Vec<u64> = all.iter().map(|logged| logged.cursor.0).collect();
        assert_eq!(cursors, (1..=all.len() as u64).collect::<Vec<_>>(), "none is passed over");
        let of_november = all.iter().filter(|logged| logged.event.owner.is_none());
        assert_eq!(of_november.count(), written, "{name}");

        // They do not say whose they are: that says the session, for as long as it is there.
        let session = earlier.session(told);
        let owner = earlier.acting_as(earlier.told[told]["owner"].as_str().unwrap());
        let own = async || {
            let slice = owner.events_after(Cursor(0), 10_000).await.unwrap();
            let subject = EventSubject::Session(session.id());
            let own = slice.events.into_iter().filter(|logged| logged.event.subject == subject);
            own.map(|logged| logged.event.kind()).collect::<Vec<_>>()
        };
        assert_eq!(own().await[..2], [EventKind::SessionCreated, EventKind::TurnStarted]);
        session.delete().await.unwrap();
        assert_eq!(own().await, [EventKind::SessionDeleted]);
        earlier.shut_down().await;
    }
}

#[tokio::test]
async fn states_of_later_builds_are_shared_and_go_on() {
    for (fixture, name) in LATER.into_iter().flat_map(|it| [(it, "closed"), (it, "killed")]) {
        let earlier = Earlier::open(fixture, name).await;
        // All of these have the same state.
        let sum = earlier.answers("from a template").pop().unwrap();
        for session in ["many", "fork"] {
            earlier.goes_on(session, "ann/dice@1", r#"["sum"]"#, &sum).await;
        }
        let ann = earlier.acting_as("ann");
        let start = StartFrom::Template("many".to_owned());
        let warm = NewSession { start, ..NewSession::default() }.pattern(Pattern::Hybrid);
        let warm = ann.sessions().create(warm).await.unwrap();
        assert_eq!(warm.send(r#"["sum"]"#).await.unwrap().text(), sum);
        let some = earlier.session("some").send(r#"["sum"]"#).await.unwrap().text();
        assert!(some.starts_with("turn 5: "), "{some}");

        // What it changes is written anew, and the rest is not; and what it is forgotten with.
        let many = earlier.session("many");
        let changed = many.send(r#"[{"scribble":[9,70]}]"#).await.unwrap().text();
        many.sleep().await.unwrap();
        let read = many.send(r#"[{"put":[3,4]}]"#).await.unwrap().text();
        let again = warm.send(r#"[{"scribble":[9,70]}]"#).await.unwrap().text();
        assert_eq!(again, changed);
        assert_eq!(warm.send(r#"[{"put":[3,4]}]"#).await.unwrap().text(), read);
        earlier.session("fork").delete().await.unwrap();
        ann.templates().delete("many").await.unwrap();
        earlier.shut_down().await;
    }
}
