//! Programs for WASI 0.1, as their compilers make components of them: over the adapter that comes with
//! wasmtime. It has a place of a fixed size for arguments and environment, and traps where they take more.

use dormouse::{CreateError, NewSession, Pattern};
use dormouse_test_guests as guests;
use dormouse_tests::{TestHost, TestServer};
use serde_json::{Value, json};

/// Prompts of these lengths, in bytes, and how many arguments there are with each. First those for which
/// the adapter has no room.
const PROMPTS: [(usize, char); 5] =
    [((1 << 20) - 64, '1'), (64 * 1024, '1'), (3 * 1024, '1'), (1024, '2'), (1, '2')];

/// The largest environment that a session may have: 1,024 bytes with what C puts around it.
fn environment(more: usize) -> Value {
    json!({ "A": "", "LONG": "x".repeat(1024 - "A=_LONG=_".len() + more) })
}

#[tokio::test]
async fn a_program_over_the_adapter_takes_prompts_of_all_lengths() {
    let test = TestHost::new().await;
    let agent = test.upload(&guests::PRINTS_WHAT_IT_GETS).await;
    let new = |more| NewSession {
        config: json!({ "env": environment(more) }).as_object().unwrap().clone(),
        ..NewSession::with_agent(agent.clone()).pattern(Pattern::Ephemeral)
    };
    for (length, arguments) in PROMPTS {
        let prompt = "x".repeat(length);
        let session = test.host.sessions().create(new(0)).await.unwrap();
        let told = session.send(prompt.clone()).await.unwrap().text();
        assert!(told == format!("{arguments}2{prompt}"), "{length}: {}", &told[..2]);
    }
    let refused = test.host.sessions().create(new(1)).await;
    let Err(CreateError::Invalid(error)) = refused else { panic!("it was created") };
    assert_eq!(error.field, "config.env");
    test.shut_down().await;
}

#[tokio::test]
async fn a_program_over_the_adapter_takes_prompts_of_all_lengths_over_http() {
    let server = TestServer::new().await;
    let fields = |more| json!({ "pattern": "ephemeral", "config": { "env": environment(more) } });
    for (length, arguments) in PROMPTS {
        let prompt = "x".repeat(length);
        let id = server.session(&guests::PRINTS_WHAT_IT_GETS, fields(0)).await;
        let told = server.client.ask(&id, &prompt).await.unwrap();
        assert!(told == format!("{arguments}2{prompt}"), "{length}: {}", &told[..2]);
    }
    let mut body = fields(1);
    body["agent"] = json!("prints_what_it_gets@1");
    let (status, refused) = server.client.post("/api/sessions", &body).await.unwrap();
    assert_eq!((status.as_u16(), &refused["field"]), (400, &json!("config.env")), "{refused}");
    server.shut_down().await;
}
