//! The end of all drivers: a host that shuts down lets them finish, and one that is dropped kills what they do.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::super::driver;
use super::{Entry, Registry, lock};
use crate::gate::time::EffectTime;

/// How long a host that shuts down waits for what turns have asked of the outside world.
const EFFECT_GRACE: Duration = Duration::from_secs(10);

impl Registry {
    /// Let running turns finish, tell what waits that the host is shutting down, and put
    /// everything to sleep. Turns that are still running after `grace` are killed, but those that have asked the
    /// outside world for something: these are left to their journals, and a host that is started again goes on
    /// with them. So are turns that wait for the outside world after [`EFFECT_GRACE`].
    pub(crate) async fn shut_down(self: &Arc<Self>, grace: Duration) {
        self.services.liveness.close();
        // A driver that waits for a permit has no turn yet that could finish.
        self.services.memory.queue().close();
        let (clock, done) = (&self.services.clock, self.services.liveness.all_left());
        tokio::pin!(done);
        let begun = clock.now();
        let effects = clock.sleep_until(begun.after(grace.min(EFFECT_GRACE)));
        let patience = clock.sleep_until(begun.after(grace));
        let over = tokio::select! {
            () = &mut done => true,
            () = effects => false,
        };
        if !over {
            self.end_turns(|entry| entry.effects.as_ref().is_some_and(EffectTime::is_in_effect));
            tokio::select! {
                () = &mut done => {}
                () = patience => {
                    self.end_turns(|_| true);
                    done.await;
                }
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
        self.end_turns(|_| true);
        drop(self.services.residents.take_all());
    }

    /// End what these sessions are doing, because the host ends.
    fn end_turns(&self, which: impl Fn(&Entry) -> bool) {
        for shard in &self.shards {
            for entry in lock(shard).values_mut().filter(|entry| which(entry)) {
                entry.inbox.leave();
                entry.tell_interrupt();
            }
        }
    }
}
