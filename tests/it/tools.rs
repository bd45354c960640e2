//! Tools of the host: which there are for a session, what becomes of calls of them, and what is written down.

mod servers;

use std::path::Path;
use std::time::Duration;

use dormouse::egress::EgressOptions;
use dormouse::{
    Bill, EffectFailure, EffectOutcome, EffectRecord, EffectTarget, HostBuilder, ManualClock,
    NanoUsd, NewSession, Provenance, SessionHandle, TurnRecord,
};
use dormouse_test_guests as guests;
use dormouse_tests::test_host::eventually;
use dormouse_tests::web::Page;
use dormouse_tests::{TestHost, Web};
use serde_json::{Value, json};

/// A host whose agents may reach this, in networks that are not public as well.
async fn reaching(policy: &str, private: &str) -> (TestHost, tempfile::TempDir) {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(directory.path(), &clock, policy, private).await;
    (test, directory)
}

async fn start(directory: &Path, clock: &ManualClock, policy: &str, private: &str) -> TestHost {
    let options = EgressOptions {
        policy: policy.parse().unwrap(),
        private: private.parse().unwrap(),
        ..EgressOptions::default()
    };
    let change = |builder: HostBuilder| builder.egress(options.clone());
    TestHost::built(directory, clock, change).await
}

/// A session that may reach whatever its operator allows, with this configuration.
async fn session(test: &TestHost, config: Value) -> SessionHandle {
    let change = |new: &mut NewSession| {
        new.egress = "*:*".parse().unwrap();
        new.config = config.as_object().unwrap().clone();
    };
    test.session_with(&guests::CALLS_TOOLS, change).await
}

/// What a turn of the guest has come to, a line each.
async fn tell(session: &SessionHandle, script: &str) -> Vec<Value> {
    results(&session.send(script).await.unwrap().text())
}

