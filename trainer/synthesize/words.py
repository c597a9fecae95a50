"""Counting and comparing words in any script; a Chinese, Japanese or Korean character counts as a word of its own."""

import re
import zlib
from difflib import SequenceMatcher

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+(?=[^\sa-z])|[。！？]")
# A full stop after these ends no sentence: initials, "U.S.", and abbreviations that stand before a name or a number.
_ABBREVIATED = re.compile(r"(?:\b[A-Za-z]|\b(?:Dr|Mr|Mrs|Ms|St|Jr|Sr|Prof|No|Fig|Eq|Sec|vs|cf|al|approx|ca|e\.g|i\.e))\.$")


def words(text: str) -> list[str]:
    """Lower-cased words without punctuation."""
    return _WORD.findall(text.casefold())


def sentences(text: str) -> list[str]:
    """Split after a full stop, question or exclamation mark that no lower-case letter follows."""
    parts, start = [], 0
    for end in _SENTENCE_END.finditer(text):
        if not _ABBREVIATED.search(text[start : end.start() + 1]):
            parts.append(text[start : end.end()].strip())
            start = end.end()
    return [part for part in [*parts, text[start:].strip()] if part]


def jaccard(left: str, right: str, size: int = 3) -> float:
    """Shared share of word n-grams (of single words where a text is shorter than `size`): 1 for the same words in the same order."""
    a, b = _shingles(left, size), _shingles(right, size)
    return len(a & b) / len(a | b) if a | b else 1.0


def longest_shared_run(left: str, right: str) -> int:
    """Length in words of the longest run of words that both texts have."""
    a, b = words(left), words(right)
    return SequenceMatcher(None, a, b, autojunk=False).find_longest_match(0, len(a), 0, len(b)).size


def compression_ratio(text: str) -> float:
    """Compressed over plain bytes; prose of a paragraph lies above 0.4, a model that loops far below."""
    data = text.encode()
    return len(zlib.compress(data, 9)) / max(len(data), 1)


def _shingles(text: str, size: int) -> set[tuple[str, ...]]:
    items = words(text)
    size = min(size, max(len(items), 1))
    return {tuple(items[i : i + size]) for i in range(len(items) - size + 1)}


def encodable(text: str) -> str:
    """`text` with a "?" for each half of a surrogate pair, which JSON can escape and no file holds."""
    return text.encode("utf-8", "replace").decode()
