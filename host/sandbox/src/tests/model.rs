//! Models as a guest of the SDK asks for them: what it sends reaches the world of the call, what the world
//! answers reaches the guest, and the host keeps account of both.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use serde_json::{Value, json};

use super::{TestWorld, call, grant, options, returned, world};
use crate::{Call, CallTrace, Code, EffectReply, Fault, Grant, Instance, Sandbox, SoFar};
use dormouse_agents::COUNTER;
use dormouse_base::clock::Clock;
use dormouse_base::memory::MemoryBudget;
use dormouse_domain::effect::{Effect, EffectAnswer, EffectError, ModelCall};
use dormouse_domain::model::{
    AnswerFormat, ModelAnswer, ModelContent, ModelError, ModelMessage, ModelRequest, ModelRole,
    ModelTool, StopReason, Thinking, TokenUsage, ToolCall, ToolChoice, ToolResult,
};
use dormouse_domain::turn::Part;
use dormouse_test_guests as guests;

const FUEL: u64 = 1_000_000_000;
const MEMORY: u64 = 64 << 20;

/// The guest that asks models as it is told.
async fn thinker() -> Arc<Code> {
    let mut options = options(&MemoryBudget::new(1 << 30));
    options.clock = Clock::real();
    (options.max_memory_bytes, options.max_component_bytes) = (MEMORY, 16 << 20);
    let sandbox = Sandbox::new(options).expect("a sandbox");
    sandbox.prepare(guests::THINKS.bytes.into(), None).await.expect("it is taken").code
}

async fn started(code: &Arc<Code>) -> Instance {
    let grant = Grant { max_memory_bytes: MEMORY, ..grant() };
    code.try_out(grant).await.expect("it starts")
}

fn telling(script: &str) -> Call {
    Call { content: vec![Part::Text(script.to_owned())], ..call(FUEL) }
}

/// A world that gives these replies in turn.
fn replying(replies: impl IntoIterator<Item = Result<EffectReply, EffectError>>) -> Box<TestWorld> {
    Box::new(TestWorld { replies: replies.into_iter().collect(), ..*world() })
}

fn reply(answer: Result<ModelAnswer, ModelError>) -> Result<EffectReply, EffectError> {
    Ok(EffectReply { answer: EffectAnswer::Model(answer), fuel_left: None })
}

fn saying(text: &str) -> ModelAnswer {
    let content = vec![ModelContent::Text(text.to_owned())];
    ModelAnswer { content, stop: StopReason::End, usage: None, model: "m".to_owned() }
}

/// What the guest answers to a script, and what is left of its world.
async fn follow(
    code: &Arc<Code>,
    script: &str,
    world: Box<TestWorld>,
) -> (Result<Value, Fault>, CallTrace, TestWorld) {
    let result = started(code).await.run(telling(script), world).await;
    let answer = result.answer.map(|answer| match &answer.content[..] {
        [Part::Json(json)] => serde_json::from_str(json).expect("it is JSON"),
        other => panic!("{other:?}"),
    });
    (answer, result.trace, returned(result.world))
}

/// Ask for this request of the SDK.
fn requesting(request: &Value) -> String {
    format!("ignore-errors\nrequest {request}")
}

#[tokio::test]
async fn only_a_component_that_asks_models_imports_them() {
    let sandbox = super::sandbox();
    for (component, asks) in
        [(guests::THINKS.bytes, true), (guests::REPLIES_WITH.bytes, false), (COUNTER.bytes, false)]
    {
        let prepared = sandbox.prepare(component.into(), None).await.expect("it is taken");
        let imports = &prepared.component.imports;
        assert_eq!(imports.iter().any(|name| name == "dormouse:agent/model@0.1.0"), asks);
        let capabilities = &prepared.component.capabilities;
        assert_eq!(capabilities.iter().any(|word| word == "model"), asks, "{capabilities:?}");
    }
}

