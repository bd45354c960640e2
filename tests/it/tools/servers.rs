//! Tools of MCP servers: the server of `host/mcp/tests`, which misbehaves as it is asked to, as a process of the operator.

use std::collections::BTreeMap;

use dormouse::mcp::{Launch, McpOptions, McpServer, ServerAddress};
use dormouse::{SessionId, TurnOutcome};

use super::*;

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../host/mcp/tests/server.py");

/// A host with the servers `test`, which is well, and `gone`, which cannot be started.
async fn start(directory: &Path, clock: &ManualClock) -> TestHost {
    let launch = |command: &[&str]| {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        McpServer::at(ServerAddress::Process(Launch {
            command,
            env: BTreeMap::new(),
            directory: None,
        }))
    };
    let notes = directory.join("notes");
    std::fs::create_dir_all(&notes).unwrap();
    let servers = || {
        let test = launch(&["python3", SERVER, "stdio", "well", notes.to_str().unwrap()]);
        BTreeMap::from([
            ("gone".to_owned(), launch(&["/nowhere/server"])),
            ("test".to_owned(), test),
        ])
    };
    let change = |builder: HostBuilder| {
        builder.mcp(McpOptions { servers: servers(), ..McpOptions::default() })
    };
    TestHost::built(&directory.join("data"), clock, change).await
}

fn config(more: Value) -> Value {
    let mut config = json!({ "mcpServers": { "test": {}, "gone": {} } });
    let more = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(more);
    config
}

#[tokio::test]
async fn an_agent_lists_and_calls_the_tools_of_the_servers_that_its_session_names() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(directory.path(), &clock).await;
    let session = session(&test, config(json!({}))).await;
    let script = "list\ncall mcp__test__echo {\"text\": \"hello\"}\ncall mcp__test__fails\n\
                  call mcp__test__nothing\ncall mcp__gone__echo\ncall mcp__other__echo\ncall mcp__test__large";
    let told = tell(&session, script).await;
    let listed = names(&told[0]);
    assert!(listed.contains(&"mcp__test__echo") && listed.contains(&"mcp__test__hangs"));
    assert_eq!(told[1], json!({ "text": "hello", "isError": false }));
    assert_eq!(told[2], json!({ "text": "no", "isError": true }));
    assert!(error(&told[3]).contains("no tool"), "{told:?}");
    assert!(error(&told[4]).contains("not available"), "{told:?}");
    assert!(error(&told[5]).contains("config.mcpServers"), "{told:?}");
    assert!(error(&told[6]).contains("answered with more than"), "{told:?}");

    let turn = last_turn(&session).await;
    let lines: Vec<_> = turn.effects.iter().map(|line| (tool(line), line.outcome)).collect();
    assert_eq!(lines[0], (("mcp__test__echo", "test"), EffectOutcome::Answered));
    // The server that has told no tools is named in the log, for the author.
    assert!(turn.log.iter().any(|line| line.message.contains("`gone` is not available")));
    let info = session.info().await.unwrap();
    let used = &info.session.tools_used;
    assert!(used.starts_with(&["mcp__test__echo".to_owned(), "mcp__test__fails".to_owned()]));
}

#[tokio::test]
async fn a_session_sees_no_more_of_its_servers_than_it_is_allowed() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(directory.path(), &clock).await;
    for (allowed, expected) in [
        (json!(["mcp__test__echo"]), vec!["mcp__test__echo"]),
        (json!(["WebFetch"]), vec![]),
        (json!([]), vec![]),
    ] {
        let session = session(&test, config(json!({ "allowedTools": allowed }))).await;
        let told = tell(&session, "list\ncall mcp__test__count").await;
        assert_eq!(names(&told[0]), expected);
        assert!(error(&told[1]).contains("allowedTools"), "{told:?}");
    }
    for allowed in ["mcp__test", "mcp__test__*"] {
        let session = session(&test, config(json!({ "allowedTools": [allowed] }))).await;
        let told = tell(&session, "list\ncall mcp__test__echo {\"text\": \"a\"}").await;
        assert!(names(&told[0]).len() > 10, "{told:?}");
        assert_eq!(told[1]["text"], "a");
    }
}

#[tokio::test]
async fn a_turn_that_was_cut_off_asks_no_server_twice_for_what_it_has_answered_or_may_have_done() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(directory.path(), &clock).await;
    let cut = session(&test, config(json!({}))).await;
    let id: SessionId = cut.id();
    let script = "list\ncall mcp__test__pid\ncall mcp__test__hangs\ncall mcp__test__pid";
    let turn = tokio::spawn(async move { cut.send(script).await });
    let hangs = directory.path().join("notes/hangs");
    eventually("the tool hangs", async || hangs.exists()).await;
    turn.abort();
    let _ = turn.await;
    drop(test);

    let test = start(directory.path(), &clock).await;
    let session = test.host.sessions().get(id);
    eventually("the turn is over", async || session.turn(1).await.unwrap().is_some()).await;
    let turn = session.turn(1).await.unwrap().unwrap();
    let TurnOutcome::Answered { content, .. } = &turn.outcome else { panic!("{turn:?}") };
    let told = results(&dormouse::text_of(content));
    assert!(error(&told[2]).contains("nobody knows"), "{told:?}");
    // Of the process that is gone, and of the one that has taken its place.
    assert_ne!(told[1]["text"], told[3]["text"]);
    let replayed = |line: &&EffectRecord| line.provenance == Provenance::Replayed;
    assert_eq!(turn.effects.iter().filter(replayed).count(), 1);
    let unknown = turn.effects.iter().find(|line| line.outcome == EffectOutcome::Unknown);
    assert_eq!(unknown.map(|line| (tool(line).0, line.attempt)), Some(("mcp__test__hangs", 1)));
    test.shut_down().await;
}
