//! What goes over the control socket, a line of JSON each way, and what `--json` prints.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::keys::wire::{KeyAnswer, KeyRequest};
use dormouse::{BackupSummary, CheckReport, StoreUsage};
use dormouse_store::upkeep::{
    LogUsage, OverlayUsage, PackUsage, RepairReport, RepairedSession, RestoreSummary,
};

/// What a host is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum UpkeepRequest {
    Check,
    Stat,
    Compact,
    Backup { directory: PathBuf },
    Keys { request: KeyRequest },
}

/// What has come of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum UpkeepAnswer {
    Check(CheckOutput),
    Stat(UsageOutput),
    Compact(UsageOutput),
    Backup(BackupOutput),
    Repair(RepairOutput),
    Restore(BackupOutput),
    Keys(KeyAnswer),
    /// Nothing: it was not done. A sentence that says what to do.
    Refused {
        error: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckOutput {
    pub(super) well: bool,
    pub(super) problems: u64,
    pub(super) read: CensusOutput,
    /// The sessions that the findings below concern.
    pub(super) sessions: Vec<String>,
    pub(super) findings: Vec<FindingOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CensusOutput {
    pub(super) sessions: u64,
    pub(super) turns: u64,
    pub(super) snapshots: u64,
    pub(super) blobs: u64,
    pub(super) templates: u64,
    pub(super) agents: u64,
    pub(super) keys: u64,
    pub(super) bytes: u64,
    pub(super) set_aside: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FindingOutput {
    pub(super) problem: String,
    pub(super) session: Option<String>,
    pub(super) what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageOutput {
    pub(super) sessions: u64,
    pub(super) disk_bytes: u64,
    pub(super) free_bytes: u64,
    pub(super) waits_for_space: bool,
    pub(super) heads: PacksOutput,
    pub(super) rows: PacksOutput,
    pub(super) large: PacksOutput,
    pub(super) index_bytes: u64,
    pub(super) log: LogOutput,
    pub(super) overlay: OverlayOutput,
    pub(super) set_aside: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PacksOutput {
    pub(super) packs: u64,
    pub(super) bytes: u64,
    pub(super) live: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogOutput {
    pub(super) slots: u64,
    pub(super) bytes: u64,
    pub(super) last: u64,
    pub(super) applied: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OverlayOutput {
    pub(super) keys: u64,
    pub(super) bytes: u64,
}

/// A backup, made or restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackupOutput {
    pub(super) directory: Option<PathBuf>,
    pub(super) sessions: Option<u64>,
    pub(super) keys: Option<u64>,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RepairOutput {
    pub(super) problems: u64,
    pub(super) done: Vec<String>,
    pub(super) left: Vec<String>,
    pub(super) sessions: Vec<RepairedOutput>,
    pub(super) quarantine: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RepairedOutput {
    pub(super) session: String,
    pub(super) outcome: String,
}

impl UpkeepAnswer {
    /// Whether nothing is wrong.
    pub(super) fn is_well(&self) -> bool {
        match self {
            UpkeepAnswer::Check(check) => check.well,
            UpkeepAnswer::Refused { .. } => false,
            UpkeepAnswer::Repair(repair) => repair.left.is_empty(),
            UpkeepAnswer::Keys(answer) => !matches!(answer, KeyAnswer::Refused { .. }),
            UpkeepAnswer::Stat(_)
            | UpkeepAnswer::Compact(_)
            | UpkeepAnswer::Backup(_)
            | UpkeepAnswer::Restore(_) => true,
        }
    }

    /// One line: what there is to tell, without the name of the command.
    pub(super) fn to_json(&self) -> String {
        let line = match self {
            UpkeepAnswer::Check(check) => serde_json::to_string(check),
            UpkeepAnswer::Stat(stat) | UpkeepAnswer::Compact(stat) => serde_json::to_string(stat),
            UpkeepAnswer::Backup(copied) | UpkeepAnswer::Restore(copied) => {
                serde_json::to_string(copied)
            }
            UpkeepAnswer::Repair(repair) => serde_json::to_string(repair),
            UpkeepAnswer::Keys(answer) => answer.to_json(),
            UpkeepAnswer::Refused { .. } => serde_json::to_string(self),
        };
        line.map_or_else(|error| error.to_string(), |line| line + "\n")
    }
}

impl From<CheckReport> for UpkeepAnswer {
    fn from(report: CheckReport) -> UpkeepAnswer {
        let sessions = report.sessions().iter().map(ToString::to_string).collect();
        let read = report.read;
        UpkeepAnswer::Check(CheckOutput {
            well: report.is_well(),
            problems: report.problems,
            read: CensusOutput {
                sessions: read.sessions,
                turns: read.turns,
                snapshots: read.snapshots,
                blobs: read.blobs,
                templates: read.templates,
                agents: read.agents,
                keys: read.keys,
                bytes: read.bytes,
                set_aside: read.set_aside,
            },
            sessions,
            findings: report
                .findings
                .into_iter()
                .map(|finding| FindingOutput {
                    problem: finding.problem.as_str().to_owned(),
                    session: finding.session.map(|session| session.to_string()),
                    what: finding.what,
                })
                .collect(),
        })
    }
}

impl From<StoreUsage> for UsageOutput {
    fn from(usage: StoreUsage) -> UsageOutput {
        let packs = |PackUsage { packs, bytes, live }| PacksOutput { packs, bytes, live };
        let LogUsage { slots, bytes, last, applied } = usage.log;
        let OverlayUsage { keys, bytes: overlay_bytes } = usage.overlay;
        UsageOutput {
            sessions: usage.sessions,
            disk_bytes: usage.disk_bytes(),
            free_bytes: usage.free_bytes,
            waits_for_space: usage.waits_for_space,
            heads: packs(usage.heads),
            rows: packs(usage.rows),
            large: packs(usage.large),
            index_bytes: usage.index_bytes,
            log: LogOutput { slots, bytes, last, applied },
            overlay: OverlayOutput { keys, bytes: overlay_bytes },
            set_aside: usage.set_aside,
        }
    }
}

impl UpkeepAnswer {
    /// What is left after a compaction.
    pub(crate) fn compacted(usage: StoreUsage) -> UpkeepAnswer {
        UpkeepAnswer::Compact(usage.into())
    }

    /// What everything takes.
    pub(crate) fn stat(usage: StoreUsage) -> UpkeepAnswer {
        UpkeepAnswer::Stat(usage.into())
    }

    /// A backup in this directory.
    pub(crate) fn backup(directory: PathBuf, summary: BackupSummary) -> UpkeepAnswer {
        let BackupSummary { keys, files, bytes } = summary;
        let (directory, keys) = (Some(directory), Some(keys));
        UpkeepAnswer::Backup(BackupOutput { directory, sessions: None, keys, files, bytes })
    }
}

impl From<RestoreSummary> for UpkeepAnswer {
    fn from(summary: RestoreSummary) -> UpkeepAnswer {
        let RestoreSummary { sessions, files, bytes } = summary;
        let sessions = Some(sessions);
        UpkeepAnswer::Restore(BackupOutput { directory: None, sessions, keys: None, files, bytes })
    }
}

impl From<RepairReport> for UpkeepAnswer {
    fn from(report: RepairReport) -> UpkeepAnswer {
        let repaired = |repaired: RepairedSession| RepairedOutput {
            session: repaired.session.to_string(),
            outcome: repaired.outcome.as_str().to_owned(),
        };
        UpkeepAnswer::Repair(RepairOutput {
            problems: report.problems,
            done: report.done,
            left: report.left,
            sessions: report.sessions.into_iter().map(repaired).collect(),
            quarantine: report.quarantine,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_store::upkeep::Problem;

    #[test]
    fn requests_and_answers_read_back() {
        let directory = PathBuf::from("/tmp/a \"backup\"\nin two lines");
        let line = serde_json::to_string(&UpkeepRequest::Backup { directory: directory.clone() });
        let line = line.expect("it is text");
        assert!(!line.contains('\n'));
        assert_eq!(
            serde_json::from_str::<UpkeepRequest>(&line).ok(),
            Some(UpkeepRequest::Backup { directory })
        );
        let mut report = CheckReport::default();
        report.add(Problem::Missing, None, "a pack".to_owned());
        for answer in [UpkeepAnswer::from(report), UpkeepAnswer::stat(StoreUsage::default())] {
            let line = serde_json::to_string(&answer).expect("it is text");
            assert_eq!(serde_json::from_str::<UpkeepAnswer>(&line).ok(), Some(answer));
        }
    }

    #[test]
    fn a_request_for_something_else_is_not_understood() {
        for line in [r#"{"command":"repair"}"#, r#"{"command":"backup"}"#, "{}", "[]", ""] {
            assert!(serde_json::from_str::<UpkeepRequest>(line).is_err(), "{line}");
        }
    }
}
