//! Calls of tools of the host: which there are for a session, whether this one may be made, and what is written down of it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::servers::{SERVER_TIMEOUT, ServerCall};
use super::{Gate, Outside};
use dormouse_domain::effect::{EffectClass, EffectError};
use dormouse_domain::group::Group;
use dormouse_domain::journal::{EffectOutcome, EffectRecord, EffectTarget, MAX_EFFECT_ATTEMPTS};
use dormouse_domain::model::ModelTool;
use dormouse_domain::session::Session;
use dormouse_domain::tool::{AllowedTools, HostTool, ToolAnswer, ToolError, ToolRequest};
use dormouse_tools::{Task, WebFetch};

/// How long a tool may take.
const TOOL_TIMEOUT: Duration = Duration::from_secs(60);

/// The result of calling a tool.
pub(super) type Called = Result<ToolAnswer, ToolError>;

/// A call whose arguments are right.
enum ToolCall {
    Task(Task),
    WebFetch(WebFetch),
    Server(ServerCall),
}

/// One that leaves the host.
#[derive(Clone)]
enum OutsideCall {
    WebFetch(WebFetch),
    Server(ServerCall),
}

impl Outside {
    /// The tools that the agent of this session may use.
    pub(crate) fn tools(&self, session: &Session) -> Vec<ModelTool> {
        let allowed = AllowedTools::of(&session.profile.config);
        let all = HostTool::ALL.into_iter();
        let these = all.filter(|tool| allowed.allows(tool.as_str()) && self.has(*tool, session));
        let group = session.group.as_ref();
        let others = group.map(Group::others).unwrap_or_default();
        let described = |name| group.and_then(|group| group.description_of(name));
        let others = others.keys().map(|name| (name.as_str(), described(name)));
        these.map(|tool| dormouse_tools::describe(tool, others.clone())).collect()
    }

    /// The tools that whoever created this session has asked for by name, and that it does not have.
    pub(crate) fn unavailable_tools(&self, session: &Session) -> Vec<String> {
        let allowed = AllowedTools::of(&session.profile.config);
        let unavailable = allowed.unavailable(|tool| self.has(tool, session));
        unavailable.into_iter().map(str::to_owned).collect()
    }

    /// Whether there is this tool for this session: one that can reach nothing is none.
    fn has(&self, tool: HostTool, session: &Session) -> bool {
        match tool {
            HostTool::Task => session.group.is_some(),
            HostTool::WebFetch => {
                let policies = [self.egress.policy(), &session.profile.egress];
                policies.into_iter().all(|policy| !policy.rules().is_empty())
            }
        }
    }
}

impl Gate {
    /// Call the tool that is named, once, if that may be. An outer error ends the call of the guest.
    pub(super) async fn call_tool(
        &mut self,
        request: &ToolRequest,
        class: EffectClass,
    ) -> Result<Called, EffectError> {
        let call = match self.check(request) {
            Ok(call) => call,
            Err(why) => {
                let target =
                    EffectTarget::Tool { name: request.name.clone(), server: String::new() };
                self.refuse_effect(target, why.failure());
                return Ok(Err(why));
            }
        };
        self.pay_for_what_was_lost();
        let lost = self.journal.calls().len();
        if lost >= MAX_EFFECT_ATTEMPTS as usize || (lost > 0 && !class.may_repeat()) {
            return Ok(Err(ToolError::UnknownOutcome));
        }
        let target = EffectTarget::Tool { name: request.name.clone(), server: call.server() };
        let mut line = self.line(target, request.arguments.len() as u64);
        let attempt = self.begin_attempt(&line).await?;
        let in_tool = self.output.in_tool(&request.name);
        let called = match call {
            ToolCall::Task(task) => Ok(self.hand_over(task, line.seq).await),
            ToolCall::WebFetch(fetch) => self.run(OutsideCall::WebFetch(fetch)).await,
            ToolCall::Server(call) => self.run(OutsideCall::Server(call)).await,
        };
        drop(in_tool);
        line.duration = attempt.end();
        let (called, defect) = match called {
            Ok(called) => (called, None),
            Err(defect) => (Err(ToolError::UnknownOutcome), Some(defect)),
        };
        judge(&mut line, &called);
        self.end_attempt(line);
        defect.map_or(Ok(called), Err)
    }

