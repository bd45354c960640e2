//! A full disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::retention::without_state;
use super::*;
use crate::{Store, StoreError};

#[tokio::test]
async fn on_a_full_disk_deletes_and_reads_go_on_and_commits_come_back_with_the_space() {
    let reserve = Arc::new(AtomicU64::new(0));
    let options = Options { reserve_bytes: reserve.clone(), ..small() };
    let store = Embedded::temporary(options).expect("it opens");
    let (one, two) = (session(1), session(2));
    store.commit(Transaction::create(new(one.clone()), Vec::new())).await.expect("it is created");
    store.commit(Transaction::create(new(two.clone()), Vec::new())).await.expect("it is created");

    let with_state = turn(&one, 1, 1);
    store.commit(Transaction::turn(with_state.clone())).await.expect("there is room");
    let one = Session::clone(&with_state.session);

    reserve.store(u64::MAX, Ordering::Relaxed);
    for size in [1, 1 << 20] {
        let full = store.commit(Transaction::turn(turn(&one, size, size))).await;
        assert!(matches!(full, Err(StoreError::Full)), "{full:?}");
    }
    assert_eq!(store.session(one.id).await.expect("it reads"), Some(one.clone()));
    store.commit(Transaction::remove_session(two.id, Vec::new())).await.expect("it is deleted");
    assert_eq!(store.session(two.id).await.expect("it reads"), None);
    let without = without_state(&one);
    let removal = Transaction::remove_state(without.clone().into(), Vec::new());
    store.commit(removal).await.expect("its state is removed");
    assert_eq!(store.session(one.id).await.expect("it reads"), Some(without));
    assert_eq!(store.snapshots(one.id).await.expect("it reads"), []);

    reserve.store(0, Ordering::Relaxed);
    for size in [1, 1 << 20] {
        let now = store.session(one.id).await.expect("it reads").expect("it is there");
        store.commit(Transaction::turn(turn(&now, size, size))).await.expect("there is room again");
    }
}
