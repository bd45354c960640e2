//! The description of the API.

use crate::codes::Code;
use crate::operation::{Content, Operation, Tag};

pub(crate) fn page() -> Operation {
    Operation::new(Tag::Server, "getDocs", "Shows the description of the API to a reader.")
        .answers_with(200, Content::Text("text/html"))
        .fails(&[Code::Overloaded])
}

pub(crate) fn style() -> Operation {
    Operation::new(Tag::Server, "getDocsStyle", "Gives that page its form.")
        .answers_with(200, Content::Text("text/css"))
        .fails(&[Code::Overloaded])
}

pub(crate) fn document() -> Operation {
    let summary = "Describes the API, as an OpenAPI document.";
    Operation::new(Tag::Server, "getOpenApi", summary)
        .answers::<serde_json::Map<String, serde_json::Value>>(200)
        .fails(&[Code::Overloaded])
}
