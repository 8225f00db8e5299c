"""The answers of the simulated model: a text made from the input, JSON for a schema, or a tool call."""

import json
import random
import string
from collections.abc import Mapping, Sequence

from local.model.behaviour import Behaviour, Writing
from local.model.conversation import Item, call_names, from_user, texts, tool_outputs
from local.model.outline import outline, shortened

EXAMPLES: dict[str, object] = {
    "array": [],
    "boolean": True,
    "integer": 1,
    "null": None,
    "number": 1,
    "object": {},
}
MEBIBYTE = 1 << 20
# Characters that JSON does not escape.
PRINTABLE = "".join(sorted(set(string.ascii_letters + string.digits + string.punctuation) - set('"\\'))).encode()
PRINTABLE_BYTES = bytes(PRINTABLE[byte % len(PRINTABLE)] for byte in range(256))


def made_text(behaviour: Behaviour, started_unix_s: float) -> str:
    """Return a text that does not depend on the input: counted numbers, the ticks of a clock, or noise."""
    match behaviour.writing:
        case Writing.NUMBERS:
            return " ".join(map(str, range(behaviour.size)))
        case Writing.CLOCK:
            ticks = range(1, int(behaviour.duration_s * behaviour.ticks_per_s) + 1)
            return "".join(f"{round((started_unix_s + tick / behaviour.ticks_per_s) * 1000)} " for tick in ticks)
        case Writing.BLOB:
            noise = random.Random(behaviour.size).randbytes(behaviour.size * MEBIBYTE)
            return noise.translate(PRINTABLE_BYTES).decode()
    raise ValueError(behaviour.writing)


def text_answer(model: str, instructions: object, history: Sequence[Item], given: Sequence[Item]) -> str:
    """Return a text that is marked as simulated.

    It outlines the tool outputs in `given`, or all texts that were given to the model if `given` has no tool output.
    """
    outputs = tool_outputs(given)
    source = "\n".join(texts(outputs or from_user([*history, *given])))
    subject = _tools_named(outputs, [*history, *given]) if outputs else "what it was given"
    lines = [f"This answer is simulated by {model}: an outline of {subject}, {len(source.split())} words."]
    if isinstance(instructions, str) and instructions:
        lines.append(f"Instructions: {shortened(instructions, 200)}")
    lines += [f"{number}. {sentence}" for number, sentence in enumerate(outline(source), 1)]
    return "\n".join(lines)


def _tools_named(outputs: Sequence[Item], items: Sequence[Item]) -> str:
    names = call_names(items)
    return "the output of " + ", ".join(names.get(str(output.get("call_id")), "a tool") for output in outputs)


def message(text: str, status: str, suffix: str) -> Item:
    """Return an assistant message item."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": f"msg_{suffix}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [part],
    }


def reasoning(text: str, suffix: str) -> Item:
    """Return a reasoning item with one summary text."""
    return {"id": f"rs_{suffix}", "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}


def tool_call(tool: Item, given: Sequence[Item], suffix: str) -> Item:
    """Return a call of the tool with a value for each required parameter."""
    arguments = example(tool.get("parameters") or {"type": "object"}, shortened(" ".join(texts(given)), 80))
    return {
        "id": f"fc_{suffix}",
        "type": "function_call",
        "status": "completed",
        "call_id": f"call_{suffix}",
        "name": tool.get("name"),
        "arguments": json.dumps(arguments, ensure_ascii=False),
    }


def structured(schema: object, text: str) -> str:
    """Return JSON text that fits the schema. Its strings are the beginning of `text`."""
    return json.dumps(example(schema, shortened(text, 80)), ensure_ascii=False)


def example(schema: object, text: str) -> object:
    """Return a value that fits the JSON schema. A string without constraints becomes `text`."""
    named = schema.get("$defs") if isinstance(schema, dict) else None
    return _fitting(schema, text, named if isinstance(named, dict) else {})


def _fitting(schema: object, text: str, named: Mapping[str, object]) -> object:
    match schema:
        case {"$ref": str(name)}:
            return _fitting(named.get(name.rpartition("/")[2]), text, named)
        case {"anyOf": [*_, last]}:  # null, for an optional value
            return _fitting(last, text, named)
        case {"properties": dict(properties), "required": list(required)}:
            return {name: _fitting(properties.get(name), text, named) for name in map(str, required)}
        case {"items": entry, "minItems": int(length)}:
            return [_fitting(entry, text, named)] * length
    return _simple(schema, text)


def _simple(schema: object, text: str) -> object:
    match schema:
        case {"enum": [first, *_]} | {"const": first} | {"minimum": first}:
            return first
        case {"type": str(kind)}:
            return EXAMPLES.get(kind, text)
    return text