fn results(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The JSON in the first line of what was fetched, and the text behind it.
fn page(result: &Value) -> (Value, String) {
    let text = result["text"].as_str().unwrap_or_else(|| panic!("{result}"));
    let (head, body) = text.split_once('\n').unwrap_or((text, ""));
    (serde_json::from_str(head).unwrap(), body.to_owned())
}

fn error(result: &Value) -> &str {
    result["error"].as_str().unwrap_or_else(|| panic!("{result}"))
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

async fn last_turn(session: &SessionHandle) -> TurnRecord {
    session.turns(0, 100).await.unwrap().entries.pop().unwrap()
}

/// The name and the server of a line of the bill for a tool.
fn tool(line: &EffectRecord) -> (&str, &str) {
    match &line.target {
        EffectTarget::Tool { name, server } => (name, server),
        EffectTarget::Model { .. } | EffectTarget::Http { .. } | EffectTarget::Ask { .. } => {
            panic!("{line:?}")
        }
    }
}

#[tokio::test]
async fn a_page_is_fetched_as_text_with_a_line_of_the_bill_that_costs_nothing() {
    let web = Web::start(|path, _| match path {
        "/old" => Page::Moved("/new?a=b".to_owned()),
        _ => Page::html("<title>A page</title><p>Hello <a href='/x'>there</a></p>"),
    })
    .await;
    let (test, _directory) = reaching("GET 127.0.0.1:*", "127.0.0.1").await;
    let session = session(&test, json!({})).await;
    let told = tell(&session, &format!("list\nfetch {}", web.at("/old"))).await;
    assert_eq!(names(&told[0]), ["WebFetch"]);
    assert_eq!(told[0][0]["schema"]["required"], json!(["url"]));
    let (head, text) = page(&told[1]);
    let expected = json!({
        "url": web.at("/new?a=b"), "status": 200, "mediaType": "text/html", "truncated": false,
    });
    assert_eq!((head, &told[1]["isError"]), (expected, &json!(false)));
    assert_eq!(text, format!("# A page\n\nHello [there]({})", web.at("/x")));

    let turn = last_turn(&session).await;
    let [line] = turn.effects.as_slice() else { panic!("{:?}", turn.effects) };
    assert_eq!(tool(line), ("WebFetch", "127.0.0.1"));
    assert_eq!((line.cost, line.bill), (NanoUsd(0), Bill::Free));
    assert_eq!(line.outcome, EffectOutcome::Answered);
    assert!(line.sent > 0 && line.received as usize > text.len());
    let session = session.info().await.unwrap().session;
    assert_eq!(session.usage.calls, 1);
    assert_eq!(session.tools_used, ["WebFetch"]);
    test.shut_down().await;
}

#[tokio::test]
async fn what_is_not_allowed_is_absent_and_a_call_of_it_asks_nobody() {
    let web = Web::start(|_, _| Page::text("here")).await;
    let (test, _directory) = reaching("*:*", "127.0.0.1").await;
    let fetch = format!("list\nfetch {}\ncall Nothing", web.at("/"));
    for (allowed, listed, problems) in [
        (json!({ "allowedTools": [] }), vec![], ["not-allowed: ", "not-allowed: "]),
        (json!({ "allowedTools": ["Read"] }), vec![], ["not-allowed: ", "not-allowed: "]),
        (json!({ "allowedTools": ["WebFetch"] }), vec!["WebFetch"], ["", "not-allowed: "]),
        (json!({}), vec!["WebFetch"], ["", "unknown: "]),
    ] {
        let before = web.asked().len();
        let session = session(&test, allowed.clone()).await;
        let told = tell(&session, &fetch).await;
        assert_eq!(names(&told[0]), listed, "{allowed}");
        for (result, problem) in told[1..].iter().zip(problems) {
            match problem {
                "" => assert_eq!(page(result).1, "here", "{allowed}"),
                _ => assert!(error(result).starts_with(problem), "{allowed}: {result}"),
            }
        }
        let was_asked = listed.len();
        assert_eq!(web.asked().len() - before, was_asked, "{allowed}");
        let lines = last_turn(&session).await.effects;
        assert_eq!(lines.len(), 2, "{allowed}: each call has its line");
        assert!(lines.iter().all(|line| line.cost == NanoUsd(0)));
        let used = session.info().await.unwrap().session.tools_used.clone();
        assert_eq!(used, listed, "{allowed}");
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_tool_that_can_reach_nothing_is_none() {
    let (test, _directory) = reaching("", "").await;
    let config = json!({ "allowedTools": ["Bash", "WebFetch", "TodoWrite"] });
    let session = session(&test, config.clone()).await;
    let told = tell(&session, "list\nfetch http://example.com/").await;
    assert_eq!(names(&told[0]), Vec::<&str>::new());
    assert!(error(&told[1]).starts_with("not-allowed: `WebFetch` can reach nothing"), "{told:?}");
    let provided = session.info().await.unwrap().provided;
    assert_eq!(provided.unavailable_tools, ["Bash", "WebFetch"]);
    test.shut_down().await;

    // The operator allows all, and the session says nothing.
    let (test, _directory) = reaching("*", "").await;
    let change = |new: &mut NewSession| new.config = config.as_object().unwrap().clone();
    let session = test.session_with(&guests::CALLS_TOOLS, change).await;
    assert_eq!(names(&tell(&session, "list").await[0]), Vec::<&str>::new());
    let provided = session.info().await.unwrap().provided;
    assert_eq!(provided.unavailable_tools, ["Bash", "WebFetch"]);
    test.shut_down().await;
}

#[tokio::test]
async fn nothing_leads_to_a_private_address() {
    let web = Web::start(|path, _| match path {
        "/metadata" => Page::Moved("http://169.254.169.254/latest/meta-data/".to_owned()),
        "/name" => Page::Moved("http://localhost:1/".to_owned()),
        "/file" => Page::Moved("file:///etc/passwd".to_owned()),
        _ => Page::text("here"),
    })
    .await;
    let (test, _directory) = reaching("*:*", "127.0.0.1").await;
    let session = session(&test, json!({})).await;
    let told = tell(&session, &format!("fetch {}", web.at("/metadata"))).await;
    assert!(error(&told[0]).starts_with("not-allowed: 169.254.169.254 has no public"), "{told:?}");
    let told = tell(&session, &format!("fetch {}", web.at("/file"))).await;
    assert!(error(&told[0]).contains("http://"), "{told:?}");
    test.shut_down().await;

    // No network is listed: not what the name stands for, nor what is behind a redirect.
    let (test, _directory) = reaching("*:*", "").await;
    let session = self::session(&test, json!({})).await;
    let before = web.asked().len();
    let port = web.address.port();
    for host in ["localhost", "127.0.0.1", "[::1]", "2130706433", "0.0.0.0", "[::ffff:127.0.0.1]"] {
        let told = tell(&session, &format!("fetch http://{host}:{port}/")).await;
        let told = error(&told[0]);
        assert!(told.starts_with("not-allowed: "), "{host}: {told}");
        assert!(!told.contains("127.0.0.1 (") && told.contains("no public address"), "{told}");
    }
    assert_eq!(web.asked().len(), before);
    test.shut_down().await;
}

#[tokio::test]
async fn rules_of_operator_and_session_hold_and_are_named() {
    let web = Web::start(|_, _| Page::text("here")).await;
    let port = web.address.port();
    let (test, _directory) = reaching(&format!("GET 127.0.0.1:{port}"), "127.0.0.1").await;
    let session = session(&test, json!({})).await;
    let call = format!(r#"call WebFetch {{"url":"{}","method":"HEAD"}}"#, web.at("/"));
    let told = tell(&session, &format!("{call}\nfetch http://127.0.0.1:1/")).await;
    for result in &told {
        assert!(error(result).contains("by the operator of this host; the rule `"), "{result}");
    }
    let change = |new: &mut NewSession| new.egress = "example.com".parse().unwrap();
    let other = test.session_with(&guests::CALLS_TOOLS, change).await;
    let told = tell(&other, &format!("fetch {}", web.at("/"))).await;
    let expected = format!("by its session; the rule `GET 127.0.0.1:{port}` would allow it");
    assert!(error(&told[0]).contains(&expected), "{told:?}");
    assert!(web.asked().is_empty());
    test.shut_down().await;
}

#[tokio::test]
async fn bodies_without_an_end_and_of_50_megabytes_are_cut_and_files_are_no_text() {
    let web = Web::start(|path, _| match path {
        "/endless" => Page::NeverEnds("and so on, "),
        "/large" => Page::Is(200, "text/plain", vec![b'a'; 50_000_000]),
        "/picture" => Page::Is(200, "image/png", b"\x89PNG\r\n\x1a\n\0\0".to_vec()),
        "/missing" => Page::Is(404, "text/html", b"<h1>Not here</h1>".to_vec()),
        _ => Page::Is(200, "", b"\x7fELF\0".to_vec()),
    })
    .await;
    let (test, _directory) = reaching("*:*", "127.0.0.1").await;
    let session = session(&test, json!({})).await;
    for path in ["/endless", "/large"] {
        let told = tell(&session, &format!("fetch {}", web.at(path))).await;
        let (head, text) = page(&told[0]);
        assert_eq!((head["truncated"].clone(), text.len()), (json!(true), 100 << 10), "{path}");
    }
    // What is in flight is on top.
    assert!(web.written() < 30_000_000, "{} bytes", web.written());
    for (path, text) in [
        ("/picture", "The response is image/png and no text (10 bytes were read)."),
        ("/file", "The response is  and no text (5 bytes were read)."),
        ("/missing", "# Not here"),
    ] {
        let told = tell(&session, &format!("fetch {}", web.at(path))).await;
        assert_eq!(told[0]["isError"], json!(true), "{path}");
        assert_eq!(page(&told[0]).1, text, "{path}");
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_its_time_is_not_the_turns() {
    let web = Web::start(|_, _| Page::Waits("late".to_owned())).await;
    let (test, _directory) = reaching("*:*", "127.0.0.1").await;
    let change = |new: &mut NewSession| {
        new.egress = "*:*".parse().unwrap();
        new.turn_timeout = Some(Duration::from_secs(10));
    };
    let session = test.session_with(&guests::CALLS_TOOLS, change).await;
    let turn = {
        let (session, url) = (session.clone(), web.at("/"));
        tokio::spawn(async move { tell(&session, &format!("fetch {url}")).await })
    };
    eventually("the server is asked", async || !web.asked().is_empty()).await;
    let info = session.info().await.unwrap();
    assert_eq!(info.current_tool.as_deref(), Some("WebFetch"));
    test.advance(Duration::from_secs(59));
    assert_eq!(session.info().await.unwrap().current_tool.as_deref(), Some("WebFetch"));
    test.advance(Duration::from_secs(1));
    let told = turn.await.unwrap();
    assert_eq!(error(&told[0]), "timed-out: the tool did not answer in 60 seconds");
    let info = session.info().await.unwrap();
    assert_eq!((info.current_tool, info.running_turn), (None, None));
    assert_eq!(info.session.tools_used, ["WebFetch"]);
    let lines = last_turn(&session).await.effects;
    assert_eq!(lines[0].outcome, EffectOutcome::Failed(EffectFailure::TimedOut));
    assert_eq!(lines[0].duration, Duration::from_secs(60));
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_was_cut_off_in_a_call_makes_that_one_again_and_no_other() {
    // The third request of all is lost with its host.
    let web = Web::start(|_, before| match before {
        2 => Page::Waits("lost".to_owned()),
        n => Page::text(&format!("number {}", n + 1)),
    })
    .await;
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(directory.path(), &clock, "*:*", "127.0.0.1").await;
    let session = session(&test, json!({})).await;
    let id = session.id();
    let script = vec![format!("fetch {}", web.at("/")); 4].join("\n");
    let turn = tokio::spawn(async move { session.send(script.as_str()).await });
    eventually("the server is asked", async || web.asked().len() == 3).await;
    turn.abort();
    let _ = turn.await;
    drop(test);

    let test = start(directory.path(), &clock, "*:*", "127.0.0.1").await;
    web.let_go();
    let session = test.host.sessions().get(id);
    let is_over = async || session.turn(1).await.unwrap().is_some();
    eventually("the turn is over", is_over).await;
    let turn = session.turn(1).await.unwrap().unwrap();
    let dormouse::TurnOutcome::Answered { content, .. } = &turn.outcome else { panic!("{turn:?}") };
    let told = results(&dormouse::text_of(content));
    let texts: Vec<String> = told.iter().map(|result| page(result).1).collect();
    assert_eq!(texts, ["number 1", "number 2", "number 4", "number 5"]);
    assert_eq!(web.asked().len(), 5);
    let lines: Vec<_> =
        turn.effects.iter().map(|line| (line.seq, line.attempt, line.provenance)).collect();
    let (again, live) = (Provenance::Replayed, Provenance::Live);
    let expected = [(1, 1, again), (2, 1, again), (3, 1, live), (3, 2, live), (4, 1, live)];
    assert_eq!(lines, expected);
    let lost: Vec<_> = turn.effects.iter().filter(|it| it.bill != Bill::Free).collect();
    assert!(lost.is_empty(), "a lost call of what is free costs nothing: {lost:?}");
    let session = session.info().await.unwrap().session;
    assert_eq!((session.usage.calls, &*session.tools_used), (5, &["WebFetch".to_owned()][..]));
    assert!(test.host.store().check().await.unwrap().findings.is_empty());
    test.shut_down().await;
}

#[tokio::test]
async fn a_call_that_is_lost_again_and_again_has_an_unknown_outcome() {
    let web = Web::start(|_, _| Page::Waits("lost".to_owned())).await;
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let mut test = start(directory.path(), &clock, "*:*", "127.0.0.1").await;
    let session = session(&test, json!({})).await;
    let id = session.id();
    let script = format!("fetch {}", web.at("/"));
    let turn = tokio::spawn(async move { session.send(script.as_str()).await });
    for asked in 1..=3 {
        eventually("the server is asked", async || web.asked().len() == asked).await;
        turn.abort();
        drop(test);
        test = start(directory.path(), &clock, "*:*", "127.0.0.1").await;
    }
    let session = test.host.sessions().get(id);
    let is_over = async || session.turn(1).await.unwrap().is_some();
    eventually("the turn is over", is_over).await;
    assert_eq!(web.asked().len(), 3);
    let turn = session.turn(1).await.unwrap().unwrap();
    assert!(turn.effects.iter().all(|line| line.outcome == EffectOutcome::Unknown));
    test.shut_down().await;
}

#[tokio::test]
async fn arguments_are_checked_before_anything_is_noted_or_asked() {
    let (test, _directory) = reaching("*:*", "127.0.0.1").await;
    let session = session(&test, json!({})).await;
    for (call, problem) in [
        ("call WebFetch {}", "missing field `url`"),
        ("call WebFetch []", "are no JSON object"),
        (r#"call WebFetch {"url":"ftp://a.example/"}"#, "http:// or https://"),
        (r#"call WebFetch {"url":"http://u:p@a.example/"}"#, "a user or a password"),
        (r#"call WebFetch {"url":"http://a.example/","method":"POST"}"#, "`HEAD`"),
        ("long", "at most 1048576 bytes"),
    ] {
        let told = tell(&session, call).await;
        let told = error(&told[0]);
        assert!(told.starts_with("invalid: ") && told.contains(problem), "{told}");
    }
    assert!(session.info().await.unwrap().session.tools_used.is_empty());
    test.shut_down().await;
}

#[tokio::test]
async fn a_failed_turn_has_used_its_tools_all_the_same() {
    let web = Web::start(|_, _| Page::text("here")).await;
    let (test, _directory) = reaching("*:*", "127.0.0.1").await;
    let session = session(&test, json!({})).await;
    session.send(format!("fetch {}\nfail", web.at("/")).as_str()).await.unwrap_err();
    let session = session.info().await.unwrap().session;
    assert_eq!((session.usage.calls, &*session.tools_used), (1, &["WebFetch".to_owned()][..]));
    test.shut_down().await;
}

#[tokio::test]
async fn a_model_uses_tools_of_the_host_beside_those_of_its_agent() {
    let web = Web::start(|_, _| Page::text("the answer is 42")).await;
    let (test, _directory) = reaching("*:*", "127.0.0.1").await;
    let session = session(&test, json!({})).await;
    let url = web.at("/");
    let script = format!(
        r#"ask #script\ncall WebFetch {{"url":"{url}"}}\n---\ncall add {{"a":1,"b":2}}\ncall invented {{}}\n---\nsay so"#
    );
    assert_eq!(tell(&session, &script).await, [json!("so")]);
    assert_eq!(web.asked().len(), 1);
    let used = session.info().await.unwrap().session.tools_used.clone();
    assert_eq!(used, ["WebFetch", "add"]);
    let lines = last_turn(&session).await.effects;
    let kinds: Vec<&str> = lines.iter().map(|line| line.kind().as_str()).collect();
    assert_eq!(kinds, ["model", "tool", "model", "model"]);
    test.shut_down().await;
}
