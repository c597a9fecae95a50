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

from tokenizers import Tokenizer

WORDS_MIN, DIGITS_MAX = 15, 0.06  # of a passage, the latter a share of characters: what is shorter or beyond is names and numbers
TOKENS = (30, 62, 62, 126, 254)  # of a chunk, special tokens not counted: one is drawn for each text
CODE_CHARACTERS_MAX = 800  # about 200 tokens
ABBREVIATIONS = "".join(rf"(?<!\b{word}\.)" for word in ("Mr", "Mrs", "Ms", "Dr", "St", "Sr", "Jr", "vs"))
SENTENCE_END = re.compile(ABBREVIATIONS + r"(?:(?<=[.!?])|(?<=[.!?][\"'”’)]))\s+(?=[A-Z0-9\"'(“‘-])")


def chunks(tokenizer: Tokenizer, text: str, tokens_max: int) -> list[list[str]]:
    """Whole sentences, in groups of at most `tokens_max` tokens; a sentence longer than that is a group by itself."""
    groups: list[list[str]] = []
    size = tokens_max
    for sentence in SENTENCE_END.split(" ".join(text.split())):
        tokens = len(tokenizer.encode(sentence, add_special_tokens=False).ids)
        if size + tokens > tokens_max:
            groups.append([])
            size = 0
        groups[-1].append(sentence)
        size += tokens
    return groups


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


def functions(source: str, characters_max: int = CODE_CHARACTERS_MAX) -> Iterator[tuple[str, str]]:
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
        if 4 <= len(summary.split()) <= 40 and len(text) <= characters_max and len(text.splitlines()) >= 3:
            yield summary, text


def docstrings(source: str) -> Iterator[tuple[str, str]]:
    """A function's or class's name and what it does -> what its docstring says after that, without examples and tables."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (docstring := ast.get_docstring(node)):
            summary, *paragraphs = re.split(r"\n\s*\n", docstring)
            kept = (paragraph for paragraph in paragraphs if not re.search(r">>>|^\s*\.\. |[-=+]{3,}$|^    .*[=(]|:math:|\\\\", paragraph, re.MULTILINE))
            text = inline(re.sub(r":\w+:`~?([^`]*)`", r"\1", " ".join(" ".join(kept).split())))
            if is_prose(text):
                yield f"{node.name}: {inline(' '.join(summary.split()))}", text


def commented(source: str, characters_max: int = CODE_CHARACTERS_MAX) -> Iterator[tuple[str, str]]:
    """JavaScript, TypeScript, Java: what a comment before it says of a function or class -> its code, or its head where the code is long."""
    for found in re.finditer(r"^([ \t]*)/\*\*(.*?)\*/[ \t]*\n", source, re.DOTALL | re.MULTILINE):
        said = re.sub(r"^\s*\* ?", "", found[2], flags=re.MULTILINE).strip()
        said = re.split(r"^\s*@|<pre|```|\n\s*<p>", said, maxsplit=1, flags=re.MULTILINE)[0]
        said = inline(re.sub(r"\{@\w+\s+#?([^}]*)\}", r"\1", said))
        lines = source[found.end() : found.end() + 4 * characters_max].split("\n")
        end = next((place for place, line in enumerate(lines) if not line.strip() or re.match(rf"{found[1]}\}}", line)), len(lines))
        while end > 1 and len("\n".join(lines[: end + 1])) > characters_max:
            end = min(end - 1, 3)
        text = textwrap.dedent("\n".join(lines[: end + 1])).strip()
        if 4 <= len(said.split()) <= 120 and len(text) >= 20:
            yield said, text


def whole(folder: Path, pages: str) -> Iterator[tuple[str, str]]:
    """Short pages that tell how something is done: title -> all of the page, with its code."""
    for path in sorted(folder.glob(pages)):
        text = path.read_text(encoding="utf-8", errors="ignore")
        title, _, body = text.removeprefix("\ufeff").strip().partition("\n")
        if title.startswith("# ") and len(body.split()) >= WORDS_MIN:
            body = re.sub(r"^(```|\[[^\]]*\]:).*$", "", re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", body), flags=re.MULTILINE)
            yield inline(title[2:]), body


def plain_text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def is_prose(text: str, digits_max: float = DIGITS_MAX) -> bool:
    return len(text.split()) >= WORDS_MIN and sum(character.isdigit() for character in text) <= digits_max * len(text)
