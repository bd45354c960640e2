//! What cannot be read is told to the client as an error, and tells nothing of the host.

use crate::clones::random_session;
use crate::server::Server;
use crate::support::Git;

#[test]
fn a_history_that_lacks_something_ends_with_an_error_that_the_client_shows() {
    let (session, revisions) = random_session(20, 31);
    let server = Server::new(session.repository());
    session.shelf.lose_blobs(1_000);
    let git = Git::new("2");
    let said = git.fails(".", &["clone", &server.url(), "first"]);
    assert!(said.contains("the host cannot read this repository now"), "{said}");
    session.shelf.lose_revision(&revisions[3]);
    let said = git.fails(".", &["clone", &server.url(), "second"]);
    assert!(said.contains("the host cannot read this repository now"), "{said}");
    assert!(server.errors().iter().all(dormouse_git::Error::is_fault));
}
