//! Agents that use a tool of the host and a timer, in three languages: a page is watched while nobody says anything.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dormouse::egress::EgressOptions;
use dormouse::{
    AgentSelector, EffectKind, HostBuilder, ManualClock, NewSession, Pattern, Residency, Sender,
    SessionHandle, TurnOutcome, TurnRecord, text_of,
};
use dormouse_tests::scripted::MONITORS;
use dormouse_tests::web::Page;
use dormouse_tests::{TestHost, Web};
use serde_json::json;

use super::upload;
use crate::timers::rest;

const MINUTE: Duration = Duration::from_secs(60);

/// A page with a line for each mail.
struct Inbox {
    web: Web,
    mails: Arc<Mutex<Vec<&'static str>>>,
}

impl Inbox {
    async fn start(first: &'static str) -> Inbox {
        let mails = Arc::new(Mutex::new(vec![first]));
        let shown = Arc::clone(&mails);
        let web = Web::start(move |_, _| Page::text(&shown.lock().unwrap().join("\n"))).await;
        Inbox { web, mails }
    }

    fn mail(&self, mail: &'static str) {
        self.mails.lock().unwrap().push(mail);
    }

    /// How often somebody has looked.
    fn looks(&self) -> usize {
        self.web.asked().len()
    }

    /// What a user says.
    fn order(&self) -> String {
        let url = self.web.at("/");
        format!("watch {}", json!({ "name": "inbox", "url": url, "schedule": "*/10 * * * *" }))
    }
}

/// A host on a directory whose agents may read pages of this machine.
async fn start(directory: &Path, clock: &ManualClock) -> TestHost {
    let options = || EgressOptions {
        policy: "GET 127.0.0.1:*".parse().unwrap(),
        private: "127.0.0.1".parse().unwrap(),
        ..EgressOptions::default()
    };
    TestHost::built(directory, clock, |builder: HostBuilder| builder.egress(options())).await
}

async fn session(test: &TestHost, agent: AgentSelector, egress: &str) -> SessionHandle {
    let mut new = NewSession::with_agent(agent).pattern(Pattern::LongRunning);
    new.egress = egress.parse().unwrap();
    test.host.sessions().create(new).await.unwrap()
}

async fn last_turn(session: &SessionHandle) -> TurnRecord {
    session.turns(0, 100).await.unwrap().entries.pop().unwrap()
}

/// What the agent has answered its timer.
fn reported(turn: &TurnRecord) -> String {
    assert_eq!(turn.sender, Sender::Timer("inbox".to_owned()));
    match &turn.outcome {
        TurnOutcome::Answered { content, .. } => text_of(content),
        TurnOutcome::Failed(failure) => panic!("{failure:?}"),
    }
}

/// An inbox is watched: while the session sleeps, while nothing is new, and across a time in which the host was down.
async fn watches_an_inbox(agent: impl AsyncFn(&TestHost) -> AgentSelector) {
    let inbox = Inbox::start("From Bob: lunch?").await;
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(directory.path(), &clock).await;
    let session = session(&test, agent(&test).await, "GET 127.0.0.1:*").await;
    let id = session.id();
    let told = session.send(inbox.order()).await.unwrap().text();
    assert_eq!(told, "The tools returned: inbox is watched; lines for now: 1");

    session.sleep().await.unwrap();
    assert_eq!(session.info().await.unwrap().residency, Residency::Asleep);
    inbox.mail("From Ann: tea at four?");
    test.advance(10 * MINUTE);
    rest(&test, &session).await;
    let turn = last_turn(&session).await;
    assert_eq!(reported(&turn), "The tools returned: + From Ann: tea at four?");
    let calls: Vec<_> = turn.effects.iter().map(|line| line.kind()).collect();
    assert_eq!(calls, [EffectKind::Tool, EffectKind::Model, EffectKind::Model]);

    test.advance(10 * MINUTE);
    rest(&test, &session).await;
    let turn = last_turn(&session).await;
    assert_eq!(reported(&turn), "inbox: nothing new");
    assert_eq!((turn.effects.len(), inbox.looks()), (1, 3), "no model is paid for that");
    drop(session);
    test.shut_down().await;

    inbox.mail("From Eve: the plan");
    clock.advance(65 * MINUTE);
    let test = start(directory.path(), &clock).await;
    let session = test.host.sessions().get(id);
    rest(&test, &session).await;
    let turn = last_turn(&session).await;
    assert_eq!(reported(&turn), "The tools returned: + From Eve: the plan");
    assert_eq!(inbox.looks(), 4, "what was missed is done once");
    let used = session.info().await.unwrap().session.tools_used.clone();
    assert_eq!(used, ["WebFetch", "watch", "news"]);
    test.shut_down().await;
}

/// A page that the session may not reach is not watched, and the user hears why.
async fn is_refused(agent: impl AsyncFn(&TestHost) -> AgentSelector) {
    let inbox = Inbox::start("From Bob: lunch?").await;
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(directory.path(), &clock).await;
    let session = session(&test, agent(&test).await, "GET a.example").await;
    let told = session.send(inbox.order()).await.unwrap().text();
    assert!(told.contains("127.0.0.1"), "{told}");
    let timers = session.info().await.unwrap().session.timers.all().len();
    assert_eq!((timers, inbox.looks()), (0, 0));
    test.shut_down().await;
}

async fn bundled(_: &TestHost) -> AgentSelector {
    "monitor".parse().unwrap()
}

#[tokio::test]
async fn an_inbox_is_watched_while_nobody_says_anything_and_also_across_a_restart() {
    watches_an_inbox(bundled).await;
}

#[tokio::test]
async fn a_page_that_the_session_may_not_reach_is_not_watched() {
    is_refused(bundled).await;
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn a_script_watches_an_inbox_as_the_same_agent_in_rust_does() {
    for name in MONITORS {
        watches_an_inbox(async |test| upload(test, name).await).await;
        is_refused(async |test| upload(test, name).await).await;
    }
}
