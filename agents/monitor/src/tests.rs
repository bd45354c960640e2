use super::*;
use dormouse_sdk::model::{self, Answer, Content};
use dormouse_sdk::testing::MockHost;
use dormouse_sdk::tools;

/// A host whose page has these lines.
fn page(lines: &'static str) -> MockHost {
    let text = format!("{{\"status\": 200}}\n{lines}");
    MockHost::new().with_tool(FETCH, move |_| Ok(tools::Answer::of_text(text.clone())))
}

/// The model asks for the tool, and then says this.
fn calls(mock: MockHost, tool: &str, arguments: &Value, says: &str) -> MockHost {
    mock.with_answer(Answer::of_tool_call(tool, arguments)).with_answer(Answer::of_text(says))
}

/// Watches the page of this host.
fn watching(mock: MockHost) -> (MockHost, Monitor) {
    let inbox = json!({
        "name": "inbox", "url": "http://a.example/", "schedule": "*/10 * * * *", "wanted": "Who?",
    });
    let mut mock = calls(mock, "watch", &inbox, "I watch it.");
    let mut monitor = Monitor::default();
    assert_eq!(mock.turn(&mut monitor, "Watch my inbox").unwrap(), Reply::text("I watch it."));
    (mock, monitor)
}

/// The timer is due.
fn look(mock: &mut MockHost, monitor: &mut Monitor) -> Result<String> {
    let mut turn = Turn::new([Part::text(LOOK)]);
    turn.sender = Sender::Timer("inbox".to_owned());
    Ok(mock.send(monitor, turn)?.as_text().into_owned())
}

/// What a model was told last.
fn told(mock: &MockHost) -> (String, bool) {
    let asked = mock.model_requests().pop().unwrap();
    match asked.messages.last().unwrap().content.as_slice() {
        [Content::ToolResult(result)] => (result.content.clone(), result.is_error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_page_is_read_when_it_is_watched_and_a_timer_is_set() {
    let (mock, _) = watching(page("From Ann\nFrom Bob"));
    assert_eq!(told(&mock), ("inbox is watched; lines for now: 2".to_owned(), false));
    assert_eq!(mock.tool_calls(), [(FETCH.to_owned(), json!({ "url": "http://a.example/" }))]);
    let [timer] = &mock.host().timers().list()[..] else { panic!() };
    assert_eq!((timer.name.as_str(), timer.schedule.as_deref()), ("inbox", Some("*/10 * * * *")));
    let offered: Vec<_> =
        mock.model_requests()[0].tools.iter().map(|tool| tool.name.clone()).collect();
    assert_eq!(offered, ["watch", "unwatch", FETCH]);
}

#[test]
fn no_model_is_asked_where_nothing_is_new_and_else_it_is_told_what_is() {
    let (_, monitor) = watching(page("From Ann\nFrom Bob"));
    let mut monitor = MockHost::new().reload(&monitor).unwrap();
    let mut mock = page("From Bob\n\n From Ann ");
    assert_eq!(look(&mut mock, &mut monitor).unwrap(), "inbox: nothing new");
    assert_eq!(mock.model_requests().len(), 0);
    let mut mock = calls(page("From Bob\nFrom Eve"), "news", &json!({}), "Eve has written.");
    assert_eq!(look(&mut mock, &mut monitor).unwrap(), "Eve has written.");
    assert_eq!(told(&mock), ("+ From Eve\n- From Ann".to_owned(), false));
    let asked = mock.model_requests().remove(0);
    let Content::Text(question) = &asked.messages[0].content[0] else { panic!() };
    assert!(question.ends_with("Who?"), "{question}");
    assert_eq!(look(&mut mock, &mut monitor).unwrap(), "inbox: nothing new");
}

#[test]
fn news_that_no_model_has_reported_are_news_again() {
    let (_, mut monitor) = watching(page("From Ann"));
    let mut mock = page("From Eve").with_model_error(model::Error::Overloaded(None));
    // What a failed turn has changed, the host takes back.
    let before = mock.reload(&monitor).unwrap();
    look(&mut mock, &mut monitor).unwrap_err();
    let mut monitor = before;
    let mut mock = calls(page("From Eve"), "news", &json!({}), "Eve has written.");
    assert_eq!(look(&mut mock, &mut monitor).unwrap(), "Eve has written.");
}

#[test]
fn a_page_that_cannot_be_read_is_told_and_fails_no_turn() {
    let gone = || {
        let text = "{\"status\": 404}\nNot found";
        MockHost::new().with_tool(FETCH, move |_| Ok(tools::Answer::of_error(text)))
    };
    let (_, mut monitor) = watching(page("From Ann"));
    assert_eq!(look(&mut gone(), &mut monitor).unwrap(), "inbox: {\"status\": 404}");
    let refused = "inbox: unknown: the host has no tool of this name";
    assert_eq!(look(&mut MockHost::new(), &mut monitor).unwrap(), refused);
    let (mock, monitor) = watching(gone());
    assert_eq!(told(&mock), ("{\"status\": 404}".to_owned(), true));
    assert_eq!((monitor, mock.host().timers().list()), (Monitor::default(), Vec::new()));
}

#[test]
fn a_page_is_watched_until_the_user_wants_no_more() {
    let (mock, mut monitor) = watching(page("From Ann"));
    let mut mock = calls(mock, "unwatch", &json!({ "name": "inbox" }), "Done.");
    mock.turn(&mut monitor, "enough").unwrap();
    let system = mock.model_requests().remove(2).system.unwrap();
    assert!(system.ends_with("\n- inbox: http://a.example/ (*/10 * * * *)"), "{system}");
    assert_eq!((&monitor, mock.host().timers().list()), (&Monitor::default(), Vec::new()));
    let mut mock = calls(mock, "unwatch", &json!({ "name": "inbox" }), "Done.");
    mock.turn(&mut monitor, "enough").unwrap();
    assert_eq!(told(&mock), ("there is no watch `inbox`".to_owned(), true));
    assert!(matches!(mock.turn(&mut monitor, " "), Err(Error::Invalid(_))));
}
