//! Two keys never see anything of each other: random sequences of requests over all routes of the API, by two
//! principals and by a reader of the first.
//!
//! The routes are those of the router itself. For each there is a rule ([`rule`]) that says what a stranger is
//! answered; a route without one fails the test.

use std::collections::BTreeSet;

use dormouse::{NewKey, Role};
use dormouse_http::Route;
use dormouse_test_guests::{self as guests, TestGuest};
use dormouse_tests::test_host::eventually;
use dormouse_tests::{Client, TestHost, TestServer};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// The id of a session, and of a snapshot, that nobody has.
const NOBODY: &str = "0190f4c6-0000-7000-8000-000000000000";

/// What a route gives to a caller, and what to a stranger.
#[derive(Clone, Copy)]
enum Rule {
    /// It needs no key and tells nothing of anybody.
    Open,
    /// It is for admins: everybody else is refused.
    Admins,
    /// It lists what the caller has.
    List,
    /// It names a session in its path. To a stranger the session is not there.
    Session(fn(&Tenant) -> Value),
    /// It creates something of the caller's from the body, which may name a session. A session of somebody
    /// else's is answered with this status.
    Create(fn(&Tenant, &str) -> Value, u16),
    /// It names nothing but what the caller has.
    Own(fn(&Tenant) -> Value),
    /// It creates an agent of the caller's.
    Upload,
    /// It names a template. A stranger finds its own of that name, or none.
    Template,
    /// It names a schedule in its path. To a stranger the schedule is not there.
    Schedule(fn(&Tenant) -> Value),
    /// It names a simulation in its path. To a stranger the simulation is not there.
    Simulation(fn(&Tenant) -> Value),
    /// It names an experiment in its path. To a stranger the experiment is not there.
    Experiment,
    /// It names an agent. A private one of somebody else's is not there.
    Agent,
}

