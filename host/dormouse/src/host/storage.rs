//! The store of a host, for who operates it, as a library.

use std::path::Path;

use super::Host;
use dormouse_store::StoreError;
use dormouse_store::upkeep::{BackupError, BackupSummary, CheckReport, StoreUsage, Upkeep};

/// The store of a host. Whose sessions are in it makes no difference here. Where the host was given a
/// store that others look after, each of these answers [`StoreError::NoUpkeep`].
#[derive(Clone)]
pub struct Storage(pub(super) Host);

impl Storage {
    /// The size of everything, on the disk and in memory.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn usage(&self) -> Result<StoreUsage, StoreError> {
        self.upkeep()?.usage().await
    }

    /// Read everything that is durable and say what is wrong with it. Turns go on meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read. Damage is no error: the report lists it.
    pub async fn check(&self) -> Result<CheckReport, StoreError> {
        self.upkeep()?.check().await
    }

    /// Give back the space of what is not in use, as the store does by itself once enough is not.
    /// Turns go on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Full`] where there is no space to copy what is in use.
    pub async fn compact(&self) -> Result<(), StoreError> {
        self.upkeep()?.compact().await
    }

    /// Copy everything that is durable at one moment to a directory that is empty or not there, and
    /// read the copy back. Turns go on meanwhile. [`upkeep::restore`](crate::upkeep::restore) makes a
    /// data directory of it, or a host is started on the copy itself, which then is no backup any more.
    ///
    /// # Errors
    /// [`BackupError`], which says what to do. What is in the directory then is no backup.
    pub async fn backup(&self, directory: impl AsRef<Path>) -> Result<BackupSummary, BackupError> {
        self.upkeep()?.backup(directory.as_ref().to_owned()).await
    }

    fn upkeep(&self) -> Result<&dyn Upkeep, StoreError> {
        self.0.inner.store.upkeep().ok_or(StoreError::NoUpkeep)
    }
}
