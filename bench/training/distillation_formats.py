"""Plain text out of the formats in which sources come: Markdown, OpenStax's CNXML, HTML, and Python, of which functions are taken.

Markup, code and tables are dropped from prose. A passage of which too little is left, or that is mostly numbers, is no prose.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

WORDS_MIN, DIGITS_MAX = 15, 0.06  # of a passage, the latter a share of characters: what is shorter or beyond is names and numbers
CODE_CHARACTERS_MAX = 800  # about 200 tokens
ABBREVIATIONS = "".join(rf"(?<!\b{word}\.)" for word in ("Mr", "Mrs", "Ms", "Dr", "St", "Sr", "Jr", "vs"))
SENTENCE_END = re.compile(ABBREVIATIONS + r"(?:(?<=[.!?])|(?<=[.!?][\"'”’)]))\s+(?=[A-Z0-9\"'(“‘-])")


def markdown(folder: Path, pages: str, digits_max: float = DIGITS_MAX) -> Iterator[tuple[str, str]]:
    """A page's title and heading -> what is below that heading, without code, tables, markup and pictures."""
    for path in sorted(folder.glob(pages)):
        text = path.read_text(encoding="utf-8", errors="ignore").lstrip("\ufeff")
        front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
        found = re.search(r"^title:\s*[\"']?(.*?)[\"']?\s*$", front[1], re.MULTILINE) if front else None
        title = inline(found[1]) if found else ""
        text = re.sub(r"<!--.*?-->|\{%.*?%\}|\{\{.*?\}\}", "", text[front.end() if front else 0 :], flags=re.DOTALL)
        text = re.sub(r"^ *(```|~~~).*?^ *\1 *$", "", text, flags=re.DOTALL | re.MULTILINE)
        parts = re.split(r"^#{1,4} +(.+)$", text, flags=re.MULTILINE)
        for heading, body in zip(["", *parts[1::2]], parts[::2], strict=True):
            heading = re.sub(r"\s*\{.*\}$", "", inline(heading))
            title = title or heading
            lines = (line for line in body.splitlines() if not re.match(r"\s*(\||\{|import |export |:::|\[.*\]:|-{3,}$|    )", line))
            plain = inline(" ".join(re.sub(r"^\s*[-*+>]\s+", "", line) for line in lines))
            if title and is_prose(plain, digits_max):
                yield headed(title, heading), plain


def headed(title: str, heading: str) -> str:
    return f"{title}: {heading}" if heading and heading != title else title


def inline(markdown: str) -> str:
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", markdown)
    text = re.sub(r"\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])", r"\1", text)
    text = re.sub(r"\[!\w+\]|https?://\S+", "", text)
    return plain_text(re.sub(r"\*\*|``?|(?<!\w)[_*](?=[A-Za-z0-9])|(?<=[A-Za-z0-9.,:!?])[_*](?!\w)|\\(?=\W)", "", text))


def cnxml(element: ElementTree.Element) -> str:
    """The element's text; of figures, notes and the like only what follows them. A text with a formula is none: it would have a hole."""
    if any(part.tag == "math" for part in element.iter()):
        return ""
    left_out = {"figure", "table", "media", "note", "footnote", "newline"}

    def text(part: ElementTree.Element) -> str:
        if part.tag == "link" and not part.text:
            return "the figure" + (part.tail or "")  # or table, or section: its number is not in the file
        inside = "" if part.tag in left_out else (part.text or "") + "".join(text(child) for child in part)
        return inside + (part.tail or "")

    plain = " ".join("".join([element.text or "", *(text(child) for child in element)]).split())
    return re.sub(r"\s*\(\s*\)", "", plain)


def functions(source: str) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    lines = source.splitlines()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or not (docstring := ast.get_docstring(function)) or len(function.body) < 2:
            continue
        summary = " ".join(docstring.split("\n\n")[0].split())
        summary = re.sub(r"`+|:\w+:", "", SENTENCE_END.split(summary)[0])
        head = lines[function.lineno - 1 : function.body[0].lineno - 1]
        text = textwrap.dedent("\n".join([*head, *lines[function.body[0].end_lineno : function.end_lineno]]))
        if 4 <= len(summary.split()) <= 40 and len(text) <= CODE_CHARACTERS_MAX and len(text.splitlines()) >= 3:
            yield summary, text


def plain_text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def is_prose(text: str, digits_max: float = DIGITS_MAX) -> bool:
    return len(text.split()) >= WORDS_MIN and sum(character.isdigit() for character in text) <= digits_max * len(text)
