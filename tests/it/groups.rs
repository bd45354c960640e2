//! Groups: a coordinator and the members that its configuration names.

use std::collections::BTreeSet;
use std::time::Duration;

use dormouse::{
    CommandError, CreateError, Fork, ManualClock, NewSession, Pattern, SessionHandle, SessionPatch,
    Status, StatusChange, TurnDenied, TurnOutcome, text_of,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;
use serde_json::{Value, json};

mod together;

/// The coordinator of a group whose members are called Ann and Bob, and are as they are told here.
async fn group_with(test: &TestHost, change: impl FnOnce(&mut NewSession)) -> SessionHandle {
    test.session_with(&guests::WRITES_TO_PEERS, |new| {
        new.pattern = Pattern::SingleContainer;
        let members = json!({
            "model": "loopback-1",
            "systemPrompt": "You lead.",
            "customAgents": {
                "ann": { "systemPrompt": "You are Ann.", "description": "plays white" },
                "bob": { "systemPrompt": "You are Bob.", "model": "other", "allowedTools": [] },
            },
        });
        new.config = members.as_object().unwrap().clone();
        change(new);
    })
    .await
}

async fn group(test: &TestHost) -> SessionHandle {
    group_with(test, |_| {}).await
}

/// What is answered to these orders.
async fn tell(session: &SessionHandle, orders: &str) -> Value {
    let reply = session.send(orders).await.unwrap();
    serde_json::from_str(&reply.text()).unwrap()
}

/// What a member answers to orders that its coordinator gives it.
async fn through(coordinator: &SessionHandle, name: &str, orders: &str) -> Value {
    let told = tell(coordinator, &format!("task {name} run {orders}")).await;
    let answer = told[0][0].as_str().unwrap_or_else(|| panic!("{told}"));
    serde_json::from_str(answer).unwrap_or_else(|_| panic!("{told}"))
}

async fn member(test: &TestHost, coordinator: &SessionHandle, name: &str) -> SessionHandle {
    let group = coordinator.info().await.unwrap().session.group.clone().unwrap();
    let (_, id) = group.ids().find(|(known, _)| *known == name).unwrap();
    test.host.sessions().get(id)
}

/// The names of the members that are there.
async fn there(coordinator: &SessionHandle) -> Vec<String> {
    let members = coordinator.members().await.unwrap();
    members.iter().map(|it| it.session.group.clone().unwrap().name.unwrap()).collect()
}

#[tokio::test]
async fn a_coordinator_hands_work_to_members_that_are_created_at_their_first_use() {
    let test = TestHost::new().await;
    let lead = group(&test).await;
    assert!(there(&lead).await.is_empty());
    let tools = tell(&lead, "tools").await;
    let task = &tools[0][0];
    assert_eq!(task["name"], "Task", "{tools}");
    assert!(
        task["description"].as_str().unwrap().contains("\n- ann: plays white\n- bob"),
        "{task}"
    );
    assert_eq!(tell(&lead, "task ann hello").await, json!([["taken: hello", false]]));
    assert_eq!(there(&lead).await, ["ann"]);
    let info = lead.info().await.unwrap().session;
    assert_eq!(info.tools_used, ["Task"]);
    let ann = member(&test, &lead, "ann").await.info().await.unwrap().session;
    assert_eq!(ann.profile.agent, info.profile.agent);
    assert_eq!(ann.profile.config["systemPrompt"], "You are Ann.");
    assert_eq!(ann.profile.config["model"], "loopback-1", "as its coordinator's");
    assert_eq!(ann.profile.config.get("customAgents"), None);
    assert_eq!(ann.profile.description.as_deref(), Some("plays white"));
    assert_eq!((ann.usage.turns, ann.account), (1, info.account));

    let told = tell(&lead, "task eve hello\ntask bob run config model;tools").await;
    assert!(told[0].as_str().unwrap().contains("there are: ann, bob"), "{told}");
    let of_bob: Value = serde_json::from_str(told[1][0].as_str().unwrap()).unwrap();
    assert_eq!(of_bob, json!(["other", []]), "it may use no tool, so it has none");
    test.shut_down().await;
}

#[tokio::test]
async fn members_write_to_each_other_and_to_their_coordinator_by_name() {
    let test = TestHost::new().await;
    let lead = group(&test).await;
    let listed = tell(&lead, "list").await;
    assert_eq!((&listed[0][0][0], &listed[0][1][0]), (&json!("ann"), &json!("bob")), "{listed}");
    // Ann asks Bob, whom nobody has used before, and writes to both others.
    let told = through(&lead, "ann", "ask bob hello;send bob one;send coordinator two").await;
    assert_eq!(told, json!([{ "answer": "taken: hello" }, "sent", "sent"]));
    assert_eq!(there(&lead).await, ["ann", "bob"]);
    let bob = member(&test, &lead, "bob").await;
    let has = async |session: &SessionHandle, what: Value| {
        eventually("it has come", async || tell(session, "received").await[0] == what).await;
    };
    has(&bob, json!(["ann: hello", "ann: one"])).await;
    has(&lead, json!(["ann: two"])).await;
    // A ring of tasks is refused at once, as one of questions is.
    let told = through(&lead, "ann", "task coordinator hello").await;
    assert!(told[0][0].as_str().unwrap().contains("waits"), "{told}");
    assert_eq!(told[0][1], true);
    test.shut_down().await;
}

#[tokio::test]
async fn mail_creates_a_member_too_and_so_does_one_of_several_at_once() {
    let test = TestHost::new().await;
    let lead = group(&test).await;
    assert_eq!(tell(&lead, "send bob one\nsend bob two\nmany ann 20 mail").await[2], "sent");
    assert_eq!(there(&lead).await, ["ann", "bob"]);
    let (ann, bob) = (member(&test, &lead, "ann").await, member(&test, &lead, "bob").await);
    let all_there = async || {
        let (ann, bob) = (tell(&ann, "received").await, tell(&bob, "received").await);
        (ann[0].as_array().unwrap().len(), bob[0].clone())
            == (20, json!(["coordinator: one", "coordinator: two"]))
    };
    eventually("all mail has come", all_there).await;
    test.shut_down().await;
}

#[tokio::test]
async fn there_is_no_task_without_a_group_or_where_it_is_not_allowed() {
    let test = TestHost::new().await;
    let alone = test.session(&guests::WRITES_TO_PEERS).await;
    let told = tell(&alone, "tools\ntask ann hello").await;
    assert_eq!(told[0], json!([]));
    assert!(told[1].as_str().unwrap().contains("customAgents"), "{told}");
    let wish = |new: &mut NewSession| {
        new.config.insert("allowedTools".to_owned(), json!(["Task", "Bash"]));
    };
    let alone = test.session_with(&guests::WRITES_TO_PEERS, wish).await;
    let provided = alone.info().await.unwrap().provided;
    assert_eq!(provided.unavailable_tools, ["Task", "Bash"]);
    let lead = group_with(&test, wish).await;
    assert_eq!(lead.info().await.unwrap().provided.unavailable_tools, ["Bash"]);
    let forbid = |new: &mut NewSession| {
        new.config.insert("allowedTools".to_owned(), json!(["Read"]));
    };
    let lead = group_with(&test, forbid).await;
    let told = tell(&lead, "tools\ntask ann hello\nask ann hello").await;
    assert_eq!(told[0], json!([]));
    assert!(told[1].as_str().unwrap().contains("allowedTools"), "{told}");
    assert_eq!(told[2], json!({ "answer": "taken: hello" }), "to ask is no tool");
    // Of another pattern, the members are only a part of the configuration.
    let other = group_with(&test, |new| new.pattern = Pattern::Hybrid).await;
    assert_eq!(other.info().await.unwrap().session.group, None);
    assert!(other.members().await.unwrap().is_empty());
    test.shut_down().await;
}

#[tokio::test]
async fn a_group_that_cannot_be_is_refused_when_it_is_created_and_says_why() {
    let test = TestHost::new().await;
    let agent = test.upload(&guests::WRITES_TO_PEERS).await;
    let many: serde_json::Map<String, Value> =
        (0..33).map(|n| (format!("m{n}"), json!({}))).collect();
    for (members, why) in [
        (json!([]), "must be an object"),
        (Value::Object(many), "at most 32 members"),
        (json!({ "ann": 7 }), "member `ann`, which must be an object"),
        (json!({ "coordinator": {} }), "what members call the session itself"),
        (json!({ "": {} }), "name"),
        (json!({ "ann": { "systemPrompt": 7 } }), "`systemPrompt` must be a text"),
        (json!({ "ann": { "allowedTools": "Read" } }), "`allowedTools` must be a list"),
        (json!({ "ann": { "maxTurns": 0 } }), "`maxTurns` must be at least 1"),
        (json!({ "ann": { "customAgents": {} } }), "members of its own"),
        (json!({ "ann": { "agent": "no/such/@" } }), "whose agent"),
        (json!({ "ann": { "agent": "nobody" } }), "nobody"),
    ] {
        let mut new = NewSession::with_agent(agent.clone()).pattern(Pattern::SingleContainer);
        new.config.insert("customAgents".to_owned(), members.clone());
        let refused = test.host.sessions().create(new).await.err().unwrap();
        assert!(refused.to_string().contains(why), "{members}: {refused}");
        assert!(matches!(refused, CreateError::Invalid(_) | CreateError::Agent(_)), "{refused:?}");
    }
    let lead = group(&test).await;
    let peers = [("ann".to_owned(), lead.id())].into();
    let patch = SessionPatch { peers: Some(peers), ..SessionPatch::default() };
    let refused = lead.change(patch).await.unwrap_err();
    assert!(refused.to_string().contains("a session of the group has"), "{refused}");
    test.shut_down().await;
}

#[tokio::test]
async fn a_member_can_have_an_agent_of_its_own() {
    let test = TestHost::new().await;
    let counter = test.upload(&guests::COUNTS_WITHOUT_SAVING).await;
    let lead = group_with(&test, |new| {
        let member = json!({ "agent": counter.to_string(), "maxTurns": 2 });
        new.config.insert("customAgents".to_owned(), json!({ "eve": member }));
    })
    .await;
    let told = tell(&lead, "task eve one\ntask eve two\ntask eve three").await;
    assert_eq!((&told[0][1], &told[1][1]), (&json!(false), &json!(false)), "{told}");
    assert_eq!(told[2][1], true, "it has had its turns: {told}");
    let eve = member(&test, &lead, "eve").await.info().await.unwrap().session;
    assert_eq!(eve.profile.agent.digest, digest(&test, &counter).await);
    assert_eq!(eve.profile.config.get("agent"), None);
    test.shut_down().await;
}

#[tokio::test]
async fn a_member_that_cannot_be_created_says_so_and_takes_no_mail() {
    let test = TestHost::new().await;
    let agent = test.upload(&guests::COUNTS_WITHOUT_SAVING).await;
    let lead = group_with(&test, |new| {
        let member = json!({ "agent": agent.to_string(), "description": "counts" });
        let members = json!({ "eve": member, "ann": {} });
        new.config.insert("customAgents".to_owned(), members);
    })
    .await;
    test.host.agents().remove(agent).await.unwrap();
    let told = tell(&lead, "task eve hello\nask eve hello\nsend eve hello").await;
    for told in [&told[0][0], &told[1]] {
        assert!(told.as_str().unwrap().contains("it cannot be created"), "{told}");
    }
    assert_eq!(told[2], tell(&lead, "send nobody hello").await[0]);
    let of_ann = through(&lead, "ann", "tools").await;
    let described = of_ann[0][0]["description"].as_str().unwrap();
    assert!(described.ends_with("\n- coordinator\n- eve: counts"), "members are told: {described}");
    test.shut_down().await;
}

async fn digest(test: &TestHost, agent: &dormouse::AgentSelector) -> dormouse::Digest {
    let session = test.host.sessions().create(NewSession::with_agent(agent.clone())).await.unwrap();
    session.info().await.unwrap().session.profile.agent.digest
}

#[tokio::test]
async fn a_group_spends_from_one_account_also_while_its_coordinator_waits() {
    let test = TestHost::new().await;
    // The whole of it is less than one turn may take: what the coordinator does not use is its members'.
    let lead = group_with(&test, |new| new.max_fuel = Some(3_000_000_000)).await;
    let told = through(&lead, "ann", "spend 20000000;task bob run spend 20000000").await;
    assert_eq!(told[0], json!(true), "{told}");
    let all = [lead.clone(), member(&test, &lead, "ann").await, member(&test, &lead, "bob").await];
    let mut fuel = 0;
    for session in &all {
        fuel += session.info().await.unwrap().session.usage.fuel;
    }
    let account = lead.account().await.unwrap().unwrap();
    assert_eq!((account.spent.fuel, account.members), (fuel, 3));
    assert!(fuel > 100_000_000, "{fuel}");
    // A member takes what there is, but for what its coordinator needs to hear of that; the rest is soon spent.
    let told = tell(&lead, "task ann run spend 10000000000").await;
    assert_eq!(told[0][1], true, "{told}");
    let left = lead.account().await.unwrap().unwrap();
    assert!(left.spent.fuel <= 3_000_000_000, "{left:?}");
    assert!(left.spent.fuel > 2_900_000_000, "{left:?}");
    let refused = lead.send("spend 10000000000").await.unwrap_err();
    assert!(refused.to_string().contains("fuel"), "{refused}");
    let has_ended = async || {
        let mut ended = true;
        for session in &all {
            ended &= session.status().await.unwrap() == Status::Terminated;
        }
        ended
    };
    eventually("all end", has_ended).await;
    test.shut_down().await;
}

#[tokio::test]
async fn members_take_no_place_of_their_user() {
    let test = TestHost::with(|options| {
        options.quotas.sessions_per_user = None;
        options.max_residents_per_user = std::num::NonZeroU32::new(1);
    })
    .await;
    let lead = group_with(&test, |new| new.user_id = Some("ann".to_owned())).await;
    let told = through(&lead, "ann", "ask bob hello").await;
    assert_eq!(told, json!([{ "answer": "taken: hello" }]));
    test.shut_down().await;
}

#[tokio::test]
async fn a_task_that_was_cut_off_is_done_once() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let lead = group(&test).await;
    let id = lead.id();
    tell(&lead, "task ann one").await;
    let asking = {
        let lead = lead.clone();
        tokio::spawn(async move { lead.send("task ann two\ntask bob run sleep;received").await })
    };
    let bob = member(&test, &lead, "bob").await;
    let works = async || bob.info().await.is_ok_and(|bob| bob.running_turn.is_some());
    eventually("Bob works", works).await;
    asking.abort();
    let _ = asking.await;
    drop((test, lead, bob));
    let test = TestHost::on(directory.path(), &clock).await;
    let lead = test.host.sessions().get(id);
    eventually("the turn is over", async || lead.info().await.unwrap().session.usage.turns == 2)
        .await;
    let turn = lead.turn(2).await.unwrap().unwrap();
    let TurnOutcome::Answered { content, .. } = turn.outcome else { panic!("{turn:?}") };
    let answer = text_of(&content);
    assert!(answer.contains("taken: two") && answer.contains("slept"), "{answer}");
    let ann = member(&test, &lead, "ann").await;
    assert_eq!(tell(&ann, "received").await[0], json!(["coordinator: one", "coordinator: two"]));
    test.shut_down().await;
}
