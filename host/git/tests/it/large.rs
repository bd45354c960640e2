//! A large file goes out in pieces.

use crate::server::Server;
use crate::support::{Git, Session, files_in, files_of};

#[test]
fn a_file_of_50_mb_is_cloned_as_it_is() {
    let mut session = Session::new();
    let mut state: u64 = 9;
    let bytes: Vec<u8> = (0..50_000_000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    session.put("large", &bytes);
    let head = session.turn("large");
    let server = Server::new(session.repository());
    let git = Git::new("2");
    let clone = git.clone(&server.url(), "clone");
    assert!(files_in(&clone) == files_of(&session.tree(&head)));
    assert_eq!(server.errors(), []);
}
