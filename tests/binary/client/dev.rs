//! `dormouse dev`

use std::path::Path;

use dormouse_test_guests::{COUNTS_WITHOUT_SAVING, REPLIES_WITH};

use super::{Host, Running};

/// A component with a custom section at its end that has this text: the same program in other bytes.
fn changed(component: &[u8], text: &str) -> Vec<u8> {
    let name = u8::try_from(text.len()).unwrap();
    [component, &[0, name + 1, name], text.as_bytes()].concat()
}

/// Replace the file at once, as a linker does that has finished.
fn replace(file: &Path, bytes: &[u8]) {
    let new = file.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn start(host: &Host, component: &[u8]) -> Running {
    replace(&host.directory.path().join("mine.wasm"), component);
    Running::start(host.command(&["dev", "mine.wasm"]))
}

/// The id in `session ID with AGENT`.
fn id_in(told: &str) -> String {
    told.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn a_change_of_the_file_is_uploaded_and_the_session_goes_on_with_it() {
    let host = Host::start();
    let file = host.directory.path().join("mine.wasm");
    let mut dev = start(&host, REPLIES_WITH.bytes);
    let first = dev.told(" with mine@dev-");
    dev.type_line("hello");
    assert_eq!(dev.line(), "turn 1: hello\n");

    replace(&file, &changed(REPLIES_WITH.bytes, "second"));
    let second = dev.told(" with mine@dev-");
    assert_eq!(id_in(&first), id_in(&second), "it is the same session");
    assert_ne!(first, second, "with another version");
    dev.type_line("again");
    assert_eq!(dev.line(), "turn 2: again\n");

    // What is no agent changes nothing, and the next change does.
    replace(&file, b"rubbish");
    dev.told("(not_a_component)");
    dev.type_line("still");
    assert_eq!(dev.line(), "turn 3: still\n");
    replace(&file, &changed(REPLIES_WITH.bytes, "third"));
    assert_eq!(id_in(&dev.told(" with mine@dev-")), id_in(&first));
    dev.type_line("on");
    assert_eq!(dev.line(), "turn 4: on\n");
    assert_eq!(dev.end(), 0);
}

#[test]
fn an_agent_that_does_not_save_its_state_starts_again_in_a_new_session() {
    let host = Host::start();
    let mut dev = start(&host, COUNTS_WITHOUT_SAVING.bytes);
    let first = dev.told(" with mine@dev-");
    dev.type_line("hello");
    assert_eq!(dev.line(), "turn 1: hello\n");
    replace(
        &host.directory.path().join("mine.wasm"),
        &changed(COUNTS_WITHOUT_SAVING.bytes, "second"),
    );
    assert!(dev.told("a new session starts").contains(&id_in(&first)));
    assert_ne!(id_in(&first), id_in(&dev.told(" with mine@dev-")));
    dev.type_line("hello");
    assert_eq!(dev.line(), "turn 1: hello\n");
    assert_eq!(dev.end(), 0);
}

#[test]
fn what_can_be_no_agent_is_told_at_once() {
    let host = Host::start();
    let missing = host.run(&["dev", "nothing.wasm"]);
    assert!(missing.code == 2 && missing.err.contains("nothing.wasm: No such file"), "{missing:?}");
    std::fs::write(host.directory.path().join("counter.wasm"), REPLIES_WITH.bytes).unwrap();
    let reserved = host.run(&["dev", "counter.wasm"]);
    assert!(reserved.code == 1 && reserved.err.contains("(reserved_name)"), "{reserved:?}");
    std::fs::write(host.directory.path().join("a b.wasm"), REPLIES_WITH.bytes).unwrap();
    let unnamed = host.run(&["dev", "a b.wasm"]);
    assert!(unnamed.code == 2 && unnamed.err.contains("choose one with --name"), "{unnamed:?}");
    let mut dev = start(&host, REPLIES_WITH.bytes);
    let id = id_in(&dev.told(" with mine@dev-"));
    assert_eq!(dev.end(), 0);
    let again = host.pipe(&["dev", "mine.wasm", "--session", &id], "hello\n");
    assert_eq!((again.code, again.out.as_str()), (0, "turn 1: hello\n"), "{again:?}");
}