    /// Whether the session may make this call, and what it is.
    fn check(&self, request: &ToolRequest) -> Result<ToolCall, ToolError> {
        let ToolRequest { name, arguments } = request;
        if !AllowedTools::of(&self.session.profile.config).allows(name) {
            let why = format!("the session may not use the tool `{name}` (allowedTools)");
            return Err(ToolError::NotAllowed(why));
        }
        if let Some(call) = self.server_call(request)? {
            return Ok(ToolCall::Server(call));
        }
        match HostTool::named(name) {
            None => Err(ToolError::Unknown(name.clone())),
            Some(HostTool::Task) if self.session.group.is_none() => {
                let why = "the session has nobody to hand a task to: it is in no group (customAgents of a \
                           `single-container` session)";
                Err(ToolError::NotAllowed(why.to_owned()))
            }
            Some(HostTool::Task) => self.check_task(arguments).map(ToolCall::Task),
            Some(tool) if !self.outside.has(tool, &self.session) => {
                let why = format!(
                    "`{name}` can reach nothing: the operator of this host and the session both have to say what may be \
                     reached (egress)"
                );
                Err(ToolError::NotAllowed(why))
            }
            Some(HostTool::WebFetch) => WebFetch::parse(arguments).map(ToolCall::WebFetch),
        }
    }

    /// Make the call, on the runtime that serves connections: that of the guests has other work. An outer error: the
    /// host has a defect.
    async fn run(&self, call: OutsideCall) -> Result<Called, EffectError> {
        let (outside, session) = (Arc::clone(&self.outside), Arc::clone(&self.session));
        let within = match &call {
            OutsideCall::WebFetch(_) => TOOL_TIMEOUT,
            // What the operator says of the server is less.
            OutsideCall::Server(_) => SERVER_TIMEOUT,
        };
        let calling = async move {
            let clock = &outside.clock;
            let timeout = clock.sleep_until(clock.now().after(within));
            tokio::select! {
                biased;
                called = call.run(&outside, &session) => called,
                () = timeout => Err(ToolError::TimedOut(format!(
                    "the tool did not answer in {} seconds", within.as_secs(),
                ))),
            }
        };
        let calling = AbortOnDropHandle::new(self.outside.connections.spawn(calling));
        match calling.await {
            Ok(called) => Ok(called),
            Err(error) if error.is_panic() => {
                Err(EffectError::Host("calling a tool panicked".to_owned()))
            }
            Err(_) => Ok(Err(ToolError::UnknownOutcome)),
        }
    }
}

impl ToolCall {
    /// The server that is asked, without what is asked of it.
    fn server(&self) -> String {
        match self {
            ToolCall::Task(task) => task.agent.clone(),
            ToolCall::WebFetch(fetch) => fetch.server(),
            ToolCall::Server(call) => call.server.clone(),
        }
    }
}

impl OutsideCall {
    async fn run(self, outside: &Outside, session: &Session) -> Called {
        match self {
            OutsideCall::WebFetch(fetch) => {
                let Outside { tools, egress, .. } = outside;
                fetch.run(tools, egress, &session.owner, &session.profile.egress).await
            }
            OutsideCall::Server(call) => call.run(outside, session).await,
        }
    }
}

/// Say what came of a call, in its line of the ledger.
fn judge(line: &mut EffectRecord, called: &Called) {
    match called {
        Ok(answer) => {
            line.outcome = EffectOutcome::Answered;
            line.received = answer.bytes();
        }
        Err(error) => line.outcome = EffectOutcome::Failed(error.failure()),
    }
}
