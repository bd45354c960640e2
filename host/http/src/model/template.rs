//! A template as clients see it.

use schemars::JsonSchema;
use serde::Serialize;

use super::session::AgentName;
use super::value::{Id, Time};
use dormouse::{Template, TemplateSummary};

/// A template.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Template")]
pub(crate) struct TemplateBody {
    name: String,
    description: Option<String>,
    agent: AgentName,
    /// The snapshot that it was made from.
    #[schemars(with = "Option<Id>")]
    from: Option<String>,
    bytes: usize,
    #[schemars(with = "Time")]
    created_at: String,
}

impl From<Template> for TemplateBody {
    fn from(template: Template) -> TemplateBody {
        TemplateSummary::from(template).into()
    }
}

impl From<TemplateSummary> for TemplateBody {
    fn from(template: TemplateSummary) -> TemplateBody {
        TemplateBody {
            agent: AgentName::from(&template.agent),
            name: template.name,
            description: template.description,
            from: template.from.map(|from| from.to_string()),
            bytes: template.size,
            created_at: template.created_at.to_string(),
        }
    }
}

/// All templates of the caller, by name.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TemplateList {
    pub(crate) templates: Vec<TemplateBody>,
    pub(crate) count: usize,
}
