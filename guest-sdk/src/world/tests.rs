//! Turns of a world are told from others, and the world is seen as the test has said it is.

use super::{Column, DueTimer, Effect, Mail, Moment, ViewError, WORLD};
use crate::{peers, prelude::*, testing::MockHost};

/// The document that `wit/view.wit` shows.
const TOLD: &str = r#"{
    "tick": 12, "role": "people", "member": 17, "roles": ["people", "rules"],
    "mail": [{
        "from": "people/3",
        "content": [
            { "text": "Hello" },
            { "json": {"b": 1e400, "a": 1, "a": 2} },
            { "blob": { "mediaType": "image/png", "data": "iVBORw==" } },
            { "text": "Bye" }
        ]
    }, { "from": "world", "content": [{ "text": "It rains" }] }],
    "effects": [
        { "kind": "infect", "role": "rules", "from": 12, "value": 1.0 },
        { "kind": "count", "role": "rules", "from": null, "value": null }
    ],
    "dropped": 2,
    "timers": [{ "name": "tea", "message": "it is ready" }]
}"#;

fn turn(sender: Sender, content: impl Into<Vec<Part>>) -> Turn {
    let mut turn = Turn::new(content);
    turn.sender = sender;
    turn
}

fn of_world(document: &str) -> Turn {
    turn(Sender::Agent(WORLD.to_owned()), [Part::Json(Json::from_text(document))])
}

#[test]
fn all_that_the_world_tells_is_read() {
    let moment = Moment::of(&of_world(TOLD)).unwrap();
    assert_eq!((moment.tick, moment.role.as_str(), moment.member), (12, "people", 17));
    assert_eq!(moment.roles, ["people", "rules"]);
    let [mail, news] = &moment.mail[..] else { panic!("{moment:?}") };
    // The document is the very text that was sent.
    let document = Json::from_text(r#"{"b": 1e400, "a": 1, "a": 2}"#);
    let expected = Mail {
        from: "people/3".to_owned(),
        content: vec![
            Part::text("Hello"),
            Part::Json(document),
            Part::blob("image/png", *b"\x89PNG"),
            Part::text("Bye"),
        ],
    };
    assert_eq!(*mail, expected);
    assert_eq!(mail.text(), "Hello\nBye");
    assert!(news.is_of_world() && !mail.is_of_world());
    let effect = |kind: &str, from, value| Effect {
        kind: kind.to_owned(),
        role: "rules".to_owned(),
        from,
        value,
    };
    assert_eq!(
        moment.effects,
        [effect("infect", Some(12), Some(1.0)), effect("count", None, None)]
    );
    let tea = DueTimer { name: "tea".to_owned(), message: "it is ready".to_owned() };
    assert_eq!(moment.timers, [tea]);
}

#[test]
fn turns_of_others_are_no_moments() {
    let part = || Part::Json(Json::from_text(TOLD));
    let world = || Sender::Agent(WORLD.to_owned());
    for other in [
        turn(Sender::User, [part()]),
        turn(Sender::Agent("people/3".to_owned()), [part()]),
        turn(Sender::Timer(WORLD.to_owned()), [part()]),
        turn(world(), [part(), part()]),
        turn(world(), [Part::text(TOLD)]),
        of_world("{}"),
        of_world(&TOLD.replace("iVBORw==", "iVBORw")),
    ] {
        assert_eq!(Moment::of(&other), None, "{other:?}");
    }
}

/// Keeps what it is told, and writes to two members.
#[derive(Default)]
struct Writes {
    moments: Vec<Moment>,
}

impl Agent for Writes {
    fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
        let moment = Moment::of(turn).ok_or_else(Error::declined)?;
        host.peers().send_text("rules/4", "Hello")?;
        host.peers().send_text(&moment.address(5), "Hello")?;
        self.moments.push(moment);
        Ok(Reply::empty())
    }
}

#[test]
fn a_moment_that_a_test_makes_arrives_as_it_is() {
    let mut moment = Moment::new("people", 17)
        .with_mail("people/3", [Part::text("Hello"), Part::blob("image/png", [1, 2, 3, 4])])
        .with_mail(WORLD, [Part::json(&json!({ "a": [1, 2.5, null] })).unwrap()]);
    moment.tick = 12;
    moment.roles.push("rules".to_owned());
    let (kind, role) = ("infect".to_owned(), "rules".to_owned());
    moment.effects.push(Effect { kind, role, from: None, value: Some(0.5) });
    let (name, message) = ("tea".to_owned(), "it is ready".to_owned());
    moment.timers.push(DueTimer { name, message });
    let (mut mock, mut agent) = (MockHost::new(), Writes::default());
    mock.tick(&mut agent, &moment).unwrap();
    assert_eq!(agent.moments, [moment]);
    let addresses: Vec<_> = mock.sent_mail().into_iter().map(|mail| mail.to).collect();
    assert_eq!(addresses, ["rules/4", "people/5"]);
    assert_eq!(mock.turn(&mut agent, "Hello"), Err(Error::Declined));
}

/// Looks at all that there is to be seen.
#[derive(Default)]
struct Looks;

impl Agent for Looks {
    fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
        // What a member keeps of a tick is of no use in another turn.
        let moment = Moment::of(turn).unwrap_or_else(|| Moment::new("people", 17));
        let world = host.world(&moment);
        assert_eq!(world.neighbours(17), Ok(vec![3, 18]));
        assert_eq!(world.neighbours(3), Ok(vec![]));
        assert_eq!(world.near("people", 17, 2.5), Ok(vec![4]));
        assert_eq!(world.near("people", 3, 2.5), Ok(vec![]));
        assert_eq!(world.size("people"), Ok(20));
        assert_eq!(world.read("people", "heard", &[2, 0]), Ok(Column::Numbers(vec![2.0, 0.0])));
        assert_eq!(world.read("people", "heard", &[3]), Err(ViewError::Gone(3)));
        assert_eq!(world.aggregate("ill"), Ok(0.5));
        let told = world.size("rules").unwrap_err().to_string();
        assert_eq!(told, "the world has no role `rules`, but people");
        let unknown =
            [world.read("people", "told", &[0]).map(|_| ()), world.aggregate("well").map(|_| ())];
        for unknown in unknown {
            assert!(matches!(unknown, Err(ViewError::Unknown(_))), "{unknown:?}");
        }
        let asked = host.peers().ask("people/3", [Part::text("Hello")]);
        assert!(matches!(asked, Err(peers::Error::Unavailable(_))), "{asked:?}");
        for address in ["people", "rules/3", "people/x", "people/"] {
            let sent = host.peers().send_text(address, "Hello");
            assert_eq!(sent, Err(peers::Error::UnknownPeer), "{address}");
        }
        Ok(Reply::empty())
    }
}

fn seen() -> MockHost {
    MockHost::new()
        .with_neighbours(17, [3, 18])
        .with_near("people", 17, [4])
        .with_members("people", 20)
        .with_published("people", "heard", Column::Numbers(vec![0.0, 1.0, 2.0]))
        .with_aggregate("ill", 0.5)
}

#[test]
fn the_world_is_seen_as_the_test_says() {
    seen().tick(&mut Looks, &Moment::new("people", 17)).unwrap();
}

#[test]
#[should_panic(expected = "a world can be seen by its members alone")]
fn the_world_is_not_seen_in_another_turn() {
    let _ = seen().turn(&mut Looks, "What do you see?");
}
