//! What goes over the control socket, a line of JSON each way, and what `--json` prints.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use dormouse::{BackupSummary, CheckReport, StoreUsage};
use dormouse_store::upkeep::{LogUsage, OverlayUsage, PackUsage, RepairReport, RestoreSummary};

/// What a host is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Request {
    Check,
    Stat,
    Compact,
    Backup { directory: PathBuf },
}

/// What has come of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    Check(Check),
    Stat(Stat),
    Compact(Stat),
    Backup(Copied),
    Repair(Repair),
    Restore(Copied),
    /// Nothing: it was not done. A sentence that says what to do.
    Refused {
        error: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Check {
    pub(super) well: bool,
    pub(super) problems: u64,
    pub(super) read: Read,
    /// The sessions that the findings below concern.
    pub(super) sessions: Vec<String>,
    pub(super) findings: Vec<Finding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Read {
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
pub(super) struct Finding {
    pub(super) problem: String,
    pub(super) session: Option<String>,
    pub(super) what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stat {
    pub(super) sessions: u64,
    pub(super) disk_bytes: u64,
    pub(super) free_bytes: u64,
    pub(super) waits_for_space: bool,
    pub(super) heads: Packs,
    pub(super) rows: Packs,
    pub(super) large: Packs,
    pub(super) index_bytes: u64,
    pub(super) log: Log,
    pub(super) overlay: Overlay,
    pub(super) set_aside: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Packs {
    pub(super) packs: u64,
    pub(super) bytes: u64,
    pub(super) live: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Log {
    pub(super) slots: u64,
    pub(super) bytes: u64,
    pub(super) last: u64,
    pub(super) applied: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overlay {
    pub(super) keys: u64,
    pub(super) bytes: u64,
}

/// A backup, made or restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Copied {
    pub(super) directory: Option<PathBuf>,
    pub(super) sessions: Option<u64>,
    pub(super) keys: Option<u64>,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Repair {
    pub(super) problems: u64,
    pub(super) done: Vec<String>,
    pub(super) left: Vec<String>,
    pub(super) sessions: Vec<Mended>,
    pub(super) quarantine: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mended {
    pub(super) session: String,
    pub(super) outcome: String,
}

impl Answer {
    /// Whether nothing is wrong.
    pub(super) fn is_well(&self) -> bool {
        match self {
            Answer::Check(check) => check.well,
            Answer::Refused { .. } => false,
            Answer::Repair(repair) => repair.left.is_empty(),
            Answer::Stat(_) | Answer::Compact(_) | Answer::Backup(_) | Answer::Restore(_) => true,
        }
    }

    /// One line: what there is to tell, without the name of the command.
    pub(super) fn to_json(&self) -> String {
        let line = match self {
            Answer::Check(check) => serde_json::to_string(check),
            Answer::Stat(stat) | Answer::Compact(stat) => serde_json::to_string(stat),
            Answer::Backup(copied) | Answer::Restore(copied) => serde_json::to_string(copied),
            Answer::Repair(repair) => serde_json::to_string(repair),
            Answer::Refused { .. } => serde_json::to_string(self),
        };
        line.map_or_else(|error| error.to_string(), |line| line + "\n")
    }
}

impl From<CheckReport> for Answer {
    fn from(report: CheckReport) -> Answer {
        let sessions = report.sessions().iter().map(ToString::to_string).collect();
        let read = report.read;
        Answer::Check(Check {
            well: report.is_well(),
            problems: report.problems,
            read: Read {
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
                .map(|finding| Finding {
                    problem: finding.problem.as_str().to_owned(),
                    session: finding.session.map(|session| session.to_string()),
                    what: finding.what,
                })
                .collect(),
        })
    }
}

impl From<StoreUsage> for Stat {
    fn from(usage: StoreUsage) -> Stat {
        let packs = |PackUsage { packs, bytes, live }| Packs { packs, bytes, live };
        let LogUsage { slots, bytes, last, applied } = usage.log;
        let OverlayUsage { keys, bytes: overlay_bytes } = usage.overlay;
        Stat {
            sessions: usage.sessions,
            disk_bytes: usage.disk_bytes(),
            free_bytes: usage.free_bytes,
            waits_for_space: usage.waits_for_space,
            heads: packs(usage.heads),
            rows: packs(usage.rows),
            large: packs(usage.large),
            index_bytes: usage.index_bytes,
            log: Log { slots, bytes, last, applied },
            overlay: Overlay { keys, bytes: overlay_bytes },
            set_aside: usage.set_aside,
        }
    }
}

impl Answer {
    /// What is left after a compaction.
    pub(crate) fn compacted(usage: StoreUsage) -> Answer {
        Answer::Compact(usage.into())
    }

    /// What everything takes.
    pub(crate) fn stat(usage: StoreUsage) -> Answer {
        Answer::Stat(usage.into())
    }

    /// A backup in this directory.
    pub(crate) fn backup(directory: PathBuf, summary: BackupSummary) -> Answer {
        let BackupSummary { keys, files, bytes } = summary;
        let (directory, keys) = (Some(directory), Some(keys));
        Answer::Backup(Copied { directory, sessions: None, keys, files, bytes })
    }
}

impl From<RestoreSummary> for Answer {
    fn from(summary: RestoreSummary) -> Answer {
        let RestoreSummary { sessions, files, bytes } = summary;
        let sessions = Some(sessions);
        Answer::Restore(Copied { directory: None, sessions, keys: None, files, bytes })
    }
}

impl From<RepairReport> for Answer {
    fn from(report: RepairReport) -> Answer {
        let mended = |mended: dormouse_store::upkeep::Mended| Mended {
            session: mended.session.to_string(),
            outcome: mended.outcome.as_str().to_owned(),
        };
        Answer::Repair(Repair {
            problems: report.problems,
            done: report.done,
            left: report.left,
            sessions: report.sessions.into_iter().map(mended).collect(),
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
        let line = serde_json::to_string(&Request::Backup { directory: directory.clone() });
        let line = line.expect("it is text");
        assert!(!line.contains('\n'));
        assert_eq!(
            serde_json::from_str::<Request>(&line).ok(),
            Some(Request::Backup { directory })
        );
        let mut report = CheckReport::default();
        report.add(Problem::Missing, None, "a pack".to_owned());
        for answer in [Answer::from(report), Answer::stat(StoreUsage::default())] {
            let line = serde_json::to_string(&answer).expect("it is text");
            assert_eq!(serde_json::from_str::<Answer>(&line).ok(), Some(answer));
        }
    }

    #[test]
    fn a_request_for_something_else_is_not_understood() {
        for line in [r#"{"command":"repair"}"#, r#"{"command":"backup"}"#, "{}", "[]", ""] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }
}
