//! The schemas of all requests: they have each field that is read, and no other.

use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, schema_for};
use serde_json::Value;

use super::cleanup::CleanUpSessions;
use super::create::CreateSession;
use super::experiment::{CreateExperiment, RunsQuery};
use super::facade::{ContainerThread, FacadeQuery, FacadeSessionPatch, NewFacadeSession};
use super::listing::SessionsQuery;
use super::patch::PatchSession;
use super::query::{
    CommitsQuery, EventsQuery, IdPageQuery, OwnerQuery, PageQuery, ServiceQuery, UploadQuery,
};
use super::reading::{Body, names_of, names_of_body};
use super::request::{
    ChangeAgent, CreateKey, CreateTemplate, ExtendSession, ForkSession, ResumeSession,
    RewindSession, SendMessage, StreamMessage, TerminateSession, UpgradeSession,
};
use super::schedule::{CreateSchedule, PatchSchedule};
use super::simulation::{
    CreateSimulation, DiffQuery, ForkSimulation, MembersQuery, SendBody, SetBody, StartSimulation,
    StepSimulation, SurveyBody, TicksQuery,
};
use super::statistics::SummaryQuery;
use super::workspace::{
    ArchiveQuery, ChangeFiles, ChangeQuery, FilesDiffQuery, FilesQuery, RemoveQuery, ViewQuery,
};

/// A request: its type, the names that are read, and its schema.
struct Described {
    of: &'static str,
    read: BTreeSet<String>,
    schema: Schema,
}

fn body<T: Body + JsonSchema>() -> Described {
    let read = names_of_body::<T>().into_iter().collect();
    Described { of: std::any::type_name::<T>(), read, schema: schema_for!(T) }
}

fn query<T: serde::de::DeserializeOwned + JsonSchema>() -> Described {
    let read = names_of::<T>().iter().map(|name| (*name).to_owned()).collect();
    Described { of: std::any::type_name::<T>(), read, schema: schema_for!(T) }
}

fn all() -> [Described; 48] {
    [
        body::<CreateSession>(),
        body::<SendMessage>(),
        body::<StreamMessage>(),
        body::<ForkSession>(),
        body::<RewindSession>(),
        body::<ResumeSession>(),
        body::<UpgradeSession>(),
        body::<TerminateSession>(),
        body::<CreateTemplate>(),
        body::<ChangeAgent>(),
        body::<CreateKey>(),
        body::<PatchSession>(),
        body::<ExtendSession>(),
        body::<CleanUpSessions>(),
        body::<CreateSchedule>(),
        body::<PatchSchedule>(),
        body::<CreateSimulation>(),
        body::<StartSimulation>(),
        body::<StepSimulation>(),
        body::<SetBody>(),
        body::<SendBody>(),
        body::<SurveyBody>(),
        body::<ForkSimulation>(),
        body::<CreateExperiment>(),
        body::<ContainerThread>(),
        body::<NewFacadeSession>(),
        body::<FacadeSessionPatch>(),
        query::<PageQuery>(),
        query::<EventsQuery>(),
        query::<OwnerQuery>(),
        query::<SessionsQuery>(),
        query::<SummaryQuery>(),
        query::<IdPageQuery>(),
        query::<TicksQuery>(),
        query::<RunsQuery>(),
        query::<MembersQuery>(),
        query::<DiffQuery>(),
        query::<FacadeQuery>(),
        query::<UploadQuery>(),
        body::<ChangeFiles>(),
        query::<FilesQuery>(),
        query::<ViewQuery>(),
        query::<ChangeQuery>(),
        query::<RemoveQuery>(),
        query::<ArchiveQuery>(),
        query::<FilesDiffQuery>(),
        query::<CommitsQuery>(),
        query::<ServiceQuery>(),
    ]
}

/// The names of the properties of a schema, and of those that it refers to, behind the name that refers.
fn properties(whole: &Value, schema: &Value, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        names.insert(format!("{prefix}{name}"));
        if let Some(place) = property["$ref"].as_str() {
            let inner = whole.pointer(place.trim_start_matches('#')).expect("it is there");
            names.extend(properties(whole, inner, &format!("{prefix}{name}.")));
        }
    }
    names
}

#[test]
fn the_schema_of_a_request_has_each_field_that_is_read_and_no_other() {
    for Described { of, read, schema } in all() {
        assert!(!read.is_empty(), "{of}");
        let schema = schema.to_value();
        assert_eq!(properties(&schema, &schema, ""), read, "{of}");
    }
}

#[test]
fn the_schema_of_a_request_tells_what_has_to_be_there() {
    for (described, required) in [
        (body::<CreateSession>(), vec![]),
        (body::<SendMessage>(), vec!["prompt"]),
        (body::<StreamMessage>(), vec![]),
        (body::<ResumeSession>(), vec![]),
        (body::<RewindSession>(), vec![]),
        (body::<ChangeFiles>(), vec!["operations"]),
        (body::<UpgradeSession>(), vec!["agent"]),
        (body::<CreateTemplate>(), vec!["name", "sessionId"]),
        (body::<ChangeAgent>(), vec!["visibility"]),
        (body::<CreateKey>(), vec!["principal"]),
        (body::<PatchSession>(), vec![]),
        (body::<CreateSchedule>(), vec!["name", "cron", "prompt"]),
        (body::<PatchSchedule>(), vec![]),
        (body::<CreateSimulation>(), vec![]),
        (body::<CreateExperiment>(), vec![]),
        (body::<SetBody>(), vec!["role"]),
        (body::<SendBody>(), vec!["role", "text"]),
        (body::<SurveyBody>(), vec!["role", "members", "text"]),
        (body::<CleanUpSessions>(), vec!["olderThanMs"]),
        (body::<ContainerThread>(), vec!["chatThreadId", "clientId"]),
        (body::<NewFacadeSession>(), vec!["agent_id"]),
        (query::<UploadQuery>(), vec!["name", "version"]),
    ] {
        let schema = described.schema.to_value();
        let told = schema["required"].as_array().cloned().unwrap_or_default();
        assert_eq!(told, required, "{}", described.of);
    }
}

#[test]
fn the_schema_of_a_word_names_all_words() {
    let schema = schema_for!(CreateSession).to_value();
    let words = &schema["properties"]["pattern"]["enum"];
    let told: Vec<&str> =
        words.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!(told, ["ephemeral", "long-running", "hybrid", "single-container"]);
}
