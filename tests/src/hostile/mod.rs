//! Clients that behave as badly as they can, over real sockets of the loopback, and their neighbours.
//!
//! An [`Attack`] is a number of clients that each do one thing again and again until the attack is ended.
//! All of them call with one key, `mallory`; the [`Neighbours`] call with another and take turns meanwhile.
//! [`Watch`] sees what the host takes.

#![expect(clippy::disallowed_methods, reason = "to read the clock is what measuring is")]

mod documents;
mod floods;
mod frames;
mod neighbours;
mod readers;
mod silence;
mod stage;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use tokio::task::JoinSet;

pub use neighbours::{Caller, Neighbour, Neighbours, Noted};
pub use stage::{BUDGET, Stage, arguments};
pub use watch::{Most, Watch, resident_bytes};

/// How long a client waits before it does the same again: it cannot know whether it was refused.
const AGAIN: Duration = Duration::from_millis(2);

/// What one client does once. The attack begins again with it when it is over, however it has ended.
type Behaviour = fn(Arc<Stage>, usize) -> BoxFuture<'static, Result<()>>;

/// Something that clients do to a host.
#[derive(Clone, Copy)]
pub struct Attack {
    /// What they do.
    pub name: &'static str,
    /// How many do it at a time.
    pub clients: usize,
    /// What neighbours of this attack are compared with.
    pub base: Base,
    /// Whether guests run for those who attack, and are billed to them.
    pub billed: bool,
    behaviour: Behaviour,
}

/// What neighbours of an attack are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nobody else is there.
    Nothing,
    /// As many clients as the attack has ask for something small, again and again.
    Requests,
}

impl Base {
    /// This, as an attack of so many clients.
    #[must_use]
    pub fn attack(self, clients: usize) -> Attack {
        match self {
            Base::Nothing => ATTACKS[0],
            Base::Requests => ATTACKS[1].with(clients),
        }
    }
}

const fn attack(name: &'static str, clients: usize, base: Base, behaviour: Behaviour) -> Attack {
    Attack { name, clients, base, billed: false, behaviour }
}

/// All attacks. The first are none: what the others are compared with.
pub const ATTACKS: [Attack; 26] = [
    attack("nothing", 0, Base::Nothing, floods::requests),
    attack("plain requests", 16, Base::Nothing, floods::requests),
    attack("plain turns", 16, Base::Nothing, floods::turns).billed(),
    attack("readers of turns that do not read", 64, Base::Nothing, readers::turns),
    attack("readers of lists that do not read", 64, Base::Nothing, readers::lists),
    attack("readers of streams that do not read", 32, Base::Nothing, readers::streams).billed(),
    attack("readers without a window, by HTTP/2", 32, Base::Nothing, frames::without_window),
    attack("silent connections", 2_000, Base::Nothing, silence::silent),
    attack("heads that trickle in", 300, Base::Nothing, silence::heads),
    attack("bodies that trickle in", 300, Base::Nothing, silence::bodies),
    attack("bodies without their last byte", 64, Base::Nothing, silence::unfinished),
    attack("messages that wait", 128, Base::Requests, floods::waiting).billed(),
    attack("requests, on many connections", 256, Base::Requests, floods::requests),
    attack("requests, each on a new connection", 16, Base::Requests, floods::connections),
    attack("requests, pipelined", 16, Base::Requests, floods::pipelined),
    attack("requests taken back, by HTTP/2", 16, Base::Requests, frames::taken_back),
    attack("pings, by HTTP/2", 16, Base::Requests, frames::pings),
    attack("messages of clients that hang up", 16, Base::Requests, floods::hang_up).billed(),
    attack("orders of a stranger", 16, Base::Requests, floods::stranger),
    attack("new sessions with large labels", 16, Base::Requests, floods::creations),
    attack("large messages", 16, Base::Requests, floods::large).billed(),
    attack("large JSON", 16, Base::Requests, documents::large),
    attack("deep JSON", 16, Base::Requests, documents::deep),
    attack("parameters without number", 16, Base::Requests, documents::parameters),
    attack("uploads that are none", 16, Base::Requests, documents::no_components),
    attack("uploads that ask for much work", 8, Base::Nothing, documents::costly),
];

impl Attack {
    /// The same by so many clients.
    #[must_use]
    pub const fn with(self, clients: usize) -> Attack {
        Attack { clients, ..self }
    }

    const fn billed(self) -> Attack {
        Attack { billed: true, ..self }
    }

    /// Begin it. Of an attack of many clients all are there when this returns, though not all are connected.
    #[must_use]
    pub fn begin(&self, stage: &Arc<Stage>) -> Running {
        let mut clients = JoinSet::new();
        for number in 0..self.clients {
            let (stage, behaviour) = (stage.clone(), self.behaviour);
            clients.spawn(async move {
                loop {
                    // A host that defends itself breaks off what they do.
                    let _ = behaviour(stage.clone(), number).await;
                    tokio::time::sleep(AGAIN).await;
                }
            });
        }
        Running(clients)
    }
}

/// An attack that goes on until it is ended.
pub struct Running(JoinSet<()>);

impl Running {
    /// End it: all its clients are gone.
    pub async fn end(mut self) {
        self.0.shutdown().await;
    }
}
