//! Equal revisions have equal ids, whatever was asked before.

use dormouse_git::Cache;

use crate::clones::random_session;

#[test]
fn ids_do_not_depend_on_the_cache_nor_on_the_order_of_questions() {
    let (session, revisions) = random_session(80, 11);
    let ids = |cache: &Cache, order: &mut dyn Iterator<Item = usize>| {
        let mut ids = vec![None; revisions.len()];
        for at in order {
            ids[at] = Some(session.repository_with(cache).commit_id(&revisions[at]).unwrap());
        }
        ids
    };
    let count = revisions.len();
    let expected = ids(&Cache::new(16 << 20), &mut (0..count));
    let warm = Cache::new(16 << 20);
    assert_eq!(ids(&warm, &mut (0..count).rev()), expected);
    assert_eq!(ids(&warm, &mut (0..count)), expected);
    assert_eq!(ids(&Cache::new(0), &mut (0..count).map(|at| at * 37 % count)), expected);
}
