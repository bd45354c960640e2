"""Watches pages of the web, and tells what is new on them: the agent `monitor` of the host, in Python.

A user says what to watch. The model calls the tool `watch`, which reads the page and sets a timer.
Whenever the timer is due, the agent reads the page again with the tool `WebFetch` of the host. Only
where lines of the page have changed, the agent asks the model, which gets these lines from the tool
`news` and reports them. Its state are the watches: a variable of this module.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.handler import (
    Failure_Declined,
    Failure_Failed,
    Failure_Invalid,
    Part_Text,
    Reply,
    Sender_Host,
    Sender_Timer,
    Turn,
)
from wit_world.imports import model, session, timers, tools
from wit_world.imports.model import (
    Content_Text,
    Content_ToolCall,
    Content_ToolResult,
    Message,
    Role,
    StopReason,
)

# How often the model is asked in one turn, at most.
ROUNDS = 50
SYSTEM = "You watch pages of the web for your user."


@dataclass
class Watch:
    """A page, and what was there at the last look."""

    url: str
    schedule: str
    wanted: str
    lines: list[str]


@dataclass
class Tool:
    """A tool of this agent: all its arguments are texts."""

    name: str
    description: str
    properties: dict[str, dict[str, str]]
    required: list[str]
    # Gets the arguments, and returns what the model is told.
    run: Callable[..., str]


# By name.
watches: dict[str, Watch] = {}


class Handler(exports.Handler):
    """What the host calls, once a turn."""

    def handle(self, turn: Turn) -> Reply:
        if isinstance(turn.sender, Sender_Host):
            raise Err(Failure_Declined())
        text = "\n".join(part.value for part in turn.content if isinstance(part, Part_Text))
        if isinstance(turn.sender, Sender_Timer) and turn.sender.value in watches:
            said = look(turn.sender.value)
        else:
            # A schedule of the session's owner comes as a timer, too: it says something, as a
            # user does.
            said = answer(text)
        return Reply([Part_Text(said)], False)


def answer(text: str) -> str:
    """What the model says to a user. It may change what is watched."""
    if not text.strip():
        raise Err(Failure_Invalid("say what to watch"))
    lines = (f"\n- {name}: {watch.url} ({watch.schedule})" for name, watch in watches.items())
    return ask(text, f"{SYSTEM} What you watch now:{''.join(lines)}", [WATCH, UNWATCH])


def look(name: str) -> str:
    """The timer is due. A turn that fails leaves `lines` as they were, and so loses no news."""
    watch = watches[name]
    try:
        lines = read(watch.url)
    except Err as raised:
        # The next look may do better. Failed turns in a row would end the session.
        return f"{name}: {words(raised.value)}"
    news = changes(watch.lines, lines)
    if not news:
        return f"{name}: nothing new"
    watch.lines = lines
    question = (
        f"There is something new on the page {name}. Read it with the tool `news`, and report it. "
        f"{watch.wanted}"
    )
    return ask(question, SYSTEM, [Tool("news", NEWS, {}, [], lambda: "\n".join(news))])


def start(name: str, url: str, schedule: str, wanted: str = "") -> str:
    lines = read(url)
    timers.set(name, timers.When_Each(schedule), "look")
    watches[name] = Watch(url, schedule, wanted, lines)
    return f"{name} is watched; lines for now: {len(lines)}"


def stop(name: str) -> str:
    if watches.pop(name, None) is None:
        raise Err(Failure_Invalid(f"there is no watch `{name}`"))
    timers.cancel(name)
    return f"{name} is no longer watched"


def text(description: str) -> dict[str, str]:
    return {"type": "string", "description": description}


WATCH = Tool(
    "watch",
    "Reads a page of the web now, and again by a schedule. Whenever its lines have changed, you are "
    "asked to report them.",
    {
        "name": text("A short name for the page, such as `inbox`."),
        "url": text("The address of the page."),
        "schedule": text("Five fields of cron, in UTC: `*/10 * * * *` is every ten minutes."),
        "wanted": text("What the user wants to know of what is new, in the words of the user."),
    },
    ["name", "url", "schedule"],
    start,
)
UNWATCH = Tool(
    "unwatch", "Watches a page no longer.", {"name": {"type": "string"}}, ["name"], stop
)
NEWS = (
    "Returns the lines that have come since the last look, each behind a +, and those that are gone, "
    "each behind a -."
)


def ask(question: str, system: str, own: list[Tool]) -> str:
    """What the model says, once it has used these tools, and those of the host, as it likes."""
    names = [tool.name for tool in own]
    offered = [model.Tool(tool.name, tool.description, schema(tool)) for tool in own]
    offered += [tool for tool in tools.list() if tool.name not in names]
    messages = [Message(Role.USER, [Content_Text(question)])]
    for _ in range(ROUNDS):
        request = model.Request(
            model=configured("model") or "",  # "" is the host's default
            system=system,
            messages=messages,
            tools=offered,
            tool_choice=model.ToolChoice_Auto(),
            max_tokens=None,
            temperature=None,
            stop=[],
            seed=None,
            format=model.Format_Text(),
            forward=model.Forward.TEXT,  # to the stream of the turn, as it comes
        )
        try:
            said = model.chat(request)
        except Err as raised:
            raise Err(Failure_Failed(words(raised.value))) from None
        if said.stop not in (StopReason.TOOL_USE, StopReason.PAUSE):
            texts = (part.value for part in said.content if isinstance(part, Content_Text))
            return "".join(texts)
        messages.append(Message(Role.ASSISTANT, said.content))
        calls = [part.value for part in said.content if isinstance(part, Content_ToolCall)]
        if calls:
            results = [Content_ToolResult(run(call, own)) for call in calls]
            messages.append(Message(Role.USER, results))
    raise Err(Failure_Failed(f"the model was not done after {ROUNDS} answers"))


def schema(tool: Tool) -> str:
    return json.dumps({"type": "object", "properties": tool.properties, "required": tool.required})


def run(call: model.ToolCall, own: list[Tool]) -> model.ToolResult:
    """The result of a call that the model asks for. What goes wrong, the model is told: it can do better."""
    try:
        mine = next((tool for tool in own if tool.name == call.name), None)
        if mine is None:
            content = used(call.name, call.arguments)
        else:
            content = mine.run(**checked(mine, call.arguments))
        return model.ToolResult(call.id, content, False)
    except Err as raised:
        return model.ToolResult(call.id, words(raised.value), True)


def checked(tool: Tool, arguments: str) -> dict[str, str]:
    """The arguments of a call, which nobody else checks."""
    given = json.loads(arguments)
    for name in tool.properties:
        if (name in given or name in tool.required) and not isinstance(given.get(name), str):
            wrong = f"the arguments are not as the schema says: `{name}` is no text"
            raise Err(Failure_Invalid(wrong))
    return {name: given[name] for name in tool.properties if name in given}


def used(name: str, arguments: str) -> str:
    """What a tool of the host returns, as text."""
    returned = tools.call(name, arguments)
    lines = []
    for part in returned.content:
        if isinstance(part, tools.Content_Blob):
            lines.append(f"[{part.value.media_type}, {len(part.value.data)} bytes]")
        else:
            lines.append(part.value)
    if returned.is_error:
        raise Err(Failure_Failed("\n".join(lines)))
    return "\n".join(lines)


def read(url: str) -> list[str]:
    """The lines of a page. A line about the page comes before it."""
    try:
        page = used("WebFetch", json.dumps({"url": url}))
    except Err as raised:
        raise Err(Failure_Failed(words(raised.value).split("\n")[0])) from None
    return [line.strip() for line in page.split("\n")[1:] if line.strip()]


def changes(before: list[str], now: list[str]) -> list[str]:
    """The lines that have come, each behind a `+`, and those that are gone, each behind a `-`."""

    def not_in(lines: list[str], sign: str, others: list[str]) -> list[str]:
        known = set(others)
        return [f"{sign} {line}" for line in lines if line not in known]

    return not_in(now, "+", before) + not_in(before, "-", now)


def words(error: object) -> str:
    """What the host, or this agent, has said as it failed: `NotAllowed: …`."""
    value = getattr(error, "value", None)
    if isinstance(error, Failure_Failed | Failure_Invalid):
        return value
    name = type(error).__name__.removeprefix("Error_")
    return name if value is None else f"{name}: {getattr(value, 'reason', value)}"


def configured(key: str) -> str | None:
    """The text that the session is configured with under this key."""
    value = session.get_config(key)
    return value.value if isinstance(value, session.Value_Text) else None