/// The rule for a route; `None` for one that this test does not know.
fn rule(route: &Route) -> Option<Rule> {
    let nothing: fn(&Tenant) -> Value = |_| json!({});
    let snapshot: fn(&Tenant) -> Value = |own| json!({ "snapshotId": own.some_snapshot() });
    Some(match (route.method.as_str(), route.path.as_str()) {
        (
            "GET",
            "/" | "/api/openapi.json" | "/docs" | "/docs/style.css" | "/health" | "/healthz"
            | "/readyz" | "/metrics",
        ) => Rule::Open,
        ("GET" | "POST", "/api/keys") | ("DELETE", "/api/keys/{id}") => Rule::Admins,
        (
            "GET",
            "/api/agents"
            | "/api/events"
            | "/api/sessions"
            | "/api/sessions/stats/summary"
            | "/api/templates"
            | "/api/schedules"
            | "/api/simulations"
            | "/api/experiments"
            | "/api/v1/containers/sessions"
            | "/api/v1/containers/stats"
            | "/sessions"
            | "/sessions/",
        ) => Rule::List,
        ("POST", "/api/sessions/cleanup") => {
            Rule::Own(|_| json!({ "olderThanMs": 1, "dryRun": true }))
        }
        ("POST", "/api/sessions/resume-preview") => {
            Rule::Own(|own| json!({ "chatThreadId": own.word("thread"), "clientId": "c" }))
        }
        ("POST", "/sessions" | "/sessions/") => Rule::Own(
            |own| json!({ "agent_id": "counter", "metadata": { "of": own.word("data") } }),
        ),
        ("PATCH", "/sessions/{id}") => {
            Rule::Session(|own| json!({ "metadata": { "of": own.word("data") } }))
        }
        ("PATCH", "/api/sessions/{id}") => {
            Rule::Session(|own| json!({ "description": own.word("changed") }))
        }
        (
            "GET",
            "/api/sessions/{id}"
            | "/api/sessions/{id}/audit"
            | "/api/sessions/{id}/events"
            | "/api/sessions/{id}/members"
            | "/api/sessions/{id}/metrics"
            | "/api/sessions/{id}/snapshots"
            | "/api/sessions/{id}/status"
            | "/api/sessions/{id}/turns"
            | "/api/sessions/{id}/turns/{turn}"
            | "/api/sessions/{id}/turns/{turn}/trace"
            | "/api/sessions/{id}/timers"
            | "/api/sessions/{id}/usage"
            | "/api/sessions/{id}/workspace"
            | "/api/sessions/{id}/workspace/{*path}"
            | "/api/sessions/{id}/workspace.diff"
            | "/api/sessions/{id}/workspace.tar"
            | "/git/{repository}/info/refs"
            | "/sessions/{id}",
        )
        | ("POST", "/git/{repository}/git-upload-pack")
        | ("DELETE", "/api/sessions/{id}" | "/api/sessions/{id}/workspace/{*path}")
        | ("PUT", "/api/sessions/{id}/workspace.tar")
        | (
            "POST",
            "/api/sessions/{id}/complete"
            | "/api/sessions/{id}/extend"
            | "/api/v1/containers/{id}/cleanup"
            | "/api/v1/containers/{id}/extend"
            | "/api/sessions/{id}/force-kill"
            | "/api/sessions/{id}/fork"
            | "/api/sessions/{id}/pause"
            | "/api/sessions/{id}/resume"
            | "/api/sessions/{id}/sleep"
            | "/api/sessions/{id}/stop"
            | "/api/sessions/{id}/wake",
        ) => Rule::Session(nothing),
        ("POST", "/api/sessions/{id}/rewind") => Rule::Session(snapshot),
        ("PUT", "/api/sessions/{id}/workspace/{*path}") => {
            Rule::Session(|own| json!({ "file": own.word("file") }))
        }
        ("POST", "/api/sessions/{id}/workspace/ops") => Rule::Session(|own| {
            let text = own.word("text");
            json!({ "operations": [{ "op": "write", "path": "notes.txt", "text": text }] })
        }),
        ("POST", "/api/sessions/{id}/terminate") => {
            Rule::Session(|own| json!({ "reason": own.word("reason") }))
        }
        ("POST", "/api/sessions/{id}/upgrade") => Rule::Session(|_| json!({ "agent": "notepad" })),
        ("POST", "/api/sessions/{id}/message") => {
            Rule::Session(|own| json!({ "prompt": own.word("prompt"), "streaming": false }))
        }
        ("POST", "/api/agent/stream") => {
            let body =
                |own: &Tenant, id: &str| json!({ "message": own.word("said"), "sessionId": id });
            Rule::Create(body, 404)
        }
        ("POST", "/api/sessions") => {
            let body = |own: &Tenant, id: &str| {
                json!({
                    "agent": "counter",
                    "pattern": "hybrid",
                    "config": { "resumeSessionId": id, "own": own.word("config") },
                    "tags": [own.word("tag")],
                    "userId": own.word("user"),
                    "description": own.word("description"),
                })
            };
            Rule::Create(body, 403)
        }
        ("POST", "/api/templates") => {
            let body =
                |own: &Tenant, id: &str| json!({ "name": own.word("template"), "sessionId": id });
            Rule::Create(body, 403)
        }
        ("GET" | "DELETE", "/api/templates/{name}") => Rule::Template,
        ("POST", "/api/schedules") => Rule::Own(|own| {
            json!({
                "name": own.word("schedule"),
                "cron": "@yearly",
                "prompt": "hello",
                "session": { "agent": "counter", "pattern": "hybrid" },
            })
        }),
        ("GET" | "DELETE", "/api/schedules/{id}")
        | ("GET", "/api/schedules/{id}/runs")
        | ("POST", "/api/schedules/{id}/run") => Rule::Schedule(nothing),
        ("PATCH", "/api/schedules/{id}") => {
            Rule::Schedule(|own| json!({ "name": own.word("renamed") }))
        }
        ("POST", "/api/simulations") => Rule::Own(|own| {
            let members = json!([{ "role": "a", "agent": "wealth", "count": 10 }]);
            json!({ "spec": { "name": own.word("simulation"), "ticks": 3, "members": members } })
        }),
        (
            "GET",
            "/api/simulations/{id}"
            | "/api/simulations/{id}/bundle"
            | "/api/simulations/{id}/events"
            | "/api/simulations/{id}/spec"
            | "/api/simulations/{id}/ticks",
        )
        | ("DELETE", "/api/simulations/{id}")
        | (
            "POST",
            "/api/simulations/{id}/fork"
            | "/api/simulations/{id}/pause"
            | "/api/simulations/{id}/resume"
            | "/api/simulations/{id}/start"
            | "/api/simulations/{id}/step"
            | "/api/simulations/{id}/stop"
            | "/api/simulations/{id}/verify",
        )
        // What these need besides is asked after whose the simulation is.
        | ("GET", "/api/simulations/{id}/diff" | "/api/simulations/{id}/members") => {
            Rule::Simulation(nothing)
        }
        ("POST", "/api/simulations/{id}/set") => Rule::Simulation(
            |_| json!({ "role": "a", "parameters": { "law": "unit" } }),
        ),
        ("POST", "/api/simulations/{id}/survey") => {
            Rule::Simulation(|_| json!({ "role": "a", "members": [0], "text": "hello" }))
        }
        ("POST", "/api/simulations/{id}/send") => {
            Rule::Simulation(|_| json!({ "role": "a", "text": "hello" }))
        }
        ("POST", "/api/experiments") => Rule::Own(|own| {
            let members = json!([{ "role": "a", "agent": "wealth", "count": 10 }]);
            let spec = json!({ "ticks": 3, "members": members });
            json!({ "name": own.word("experiment"), "spec": spec, "replicates": 2 })
        }),
        (
            "GET",
            "/api/experiments/{id}"
            | "/api/experiments/{id}/events"
            | "/api/experiments/{id}/results.csv"
            | "/api/experiments/{id}/results.jsonl"
            | "/api/experiments/{id}/runs",
        )
        | ("DELETE", "/api/experiments/{id}")
        | ("POST", "/api/experiments/{id}/pause" | "/api/experiments/{id}/resume") => {
            Rule::Experiment
        }
        ("POST", "/api/agents") => Rule::Upload,
        ("GET" | "PATCH" | "DELETE", "/api/agents/{*agent}") => Rule::Agent,
        _ => return None,
    })
}

