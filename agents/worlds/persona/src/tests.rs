//! What a person hears, tells and publishes, and what the model is asked.

use super::*;
use dormouse_sdk::model::{self, Answer, Content, Request};
use dormouse_sdk::testing::MockHost;
use dormouse_sdk::world::WORLD;

const RUMOUR: &str = "The mayor has sold the lake.";

/// A baker, who is member 17 and has two neighbours.
fn baker() -> MockHost {
    MockHost::new()
        .with_config("persona", "You bake bread and love to talk.")
        .with_config("name", "Ada")
        .with_config("model", "m-1")
        .with_neighbours(17, [3, 18])
}

fn tick() -> Moment {
    Moment::new("people", 17)
}

/// A tick in which somebody tells the rumour.
fn told() -> Moment {
    tick().with_mail("people/3", [Part::text(RUMOUR)])
}

/// What the person has published last.
fn published(mock: &MockHost) -> (f64, f64) {
    match &mock.samples()[..] {
        [heard, told] if heard.name == "heard" && told.name == "told" => (heard.value, told.value),
        other => panic!("{other:?}"),
    }
}

/// The one text that a model was asked.
fn text_of(request: &Request) -> &str {
    match &request.messages[..] {
        [message] => match &message.content[..] {
            [Content::Text(text)] => text,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_hears_the_rumour_asks_the_model_once_and_tells_it_where_the_answer_is_yes() {
    let mut mock = baker().with_answer(Answer::of_text(" Yes.\n"));
    let mut persona = Persona::default();
    mock.tick(&mut persona, &tick()).unwrap();
    assert_eq!((published(&mock), mock.model_requests().len()), ((0.0, 0.0), 0));

    let reply = mock.tick(&mut persona, &told()).unwrap();
    assert_eq!(reply, Reply::empty());
    assert_eq!(published(&mock), (1.0, 1.0));
    let sent = mock.sent_mail();
    let addresses: Vec<_> = sent.iter().map(|mail| mail.to.as_str()).collect();
    assert_eq!(addresses, ["people/3", "people/18"]);
    assert!(sent.iter().all(|mail| mail.content == [Part::text(RUMOUR)]), "{sent:?}");

    let [asked] = &mock.model_requests()[..] else { panic!() };
    let system = Some("You bake bread and love to talk.");
    assert_eq!((asked.model.as_str(), asked.system.as_deref()), ("m-1", system));
    assert_eq!((asked.max_tokens, asked.temperature), (Some(MAX_TOKENS), None));
    assert_eq!(text_of(asked), format!("You are Ada.\nYou hear this rumour: {RUMOUR}\n{QUESTION}"));

    // It is heard once.
    let mut persona = mock.reload(&persona).unwrap();
    mock.tick(&mut persona, &told()).unwrap();
    assert_eq!((published(&mock), mock.model_requests().len()), ((1.0, 1.0), 1));
    assert!(mock.sent_mail().is_empty());
}

#[test]
fn who_answers_anything_else_than_yes_keeps_the_rumour() {
    for answer in ["no", "No, yes is not what I say.", ""] {
        let mut mock = baker().with_answer(Answer::of_text(answer));
        let mut persona = Persona::default();
        mock.tick(&mut persona, &told()).unwrap();
        assert_eq!(published(&mock), (1.0, 0.0), "{answer}");
        assert!(mock.sent_mail().is_empty(), "{answer}");
        assert_eq!(persona.heard.as_deref(), Some(RUMOUR));
    }
}

#[test]
fn whoever_is_configured_with_the_rumour_has_heard_it_with_the_first_turn() {
    let mock = || MockHost::new().with_neighbours(17, [18]).with_answer(Answer::of_text("YES"));
    let mut known = mock().with_config("rumour", RUMOUR);
    known.tick(&mut Persona::default(), &tick()).unwrap();
    assert_eq!(published(&known), (1.0, 1.0));
    assert_eq!(known.sent_mail()[0].content, [Part::text(RUMOUR)]);
    let asked = known.model_requests();
    assert_eq!((asked[0].model.as_str(), asked[0].system.as_deref()), ("", None));
    assert!(text_of(&asked[0]).starts_with("You are people/17.\n"), "{asked:?}");

    for none in [json!(""), json!(" "), json!(null)] {
        let mut mock = mock().with_config("rumour", none);
        mock.tick(&mut Persona::default(), &tick()).unwrap();
        assert_eq!(published(&mock), (0.0, 0.0));
    }
    let mut wrong = mock().with_config("rumour", 7);
    let Err(Error::Invalid(why)) = wrong.tick(&mut Persona::default(), &tick()) else { panic!() };
    assert!(why.starts_with("config.rumour: "), "{why}");
}

#[test]
fn what_the_world_says_is_news_and_no_rumour() {
    let mut mock = baker().with_answer(Answer::of_text("no"));
    let mut persona = Persona::default();
    let long = "é".repeat(MAX_TEXT + 1);
    let news = tick()
        .with_mail(WORLD, [Part::text("The lake is open.")])
        .with_mail(WORLD, [Part::text(long.as_str())])
        .with_mail(WORLD, [Part::json(&json!({ "not": "text" })).unwrap()]);
    mock.tick(&mut persona, &news).unwrap();
    assert_eq!(published(&mock), (0.0, 0.0));
    assert_eq!(persona.news.as_ref().map(|news| news.chars().count()), Some(MAX_TEXT));

    let correction = told().with_mail(WORLD, [Part::text("The lake is not sold.")]);
    mock.tick(&mut persona, &correction).unwrap();
    let asked = mock.model_requests();
    let expected = format!(
        "You are Ada.\nThe news says: The lake is not sold.\nYou hear this rumour: {RUMOUR}\n"
    );
    assert!(text_of(&asked[0]).starts_with(&expected), "{asked:?}");
}

#[test]
fn mail_without_a_text_tells_nothing_and_the_first_that_has_one_counts() {
    let mut mock = baker().with_answer(Answer::of_text("no"));
    let mut persona = Persona::default();
    let silent = tick()
        .with_mail("people/3", [Part::json(&7).unwrap()])
        .with_mail("people/3", [Part::text(" \n")]);
    mock.tick(&mut persona, &silent).unwrap();
    assert_eq!(persona, Persona::default());
    let both = told().with_mail("people/18", [Part::text("Something else.")]);
    mock.tick(&mut persona, &both).unwrap();
    assert_eq!(persona.heard.as_deref(), Some(RUMOUR));
}

#[test]
fn as_many_neighbours_are_told_as_a_turn_may_write_to() {
    let neighbours: Vec<u32> = (100..170).collect();
    let mut mock = baker().with_neighbours(17, neighbours).with_answer(Answer::of_text("yes"));
    let mut persona = Persona::default();
    mock.tick(&mut persona, &told()).unwrap();
    assert_eq!(mock.sent_mail().len(), MAX_TOLD);
    mock.tick(&mut persona, &tick()).unwrap();
    assert!(mock.sent_mail().is_empty());

    // Whoever has no neighbours tells nobody.
    let mut alone = baker().with_neighbours(17, [0_u32; 0]).with_answer(Answer::of_text("yes"));
    alone.tick(&mut Persona::default(), &told()).unwrap();
    assert_eq!(published(&alone), (1.0, 0.0));
}

#[test]
fn an_interview_is_answered_by_the_model_with_what_the_person_knows() {
    let mut mock = baker()
        .with_answer(Answer::of_text("Nothing."))
        .with_answer(Answer::of_text("yes"))
        .with_answer(Answer::of_text("That the lake is sold."));
    let mut persona = Persona::default();
    let ask = |mock: &mut MockHost, persona: &mut Persona| {
        mock.turn(persona, "What have you heard?").unwrap().as_text().into_owned()
    };
    assert_eq!(ask(&mut mock, &mut persona), "Nothing.");
    let news = told().with_mail(WORLD, [Part::text("It rains.")]);
    mock.tick(&mut persona, &news).unwrap();
    assert_eq!(ask(&mut mock, &mut persona), "That the lake is sold.");
    assert!(mock.samples().is_empty());

    let asked = mock.model_requests();
    let [before, _, after] = &asked[..] else { panic!("{asked:?}") };
    let question = "You are asked: What have you heard?";
    assert_eq!(text_of(before), format!("You are Ada.\nYou have heard no rumour.\n{question}"));
    let knows = format!("You have heard this rumour: {RUMOUR}\nYou have told it to your friends.");
    let expected = format!("You are Ada.\n{knows}\nThe news says: It rains.\n{question}");
    assert_eq!(text_of(after), expected);
    assert_eq!(after.system.as_deref(), Some("You bake bread and love to talk."));
    assert!(matches!(mock.turn(&mut persona, " "), Err(Error::Invalid(_))));
}

#[test]
fn an_error_of_the_model_fails_the_turn() {
    let error = || model::Error::BudgetExceeded("nothing is left".to_owned());
    let failed = Err(Error::failed("budget-exceeded: nothing is left"));
    let mut mock = baker().with_model_error(error()).with_model_error(error());
    assert_eq!(mock.tick(&mut Persona::default(), &told()), failed);
    assert!(mock.sent_mail().is_empty());
    assert_eq!(mock.turn(&mut Persona::default(), "Who are you?"), failed);
}
