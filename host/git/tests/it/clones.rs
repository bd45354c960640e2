//! A clone has each revision as it was.

use crate::server::Server;
use crate::support::{Git, Random, Session, files_in, files_of};
use dormouse_git::RevisionId;

/// A session of so many turns, each with some random changes.
pub fn random_session(turns: usize, seed: u64) -> (Session, Vec<RevisionId>) {
    let mut random = Random(seed);
    let mut session = Session::new();
    let mut revisions = Vec::new();
    let mut paths: Vec<String> = Vec::new();
    for turn in 0..turns {
        for _ in 0..=random.below(5) {
            match random.below(10) {
                0..6 => {
                    let depth = random.below(3);
                    let above: String =
                        (0..depth).map(|_| format!("d{}/", random.below(4))).collect();
                    let path = format!("{above}f{}", random.below(9));
                    let size = if random.below(8) == 0 { 200_000 } else { 100 };
                    let bytes: Vec<u8> =
                        (0..random.below(size)).map(|_| random.below(256) as u8).collect();
                    session.put(&path, &bytes);
                    paths.push(path);
                }
                6..8 if !paths.is_empty() => {
                    let path = paths.swap_remove(random.below(paths.len()));
                    session.at(|it, root| drop(it.unlink(root, &path)));
                }
                8 => {
                    let number = random.below(5);
                    session
                        .at(|it, root| drop(it.symlink("d1/f1", root, &format!("link{number}"))));
                }
                _ => {
                    let (from, to) = (random.below(4), random.below(4));
                    let (from, to) = (format!("d{from}"), format!("m{to}"));
                    session.at(|it, root| drop(it.rename(root, &from, root, &to)));
                }
            }
        }
        revisions.push(session.turn(&format!("turn {turn}")));
    }
    (session, revisions)
}

#[test]
fn each_revision_of_a_random_history_is_a_commit_with_its_files() {
    let (session, revisions) = random_session(200, 7);
    let server = Server::new(session.repository());
    for version in ["0", "2"] {
        let git = Git::new(version);
        let clone = git.clone(&server.url(), "clone");
        assert_eq!(git.ok("clone", &["symbolic-ref", "HEAD"]), "refs/heads/main");
        let log = git.ok("clone", &["log", "--reverse", "--format=%H %s"]);
        let log: Vec<&str> = log.lines().collect();
        assert_eq!(log.len(), revisions.len());
        for (turn, (line, revision)) in log.iter().zip(&revisions).enumerate() {
            let (id, message) = line.split_once(' ').unwrap();
            assert_eq!(message, format!("turn {turn}"));
            let commit = session.repository().commit_id(revision);
            assert_eq!(commit.unwrap().to_string(), id);
            if turn % 7 == 0 || turn + 1 == log.len() {
                git.ok("clone", &["checkout", "--quiet", id]);
                assert_eq!(files_in(&clone), files_of(&session.tree(revision)), "turn {turn}");
            }
        }
        assert_eq!(server.errors(), []);
    }
}

#[test]
fn a_session_without_revisions_is_an_empty_repository() {
    let session = Session::new();
    let server = Server::new(session.repository());
    for version in ["0", "2"] {
        let git = Git::new(version);
        git.ok(".", &["clone", &server.url(), "clone"]);
        assert_eq!(git.ok("clone", &["status", "--porcelain"]), "");
    }
}
