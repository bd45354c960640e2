//! Agents and their components.

use super::*;
use crate::embedded::engine::{Batch, Class};
use crate::embedded::keys;
use crate::embedded::tables;
use crate::{AgentQuery, Store, StoreError};
use dormouse_domain::agent::{
    Agent, ComponentInfo, Export, Exports, StartRandomness, Statefulness, Visibility,
};

pub(super) fn agent(name: &str, version: &str, component: &[u8]) -> Agent {
    Agent {
        reference: agent_ref(name, version, component),
        visibility: Visibility::Private,
        size: component.len() as u64,
        component: ComponentInfo {
            exports: Exports::from_iter([Export::Handler, Export::State]),
            imports: Vec::new(),
            capabilities: Vec::new(),
            statefulness: Statefulness::Portable,
            start_fuel: 0,
            start_randomness: StartRandomness::None,
        },
        compile_ms: 1,
        uploaded_at: Timestamp(1),
    }
}

async fn put(store: &Embedded, agent: &Agent, component: &'static [u8]) -> Result<(), StoreError> {
    store.commit(Transaction::agent(agent.clone(), Bytes::from_static(component), Vec::new())).await
}

/// The same agent, uploaded by this principal.
fn of(principal: &str, name: &str, version: &str, component: &[u8]) -> Agent {
    let mut agent = agent(name, version, component);
    agent.reference.owner = owner(principal);
    agent
}

fn owner(principal: &str) -> AgentOwner {
    AgentOwner::Principal(Principal(principal.to_owned()))
}

fn latest(of: &str, name: &str, user: &str) -> AgentQuery {
    AgentQuery::Latest(owner(of), name.parse().expect("a name"), Principal(user.to_owned()))
}

async fn find(store: &Embedded, query: AgentQuery) -> Option<Agent> {
    store.agent(query).await.expect("it reads")
}

#[tokio::test]
async fn a_name_of_an_owner_means_the_latest_version_that_the_user_may_use() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let (nine, ten) = (of("ann", "echo", "1.9", b"9"), of("ann", "echo", "1.10", b"10"));
    let (tied, other) = (of("ann", "echo", "1.010", b"tied"), of("ben", "echo", "2", b"9"));
    for (agent, bytes) in
        [(&ten, &b"10"[..]), (&nine, b"9"), (&other, b"9"), (&agent("echo", "3", b"h"), b"h")]
    {
        store
            .commit(Transaction::agent(agent.clone(), Bytes::from_static(bytes), Vec::new()))
            .await
            .expect("kept");
    }
    let mut large = of("ann", "dial", "1", b"dial");
    large.component.imports = vec!["wasi:io/streams@0.2.0".to_owned(); 5000];
    put(&store, &large, b"dial").await.expect("it is kept");
    store.close().await.expect("it closes");

    let store = open(root.path());
    assert_eq!(find(&store, latest("ann", "echo", "ann")).await.as_ref(), Some(&ten));
    put(&store, &tied, b"tied").await.expect("it is kept");
    assert_eq!(find(&store, latest("ann", "echo", "ann")).await.as_ref(), Some(&tied));
    assert_eq!(find(&store, latest("ann", "echo", "ben")).await, None);
    assert_eq!(find(&store, latest("ben", "echo", "ben")).await.as_ref(), Some(&other));
    let listed = store.agents(Some(Principal("ann".to_owned()))).await.expect("it reads");
    assert_eq!(listed, [large.clone(), ten, nine.clone(), tied]);

    let public = Agent { visibility: Visibility::Public, ..nine.clone() };
    store.commit(Transaction::update_agent(public.clone(), Vec::new())).await.expect("it is kept");
    let unknown = Agent { reference: other.reference.clone(), ..nine.clone() };
    let unknown =
        Agent { reference: AgentRef { owner: owner("cat"), ..unknown.reference }, ..unknown };
    let gone = store.commit(Transaction::update_agent(unknown, Vec::new())).await;
    assert!(matches!(gone, Err(StoreError::AgentNotFound(_))));
    assert_eq!(find(&store, latest("ann", "echo", "ben")).await.as_ref(), Some(&public));
    store.close().await.expect("it closes");
    let store = open(root.path());
    let listed = store.agents(Some(Principal("cat".to_owned()))).await.expect("it reads");
    assert_eq!(listed, [public]);
}

