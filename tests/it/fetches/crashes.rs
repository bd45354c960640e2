//! A turn that the end of its host has cut off in the middle of exchanges is run again, and repeats no request that has
//! been answered, and none that must not be repeated.

use dormouse::{Provenance, TurnOutcome, TurnRecord};

use super::*;

/// A host, a session of it, and what both lie in.
struct Cut {
    directory: tempfile::TempDir,
    clock: ManualClock,
}

impl Cut {
    /// Begin a turn with this script, and end its host once the server was asked so often. Answers with the turn as a host
    /// ends it that is started after that.
    async fn turn(script: &str, web: &Web, asked: usize) -> (TurnRecord, String) {
        let cut = Cut { directory: tempfile::tempdir().unwrap(), clock: ManualClock::new() };
        let test = start(cut.directory.path(), &cut.clock, "*:*").await;
        let session = session(&test).await;
        let (id, script) = (session.id(), script.to_owned());
        let turn = tokio::spawn(async move { session.send(script).await });
        eventually("the server is asked", async || web.asked().len() >= asked).await;
        turn.abort();
        let _ = turn.await;
        drop(test);

        let test = start(cut.directory.path(), &cut.clock, "*:*").await;
        web.let_go();
        let session = test.host.sessions().get(id);
        let is_over = async || session.turn(1).await.unwrap().is_some();
        eventually("the turn is over", is_over).await;
        let turn = session.turn(1).await.unwrap().unwrap();
        let TurnOutcome::Answered { content, .. } = &turn.outcome else { panic!("{turn:?}") };
        let told = dormouse::text_of(content);
        assert!(test.host.store().check().await.unwrap().findings.is_empty());
        test.shut_down().await;
        (turn, told)
    }
}

/// The paths of the requests that have come.
fn paths(web: &Web) -> Vec<String> {
    let path = |request: String| request.split(' ').nth(1).unwrap().to_owned();
    web.asked().into_iter().map(path).collect()
}

async fn web_that_waits_at(slow: &'static str) -> Web {
    Web::start(move |path, before| match path == slow {
        true => Page::Waits(format!("{path} after {before}")),
        false => Page::text(&format!("{path} after {before}")),
    })
    .await
}

#[tokio::test]
async fn what_was_answered_is_not_asked_for_again_and_what_changes_nothing_is_repeated() {
    let web = web_that_waits_at("/c").await;
    let script = ["/a", "/b", "/c", "/d"].map(|path| format!("get {}", web.at(path))).join("\n");
    let (turn, told) = Cut::turn(&script, &web, 3).await;
    assert_eq!(told, "200 /a after 0\n200 /b after 1\n200 /c after 3\n200 /d after 4");
    assert_eq!(paths(&web), ["/a", "/b", "/c", "/c", "/d"]);
    let lines: Vec<_> =
        turn.effects.iter().map(|line| (line.attempt, line.provenance, line.outcome)).collect();
    let (live, replayed) = (Provenance::Live, Provenance::Replayed);
    let (answered, unknown) = (EffectOutcome::Answered, EffectOutcome::Unknown);
    let expected = [
        (1, replayed, answered),
        (1, replayed, answered),
        (1, live, unknown),
        (2, live, answered),
        (1, live, answered),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn of_two_at_once_the_one_that_was_answered_is_not_asked_for_again() {
    let web = Web::start(|path, before| match path {
        "/slow" | "/next" => Page::Waits(path.to_owned()),
        _ => Page::text(&format!("{path} after {before}")),
    })
    .await;
    // The guest asks for the next once it has learned what came of the fast one.
    let [slow, fast, next] = ["/slow", "/fast", "/next"].map(|path| web.at(path));
    let (turn, told) = Cut::turn(&format!("meanwhile {slow} {fast} {next}"), &web, 3).await;
    let asked = paths(&web);
    let times = |path: &str| asked.iter().filter(|it| *it == path).count();
    assert_eq!((times("/slow"), times("/fast"), times("/next")), (2, 1, 2), "{asked:?}");
    assert!(told.starts_with("200 /slow and 200 /fast after ") && told.ends_with(", 200 /next"));
    let answered = turn.effects.iter().filter(|line| line.outcome == EffectOutcome::Answered);
    let provenance: Vec<Provenance> = answered.map(|line| line.provenance).collect();
    assert_eq!(provenance, [Provenance::Live, Provenance::Replayed, Provenance::Live]);
}

#[tokio::test]
async fn what_may_have_changed_something_is_not_repeated_unless_it_has_a_key() {
    for (verb, times) in [("post", 1), ("keyed", 2)] {
        let web = web_that_waits_at("/pay").await;
        let script = format!("{verb} {} money", web.at("/pay"));
        let (turn, told) = Cut::turn(&script, &web, 1).await;
        assert_eq!(web.asked().len(), times, "{verb}");
        match verb {
            "post" => assert!(told.contains("nobody knows whether it has arrived"), "{told}"),
            _ => assert_eq!(told, "200 /pay after 1"),
        }
        assert_eq!(turn.effects.len(), times);
        assert_eq!(turn.effects[0].outcome, EffectOutcome::Unknown);
    }
}
