//! Agents that send HTTP requests by `wasi:http`, with a library that knows nothing of this host.

mod crashes;

use std::path::Path;

use dormouse::egress::{EgressOptions, EgressSecret};
use dormouse::{EffectFailure, EffectKind, EffectOutcome, HostBuilder, ManualClock, SessionHandle};
use dormouse_test_guests as guests;
use dormouse_tests::test_host::eventually;
use dormouse_tests::web::Page;
use dormouse_tests::{TestHost, Web};

/// A host on a directory whose agents may reach this, on loopback too.
async fn start(directory: &Path, clock: &ManualClock, policy: &str) -> TestHost {
    let options = || EgressOptions {
        policy: policy.parse().unwrap(),
        private: "127.0.0.1".parse().unwrap(),
        secrets: vec![
            EgressSecret::new("key", "12345678", vec!["127.0.0.1:*".parse().unwrap()]).unwrap(),
        ],
        ..EgressOptions::default()
    };
    TestHost::built(directory, clock, |builder: HostBuilder| builder.egress(options())).await
}

/// A session that may reach whatever its operator allows.
async fn session(test: &TestHost) -> SessionHandle {
    test.session_with(&guests::FETCHES, |new| new.egress = "*:*".parse().unwrap()).await
}

async fn tell(session: &SessionHandle, script: &str) -> String {
    session.send(script).await.unwrap().text()
}

#[tokio::test]
async fn a_component_that_knows_nothing_of_the_host_fetches_what_both_allow() {
    let web = Web::start(|path, before| Page::text(&format!("{path} after {before}"))).await;
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(directory.path(), &clock, "GET,POST 127.0.0.1:*").await;
    let session = session(&test).await;
    let script = format!("get {}\npost {} a body", web.at("/a"), web.at("/b"));
    assert_eq!(tell(&session, &script).await, "200 /a after 0\n200 /b after 1");
    let asked = web.asked();
    assert!(asked[0].starts_with("GET /a HTTP/1.1\r\n") && asked[1].ends_with("\r\n\r\na body"));

    let turn = session.turns(0, 10).await.unwrap().entries.remove(0);
    let lines: Vec<_> = turn.effects.iter().map(|line| (line.kind, line.outcome)).collect();
    assert_eq!(lines, vec![(EffectKind::Http, EffectOutcome::Answered); 2]);
    // The state is saved: nothing of an exchange stays open.
    assert!(session.info().await.unwrap().session.head.is_some());
    assert_eq!(tell(&session, "turns").await, "2");
}

#[tokio::test]
async fn what_the_operator_or_the_session_does_not_allow_never_leaves() {
    let web = Web::start(|_, _| Page::text("hello")).await;
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(directory.path(), &clock, "GET 127.0.0.1:*").await;
    let open = session(&test).await;
    let closed = test.session(&guests::FETCHES).await;
    for (session, line) in [
        (&open, format!("post {} a", web.at("/"))),
        (&open, "get http://localhost:1/".to_owned()),
        (&closed, format!("get {}", web.at("/"))),
    ] {
        assert!(tell(session, &line).await.contains("HttpRequestDenied"), "{line}");
        let turn = session.turns(0, 10).await.unwrap().entries.pop().unwrap();
        let denied = EffectOutcome::Failed(EffectFailure::NotAllowed);
        assert_eq!(turn.effects[0].outcome, denied);
        let told = turn.log.iter().any(|line| line.message.contains("would allow it"));
        assert!(told, "{:?}", turn.log);
    }
    assert_eq!(web.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn two_requests_are_under_way_at_once_and_a_timer_races_a_third() {
    // Each waits for the other to have come.
    let web = Web::start(|path, before| match (path, before) {
        ("/slow", _) => Page::Waits("late".to_owned()),
        ("/one" | "/two", 0) => Page::Waits(path.to_owned()),
        _ => Page::text(path),
    })
    .await;
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(directory.path(), &clock, "*:*").await;
    let session = session(&test).await;
    let script = format!("both {} {}", web.at("/one"), web.at("/two"));
    let both = tokio::spawn({
        let session = session.clone();
        async move { tell(&session, &script).await }
    });
    eventually("both have come", async || web.asked().len() == 2).await;
    web.let_go();
    assert_eq!(both.await.unwrap(), "200 /one and 200 /two");

    let silent = Web::start(|_, _| Page::Waits("never".to_owned())).await;
    let script = format!("race {} 20\nrace {} 60000", silent.at("/"), web.at("/two"));
    assert_eq!(tell(&session, &script).await, "too late\n200 /two");
    let turn = session.turns(0, 10).await.unwrap().entries.pop().unwrap();
    let outcomes: Vec<_> = turn.effects.iter().map(|line| line.outcome).collect();
    assert_eq!(outcomes, [EffectOutcome::Unknown, EffectOutcome::Answered]);
}

#[tokio::test]
async fn a_secret_is_a_placeholder_in_the_guest_and_a_value_on_the_wire() {
    let web = Web::start(|_, _| Page::text("the key is 12345678")).await;
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(directory.path(), &clock, "*:*").await;
    let session = session(&test).await;
    let told = tell(&session, &format!("secret {} key", web.at("/"))).await;
    assert_eq!(told, "200 the key is {{secret:key}}");
    assert!(web.asked()[0].contains("authorization: Bearer 12345678\r\n"));
    let told = tell(&session, &format!("secret {} other", web.at("/"))).await;
    assert!(told.contains("HttpRequestDenied"), "{told}");
}

#[tokio::test]
async fn what_servers_do_harms_nobody_and_is_told_as_an_error() {
    let web = Web::start(|path, _| match path {
        "/endless" => Page::NeverEnds("more and more "),
        "/large" => Page::Is(200, "text/plain", vec![b'x'; 50 << 20]),
        "/moved" => Page::Moved("http://169.254.169.254/latest".to_owned()),
        _ => Page::Is(200, "", vec![b'x'; 1 << 20]),
    })
    .await;
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(directory.path(), &clock, "*:*").await;
    let session = session(&test).await;
    for path in ["/endless", "/large"] {
        let told = tell(&session, &format!("get {}", web.at(path))).await;
        assert!(told.contains("HttpResponseBodySize"), "{told}");
    }
    // A guest follows redirects by itself, and is refused there.
    assert_eq!(tell(&session, &format!("get {}", web.at("/moved"))).await, "302 ");
    let told = tell(&session, "get http://169.254.169.254/latest").await;
    assert!(told.contains("DestinationIpProhibited"), "{told}");
    let told = tell(&session, &format!("get {}", web.at("/a"))).await;
    assert_eq!(told, format!("200 {} bytes", 1 << 20));
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_does_not_leave_and_one_that_is_kept_keeps_the_session_awake()
 {
    let web = Web::start(|_, _| Page::text("hello")).await;
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(directory.path(), &clock, "*:*").await;
    let session = session(&test).await;
    assert_eq!(tell(&session, &format!("drop {}", web.at("/"))).await, "dropped");
    assert_eq!(web.asked(), Vec::<String>::new());
    assert_eq!(session.info().await.unwrap().session.unsaved_turns, 0);
    assert_eq!(tell(&session, &format!("keep {}", web.at("/"))).await, "kept");
    assert_eq!(session.info().await.unwrap().session.unsaved_turns, 1);
    assert_eq!(tell(&session, &format!("get {}", web.at("/"))).await, "200 hello");
}
