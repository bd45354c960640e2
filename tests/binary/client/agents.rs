//! `dormouse agents`

use dormouse_test_guests::{COUNTS_WITHOUT_SAVING, SPENDS_FUEL};

use super::Host;

#[test]
fn agents_are_uploaded_listed_shown_and_removed() {
    let host = Host::start();
    let file = host.directory.path().join("mine.wasm");
    std::fs::write(&file, SPENDS_FUEL.bytes).unwrap();
    let uploaded = host.run(&["agents", "upload", "mine.wasm", "--version", "1"]);
    assert_eq!((uploaded.code, uploaded.out.as_str()), (0, "mine@1 is ready\n"), "{uploaded:?}");
    let named = ["agents", "upload", "mine.wasm", "--name", "other", "--version", "2"];
    assert_eq!(host.json(&named)["name"], "other");

    let listed = host.run(&["agents"]).out;
    let line = |name: &str| listed.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(line("counter@").contains("  the host  "), "{listed}");
    assert!(line("mine@1").contains("  local, private  "), "{listed}");
    let shown = host.run(&["agents", "show", "other@2"]).out;
    assert!(shown.contains("agent         other@2\n") && shown.contains("\nimports "), "{shown}");

    // Other bytes under the same version, and bytes that are no component.
    std::fs::write(&file, COUNTS_WITHOUT_SAVING.bytes).unwrap();
    let other = host.run(&["agents", "upload", "mine.wasm", "--version", "1"]);
    assert!(other.code == 1 && other.err.contains("(agent_exists)"), "{other:?}");
    std::fs::write(&file, "rubbish").unwrap();
    let rubbish = host.run(&["agents", "upload", "mine.wasm", "--version", "3"]);
    assert!(rubbish.code == 1 && rubbish.err.contains("(not_a_component)"), "{rubbish:?}");
    let missing = host.run(&["agents", "upload", "nothing.wasm", "--version", "3"]);
    assert!(missing.code == 2 && missing.err.contains("nothing.wasm: No such file"), "{missing:?}");

    assert_eq!(host.run(&["agents", "delete", "other@2"]).out, "other@2 is deleted\n");
    let gone = host.run(&["agents", "show", "other@2"]);
    assert!(gone.code == 1 && gone.err.ends_with("(agent_not_found)\n"), "{gone:?}");
}
