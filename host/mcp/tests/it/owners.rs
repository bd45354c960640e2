//! What several owners have of each other's servers: nothing.

use dormouse_mcp::{McpError, McpServer, ServerAddress};

use super::{Making, World, owner, runs, text};

async fn pid(world: &World, who: &str, server: &str) -> Result<String, McpError> {
    world.call_for(who, server, "pid", "{}").await.map(|result| text(&result).to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_owner_has_a_process_of_its_own_unless_the_operator_shares_it() {
    let making = Making::new();
    let mut shared = McpServer::at(ServerAddress::Process(making.launch("well")));
    shared.is_shared = true;
    let world = making.with("shared", shared).with_process("own", "well").make();
    let [anns, bens] = [pid(&world, "ann", "own").await, pid(&world, "ben", "own").await];
    assert_ne!(anns.unwrap(), bens.unwrap());
    let [anns, bens] = [pid(&world, "ann", "shared").await, pid(&world, "ben", "shared").await];
    assert_eq!(anns.unwrap(), bens.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_asks_no_server_that_it_does_not_name() {
    let world = Making::new().with_process("a", "well").with_process("b", "well").make();
    let session = world.session(r#"{"a":{}}"#);
    let called = world.servers.call(&owner("ann"), &session, "b", "pid", "{}").await;
    assert_eq!(called, Err(McpError::NotPermitted { server: "b".to_owned() }));
    let listed = world.servers.list(&owner("ann"), &session).await;
    assert!(listed.tools.iter().all(|(server, _)| server == "a") && listed.tools.len() == 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_that_the_operator_does_not_list_are_absent() {
    let making = Making::new();
    let mut some = McpServer::at(ServerAddress::Process(making.launch("well")));
    some.tools = Some(["pid".to_owned()].into());
    let world = making.with("some", some).make();
    assert_eq!(world.tools("some").await.unwrap().len(), 1);
    assert!(matches!(world.call("some", "count").await, Err(McpError::UnknownTool { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_starts_much_ends_its_own_idle_processes_and_leaves_room_to_others() {
    let names = ["a", "b", "c", "d"];
    let making = names.iter().fold(Making::new(), |making, name| making.with_process(name, "well"));
    let mut making = making;
    making.options.max_processes = 4;
    let world = making.make();
    let first = pid(&world, "ann", "a").await.unwrap();
    world.turn(1);
    let second = pid(&world, "ann", "b").await.unwrap();
    world.turn(1);
    assert!(
        pid(&world, "ann", "c").await.is_ok(),
        "in the place of the one that is idle for longest"
    );
    super::until(|| !runs(&first)).await;
    assert!(runs(&second));
    let bens = pid(&world, "ben", "a").await.unwrap();
    assert!(runs(&bens) && runs(&second));
    // What is at work is not ended for another.
    let working = [world.calling("b", "hangs"), world.calling("c", "hangs")];
    world.noted("hangs").await;
    super::until(|| world.memory.used() == 0).await;
    let busy = pid(&world, "ann", "d").await;
    let _ = working;
    assert!(matches!(busy, Ok(_) | Err(McpError::Busy { .. })), "{busy:?}");
}
