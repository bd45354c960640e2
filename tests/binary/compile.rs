//! Components that are compiled in a child: whatever they are, the host goes on, and ends when it is told.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use dormouse_test_guests as guests;
use dormouse_tests::Server;
use dormouse_tests::costly;
use dormouse_tests::fuzz::cases;
use dormouse_tests::test_host::eventually;
use serde_json::json;

use crate::DORMOUSE;

/// Processor time that the compiler may take for a component that is refused or that is none, in seconds,
/// without optimisation. It gives itself more, and would be killed by that limit as by this one.
const MOST_SECONDS: u32 = 60;

/// Give this to the compiler, as a host does.
fn compile(component: &[u8]) -> Output {
    let mut child = Command::new("/bin/sh")
        .args(["-c", &format!("ulimit -t {MOST_SECONDS}; exec \"$0\" compile"), DORMOUSE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A compiler that dies does not read to the end. Its status says more.
        scope.spawn(move || drop(stdin.write_all(component)));
        child.wait_with_output().unwrap()
    })
}

/// That the compiler came to an end by itself, with an answer.
fn is_answered(what: &str, component: &[u8]) {
    let Output { status, stdout, stderr } = compile(component);
    let complaint = String::from_utf8_lossy(&stderr);
    assert!(status.success() && stdout.len() > 4, "{what}: {status}: {complaint}");
}

#[test]
fn the_compiler_answers_for_every_component_before_its_time_is_up() {
    let (cases, mut random) = cases("work", 60);
    for case in 0..cases {
        let (what, component) = costly::component(&mut random);
        let what = format!("case {case}, {what}, {} bytes", component.len());
        is_answered(&what, &component);
    }
}

#[test]
fn the_compiler_answers_for_the_worst_of_each_kind() {
    for (what, component) in costly::worst() {
        is_answered(what, &component);
    }
}

/// The processes whose parent is this one.
fn children(parent: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let of_task = |task: std::io::Result<std::fs::DirEntry>| {
        // A thread that has ended meanwhile has no children.
        let path = task.ok()?.path().join("children");
        Some(std::fs::read_to_string(path).unwrap_or_default())
    };
    let all: Vec<String> = tasks.filter_map(of_task).collect();
    all.iter().flat_map(|some| some.split_whitespace()).map(|pid| pid.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_host_that_compiles_answers_others_and_ends_at_once_when_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let slow = costly::slow(guests::SPENDS_FUEL.bytes);
    let client = server.client();
    let upload = tokio::spawn(async move { client.upload("slow", "1", slow).await });
    eventually("the compiler runs", async || !children(server.pid()).is_empty()).await;
    let compiler = children(server.pid())[0];

    // An agent that is not loaded yet, and one that is.
    let client = server.client();
    let body = json!({ "agent": "counter", "pattern": "hybrid" });
    let session = client.create(&body).await.unwrap();
    assert_eq!(client.ask(&session, "hello").await.unwrap(), "turn 1: hello");
    assert_eq!(children(server.pid()), [compiler], "it was over before");

    assert_eq!(server.terminate().unwrap(), Some(0));
    let (status, body) = upload.await.unwrap().unwrap();
    assert_eq!((status.as_u16(), &body["code"]), (503, &json!("shutting_down")), "{body}");
    // It was killed; when nothing is left of it, the kernel says.
    let compiler = format!("/proc/{compiler}");
    eventually("the compiler has ended", async || !std::path::Path::new(&compiler).exists()).await;
}
