//! Agents in JavaScript and Python that ask models. They know nothing of journals, either.
//!
//! `agents/build` has to be run before; then `cargo test -p dormouse-tests --test it -- --ignored`.

use dormouse::{ManualClock, Provenance};
use dormouse_tests::scripted::{CHAT_PYTHON, CHAT_QUICKJS, CHAT_STARLINGMONKEY, scripted};
use serde_json::Value;

use super::{content, cut_off, start, turn_of, waiting_at};

/// The texts of a conversation as its provider gets it.
fn texts(body: &Value) -> Vec<&str> {
    let messages = body["messages"].as_array().unwrap().iter();
    messages.map(|message| message["content"].as_str().unwrap()).collect()
}

/// Its host ends in the middle of the second call of a turn.
async fn goes_on_after_a_crash(name: &'static str) {
    let chat = scripted(name).unwrap_or_else(|missing| panic!("{missing}"));
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let provider = waiting_at(3).await;
    let test = start(directory.path(), &clock, &provider).await;
    let session = test.session(&chat).await;
    let id = session.id();
    assert_eq!(session.send("first").await.unwrap().text(), "number 1", "{name}");
    cut_off(test, session, "second\nthird", &provider, 3).await;

    let test = start(directory.path(), &clock, &provider).await;
    // Not before: the host that ends would get the answer.
    provider.let_go();
    let session = test.host.sessions().get(id);
    let turn = turn_of(&session, 2).await;
    assert_eq!(content(&turn), "number 2\nnumber 4", "{name}");
    let replayed = turn.effects.iter().filter(|line| line.provenance == Provenance::Replayed);
    assert_eq!((turn.attempts, replayed.count()), (2, 1));
    // The next turn goes on from there.
    assert_eq!(session.send("fourth").await.unwrap().text(), "number 5", "{name}");
    let asked = provider.asked();
    let expected = ["first", "number 1", "second", "number 2", "third", "number 4", "fourth"];
    assert_eq!(texts(&asked[4].body), expected);
    assert_eq!(asked.len(), 5, "each answered call was made once");
    test.shut_down().await;
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn a_script_in_quickjs_goes_on_after_a_crash_in_its_turn() {
    goes_on_after_a_crash(CHAT_QUICKJS).await;
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn a_script_in_starlingmonkey_goes_on_after_a_crash_in_its_turn() {
    goes_on_after_a_crash(CHAT_STARLINGMONKEY).await;
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn a_script_in_python_goes_on_after_a_crash_in_its_turn() {
    goes_on_after_a_crash(CHAT_PYTHON).await;
}
