//! Whom it concerns that a store does not open.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::engine::Engine;
use super::super::keys::{self, SessionRow};
use super::super::{OpenError, Options};
use super::audit::Audit;
use super::offline::parts;
use dormouse_domain::id::SessionId;

/// How many sessions are named.
const NAMED: usize = 5;

/// Add to a refusal which sessions it concerns, as far as that can be known.
pub(in super::super) fn with_sessions(
    error: OpenError,
    root: &Path,
    options: &Options,
) -> OpenError {
    let OpenError::Refused(what) = error else { return error };
    match concerned(root, options) {
        Some(sessions) => OpenError::Refused(format!("{what}. {}", name(&sessions))),
        None => OpenError::Refused(what),
    }
}

/// The sessions of which something is lost: `None` where the index does not tell.
fn concerned(root: &Path, options: &Options) -> Option<BTreeSet<SessionId>> {
    let (io, index) = parts(root, options).ok()?;
    let mut sessions = BTreeSet::new();
    let mut audit = Audit::new(false);
    let mut shared_is_lost = false;
    Engine::concerned(&io, &index, &mut |key, _| {
        sessions.extend(keys::concerned(key));
        shared_is_lost |= key.first() == Some(&keys::CONTENT);
        audit.lose(key);
    })
    .ok()?;
    if shared_is_lost {
        // Whose it is stand in the snapshots.
        let wants = |key: &[u8]| {
            matches!(key, [keys::CONTENT, b'l' | b'n', ..])
                || matches!(keys::row_of(key), Some((_, SessionRow::Snapshot(_))))
        };
        let see = &mut |key: &[u8], value| {
            audit.see(key, value);
            true
        };
        Engine::read(&io, &index, &wants, see).ok()?;
        sessions.extend(audit.finish().sessions);
    }
    Some(sessions)
}

fn name(sessions: &BTreeSet<SessionId>) -> String {
    let named: Vec<_> = sessions.iter().take(NAMED).map(ToString::to_string).collect();
    match sessions.len() {
        0 => "Which sessions are concerned cannot be told".to_owned(),
        1 => format!("One session is concerned: {}", named[0]),
        count if count <= NAMED => format!("{count} sessions are concerned: {}", named.join(", ")),
        count => format!(
            "{count} sessions are concerned: {} and {} more, which `dormouse store check --json` lists",
            named.join(", "),
            count - NAMED
        ),
    }
}
