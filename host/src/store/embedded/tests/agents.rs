//! Agents and their components.

use super::*;
use crate::agent::{Agent, AgentKind, AgentSelector, Statefulness};
use crate::store::embedded::engine::{Batch, Class};
use crate::store::embedded::keys;
use crate::store::{Store, StoreError};

pub(super) fn agent(name: &str, version: &str, component: &[u8]) -> Agent {
    Agent {
        reference: agent_ref(name, version, component),
        owner: None,
        size: component.len() as u64,
        kind: AgentKind::Agent,
        imports: Vec::new(),
        capabilities: Vec::new(),
        statefulness: Statefulness::Portable,
        compile_ms: 1,
        uploaded_at: Timestamp(1),
    }
}

async fn put(store: &Embedded, agent: &Agent, component: &'static [u8]) -> Result<(), StoreError> {
    store.put_agent(agent.clone(), Bytes::from_static(component), Vec::new()).await
}

#[tokio::test]
async fn a_name_means_the_version_that_was_uploaded_last() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let (two, one) = (agent("echo", "2", b"two"), agent("echo", "1", b"one"));
    put(&store, &two, b"two").await.expect("it is kept");
    put(&store, &one, b"one").await.expect("it is kept");
    put(&store, &two, b"two").await.expect("nothing changes");
    let mut large = agent("dial", "1", b"dial");
    large.imports = vec!["wasi:io/streams@0.2.0".to_owned(); 5000];
    put(&store, &large, b"dial").await.expect("it is kept");
    store.close().await.expect("it closes");

    let store = open(root.path());
    let find = async |text: &str| {
        let selector: AgentSelector = text.parse().expect("it is a reference");
        store.agent(selector).await.expect("it reads")
    };
    assert_eq!(find("echo").await.as_ref(), Some(&one));
    assert_eq!(find("echo@2").await.as_ref(), Some(&two));
    assert_eq!(find(&two.reference.digest.to_string()).await.as_ref(), Some(&two));
    assert_eq!(find("other").await, None);
    assert_eq!(store.agents().await.expect("it reads"), [large, two, one]);
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
    store.create_sessions(new(session(1)), Vec::new()).await.expect("it is created");
    let in_use = store.delete_agent(one.reference.clone(), Vec::new()).await;
    assert!(matches!(in_use, Err(StoreError::AgentInUse(1))));
    store.delete_session(session_id(1), Vec::new()).await.expect("it is deleted");
    assert!(store.delete_agent(one.reference.clone(), Vec::new()).await.expect("it is removed"));
    assert!(!store.delete_agent(one.reference.clone(), Vec::new()).await.expect("it is gone"));
    let digest = one.reference.digest;
    let bytes = store.component(digest).await.expect("it reads");
    assert_eq!(bytes.as_deref(), Some(b"echo".as_slice()));
    assert!(store.delete_agent(same.reference, Vec::new()).await.expect("it is removed"));
    assert_eq!(store.component(digest).await.expect("it reads"), None);
    let kept = inside(&store).disk.fronts(&[keys::COMPONENT]).count();
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