#[tokio::test]
async fn a_component_is_looked_for_among_the_users_own_then_public_ones_then_those_of_the_host() {
    let store = temporary();
    let (one, two) = (of("ann", "x", "1", b"same"), of("ben", "y", "1", b"same"));
    let host = agent("z", "1", b"same");
    for agent in [&host, &one, &two] {
        put(&store, agent, b"same").await.expect("it is kept");
    }
    let digest = one.reference.digest;
    let with = |user: &str| AgentQuery::Component(digest, Principal(user.to_owned()));
    assert_eq!(find(&store, with("ann")).await.as_ref(), Some(&one));
    assert_eq!(find(&store, with("ben")).await.as_ref(), Some(&two));
    assert_eq!(find(&store, with("cat")).await.as_ref(), Some(&host));
    let public = Agent { visibility: Visibility::Public, ..one.clone() };
    store.commit(Transaction::update_agent(public.clone(), Vec::new())).await.expect("it is kept");
    assert_eq!(find(&store, with("cat")).await.as_ref(), Some(&public));
    assert_eq!(find(&store, with("ben")).await.as_ref(), Some(&two));
    for agent in [&one, &two, &host] {
        assert!(find(&store, AgentQuery::AnyComponent(digest)).await.is_some());
        let reference = agent.reference.clone();
        store
            .commit(Transaction::remove_agent(reference, Vec::new()))
            .await
            .expect("it is removed");
    }
    assert_eq!(find(&store, AgentQuery::AnyComponent(digest)).await, None);
    assert_eq!(store.component(digest).await.expect("it reads"), None);
}

#[tokio::test]
async fn sessions_keep_the_agent_of_their_owner_and_not_another_with_the_same_name_and_bytes() {
    let store = temporary();
    let (anns, bens) = (of("ann", "mine", "1", b"same"), of("ben", "mine", "1", b"same"));
    put(&store, &anns, b"same").await.expect("it is kept");
    put(&store, &bens, b"same").await.expect("it is kept");
    let mut used = session(1);
    used.profile.agent = bens.reference.clone();
    store.commit(Transaction::create(new(used), Vec::new())).await.expect("it is created");
    let in_use = store.commit(Transaction::remove_agent(bens.reference.clone(), Vec::new())).await;
    assert!(matches!(in_use, Err(StoreError::AgentInUse(1))));
    store
        .commit(Transaction::remove_agent(anns.reference, Vec::new()))
        .await
        .expect("it is removed");
    let kept = store.component(bens.reference.digest).await.expect("it reads");
    assert_eq!(kept.as_deref(), Some(b"same".as_slice()));
}

#[tokio::test]
async fn an_owner_whose_name_is_too_long_is_refused() {
    let store = temporary();
    let agent = of(&"o".repeat(257), "mine", "1", b"x");
    assert!(matches!(
        put(&store, &agent, b"x").await,
        Err(StoreError::TooLarge { limit: 256, .. })
    ));
    let agent = of(&"o".repeat(256), "mine", "1", b"x");
    put(&store, &agent, b"x").await.expect("it is kept");
}

#[tokio::test]
async fn a_name_and_version_never_change_what_they_mean() {
    let store = temporary();
    let kept = agent("echo", "1", b"one");
    put(&store, &kept, b"one").await.expect("it is kept");
    let refused = put(&store, &agent("echo", "1", b"two"), b"two").await;
    assert!(matches!(refused, Err(StoreError::AgentExists(known)) if known == kept.reference));
    let two = store.component(Digest::of(b"two")).await.expect("it reads");
    assert_eq!(two, None);
}

#[tokio::test]
async fn an_agent_stays_while_sessions_refer_to_it_and_its_bytes_while_another_has_them() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let (one, same) = (agent("echo", "1", b"echo"), agent("copy", "1", b"echo"));
    put(&store, &one, b"echo").await.expect("it is kept");
    put(&store, &same, b"echo").await.expect("it is kept");
    store.commit(Transaction::create(new(session(1)), Vec::new())).await.expect("it is created");
    let in_use = store.commit(Transaction::remove_agent(one.reference.clone(), Vec::new())).await;
    assert!(matches!(in_use, Err(StoreError::AgentInUse(1))));
    store
        .commit(Transaction::remove_session(session_id(1), Vec::new()))
        .await
        .expect("it is deleted");
    store
        .commit(Transaction::remove_agent(one.reference.clone(), Vec::new()))
        .await
        .expect("it is removed");
    let gone = store.commit(Transaction::remove_agent(one.reference.clone(), Vec::new())).await;
    assert!(matches!(gone, Err(StoreError::AgentNotFound(_))));
    let digest = one.reference.digest;
    let bytes = store.component(digest).await.expect("it reads");
    assert_eq!(bytes.as_deref(), Some(b"echo".as_slice()));
    store
        .commit(Transaction::remove_agent(same.reference, Vec::new()))
        .await
        .expect("it is removed");
    assert_eq!(store.component(digest).await.expect("it reads"), None);
    let kept = inside(&store).disk.fronts(&[tables::agents::COMPONENT]).count();
    assert_eq!(kept, 0, "its bytes are gone with the last that has them");
}

#[tokio::test]
async fn a_damaged_component_is_noticed_when_it_is_read() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let echo = agent("echo", "1", b"echo");
    put(&store, &echo, b"echo").await.expect("it is kept");
    let digest = echo.reference.digest;
    let mut batch = Batch::default();
    batch.put(Class::Rows, keys::component(digest).to_vec(), "eche");
    inside(&store).disk.write(batch).expect("it is written");
    assert!(matches!(store.component(digest).await, Err(StoreError::Damaged(_))));
}
