//! `/api/simulations`

use crate::codes::{COMPILED, Code, STORED};
use crate::model::simulation::SimulationBody;
use crate::operation::{Content, Operation, Tag};

/// What a world can be answered with that is made or goes on.
const WORLD: &[Code] = &[
    Code::InvalidField,
    Code::WorldTooLarge,
    Code::WorldFailed,
    Code::OutOfMemory,
    Code::ShuttingDown,
];

fn of_one(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Tag::Simulations, id, summary).fails(&[Code::SimulationNotFound])
}

fn changes(id: &'static str, summary: &'static str) -> Operation {
    of_one(id, summary).fails(STORED).fails(&[Code::SimulationStatus, Code::ShuttingDown])
}

pub(crate) fn create() -> Operation {
    let summary = "Creates a simulation: a world of many members, reproducible to the bit.";
    Operation::new(Tag::Simulations, "createSimulation", summary)
        .fails(COMPILED)
        .fails(STORED)
        .fails(WORLD)
        .fails(&[Code::InvalidName, Code::AgentNotFound, Code::TooManySimulations])
        .fails(&[Code::SimulationStatus])
}

pub(crate) fn list() -> Operation {
    let summary = "Lists the simulations of the caller, the oldest first.";
    Operation::new(Tag::Simulations, "listSimulations", summary)
}

pub(crate) fn show() -> Operation {
    of_one("getSimulation", "Shows a simulation.")
}

pub(crate) fn remove() -> Operation {
    changes("deleteSimulation", "Removes a simulation, whatever it does.")
}

pub(crate) fn start() -> Operation {
    changes("startSimulation", "Starts a simulation, or lets one that is paused go on.")
}

pub(crate) fn resume() -> Operation {
    let summary = "The same as `start`: lets a simulation that is paused go on, with more budget where it needs some.";
    changes("resumeSimulation", summary)
}

pub(crate) fn step() -> Operation {
    changes("stepSimulation", "Lets a simulation go on by some ticks.")
}

pub(crate) fn pause() -> Operation {
    let summary =
        "Lets a simulation stand still between two ticks. The answer is there once it does.";
    of_one("pauseSimulation", summary)
}

pub(crate) fn stop() -> Operation {
    changes("stopSimulation", "Ends a simulation. What has come of it stays.")
}

pub(crate) fn set() -> Operation {
    let summary = "Gives parameters of a role other values before the next tick. That becomes a part of the simulation.";
    changes("setSimulation", summary).fails(&[Code::WorldFailed])
}

pub(crate) fn send() -> Operation {
    let summary = "Sends a mail to members that are sessions. It arrives with the next tick, and becomes a part of the simulation.";
    changes("sendToSimulation", summary).fails(&[Code::WorldFailed])
}

pub(crate) fn survey() -> Operation {
    let summary =
        "Asks members that are sessions something, of which nothing is left in the simulation.";
    of_one("surveySimulation", summary).fails(WORLD).fails(STORED).fails(COMPILED).fails(&[
        Code::SimulationStatus,
        Code::AgentNotFound,
        Code::InvalidName,
    ])
}

pub(crate) fn fork() -> Operation {
    let summary = "Makes simulations that have come to where this one was before a tick, and go on with other parameters.";
    changes("forkSimulation", summary).fails(&[Code::TickNotReached, Code::TooManySimulations])
}

pub(crate) fn verify() -> Operation {
    let summary = "Runs a simulation that is completed again, and compares everything. As long as that takes.";
    of_one("verifySimulation", summary).fails(WORLD).fails(COMPILED).fails(&[
        Code::SimulationStatus,
        Code::AgentNotFound,
        Code::InvalidName,
    ])
}

pub(crate) fn spec() -> Operation {
    let summary = "Shows the specification of a simulation, with all that was done to it since.";
    of_one("getSimulationSpec", summary)
}

pub(crate) fn ticks() -> Operation {
    let summary = "Lists what has come of the ticks of a simulation: hashes, and the aggregates that were due.";
    of_one("listSimulationTicks", summary)
}

pub(crate) fn members() -> Operation {
    let summary = "Lists what members of a role publish. A simulation that stands still is made again for it.";
    of_one("listSimulationMembers", summary).fails(WORLD).fails(&[Code::TickNotReached])
}

pub(crate) fn diff() -> Operation {
    let summary =
        "Compares two simulations: the first tick that differs, and their aggregates side by side.";
    of_one("diffSimulations", summary)
}

pub(crate) fn bundle() -> Operation {
    let summary = "A simulation that is completed as a file that somebody else can verify: `dormouse sim verify`.";
    of_one("getSimulationBundle", summary)
        .answers_with(200, Content::Binary("application/x-tar"))
        .fails(&[Code::SimulationStatus, Code::TooLarge, Code::OutOfMemory, Code::Overloaded])
}

pub(crate) fn events() -> Operation {
    let summary = "Follows a simulation, about each second, until it stands still.";
    of_one("followSimulation", summary).streams::<SimulationBody>().fails(&[
        Code::TooManyStreams,
        Code::OutOfMemory,
        Code::Overloaded,
    ])
}
