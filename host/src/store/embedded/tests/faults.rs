//! What a test makes the disk do: fail, panic, or stop between a write and its sync.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

/// What the disk is to do. By default, what disks do.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// The next write panics.
    pub(crate) panic: AtomicBool,
    /// The next sync fails.
    pub(crate) fail: AtomicBool,
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

/// Holds the disk between a write and its sync.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Receives when the write has been made.
    pub(crate) reached: Receiver<()>,
    /// Send to let the sync happen.
    pub(crate) release: Sender<()>,
}

impl Faults {
    /// The next sync waits at a gate.
    pub(crate) fn gate(&self) -> Gate {
        let (reached, reaches) = channel();
        let (release, released) = channel();
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some((reached, released));
        Gate { reached: reaches, release }
    }

    pub(crate) fn before_write(&self) {
        assert!(!self.panic.swap(false, Ordering::SeqCst), "sled has found something");
    }

    pub(crate) fn before_sync(&self) -> io::Result<()> {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((reached, released)) = gate {
            let _ = reached.send(());
            let _ = released.recv();
        }
        if self.fail.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("the disk is on fire"));
        }
        Ok(())
    }
}
