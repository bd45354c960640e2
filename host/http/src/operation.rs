//! What the description of the API says of one route: what it takes, what it answers, how it fails.
//!
//! Most of it follows from the types of the handler (`describe.rs`). What no type says, a route's own
//! description adds (`operations/`): a name, a sentence, the codes of its errors.

use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::codes::Code;

/// Makes the schema of a type, or a reference to it.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What the operations of the API are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tag {
    Sessions,
    Lifecycle,
    Messages,
    History,
    Snapshots,
    Workspace,
    Templates,
    Schedules,
    Simulations,
    Experiments,
    Agents,
    Keys,
    Containers,
    Conversations,
    Server,
}

impl Tag {
    pub(super) const ALL: [Tag; 15] = [
        Tag::Sessions,
        Tag::Lifecycle,
        Tag::Messages,
        Tag::History,
        Tag::Snapshots,
        Tag::Workspace,
        Tag::Templates,
        Tag::Schedules,
        Tag::Simulations,
        Tag::Experiments,
        Tag::Agents,
        Tag::Keys,
        Tag::Containers,
        Tag::Conversations,
        Tag::Server,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Tag::Sessions => "Sessions",
            Tag::Lifecycle => "Lifecycle",
            Tag::Messages => "Messages",
            Tag::History => "History",
            Tag::Snapshots => "Snapshots",
            Tag::Workspace => "Workspace",
            Tag::Templates => "Templates",
            Tag::Schedules => "Schedules",
            Tag::Simulations => "Simulations",
            Tag::Experiments => "Experiments",
            Tag::Agents => "Agents",
            Tag::Keys => "Keys",
            Tag::Containers => "Containers",
            Tag::Conversations => "Conversations",
            Tag::Server => "Server",
        }
    }

    /// One sentence.
    pub(super) fn description(self) -> &'static str {
        match self {
            Tag::Sessions => "Sessions: create, list, change, remove.",
            Tag::Lifecycle => "What is asked of one session besides messages.",
            Tag::Messages => "Messages to a session, answered whole or as a stream of events.",
            Tag::History => "What has happened: turns and events, in pages and as a stream.",
            Tag::Snapshots => "The states that a session can go back to, or others start from.",
            Tag::Workspace => "The files of a session, which sleep, fork and go back with it.",
            Tag::Templates => "Snapshots under a name, to start sessions from.",
            Tag::Schedules => "Sessions that the host gives a message by itself, again and again.",
            Tag::Simulations => "Worlds of many members, reproducible to the bit.",
            Tag::Experiments => {
                "Simulations that are run with many parameters and seeds, into one table."
            }
            Tag::Agents => "The components that answer messages.",
            Tag::Keys => "The keys of the API. For admins.",
            Tag::Containers => "A façade: sessions as the containers of threads.",
            Tag::Conversations => "A façade: sessions in snake_case, as another service has them.",
            Tag::Server => "The server itself.",
        }
    }
}

/// A header that a request may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
}

/// The body of a request.
#[derive(Clone, Copy)]
pub(super) struct RequestBody {
    pub(super) is_required: bool,
    pub(super) content: Content,
}

/// What stands in a body, by its media type.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// A JSON document of a type.
    Json(SchemaOf),
    /// Server-sent events, each of whose `data` is a JSON document of a type.
    Events(SchemaOf),
    /// A text of this media type.
    Text(&'static str),
    /// Bytes of this media type.
    Binary(&'static str),
}

/// An answer that is no error.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `None`: it has no body.
    pub(super) content: Option<Content>,
}

/// What the description says of one route.
#[derive(Clone)]
pub(super) struct Operation {
    /// Its name in programs: no other operation has it.
    pub(super) id: &'static str,
    pub(super) tag: Tag,
    /// One sentence.
    pub(super) summary: &'static str,
    pub(super) queries: Vec<SchemaOf>,
    pub(super) headers: Vec<Header>,
    pub(super) body: Option<RequestBody>,
    pub(super) answers: Vec<Answer>,
    /// Each with its status.
    pub(super) errors: BTreeSet<(u16, Code)>,
}

impl Operation {
    /// The operation of this name, about this, which does what the sentence says.
    pub(super) fn new(tag: Tag, id: &'static str, summary: &'static str) -> Operation {
        Operation {
            id,
            tag,
            summary,
            queries: Vec::new(),
            headers: Vec::new(),
            body: None,
            answers: Vec::new(),
            errors: BTreeSet::new(),
        }
    }

    /// The same, which can fail with these codes.
    pub(super) fn fails(mut self, codes: &[Code]) -> Operation {
        self.can_fail(codes);
        self
    }

    /// The same, which can fail with this code and a status that is not its usual one.
    pub(super) fn fails_as(mut self, status: u16, code: Code) -> Operation {
        self.errors.insert((status, code));
        self
    }

    /// The same, which can answer with a JSON document of this type.
    pub(super) fn answers<T: JsonSchema>(self, status: u16) -> Operation {
        self.answers_with(status, Content::Json(SchemaGenerator::subschema_for::<T>))
    }

    /// The same, which can answer with a stream of events of this type.
    pub(super) fn streams<T: JsonSchema>(self) -> Operation {
        self.answers_with(200, Content::Events(SchemaGenerator::subschema_for::<T>))
    }

    /// The same, which can answer with this.
    pub(super) fn answers_with(mut self, status: u16, content: Content) -> Operation {
        self.answers.push(Answer { status, content: Some(content) });
        self
    }

    /// The same, which can answer with nothing but a status.
    pub(super) fn answers_nothing(mut self, status: u16) -> Operation {
        self.answers.push(Answer { status, content: None });
        self
    }

    /// The same, for requests that may have this header.
    pub(super) fn header(mut self, name: &'static str, description: &'static str) -> Operation {
        self.headers.push(Header { name, description });
        self
    }

    /// It can fail with these codes.
    pub(super) fn can_fail(&mut self, codes: &[Code]) {
        self.errors.extend(codes.iter().map(|code| (code.statuses()[0], *code)));
    }
}
