//! The threads that read, and what is told without them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier};

use super::*;
use crate::embedded::readers::THREADS;
use crate::{AgentQuery, Store, StoreError};
use dormouse_domain::event::Cursor;
use futures::FutureExt;

/// Keep all threads that read busy. They go on when each sender is dropped.
async fn keep_busy(store: &Arc<Embedded>) -> Vec<Sender<()>> {
    let begun = Arc::new(Barrier::new(THREADS + 1));
    let mut gates = Vec::new();
    for _ in 0..THREADS {
        let (gate, waits) = channel::<()>();
        let (store, begun) = (Arc::clone(store), Arc::clone(&begun));
        tokio::spawn(async move {
            let read = move |_: &EmbeddedShared| {
                begun.wait();
                let _ = waits.recv();
                Ok(())
            };
            store.read(read).await
        });
        gates.push(gate);
    }
    tokio::task::spawn_blocking(move || begun.wait()).await.expect("it does not panic");
    gates
}

#[tokio::test]
async fn what_is_read_is_read_on_a_thread_of_the_store() {
    let store = temporary();
    let name = store.read(|_| Ok(std::thread::current().name().map(str::to_owned))).await;
    let name = name.expect("it reads").expect("it has a name");
    assert!(name.starts_with("dormouse-store-read-"), "{name}");
}

#[tokio::test]
async fn a_read_whose_caller_has_gone_away_is_skipped() {
    let store = Arc::new(temporary());
    let gates = keep_busy(&store).await;
    let is_read = Arc::new(AtomicBool::new(false));
    let read = {
        let is_read = Arc::clone(&is_read);
        move |_: &EmbeddedShared| {
            is_read.store(true, Ordering::SeqCst);
            Ok(())
        }
    };
    // It is queued, and then dropped.
    assert!(store.read(read).now_or_never().is_none());
    drop(gates);
    for _ in 0..THREADS {
        store.read(|_| Ok(())).await.expect("it reads");
    }
    assert!(!is_read.load(Ordering::SeqCst));
}

#[tokio::test]
async fn what_memory_knows_is_told_while_all_that_read_are_busy() {
    let store = Arc::new(temporary());
    let first = session(1);
    store.commit(Transaction::create(new(first.clone()), Vec::new())).await.expect("it is created");
    let gates = keep_busy(&store).await;
    assert!(store.is_owner(first.id, &first.owner).expect("it is told"));
    assert_eq!(store.due(None, Timestamp::NEVER, 9).await.expect("it is told"), []);
    assert_eq!(store.next_due(Timestamp(0)).await.expect("it is told"), None);
    let none = AgentQuery::AnyComponent(Digest::of(b"none"));
    assert_eq!(store.agent(none).await.expect("it is told"), None);
    let unknown = store.template(Principal::local(), "unknown".to_owned()).await;
    assert_eq!(unknown.expect("it is told"), None);
    let end = store.events_after(Cursor(0), most(9)).await.expect("it is told");
    assert_eq!(end.entries, []);
    assert!(store.session(first.id).now_or_never().is_none(), "but not what has to be read");
    drop(gates);
}

#[tokio::test]
async fn a_read_that_panics_is_an_error_and_the_others_go_on() {
    let store = temporary();
    for _ in 0..2 * THREADS {
        let read = store.read(|_| -> Result<(), StoreError> { panic!("the index is damaged") });
        let error = read.await.expect_err("it has panicked");
        assert!(error.to_string().contains("the index is damaged"), "{error}");
    }
    assert_eq!(store.session(session_id(1)).await.expect("it reads"), None);
    store.close().await.expect("it closes");
    assert!(matches!(store.session(session_id(1)).await, Err(StoreError::Closed)));
}
