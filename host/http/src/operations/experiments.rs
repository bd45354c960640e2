//! `/api/experiments`

use crate::codes::{COMPILED, Code, STORED};
use crate::model::experiment::ExperimentBody;
use crate::operation::{Content, Operation, Tag};

fn of_one(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Tag::Experiments, id, summary).fails(&[Code::ExperimentNotFound])
}

pub(crate) fn create() -> Operation {
    let summary =
        "Runs a simulation with many parameters and seeds, run after run, into one table.";
    Operation::new(Tag::Experiments, "createExperiment", summary)
        .fails(COMPILED)
        .fails(STORED)
        .fails(&[Code::InvalidName, Code::AgentNotFound, Code::TooManyExperiments])
        .fails(&[Code::InvalidField, Code::WorldFailed, Code::WorldTooLarge, Code::OutOfMemory])
        .fails(&[Code::ShuttingDown])
}

pub(crate) fn list() -> Operation {
    let summary = "Lists the experiments of the caller, the oldest first.";
    Operation::new(Tag::Experiments, "listExperiments", summary)
}

pub(crate) fn show() -> Operation {
    of_one("getExperiment", "Shows an experiment.")
}

pub(crate) fn remove() -> Operation {
    let summary = "Removes an experiment and the simulations of its runs, whatever they do.";
    of_one("deleteExperiment", summary).fails(STORED).fails(&[Code::ShuttingDown])
}

pub(crate) fn pause() -> Operation {
    let summary = "Lets an experiment stand still, and the simulations of its runs. The answer is there once they do.";
    of_one("pauseExperiment", summary)
}

pub(crate) fn resume() -> Operation {
    let summary = "Lets an experiment go on that is paused, with more budget where it needs some.";
    of_one("resumeExperiment", summary).fails(STORED).fails(&[Code::ShuttingDown])
}

pub(crate) fn runs() -> Operation {
    of_one("listExperimentRuns", "Lists the runs of an experiment, with what they have come to.")
}

pub(crate) fn csv() -> Operation {
    let summary = "The table of the runs that are over, as CSV.";
    of_one("getExperimentCsv", summary).answers_with(200, Content::Text("text/csv")).fails(&[
        Code::TooLarge,
        Code::OutOfMemory,
        Code::Overloaded,
    ])
}

pub(crate) fn jsonl() -> Operation {
    let summary = "The table of the runs that are over, as a JSON document a line.";
    of_one("getExperimentJsonl", summary)
        .answers_with(200, Content::Text("application/x-ndjson"))
        .fails(&[Code::TooLarge, Code::OutOfMemory, Code::Overloaded])
}

pub(crate) fn events() -> Operation {
    of_one("followExperiment", "Follows an experiment, run by run, until it stands still.")
        .streams::<ExperimentBody>()
        .fails(&[Code::TooManyStreams, Code::OutOfMemory, Code::Overloaded])
}
