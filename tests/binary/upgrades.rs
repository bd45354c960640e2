//! The commands of an operator on a data directory that an earlier version has written.

use dormouse_tests::{Server, unpack};
use serde_json::json;

use crate::DORMOUSE;
use crate::operator::{is_well, operate};

/// What the release of 21 November 2026 has written.
const NOVEMBER: &str = "data-2026-11-21";

#[tokio::test]
async fn an_earlier_directory_is_checked_and_backed_up_as_it_is_and_then_served_to_its_owners() {
    let directory = tempfile::tempdir().unwrap();
    let told = unpack(NOVEMBER, directory.path()).unwrap();
    let (data, backup) = (directory.path().join("killed"), directory.path().join("backup"));
    let read = &is_well(&data)["read"];
    assert_eq!(
        (&read["sessions"], &read["turns"], &read["agents"]),
        (&json!(2), &json!(40), &json!(6))
    );
    assert_eq!(operate(&data, &["store", "stat"]).code, 0);
    let done = operate(&data, &["backup", backup.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.complained);
    let restored = directory.path().join("restored");
    let done = operate(&restored, &["restore", backup.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.complained);
    is_well(&restored);

    let key = |name: &str| {
        let hash = dormouse_http::ApiKey::new(dormouse::Principal(name.to_owned()), name);
        hash.to_string()
    };
    let keys = [key("ann"), key("ben")].join(",");
    for data in [&data, &restored] {
        let server = Server::start(DORMOUSE, data, &["--api-keys", &keys]).unwrap();
        let ann = server.client().with_key("ann");
        let id = told["killed"]["first"]["id"].as_str().unwrap();
        assert_eq!(ann.ask(id, "and now").await.unwrap(), "turn 21: and now");
        let (_, session) = ann.get(&format!("/api/sessions/{id}")).await.unwrap();
        assert_eq!(
            (&session["agent"]["owner"], &session["agent"]["name"]),
            (&json!("ben"), &json!("mine"))
        );
        assert_eq!(ann.get("/api/agents/mine").await.unwrap().0, 404);
        let ben = server.client().with_key("ben");
        assert_eq!(ben.get("/api/agents/mine").await.unwrap().0, 200);
        assert_eq!(server.terminate().unwrap(), Some(0));
        is_well(data);
    }
}

#[test]
fn an_earlier_directory_is_repaired_where_it_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    unpack(NOVEMBER, directory.path()).unwrap();
    let data = directory.path().join("closed");
    // A byte in each pack of rows: snapshots, turns, events.
    for pack in std::fs::read_dir(data.join("store/packs")).unwrap() {
        let pack = pack.unwrap();
        if pack.file_name().to_str().unwrap().starts_with("r-") {
            let mut bytes = std::fs::read(pack.path()).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(pack.path(), bytes).unwrap();
        }
    }
    assert_eq!(operate(&data, &["store", "check"]).code, 1);
    let repaired = operate(&data, &["store", "repair", "--quarantine"]);
    assert_eq!(repaired.code, 0, "{}{}", repaired.said, repaired.complained);
    let read = &is_well(&data)["read"];
    assert_eq!((&read["sessions"], &read["agents"]), (&json!(14), &json!(13)));
}
