"""Prompts are files that a user can read and replace; the data records which text was used, by its hash.

A file has a system part and a user part, headed `# system` and `# user`, and placeholders in double braces. Values that
come from a corpus are put in as JSON strings, so a passage can neither close its own quotation nor add a line of prompt.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import InputError

BUILT_IN = Path(__file__).parents[1] / "prompts"
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
SHAPES = ("short query", "long query", "short document", "long document", "variation")
Message = dict[str, str]


@dataclass(frozen=True)
class Prompt:
    """One prompt file; `version` is the first 12 hex digits of its SHA-256."""

    name: str
    system: str
    user: str
    version: str

    def messages(self, **values: Any) -> list[Message]:
        """Chat messages with every placeholder filled; strings go in as they are, everything else as JSON."""
        texts = {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in values.items()}
        return [{"role": role, "content": _PLACEHOLDER.sub(lambda found: texts[found[1]], part)}
                for role, part in (("system", self.system), ("user", self.user))]


def quoted(text: str) -> str:
    """A text of the corpus as one JSON string on one line: the form in which it enters a prompt."""
    return json.dumps(text, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


class Prompts:
    """The built-in prompts, each replaced by the file of the same name in `folder` if there is one."""

    def __init__(self, folder: Path | None = None) -> None:
        if folder is not None and not folder.is_dir():
            raise InputError(f"the prompts folder {folder} does not exist")
        self.folder = folder

    def load(self, name: str, placeholders: set[str]) -> Prompt:
        """Raises InputError if the file lacks a part or its placeholders are not exactly `placeholders`."""
        path = self._path(name)
        content = path.read_text(encoding="utf-8")
        parts = re.split(r"(?m)^# (system|user)\s*$", content)
        sections = dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))
        if set(sections) != {"system", "user"}:
            raise InputError(f"{path} must have the two headings '# system' and '# user'")
        found = set(_PLACEHOLDER.findall(content))
        if found != placeholders:
            raise InputError(f"{path} must use the placeholders {sorted(placeholders)}, and uses {sorted(found)}")
        return Prompt(name, sections["system"], sections["user"], _version(content))

    def levels(self, count: int) -> tuple[list[str], str]:
        """The definitions of levels 1 to `count` in levels.md, easiest first, and the file's version."""
        path = self._path("levels.md")
        content = path.read_text(encoding="utf-8")
        definitions = [" ".join(part.split()) for part in re.split(r"(?m)^## .*$", content)[1:]]
        if not 2 <= count <= len(definitions):
            raise InputError(f"{path} defines {len(definitions)} levels: between 2 and {len(definitions)} can be asked for, not {count}")
        return definitions[:count], _version(content)

    def shapes(self) -> tuple[dict[str, list[str]], str]:
        """The lists of shapes.md by heading, and the file's version."""
        path = self._path("shapes.md")
        content = path.read_text(encoding="utf-8")
        parts = re.split(r"(?m)^## (.*)$", content)
        lists = {name.strip(): re.findall(r"(?m)^- (.+)$", text) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
        missing = [name for name in SHAPES if not lists.get(name)]
        if missing:
            raise InputError(f"{path} must have a list under each of the headings {', '.join(missing)}")
        return lists, _version(content)

    def _path(self, name: str) -> Path:
        own = self.folder / name if self.folder else None
        return own if own and own.is_file() else BUILT_IN / name


def _version(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:12]