#[tokio::test]
async fn each_field_of_a_request_reaches_the_world_as_it_was_sent() {
    let request = json!({
        "model": "m", "system": "s", "max_tokens": 7, "temperature": 0.25, "seed": u64::MAX,
        "stop": ["a", "b"], "tool_choice": { "named": "t" }, "forward": true,
        "format": { "schema": { "type": "string" } },
        "tools": [{ "name": "t", "description": "d", "schema": { "type": "object" } }],
        "messages": [
            { "role": "user", "content": [
                { "text": "hellö" },
                { "image": { "media_type": "image/png", "data": [0, 255] } },
            ] },
            { "role": "assistant", "content": [
                { "thinking": { "text": "hm", "block": " {\"sig\": \"a\"}" } },
                { "tool_call": { "id": "1", "name": "t", "arguments": " {\"a\": 1.0}" } },
            ] },
            { "role": "user", "content": [
                { "tool_result": { "call": "1", "content": "c", "is_error": true } },
            ] },
        ],
    });
    let expected = ModelRequest {
        model: "m".to_owned(),
        system: Some("s".to_owned()),
        messages: vec![
            ModelMessage {
                role: ModelRole::User,
                content: vec![
                    ModelContent::Text("hellö".to_owned()),
                    ModelContent::Image { media_type: "image/png".to_owned(), data: vec![0, 255] },
                ],
            },
            ModelMessage {
                role: ModelRole::Assistant,
                content: vec![
                    ModelContent::Thinking(Thinking {
                        text: "hm".to_owned(),
                        block: " {\"sig\": \"a\"}".to_owned(),
                    }),
                    ModelContent::ToolCall(ToolCall {
                        id: "1".to_owned(),
                        name: "t".to_owned(),
                        arguments: " {\"a\": 1.0}".to_owned(),
                    }),
                ],
            },
            ModelMessage {
                role: ModelRole::User,
                content: vec![ModelContent::ToolResult(ToolResult {
                    call: "1".to_owned(),
                    content: "c".to_owned(),
                    is_error: true,
                })],
            },
        ],
        tools: vec![ModelTool {
            name: "t".to_owned(),
            description: "d".to_owned(),
            schema: r#"{"type":"object"}"#.to_owned(),
        }],
        tool_choice: ToolChoice::Named("t".to_owned()),
        max_tokens: Some(7),
        temperature: Some(0.25),
        stop: vec!["a".to_owned(), "b".to_owned()],
        seed: Some(u64::MAX),
        format: AnswerFormat::Schema(r#"{"type":"string"}"#.to_owned()),
    };
    let world = replying([reply(Ok(saying("hi")))]);
    let (_, _, world) = follow(&thinker().await, &requesting(&request), world).await;
    let asked: Vec<Effect> = world.effects.into_iter().map(|(effect, _)| effect).collect();
    assert_eq!(asked, [Effect::Model(ModelCall { request: expected, forward: true })]);
}

#[tokio::test]
async fn each_field_of_an_answer_and_each_error_reaches_the_guest() {
    let answer = ModelAnswer {
        content: vec![
            ModelContent::Thinking(Thinking { text: String::new(), block: "{}".to_owned() }),
            ModelContent::Text("hi".to_owned()),
            ModelContent::ToolCall(ToolCall {
                id: "1".to_owned(),
                name: "t".to_owned(),
                arguments: "{}".to_owned(),
            }),
        ],
        stop: StopReason::ToolUse,
        usage: Some(TokenUsage {
            input: 1,
            output: 2,
            cache_read: 3,
            cache_write: 4,
            cache_write_long: 5,
        }),
        model: "m-1".to_owned(),
    };
    let retry_after = Some(Duration::from_millis(2_001));
    let why = || "why".to_owned();
    let errors = [
        (ModelError::RateLimited { retry_after }, "rate-limited: the provider takes no more"),
        (
            ModelError::Overloaded { retry_after: None },
            "overloaded: the provider has too much to do",
        ),
        (ModelError::Invalid(why()), "invalid: why"),
        (ModelError::Refused(why()), "refused: why"),
        (ModelError::ContextTooLong(why()), "context-too-long: why"),
        (ModelError::BudgetExceeded(why()), "budget-exceeded: why"),
        (ModelError::NotAllowed(why()), "not-allowed: why"),
        (ModelError::Unavailable(why()), "unavailable: why"),
        (ModelError::Interrupted { partial: why() }, "interrupted: the answer broke off"),
        (ModelError::UnknownOutcome, "unknown-outcome: nobody knows"),
    ];
    let request = json!({ "model": "m", "messages": [
        { "role": "user", "content": [{ "text": "hello" }] },
    ] });
    let script = requesting(&request) + &format!("\nask {} hello", errors.len());
    let failed = errors.iter().map(|(error, _)| reply(Err(error.clone())));
    let world = replying([reply(Ok(answer))].into_iter().chain(failed));
    let (answered, _, world) = follow(&thinker().await, &script, world).await;
    let answered = answered.expect("it answers");
    assert_eq!(
        answered[0],
        json!({
            "content": [
                { "thinking": { "text": "", "block": "{}" } },
                { "text": "hi" },
                { "tool_call": { "id": "1", "name": "t", "arguments": "{}" } },
            ],
            "stop": "tool_use",
            "usage": {
                "input": 1, "output": 2, "cache_read": 3, "cache_write": 4, "cache_write_long": 5,
            },
            "model": "m-1",
        })
    );
    for (place, (error, told)) in (1..).zip(&errors) {
        let got = answered[place]["error"].as_str().expect("it is an error");
        assert!(got.starts_with(told), "{error:?}: {got}");
    }
    assert!(answered[1]["error"].as_str().is_some_and(|told| told.ends_with("in 3 s")));
    assert_eq!(world.effects.len(), 1 + errors.len());
}

#[tokio::test]
async fn a_request_that_no_provider_could_take_is_invalid_and_the_world_never_hears_of_it() {
    let user = |content: Value| json!([{ "role": "user", "content": content }]);
    let hello = || user(json!([{ "text": "hello" }]));
    let tool =
        |name: &str, schema: Value| json!({ "name": name, "description": "", "schema": schema });
    let call = |arguments: &str| {
        let call = json!({ "id": "1", "name": "t", "arguments": arguments });
        json!({ "messages": [{ "role": "assistant", "content": [{ "tool_call": call }] }] })
    };
    let letters = |count: usize| "x".repeat(count);
    let many = |count: usize| -> Value { vec![hello()[0].clone(); count].into() };
    let image =
        |media_type: &str| user(json!([{ "image": { "media_type": media_type, "data": [] } }]));
    // Each part counts 128 bytes, besides those that it has.
    let much = vec![json!({ "text": "" }); (16 << 20) / 128];
    let cases = [
        (json!({ "model": letters(256), "messages": hello() }), "the name of a model"),
        (json!({ "messages": [] }), "no message"),
        (json!({ "messages": user(json!([])) }), "message 1: it has no content"),
        (json!({ "messages": image("png") }), "message 1: part 1: the media type"),
        (call("[]"), "the arguments of the tool call is no object"),
        (
            json!({ "messages": [
                { "role": "assistant", "content": [{ "thinking": { "text": "", "block": "5" } }] },
            ]}),
            "message 1: part 1: the block of thinking is no object",
        ),
        (call("{"), "the arguments of the tool call is no JSON document"),
        (
            json!({ "messages": user(json!([{ "thinking": { "text": "", "block": "{}" } }])) }),
            "thinking stands in a message of the assistant",
        ),
        (json!({ "messages": hello(), "tools": [tool("a b", json!({}))] }), "the name of a tool"),
        (
            json!({ "messages": hello(), "tools": [tool("a", json!({})), tool("a", json!({}))] }),
            "two tools have the name `a`",
        ),
        (json!({ "messages": hello(), "tools": [tool("a", json!([]))] }), "the schema of the tool"),
        (json!({ "messages": hello(), "tool_choice": "any" }), "offers none"),
        (json!({ "messages": hello(), "tool_choice": { "named": "a" } }), "does not offer"),
        (json!({ "messages": hello(), "max_tokens": 0 }), "max-tokens is 0"),
        (json!({ "messages": hello(), "temperature": 2.5 }), "the temperature"),
        (json!({ "messages": hello(), "stop": [""] }), "a stop text is empty"),
        (json!({ "messages": hello(), "stop": vec!["a"; 17] }), "17 stop texts; 16 may be"),
        (json!({ "messages": hello(), "format": { "schema": [] } }), "the schema of the answer"),
        (json!({ "messages": many(10_001) }), "10001 messages; 10000 may be"),
        (json!({ "messages": hello(), "system": letters((1 << 20) + 1) }), "in several parts"),
        (json!({ "messages": user(much.into()) }), "more than 16777216 bytes"),
    ];
    let code = thinker().await;
    for (request, told) in cases {
        let mut whole = json!({ "model": "m" });
        let fields = request.as_object().expect("it is one").clone();
        whole.as_object_mut().expect("it is one").extend(fields);
        let (answered, _, world) = follow(&code, &requesting(&whole), world()).await;
        let answered = answered.expect("it answers");
        let got = answered[0]["error"].as_str().expect("it is an error");
        assert!(got.starts_with("invalid: ") && got.contains(told), "{told}: {got}");
        assert!(world.effects.is_empty(), "{told}");
    }
}

#[tokio::test]
async fn what_is_handed_over_is_paid_for_by_its_bytes() {
    let code = thinker().await;
    let fuel = async |bytes: usize| {
        // The guest does nothing with the text of this error.
        let partial = "x".repeat(bytes);
        let world = replying([reply(Err(ModelError::Interrupted { partial }))]);
        let (answered, trace, _) = follow(&code, "ignore-errors\nask 1 hello", world).await;
        assert!(answered.is_ok(), "{answered:?}");
        trace.fuel
    };
    let (none, much) = (fuel(0).await, fuel(1 << 20).await);
    assert!(much - none >= 1 << 20, "{none} {much}");
}

#[tokio::test]
async fn a_call_that_is_dropped_while_the_world_works_leaves_the_world_and_uses_no_fuel_meanwhile()
{
    let code = thinker().await;
    let mut instance = started(&code).await;
    {
        let world = replying([reply(Ok(saying("one")))]);
        let mut run = pin!(instance.run(telling("ask 1 one\nrandom\nask 1 two"), world));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..1_000 {
            assert!(run.as_mut().poll(&mut context).is_pending());
        }
    }
    let (trace, world) = instance.abandon();
    let world = returned(world.expect("a call was begun"));
    let so_far: Vec<SoFar> = world.effects.iter().map(|(_, so_far)| *so_far).collect();
    assert_eq!(so_far.len(), 2);
    assert!(so_far[0].fuel < so_far[1].fuel);
    assert_eq!(trace.fuel, so_far[1].fuel, "a guest that waits uses nothing");
    assert_eq!((so_far[0].salt.is_some(), so_far[1].salt.is_some()), (false, true));
}

#[tokio::test]
async fn random_bytes_come_again_with_the_salts_of_their_segments_and_with_no_others() {
    let code = thinker().await;
    let script = "random\nask 1 one\nrandom\nask 1 two\nask 1 three\nrandom\nask 1 four";
    let drawn = async |salts: Vec<Option<[u8; 16]>>| {
        let world = replying(vec![reply(Ok(saying("hi"))); 4]);
        let world = Box::new(TestWorld { salts: salts.into(), ..*world });
        let (answered, _, world) = follow(&code, script, world).await;
        let answered = answered.expect("it answers");
        let drawn: Vec<Value> = [0, 2, 5].map(|place| answered[place]["random"].clone()).into();
        let salts: Vec<_> = world.effects.iter().map(|(_, so_far)| so_far.salt).collect();
        (drawn, salts)
    };
    let (first, salts) = drawn(Vec::new()).await;
    assert_eq!(salts.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!(drawn(salts.clone()).await, (first.clone(), salts.clone()));

    // The first two segments are run again, and the guest goes on live.
    let (again, new) = drawn(salts[..2].to_vec()).await;
    assert_eq!((&again[..2], &new[..2]), (&first[..2], &salts[..2]));
    assert!(again[2] != first[2] && new[3] != salts[3]);

    // With one salt for all of it nothing comes again, and no two segments are alike.
    let (other, constant) = drawn(vec![Some([7; 16]); 4]).await;
    assert_eq!(constant[0], Some([7; 16]));
    for (place, number) in other.iter().enumerate() {
        assert!(!first.contains(number) && !other[..place].contains(number), "{other:?}");
    }
}

#[tokio::test]
async fn a_guest_goes_on_with_the_fuel_that_the_world_leaves_to_it_and_never_with_more() {
    let code = thinker().await;
    let run = async |fuel_left| {
        let answer = EffectAnswer::Model(Ok(saying("hi")));
        let world = replying([Ok(EffectReply { answer, fuel_left })]);
        follow(&code, "ask 1 hello\nspin 1000000", world).await
    };
    for left in [0, 10_000] {
        let (answered, trace, world) = run(Some(left)).await;
        assert_eq!(answered, Err(Fault::FuelExhausted));
        assert_eq!(trace.fuel, world.effects[0].1.fuel + left);
    }
    let (answered, trace, _) = run(Some(u64::MAX)).await;
    assert!(answered.is_ok() && trace.fuel < FUEL, "{answered:?} {}", trace.fuel);
    let plain = run(None).await.1.fuel;
    assert_eq!(trace.fuel, plain);
    // What it may not use any more is not billed.
    let just_enough = run(Some(plain)).await;
    assert_eq!((just_enough.0.is_ok(), just_enough.1.fuel), (true, plain));
}

#[tokio::test]
async fn a_world_that_ends_the_call_says_why_and_the_guest_cannot_go_on() {
    let code = thinker().await;
    for error in [
        EffectError::Diverged("entry 1".to_owned()),
        EffectError::TooMany("10000 effects".to_owned()),
        EffectError::Host("the disk".to_owned()),
        EffectError::NoWorld,
    ] {
        let world = replying([Err(error.clone()), reply(Ok(saying("hi")))]);
        let (answered, _, world) = follow(&code, "ignore-errors\nask 2 hello", world).await;
        assert_eq!((answered, world.effects.len()), (Err(Fault::Effect(error)), 1));
    }
}

#[tokio::test]
async fn an_answer_is_charged_to_the_memory_of_the_host_while_it_is_handed_over() {
    let budget = MemoryBudget::new(1 << 30);
    let mut options = options(&budget);
    (options.max_memory_bytes, options.max_component_bytes) = (MEMORY, 16 << 20);
    let sandbox = Sandbox::new(options).expect("a sandbox");
    let prepared = sandbox.prepare(guests::THINKS.bytes.into(), None).await.expect("it is taken");
    let mut instance = started(&prepared.code).await;
    let world = replying([reply(Err(ModelError::Interrupted { partial: "x".repeat(4 << 20) }))]);
    let result = instance.run(telling("ignore-errors\nask 1 hello"), world).await;
    assert!(result.answer.is_ok());
    let charged = budget.used();
    instance.stored();
    assert!(charged - budget.used() >= 4 << 20, "{charged} {}", budget.used());
}
