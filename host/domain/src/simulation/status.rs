//! Where a simulated world is in its life.

/// Where a simulated world is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SimulationStatus {
    /// It was made, and has not been started.
    Created,
    /// It goes on, tick by tick. So it does again after the next start of its host.
    Running,
    /// It stands between two ticks, and can go on.
    Paused(PauseCause),
    /// It has come to its last tick.
    Completed,
    /// A caller has ended it.
    Stopped,
    /// Its members did what cannot be done.
    Failed,
}

/// Why a world stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PauseCause {
    /// A caller has asked for it.
    Requested,
    /// It has made the steps that a caller has asked for.
    Stepped,
    /// Its program says so.
    Program,
    /// It has used its fuel.
    Fuel,
    /// It has run for as long as it may.
    WallTime,
    /// Its calls of language models could cost more than is left of what it, or its owner, may spend.
    Money,
    /// Its calls of language models have taken the tokens that it may take.
    Tokens,
    /// A language model that a member asks does not answer now.
    Model,
    /// The host cannot go on with it now.
    Host,
}

impl SimulationStatus {
    /// All of them.
    pub const ALL: [SimulationStatus; 14] = [
        SimulationStatus::Created,
        SimulationStatus::Running,
        SimulationStatus::Paused(PauseCause::Requested),
        SimulationStatus::Paused(PauseCause::Stepped),
        SimulationStatus::Paused(PauseCause::Program),
        SimulationStatus::Paused(PauseCause::Fuel),
        SimulationStatus::Paused(PauseCause::WallTime),
        SimulationStatus::Paused(PauseCause::Money),
        SimulationStatus::Paused(PauseCause::Tokens),
        SimulationStatus::Paused(PauseCause::Model),
        SimulationStatus::Paused(PauseCause::Host),
        SimulationStatus::Completed,
        SimulationStatus::Stopped,
        SimulationStatus::Failed,
    ];

    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SimulationStatus::Created => "created",
            SimulationStatus::Running => "running",
            SimulationStatus::Paused(_) => "paused",
            SimulationStatus::Completed => "completed",
            SimulationStatus::Stopped => "stopped",
            SimulationStatus::Failed => "failed",
        }
    }

    /// Why it stands still, where it does.
    #[must_use]
    pub fn pause(self) -> Option<PauseCause> {
        match self {
            SimulationStatus::Paused(cause) => Some(cause),
            SimulationStatus::Created
            | SimulationStatus::Running
            | SimulationStatus::Completed
            | SimulationStatus::Stopped
            | SimulationStatus::Failed => None,
        }
    }

    /// Whether the world can go on.
    #[must_use]
    pub fn can_go_on(self) -> bool {
        match self {
            SimulationStatus::Created | SimulationStatus::Paused(_) => true,
            SimulationStatus::Running
            | SimulationStatus::Completed
            | SimulationStatus::Stopped
            | SimulationStatus::Failed => false,
        }
    }
}

impl PauseCause {
    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PauseCause::Requested => "requested",
            PauseCause::Stepped => "stepped",
            PauseCause::Program => "program",
            PauseCause::Fuel => "budget_fuel",
            PauseCause::WallTime => "budget_wall_time",
            PauseCause::Money => "budget_usd",
            PauseCause::Tokens => "budget_tokens",
            PauseCause::Model => "model",
            PauseCause::Host => "host",
        }
    }
}
