//! Requests that are none are refused, within bounds.

use dormouse_git::{Error, Protocol};
use proptest::prelude::*;

use crate::clones::random_session;

fn packet(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

proptest! {
    #[test]
    fn random_bytes_get_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300), v2 in any::<bool>()) {
        let (session, _) = random_session(2, 1);
        let protocol = if v2 { Protocol::V2 } else { Protocol::V0 };
        if let Ok(answer) = session.repository().upload_pack(protocol, &bytes) {
            prop_assert!(answer.take(10_000).count() < 10_000);
        }
    }

    #[test]
    fn a_request_that_is_cut_off_or_changed_gets_an_answer_or_an_error(cut in 0_usize..400, flip in 0_usize..400, bit in 0_u8..8) {
        let (session, revisions) = random_session(3, 1);
        let repository = session.repository();
        let want = repository.commit_id(&revisions[2]).unwrap();
        let lines = ["command=fetch\n".to_owned(), "object-format=sha1\n".to_owned()].map(|line| packet(&line)).concat()
            + "0001" + &["thin-pack\n".to_owned(), "ofs-delta\n".to_owned(), format!("want {want}\n"), "done\n".to_owned()].map(|line| packet(&line)).concat() + "0000";
        let mut bytes = lines.into_bytes();
        let whole = repository.upload_pack(Protocol::V2, &bytes).unwrap().map(Result::unwrap).count();
        prop_assert!(whole > 1);
        if let Some(byte) = bytes.get_mut(flip) {
            *byte ^= 1 << bit;
        }
        bytes.truncate(cut.max(4));
        for protocol in [Protocol::V0, Protocol::V2] {
            if let Ok(answer) = repository.upload_pack(protocol, &bytes) {
                prop_assert!(answer.take(10_000).count() < 10_000);
            }
        }
    }
}

#[test]
fn too_much_is_refused() {
    let (session, _) = random_session(2, 1);
    let repository = session.repository();
    let want = packet("want 0123456789012345678901234567890123456789\n");
    let head = packet("command=fetch\n") + "0001";
    let many = |word: &str, count: u32| -> String {
        (0..count).map(|number| packet(&format!("{word} {number:040x}\n"))).collect()
    };
    for (word, count) in [("want", 70_000), ("have", 140_000)] {
        let request = format!("{head}{}{}0000", many(word, count), packet("done\n"));
        let refused = repository.upload_pack(Protocol::V2, request.as_bytes()).err();
        assert!(matches!(refused, Some(Error::TooMany { .. })), "{word}: {refused:?}");
    }
    let refused = repository.upload_pack(Protocol::V2, &vec![b'0'; 9 << 20]).err();
    assert!(matches!(refused, Some(Error::TooMany { .. })), "{refused:?}");
    let stranger = format!("{head}{want}{}0000", packet("done\n"));
    let answer = repository.upload_pack(Protocol::V2, stranger.as_bytes());
    let refused = match answer {
        Ok(answer) => answer.filter_map(Result::err).next(),
        Err(error) => Some(error),
    };
    assert!(matches!(refused, Some(Error::Refused(_))), "{refused:?}");
}