/// A principal, and what it must have.
struct Tenant {
    name: &'static str,
    client: Client,
    guest: TestGuest,
    sessions: BTreeSet<String>,
    snapshots: BTreeSet<String>,
    /// Every id that was ever its own: nobody else may see one.
    ever: BTreeSet<String>,
    schedules: BTreeSet<String>,
    simulations: BTreeSet<String>,
    experiments: BTreeSet<String>,
    has_template: bool,
    has_agent: bool,
}

impl Tenant {
    /// A word that only this principal says.
    fn word(&self, word: &str) -> String {
        format!("{}-own-{word}", self.name)
    }

    fn some_snapshot(&self) -> String {
        self.snapshots.first().map_or(NOBODY, String::as_str).to_owned()
    }

    /// Note the sessions and the snapshots that an answer tells of.
    fn note(&mut self, answer: &Value) {
        match answer {
            Value::Object(fields) => {
                if let (Some(id), Some(head)) = (fields.get("id"), fields.get("sessionId"))
                    && let (Some(id), Some(head)) = (id.as_str(), head.as_str())
                {
                    self.ever.insert(id.to_owned());
                    if !head.is_empty() {
                        self.ever.insert(head.to_owned());
                        self.snapshots.insert(head.to_owned());
                    }
                }
                fields.values().for_each(|value| self.note(value));
            }
            Value::Array(all) => all.iter().for_each(|value| self.note(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// Who sends a request, and whose thing it names.
#[derive(Clone, Copy, Debug)]
enum Caller {
    Ann,
    Ben,
    ReaderOfAnn,
}

#[derive(Clone, Copy, Debug)]
enum Whose {
    Own,
    Others,
    Nobodys,
}

#[derive(Clone, Debug)]
struct Step {
    caller: Caller,
    route: Index,
    whose: Whose,
    which: Index,
}

fn step() -> impl Strategy<Value = Step> {
    let caller = prop_oneof![
        4 => Just(Caller::Ann),
        4 => Just(Caller::Ben),
        1 => Just(Caller::ReaderOfAnn),
    ];
    let whose = prop_oneof![
        4 => Just(Whose::Own),
        4 => Just(Whose::Others),
        1 => Just(Whose::Nobodys),
    ];
    (caller, any::<Index>(), whose, any::<Index>()).prop_map(|(caller, route, whose, which)| Step {
        caller,
        route,
        whose,
        which,
    })
}

/// A request, as a stranger's is compared with one for what nobody has.
struct Request {
    method: Method,
    path: String,
    body: Option<Value>,
}

/// The answer to a request, without the id of the request.
#[derive(Debug, PartialEq)]
struct Answer {
    status: StatusCode,
    session: Option<String>,
    text: String,
}

impl Answer {
    fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The same, where the thing that was named has another name.
    fn renamed(mut self, from: &str, to: &str) -> Answer {
        self.text = self.text.replace(from, to);
        self
    }
}

struct World {
    server: TestServer,
    tenants: [Tenant; 2],
    reader: Client,
}

impl World {
    async fn new() -> World {
        let test = TestHost::new().await;
        let keys = test.host.operating().keys();
        let secret = async |name: &str, role| {
            let created = keys.create(NewKey::of(name).role(role)).await.unwrap();
            created.secret.as_str().to_owned()
        };
        secret("root", Role::Admin).await;
        let ann = secret("ann", Role::User).await;
        let ben = secret("ben", Role::User).await;
        let reader = secret("ann", Role::Reader).await;
        let server = TestServer::of(test, |_| {}).await;
        let tenant = |name, secret: &str, guest| Tenant {
            name,
            client: server.client.with_key(secret),
            guest,
            sessions: BTreeSet::new(),
            snapshots: BTreeSet::new(),
            ever: BTreeSet::new(),
            schedules: BTreeSet::new(),
            simulations: BTreeSet::new(),
            experiments: BTreeSet::new(),
            has_template: false,
            has_agent: false,
        };
        let tenants =
            [tenant("ann", &ann, guests::SPENDS_FUEL), tenant("ben", &ben, guests::REPLIES_WITH)];
        let reader = server.client.with_key(&reader);
        World { server, tenants, reader }
    }

    /// Send a request, and hold the answer to what is true of every answer.
    async fn ask(&self, caller: Caller, request: &Request) -> Answer {
        let (own, client) = match caller {
            Caller::Ann => (0, &self.tenants[0].client),
            Caller::Ben => (1, &self.tenants[1].client),
            Caller::ReaderOfAnn => (0, &self.reader),
        };
        let mut builder = client.request(request.method.clone(), &request.path);
        builder = match &request.body {
            Some(body) => builder.json(body),
            None if request.method == Method::POST => {
                let bytes = self.tenants[own].guest.bytes;
                builder.header("content-type", "application/wasm").body(bytes)
            }
            None => builder,
        };
        let response = builder.send().await.unwrap();
        let session =
            response.headers().get("x-session-id").map(|id| id.to_str().unwrap().to_owned());
        let status = response.status();
        let mut text = response.text().await.unwrap();
        if let Ok(Value::Object(mut body)) = serde_json::from_str(&text) {
            body.remove("requestId");
            text = Value::Object(body).to_string();
        }
        let asked = format!("{} {:?}", request.path, request.body);
        let (stranger, said) = (&self.tenants[1 - own], format!("{session:?} {text}"));
        let secrets = stranger.ever.iter().cloned().chain([format!("{}-own-", stranger.name)]);
        for secret in secrets {
            let is_told = said.contains(&secret) && !asked.contains(&secret);
            assert!(!is_told, "{caller:?} is told {secret} by {} {asked}: {said}", request.method);
        }
        assert!(!status.is_server_error(), "{} {asked}: {status} {said}", request.method);
        Answer { status, session, text }
    }

    /// What the owner of a thing sees of it.
    async fn seen(&self, owner: usize, path: &str) -> Answer {
        let caller = if owner == 0 { Caller::Ann } else { Caller::Ben };
        let request = Request { method: Method::GET, path: path.to_owned(), body: None };
        self.ask(caller, &request).await
    }

    async fn take(&mut self, routes: &[Route], step: &Step) {
        let route = step.route.get(routes);
        let rule = rule(route).expect("it was looked for before");
        let own = usize::from(matches!(step.caller, Caller::Ben));
        let owner = match step.whose {
            Whose::Own => Some(own),
            Whose::Others => Some(1 - own),
            Whose::Nobodys => None,
        };
        let request = |path: &str, body| Request {
            method: route.method.clone(),
            path: path.to_owned(),
            body,
        };
        let is_refused = matches!(step.caller, Caller::ReaderOfAnn) && !route.method.is_safe();
        let session = owner.and_then(|owner| some(&self.tenants[owner].sessions, step.which));
        let session = session.unwrap_or(NOBODY.to_owned());
        let (owner_of_any, mut schedule) = (owner, NOBODY.to_owned());
        // Where the thing that is named belongs to somebody, who that is.
        let owner = owner.filter(|_| session != NOBODY);
        let named = |id: &str| {
            let path = route.path.replace("{id}", id).replace("{turn}", "1");
            path.replace("{*path}", "notes.txt").replace("{repository}", id)
        };
        let (tried, name) = match rule {
            Rule::Open | Rule::List => (request(&route.path, None), None),
            Rule::Own(body) => (request(&route.path, Some(body(&self.tenants[own]))), None),
            Rule::Admins => {
                let body = (route.method == Method::POST).then(|| json!({ "principal": "eve" }));
                let answer = self.ask(step.caller, &request(&named(NOBODY), body)).await;
                assert_eq!((answer.status.as_u16(), code(&answer)), (403, "forbidden".to_owned()));
                return;
            }
            Rule::Session(body) => {
                let has_body = matches!(route.method, Method::POST | Method::PATCH);
                let body = has_body.then(|| body(&self.tenants[own]));
                (request(&named(&session), body), Some(session))
            }
            Rule::Schedule(_) | Rule::Simulation(_) | Rule::Experiment => {
                let of = |owner: usize| {
                    let owner = &self.tenants[owner];
                    match rule {
                        Rule::Schedule(_) => some(&owner.schedules, step.which),
                        Rule::Experiment => some(&owner.experiments, step.which),
                        _ => some(&owner.simulations, step.which),
                    }
                };
                schedule = owner_of_any.and_then(of).unwrap_or(NOBODY.to_owned());
                let body = match rule {
                    Rule::Schedule(body) | Rule::Simulation(body) => body(&self.tenants[own]),
                    _ => json!({}),
                };
                let has_body = matches!(route.method, Method::POST | Method::PATCH);
                (request(&named(&schedule), has_body.then_some(body)), None)
            }
            Rule::Create(body, _) => {
                (request(&route.path, Some(body(&self.tenants[own], &session))), Some(session))
            }
            Rule::Upload => {
                let name = self.tenants[own].word("agent");
                (request(&format!("/api/agents?name={name}&version=1"), None), None)
            }
            Rule::Template => {
                let name = self.tenants[owner.unwrap_or(own)].word("template");
                (request(&route.path.replace("{name}", &name), None), None)
            }
            Rule::Agent => {
                let whose = &self.tenants[owner.unwrap_or(own)];
                let name = format!("{}/{}", whose.name, whose.word("agent"));
                let body =
                    (route.method == Method::PATCH).then(|| json!({ "visibility": "private" }));
                (request(&route.path.replace("{*agent}", &name), body), None)
            }
        };
        let stranger = owner.filter(|owner| *owner != own);
        let watched = match (stranger, &name) {
            (Some(owner), Some(id)) => Some((owner, format!("/api/sessions/{id}"))),
            (None, _) | (_, None) => None,
        };
        let before = match &watched {
            Some((owner, path)) => Some(self.seen(*owner, path).await),
            None => None,
        };
        let answer = self.ask(step.caller, &tried).await;
        if let Some((owner, path)) = &watched {
            let after = self.seen(*owner, path).await;
            assert_eq!(before, Some(after), "{} {}", tried.method, tried.path);
        }
        if is_refused {
            assert_eq!((answer.status.as_u16(), code(&answer)), (403, "forbidden".to_owned()));
            return;
        }
        match (rule, stranger) {
            (Rule::Schedule(_) | Rule::Simulation(_) | Rule::Experiment, _)
                if owner_of_any.is_some_and(|owner| owner != own) =>
            {
                let path = tried.path.replace(&schedule, NOBODY);
                let nobodys = self.ask(step.caller, &Request { path, ..tried }).await;
                assert_eq!(nobodys.status, 404);
                assert_eq!(answer.renamed(&schedule, NOBODY), nobodys);
            }
            (Rule::Schedule(_), _) => {
                // No turn goes on while others look.
                let host = self.server.test.host.operating();
                let rests = async || match host.schedules().get(schedule.parse().unwrap()).await {
                    Ok(found) => found.running().is_none(),
                    Err(_) => true,
                };
                eventually("the run is over", rests).await;
                host.settle().await;
                self.tenants[own].follow(&tried, rule, Some(schedule), answer);
            }
            (Rule::Simulation(_), _) => {
                let host = self.server.test.host.operating();
                if let Ok(world) = host.simulations().get(schedule.parse().unwrap()) {
                    world.wait().await;
                }
                self.tenants[own].follow(&tried, rule, Some(schedule), answer);
            }
            (Rule::Experiment, _) => {
                self.tenants[own].follow(&tried, rule, Some(schedule), answer);
            }
            (Rule::Session(_), Some(_)) => {
                let id = name.expect("the path names a session");
                let path = tried.path.replace(&id, NOBODY);
                let nobodys = self.ask(step.caller, &Request { path, ..tried }).await;
                assert_eq!(nobodys.status, 404);
                assert_eq!(answer.renamed(&id, NOBODY), nobodys);
            }
            (Rule::Create(_, status), Some(_)) => {
                assert_eq!(answer.status.as_u16(), status, "{} {}", tried.path, answer.text);
            }
            (Rule::Template | Rule::Agent, Some(_)) => {
                assert_eq!(answer.status, 404, "{}", tried.path)
            }
            (_, _) => self.tenants[own].follow(&tried, rule, name, answer),
        }
        // The worlds of runs are gone before anybody else looks.
        let host = self.server.test.host.operating();
        for experiment in host.experiments().list(None, usize::MAX).experiments {
            host.experiments().get(experiment.id).unwrap().wait().await;
        }
    }

    /// At the end each principal has what its own requests have made, and nothing else.
    async fn compare(&self) {
        for (own, tenant) in self.tenants.iter().enumerate() {
            let ids = |answer: Answer, list: &str, id: &str| -> BTreeSet<String> {
                let body = answer.body();
                let all = body[list].as_array().unwrap().iter();
                all.map(|one| one[id].as_str().unwrap().to_owned()).collect()
            };
            let sessions = self.seen(own, "/api/sessions?pageSize=200").await;
            assert_eq!(ids(sessions, "sessions", "id"), tenant.sessions);
            let templates = ids(self.seen(own, "/api/templates").await, "templates", "name");
            let expected = tenant.has_template.then(|| tenant.word("template"));
            assert_eq!(templates, expected.into_iter().collect());
            let agents = ids(self.seen(own, "/api/agents").await, "agents", "name");
            assert_eq!(agents.contains(&tenant.word("agent")), tenant.has_agent);
            // Of what was deleted as well.
            let events = self.seen(own, "/api/events?limit=200").await.body();
            for event in events["events"].as_array().unwrap() {
                let id = event["aggregate_id"].as_str().unwrap();
                let is_own = match event["aggregate_type"].as_str().unwrap() {
                    "session" => tenant.ever.contains(id),
                    "schedule" => tenant.ever.contains(id),
                    "agent" => !id.contains('/') || id.starts_with(&format!("{}/", tenant.name)),
                    other => panic!("a user is told of a {other}"),
                };
                assert!(is_own, "{event}");
            }
        }
    }
}

impl Tenant {
    /// Note what became of a request of this principal's about its own things, or about nobody's.
    fn follow(&mut self, tried: &Request, rule: Rule, name: Option<String>, answer: Answer) {
        let body = answer.body();
        self.note(&body);
        let is_done = answer.status.is_success();
        match (rule, tried.method.as_str()) {
            (Rule::Session(_), "DELETE") if is_done => {
                self.sessions.remove(&name.expect("the path names a session"));
            }
            (Rule::Session(_), _) if tried.path.ends_with("/fork") && is_done => {
                let forks = body["sessions"].as_array().unwrap().iter();
                self.sessions.extend(forks.map(|fork| fork["id"].as_str().unwrap().to_owned()));
            }
            (Rule::Create(..), _) if tried.path == "/api/sessions" && is_done => {
                self.sessions.insert(body["id"].as_str().unwrap().to_owned());
            }
            (Rule::Own(_), _) if tried.path.starts_with("/sessions") && is_done => {
                self.sessions.insert(body["id"].as_str().unwrap().to_owned());
            }
            (Rule::Create(..), _) if tried.path == "/api/templates" && is_done => {
                self.has_template = true;
            }
            (Rule::Own(_), _) if tried.path == "/api/schedules" && is_done => {
                let id = body["id"].as_str().unwrap().to_owned();
                self.ever.insert(id.clone());
                self.schedules.insert(id);
            }
            (Rule::Own(_), _) if tried.path == "/api/simulations" && is_done => {
                let id = body["id"].as_str().unwrap().to_owned();
                self.ever.insert(id.clone());
                self.simulations.insert(id);
            }
            (Rule::Own(_), _) if tried.path == "/api/experiments" && is_done => {
                let id = body["id"].as_str().unwrap().to_owned();
                self.ever.insert(id.clone());
                self.experiments.insert(id);
            }
            (Rule::Experiment, "DELETE") if is_done => {
                self.experiments.remove(&name.expect("the path names an experiment"));
            }
            (Rule::Simulation(_), "DELETE") if is_done => {
                self.simulations.remove(&name.expect("the path names a simulation"));
            }
            (Rule::Simulation(_), "POST") if is_done && tried.path.ends_with("/fork") => {
                for fork in body["simulations"].as_array().unwrap() {
                    let id = fork["id"].as_str().unwrap().to_owned();
                    self.ever.insert(id.clone());
                    self.simulations.insert(id);
                }
            }
            (Rule::Schedule(_), "DELETE") if is_done => {
                self.schedules.remove(&name.expect("the path names a schedule"));
            }
            (Rule::Schedule(_), "POST") if is_done => {
                self.sessions.extend(body["sessionId"].as_str().map(str::to_owned));
            }
            (Rule::Template, "DELETE") if is_done => self.has_template = false,
            (Rule::Upload, _) if is_done => self.has_agent = true,
            (Rule::Agent, "DELETE") if is_done => self.has_agent = false,
            (Rule::Open | Rule::List, _) => assert!(is_done, "{}: {}", tried.path, answer.text),
            _ => {}
        }
        self.ever.extend(self.sessions.iter().cloned());
        self.ever.extend(answer.session);
    }
}

fn code(answer: &Answer) -> String {
    answer.body()["code"].as_str().unwrap_or_default().to_owned()
}

fn some(all: &BTreeSet<String>, which: Index) -> Option<String> {
    let all: Vec<&String> = all.iter().collect();
    if all.is_empty() { None } else { Some((*which.get(&all)).clone()) }
}

#[test]
fn every_route_has_a_rule_for_strangers() {
    let routes = dormouse_http::routes();
    assert!(routes.len() > 30, "{routes:?}");
    for route in &routes {
        assert!(rule(route).is_some(), "no rule says what a stranger is told by {route:?}");
    }
}

#[test]
fn two_keys_never_see_anything_of_each_other() {
    // What nobody needs to be asked often.
    let is_of_interest = |route: &Route| !matches!(rule(route), Some(Rule::Open) | None);
    let routes: Vec<_> = dormouse_http::routes().into_iter().filter(is_of_interest).collect();
    let create =
        routes.iter().position(|it| it.method == Method::POST && it.path == "/api/sessions");
    let create = create.expect("there is such a route");
    let config =
        Config { cases: 12, max_shrink_iters: 40, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let histories = proptest::collection::vec(step(), 20..60);
    let played = TestRunner::new(config).run(&histories, |steps| {
        runtime.block_on(async {
            let mut world = World::new().await;
            // Two sessions of each to begin with, with a turn and so a snapshot.
            for tenant in &mut world.tenants {
                for _ in 0..2 {
                    let (path, new) =
                        (&routes[create].path, json!({ "agent": "counter", "pattern": "hybrid" }));
                    let (status, session) = tenant.client.post(path, &new).await.unwrap();
                    assert_eq!(status, 201, "{session}");
                    let id = session["id"].as_str().unwrap().to_owned();
                    let said = tenant.word("first");
                    let (_, answer) = tenant.client.message(&id, &said).await.unwrap();
                    tenant.note(&answer);
                    tenant.sessions.insert(id.clone());
                    tenant.ever.insert(id);
                }
            }
            for step in &steps {
                world.take(&routes, step).await;
            }
            world.compare().await;
            world.server.shut_down().await;
        });
        Ok(())
    });
    played.unwrap();
}
