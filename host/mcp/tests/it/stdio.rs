//! Processes that misbehave.

use dormouse_domain::turn::Part;
use dormouse_mcp::{McpError, ToolClass};

use super::{Making, World, owner, runs, text, until};

fn world() -> World {
    Making::new().with_process("files", "well").make()
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_a_process_are_listed_and_called() {
    let world = world();
    let tools = world.tools("files").await.unwrap();
    assert_eq!(tools.len(), 23, "all pages");
    let echo = &tools[0];
    assert_eq!((echo.name.as_str(), echo.class), ("echo", ToolClass::Repeatable));
    assert_eq!(echo.full_name("files"), "mcp__files__echo");
    assert_eq!(echo.description, "Says [31mit again.");
    assert_eq!(tools[1].class, ToolClass::Once);
    let said = world.call_for("ann", "files", "echo", r#"{"text":"hä?"}"#).await.unwrap();
    assert_eq!(text(&said), "hä?");
    assert_eq!((world.counted("starts"), world.counted("lists")), (1, 2), "one process, one list");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_fails_has_answered_and_a_server_that_refuses_is_an_error() {
    let world = world();
    assert!(world.call("files", "fails").await.unwrap().is_error);
    let error = world.call("files", "refuses").await.unwrap_err();
    let message = " [31mno such  thing".to_owned();
    assert_eq!(error, McpError::Refused { server: "files".to_owned(), code: -32602, message });
    let unknown =
        |tool: &str| McpError::UnknownTool { server: "files".to_owned(), tool: tool.to_owned() };
    assert_eq!(world.call("files", "nothing").await.unwrap_err(), unknown("nothing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_no_environment_but_path_and_what_it_was_given() {
    let making = Making::new();
    let mut launch = making.launch("well");
    launch.env.insert("GIVEN".to_owned(), "yes".to_owned());
    let at = dormouse_mcp::ServerAddress::Process(launch);
    let world = making.with("files", dormouse_mcp::McpServer::at(at)).make();
    let result = world.call("files", "environment").await.unwrap();
    let [Part::Json(environment)] = result.content.as_slice() else { panic!("{result:?}") };
    assert!(environment.contains("\"GIVEN\":\"yes\""), "{environment}");
    let has = |name: &str| environment.contains(&format!("\"{name}\":"));
    assert!(has("PATH") && !has("HOME") && !has("CARGO_MANIFEST_DIR"), "{environment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_megabytes_deep_and_crowded_answers_are_refused_and_the_process_goes_on() {
    let world = world();
    let process = world.says("files", "pid").await;
    for tool in ["large", "deep", "crowded"] {
        let error = world.call("files", tool).await.unwrap_err();
        assert_eq!(error, McpError::TooLarge { server: "files".to_owned() }, "{tool}");
    }
    let two = world.call_for("ann", "files", "large", r#"{"bytes":2000000}"#).await;
    assert_eq!(two, Err(McpError::TooLarge { server: "files".to_owned() }), "a result has less");
    let one = world.call_for("ann", "files", "large", r#"{"bytes":1000000}"#).await.unwrap();
    assert_eq!(text(&one).len(), 1_000_000);
    assert_eq!(world.says("files", "pid").await, process);
    assert_eq!(world.memory.used(), 0, "nothing of it is held");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_none_are_errors_and_answers_to_nobody_are_ignored() {
    let world = Making::new().with_process("files", "garbage").make();
    for tool in ["number", "unreadable", "other"] {
        let error = world.call("files", tool).await.unwrap_err();
        assert!(matches!(error, McpError::Protocol { .. }), "{tool}: {error}");
    }
    assert_eq!(world.says("files", "wrong_id").await, "yours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_floods_its_outputs_keeps_nobody_from_working() {
    let world = world();
    assert_eq!(world.says("files", "floods").await, "done");
    assert_eq!(world.says("files", "count").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_has_changed_is_asked_for_again_and_so_is_an_old_one() {
    let world = world();
    assert!(matches!(world.call("files", "new").await, Err(McpError::UnknownTool { .. })));
    world.call("files", "changes").await.unwrap();
    assert_eq!(world.says("files", "new").await, "new");
    assert_eq!(world.counted("lists"), 4);
    world.turn(299);
    world.tools("files").await.unwrap();
    assert_eq!(world.counted("lists"), 4);
    world.turn(2);
    world.tools("files").await.unwrap();
    assert_eq!(world.counted("lists"), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_asks_for_models_people_and_directories_is_told_that_there_are_none() {
    assert_eq!(world().says("files", "asks").await, "[true, false, false, false]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_hangs_times_out_and_its_process_goes_on() {
    let world = world();
    let process = world.says("files", "pid").await;
    let calling = world.calling("files", "hangs");
    world.noted("hangs").await;
    world.turn(121);
    let error = calling.await.unwrap().unwrap_err();
    assert!(matches!(error, McpError::TimedOut { .. }) && error.may_have_happened(), "{error}");
    world.noted("cancelled").await;
    assert_eq!(world.says("files", "pid").await, process, "it answers a ping");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_reads_no_more_is_ended_and_started_again() {
    let world = world();
    let process = world.says("files", "pid").await;
    let calling = world.calling("files", "deaf");
    world.noted("deaf").await;
    world.turn(121);
    assert!(matches!(calling.await.unwrap(), Err(McpError::TimedOut { .. })));
    world.turn_until(11, || !runs(&process)).await;
    world.turn(60);
    assert_ne!(world.says("files", "pid").await, process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_dropped_is_cancelled_at_the_server() {
    let world = world();
    let calling = world.calling("files", "hangs");
    world.noted("hangs").await;
    calling.abort();
    world.noted("cancelled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_fails_fast_and_comes_back() {
    let world = world();
    for tool in ["dies", "closes"] {
        let error = world.call("files", tool).await.unwrap_err();
        assert!(matches!(error, McpError::Broken { .. }) && error.may_have_happened(), "{error}");
        let starts = world.counted("starts");
        let error = world.call("files", "pid").await.unwrap_err();
        let McpError::Unavailable { retry_after, .. } = error else { panic!("{error}") };
        assert_eq!((retry_after.as_secs(), world.counted("starts")), (1, starts));
        world.turn(1);
        world.says("files", "pid").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_again_and_again_is_started_less_and_less_often() {
    let world = Making::new().with_process("files", "dies").make();
    let mut rests = Vec::new();
    for starts in 1..=8 {
        let error = world.call("files", "pid").await.unwrap_err();
        assert!(matches!(error, McpError::Unavailable { .. }), "{error}");
        let error = world.call("files", "pid").await.unwrap_err();
        let McpError::Unavailable { retry_after, .. } = error else { panic!("{error}") };
        assert_eq!(world.counted("starts"), starts);
        rests.push(retry_after.as_secs());
        world.clock.advance(retry_after);
    }
    assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_never_ready_or_cannot_be_started_is_not_available() {
    let making = Making::new().with_process("dies", "dies").with_process("hangs", "never-ready");
    let mut launch = making.launch("well");
    launch.command = vec!["/no/such/program".to_owned()];
    let none = dormouse_mcp::ServerAddress::Process(launch);
    let world = making.with("none", dormouse_mcp::McpServer::at(none)).make();
    for server in ["dies", "none"] {
        let error = world.call(server, "pid").await.unwrap_err();
        assert!(matches!(error, McpError::Unavailable { .. }), "{server}: {error}");
        assert!(!error.may_have_happened() && !error.to_string().contains("/no/such"), "{error}");
    }
    let calling = world.calling("hangs", "pid");
    world.noted("never-ready").await;
    world.turn(31);
    assert!(matches!(calling.await.unwrap(), Err(McpError::Unavailable { .. })));
    // Those that are not there keep nobody from the tools of the others.
    let listed = world.servers.list(&owner("ann"), &world.all()).await;
    assert_eq!((listed.tools.len(), listed.unavailable.len()), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_nobody_asks_is_ended_with_what_it_has_started() {
    let world = world();
    let (process, child) = (world.says("files", "pid").await, world.says("files", "child").await);
    world.turn(599);
    assert_eq!(world.says("files", "pid").await, process);
    world.turn(599);
    assert!(runs(&process) && runs(&child));
    world.turn_until(2, || !runs(&process)).await;
    until(|| !runs(&child)).await;
    assert_ne!(world.says("files", "pid").await, process);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_end_with_their_host() {
    let world = world();
    let (process, child) = (world.says("files", "pid").await, world.says("files", "child").await);
    drop(world);
    until(|| !runs(&process) && !runs(&child)).await;
}
