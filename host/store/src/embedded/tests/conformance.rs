//! The embedded store keeps what every store promises.

use std::sync::atomic::Ordering;

use tempfile::TempDir;

use super::audit::{Census, audit, settle};
use super::*;
use crate::conformance::{self, Fixture, KEPT};
use crate::{Store, StoreError};

struct OnDisk {
    /// Dropped before its directory.
    store: Embedded,
    root: TempDir,
}

fn keeping(root: &Path) -> Embedded {
    Embedded::open(root, keeping_snapshots(KEPT)).expect("it opens")
}

impl OnDisk {
    fn new() -> OnDisk {
        let root = tempfile::tempdir().expect("there is room");
        OnDisk { store: keeping(root.path()), root }
    }
}

impl Fixture for OnDisk {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn reopen(&mut self, close: bool) -> Result<(), StoreError> {
        if close {
            self.store.close().await?;
        }
        // The lock goes with the store that has it.
        drop(std::mem::replace(&mut self.store, temporary()));
        self.store = keeping(self.root.path());
        assert_eq!(self.store.stats().quarantined, 0);
        Ok(())
    }

    async fn copy(&self) -> Result<Option<OnDisk>, StoreError> {
        let root = tempfile::tempdir().expect("there is room");
        let made = self.store.backup(root.path().to_owned()).await;
        made.expect("it is copied");
        Ok(Some(OnDisk { store: keeping(root.path()), root }))
    }

    async fn audit(&mut self, snapshots: usize, templates: usize) {
        settle(&self.store).await;
        let census = audit(&self.store);
        assert_eq!((census.snapshots, census.templates), (snapshots, templates));
        if (snapshots, templates) == (0, 0) {
            assert_eq!(census, Census::default());
        }
    }
}

#[test]
fn an_embedded_store_that_forgets_an_edge_is_found() {
    let forgetful = || {
        let it = OnDisk::new();
        inside(&it.store).disk.faults.forgets_an_edge.store(true, Ordering::SeqCst);
        it
    };
    assert!(conformance::check(24, forgetful).is_err());
}

#[test]
fn the_embedded_store_answers_as_the_model_does() {
    assert_eq!(conformance::check(24, OnDisk::new), Ok(()));
}
