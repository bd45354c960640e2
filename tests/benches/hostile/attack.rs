//! What can be done to a host. One more is a variant of [`Attack`], and what it does in [`Attack::begin`].

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dormouse::{AgentSelector, Host, NewSession, Pattern, Reply, SendError, SessionHandle};
use dormouse_test_guests as guests;
use dormouse_tests::unimaged;
use tokio::task::JoinHandle;

/// The host, and what attacks need of it.
pub(super) struct Stage {
    pub(super) host: Host,
    /// The guest that calls the host again and again.
    caller: AgentSelector,
}

impl Stage {
    pub(super) async fn new(host: Host) -> Result<Stage> {
        // Of the others the handles of standard streams are taken once, and kept.
        let guest = unimaged(&guests::CALLS_THE_HOST);
        host.agents().upload(guest.name, "1", guest.bytes).await?;
        Ok(Stage { host, caller: format!("{}@1", guest.name).parse()? })
    }

    /// A session that does what it is told to.
    pub(super) async fn attacker(&self) -> Result<SessionHandle> {
        let mut new = NewSession::with_agent(self.caller.clone()).pattern(Pattern::LongRunning);
        let large = serde_json::Value::from("x".repeat(50_000));
        new.config.insert("large".to_owned(), large.clone());
        new.context.insert("large".to_owned(), large);
        Ok(self.host.sessions().create(new).await?)
    }

    /// All attacks.
    pub(super) async fn attacks(&self) -> Result<Vec<Attack>> {
        let names = self.attacker().await?.send("names").await?.text();
        Ok(names.lines().map(|name| Attack::Guest(name.to_owned().into())).collect())
    }
}

/// Something that a host has to bear.
pub(super) enum Attack {
    /// Guests that call a function of the host without end.
    Guest(std::borrow::Cow<'static, str>),
}

impl Attack {
    /// Loops that call nothing: what all others are compared with.
    pub(super) const NOTHING: Attack = Attack::Guest(std::borrow::Cow::Borrowed("nothing"));

    pub(super) fn name(&self) -> &str {
        match self {
            Attack::Guest(name) => name,
        }
    }

    /// Begin it.
    pub(super) async fn begin(&self, stage: &Stage) -> Result<Running> {
        match self {
            Attack::Guest(name) => {
                let mut sessions = Vec::new();
                for _ in 0..stage.host.options().guest_threads {
                    let session = stage.attacker().await?;
                    let (attacking, name) = (session.clone(), name.clone().into_owned());
                    let turn = tokio::spawn(async move { attacking.send(name).await });
                    sessions.push((session, turn));
                }
                Ok(Running { begun: Instant::now(), sessions })
            }
        }
    }
}

/// An attack that runs.
pub(super) struct Running {
    begun: Instant,
    sessions: Vec<(SessionHandle, JoinHandle<Result<Reply, SendError>>)>,
}

impl Running {
    /// End it. Returns what a second of it has cost, in nano-USD, where anybody pays for it.
    pub(super) async fn end(self) -> Result<Option<f64>> {
        let mut cost = 0;
        let mut time = Duration::ZERO;
        for (session, turn) in self.sessions {
            if turn.is_finished() {
                bail!("the attack came to its end: {:?}", turn.await?.map(|reply| reply.text()));
            }
            session.force_kill().await?;
            time = self.begun.elapsed();
            let Err(SendError::Failed(ended)) = turn.await? else {
                bail!("the attack was not ended by force")
            };
            cost += ended.turn.cost.0;
            session.delete().await.context("the session of an attack stays")?;
        }
        #[expect(clippy::cast_precision_loss, reason = "figures are rounded to a few digits")]
        Ok(Some(cost as f64 / time.as_secs_f64()))
    }
}
