"""From what a model wrote to the object that was asked for, and the reason where there is none.

Small models wrap JSON in prose or code fences, leave commas behind, put raw line breaks into strings; that is put right.
A cut or refused answer is not guessed at: it is Unusable, and asked again.
"""

import json
import re
from typing import Any

from trainer.synthesize.chat.client import Reply
from trainer.synthesize.errors import Unusable
from trainer.synthesize.words import encodable

_REFUSAL = re.compile(r"\b(i'?m sorry|i am sorry|i can(?:'|no|’)?t|i am unable|i'm unable|as an ai)\b", re.IGNORECASE)
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")


def schema_of(fields: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object that has exactly `fields` (name -> schema)."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def parse(reply: Reply, schema: dict[str, Any]) -> dict[str, Any]:
    """The answer's object with the schema's fields, strings trimmed; raises Unusable with the gate `reply` or `schema`."""
    if reply.refusal:
        raise Unusable("reply", "refused", reply.refusal[:200])
    if not reply.text.strip():
        raise Unusable("reply", "empty")
    found = _first_object(reply.text)
    if found is None:
        if reply.finish_reason == "length" or reply.text.count("{") > reply.text.count("}"):
            raise Unusable("reply", "cut JSON", reply.text[-120:])
        reason = "refused" if _REFUSAL.search(reply.text) else "no JSON"
        raise Unusable("reply", reason, reply.text[:200])
    return _checked(found, schema)


def _first_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in `text`, whatever is around it."""
    decoder = json.JSONDecoder(strict=False)  # raw line breaks inside strings are taken
    for start in (found.start() for found in re.finditer(r"\{", text)):
        for candidate in (text[start:], _TRAILING_COMMA.sub(r"\1", text[start:])):
            try:
                value, _ = decoder.raw_decode(candidate)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                return value
        if start == text.find("{") and text.count("{") > text.count("}"):
            return None  # cut: an inner object is not the answer
    return None


def _checked(found: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    result = {}
    for name, wanted in schema["properties"].items():
        if name not in found:
            raise Unusable("schema", f"without {name}", f"it has {sorted(found)}")
        value = found[name]
        if not _fits(value, wanted):
            raise Unusable("schema", f"{name} is no {wanted['type']}", repr(value)[:120])
        result[name] = _plain(value)
    return result


def _plain(value: Any) -> Any:
    """A text trimmed, and what a file can hold."""
    if isinstance(value, list):
        return [encodable(item) for item in value]
    return encodable(" ".join(value.split())) if isinstance(value, str) else value


def _fits(value: Any, wanted: dict[str, Any]) -> bool:
    if wanted["type"] == "string":
        return isinstance(value, str) and bool(value.strip())
    if wanted["type"] == "boolean":
        return isinstance(value, bool)
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
