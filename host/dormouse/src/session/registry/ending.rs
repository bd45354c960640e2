//! The end of all drivers: a host that shuts down lets them finish, and one that is dropped kills what they do.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::super::driver;
use super::{Registry, lock};

impl Registry {
    /// Let running turns finish, tell what waits that the host is shutting down, and put
    /// everything to sleep. Turns that are still running after `grace` are killed.
    pub(crate) async fn shut_down(self: &Arc<Self>, grace: Duration) {
        self.services.liveness.close();
        // A driver that waits for a permit has no turn yet that could finish.
        self.services.memory.queue().close();
        let done = self.services.liveness.all_left();
        tokio::pin!(done);
        let patience = self.services.clock.sleep_until(self.services.clock.now().after(grace));
        tokio::select! {
            () = &mut done => {}
            () = patience => {
                self.kill_all();
                done.await;
            }
        }
        // What has slept until now is told before the store closes.
        self.services.slept.hurry().await;
        let mut saving = JoinSet::new();
        for resident in self.services.residents.take_all() {
            if !resident.is_saved() {
                let id = resident.session.id;
                let save = driver::save_and_drop(self.clone(), resident);
                saving.spawn_on(async move { (id, save.await) }, self.services.sandbox.runtime());
            }
        }
        for (session, saved) in saving.join_all().await {
            if !saved {
                tracing::warn!(%session, "the state of a session could not be saved, and is lost");
            }
        }
    }

    /// Kill everything that runs: nobody holds the host any more.
    pub(crate) fn abandon(&self) {
        self.services.liveness.close();
        self.services.memory.queue().close();
        self.kill_all();
        drop(self.services.residents.take_all());
    }

    fn kill_all(&self) {
        for shard in &self.shards {
            for entry in lock(shard).values_mut() {
                entry.inbox.kill();
                entry.tell_interrupt();
            }
        }
    }
}
