"""Talks with a language model. Its state is the conversation: a variable of this module."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.handler import (
    Failure_Declined,
    Failure_Failed,
    Failure_Invalid,
    Part_Text,
    Reply,
    Sender_Host,
    Turn,
)
from wit_world.imports import model, session
from wit_world.imports.model import Content_Text, Message, Role

# The conversation, the oldest message first.
messages: list[Message] = []


class Handler(exports.Handler):
    """What the host calls, once a turn."""

    def handle(self, turn: Turn) -> Reply:
        if isinstance(turn.sender, Sender_Host):
            raise Err(Failure_Declined())
        text = "\n".join(part.value for part in turn.content if isinstance(part, Part_Text))
        # Each line is a question of its own.
        questions = [line for line in text.splitlines() if line.strip()]
        if not questions:
            raise Err(Failure_Invalid("ask something"))
        return Reply([Part_Text(ask(question)) for question in questions], False)


def ask(question: str) -> str:
    """What the model says to the question, which it gets with all that was said before."""
    messages.append(Message(Role.USER, [Content_Text(question)]))
    request = model.Request(
        model=configured("model") or "",  # "" is the host's default
        system=configured("systemPrompt"),
        messages=messages,
        tools=[],
        tool_choice=model.ToolChoice_Auto(),
        max_tokens=None,
        temperature=None,
        stop=[],
        seed=None,
        format=model.Format_Text(),
        forward=model.Forward.TEXT,  # to the stream of the turn, as it comes
    )
    try:
        answer = model.chat(request)
    except Err as raised:
        # A failure of the turn, which takes back what the turn did to `messages`.
        raise Err(Failure_Failed(words(raised.value))) from None
    if answer.content:
        messages.append(Message(Role.ASSISTANT, answer.content))
    return "".join(part.value for part in answer.content if isinstance(part, Content_Text))


def words(error: model.Error) -> str:
    """Why there is no answer: `BudgetExceeded: …`."""
    name = type(error).__name__.removeprefix("Error_")
    value = getattr(error, "value", None)
    return name if value is None else f"{name}: {value}"


def configured(key: str) -> str | None:
    """The text that the session is configured with under this key."""
    value = session.get_config(key)
    return value.value if isinstance(value, session.Value_Text) else None
