"""Keeps a list of notes. Its state are the variables of this module: nothing saves them but the host."""

import json
import secrets
from datetime import datetime, timezone

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.handler import (
    Failure_Declined,
    Failure_Invalid,
    Part_Text,
    Reply,
    Sender_Host,
    Turn,
)
from wit_world.imports import log

HELP = "add TEXT, list, find TEXT, remove N, count, when N, pick, load JSON"

# The notes, each with its text and when it was noted.
notes: list[tuple[str, datetime]] = []


class Handler(exports.Handler):
    """What the host calls, once a turn."""

    def handle(self, turn: Turn) -> Reply:
        if isinstance(turn.sender, Sender_Host):
            raise Err(Failure_Declined())
        text = "\n".join(part.value for part in turn.content if isinstance(part, Part_Text))
        verb, *rest = text.split(maxsplit=1) or [""]
        command = COMMANDS.get(verb.lower())
        if command is None:
            answer = f"I keep notes. I understand: {HELP}."
        else:
            answer = command("".join(rest).strip())
        return Reply([Part_Text(answer)], False)


def add(text: str) -> str:
    if not text:
        raise invalid("a note has a text: `add TEXT`")
    notes.append((text, datetime.now(timezone.utc)))
    log.log(log.Level.INFO, "noted", [("number", str(len(notes)))])
    return f"noted as {len(notes)}"


def find(words: str) -> str:
    wanted = (
        f"{number}. {text}"
        for number, (text, _) in enumerate(notes, 1)
        if words.lower() in text.lower()
    )
    return "\n".join(wanted) or "no notes"


def remove(number: str) -> str:
    text, _ = notes.pop(place(number))
    return f"removed: {text}"


def count(_: str) -> str:
    return f"{len(notes)} in the list"


def when(number: str) -> str:
    _, at = notes[place(number)]
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pick(_: str) -> str:
    # Not `random`: its generator was seeded when the component was built.
    return secrets.choice(notes)[0] if notes else "no notes"


def load(document: str) -> str:
    """Replace all notes. What is no list of strings is an exception, and nobody catches it."""
    at = datetime.now(timezone.utc)
    notes[:] = [(text.strip(), at) for text in json.loads(document)]
    return count("")


def place(number: str) -> int:
    """The place of the note with this number."""
    if not number.isdecimal() or not 1 <= int(number) <= len(notes):
        raise invalid(f"there is no note `{number}`")
    return int(number) - 1


def invalid(text: str) -> Err:
    """What `handle` raises where it does not answer: a `failure` of the contract."""
    return Err(Failure_Invalid(text))


COMMANDS = {
    "add": add,
    "list": lambda _: find(""),
    "find": find,
    "remove": remove,
    "count": count,
    "when": when,
    "pick": pick,
    "load": load,
}
