"""Parts of a passage that can be searched for. A mined negative is the same part of its passage as the positive is of its own,
or its shape alone would tell the two apart."""

from collections.abc import Callable

from trainer.synthesize.records import Passage
from trainer.synthesize.words import sentences, words

SENTENCE_WORDS = 5


def without(parts: list[str], i: int) -> str:
    """Sentences joined, but for the one at `i`."""
    return " ".join(parts[:i] + parts[i + 1 :])


def halves(text: str) -> tuple[str, str]:
    """A text cut between two sentences; the first half is empty where there is one sentence."""
    parts = sentences(text)
    return " ".join(parts[: len(parts) // 2]), " ".join(parts[len(parts) // 2 :])


def _whole(parts: list[str]) -> str:
    """The one part, if it is long enough to be a sentence and no stray heading or number."""
    return parts[0] if parts and len(words(parts[0])) >= SENTENCE_WORDS else ""


# Each gives the empty string where the passage has no such part.
PORTIONS: dict[str, Callable[[Passage], str]] = {
    "text": lambda passage: passage.text,
    "title": lambda passage: passage.title,
    "first sentence": lambda passage: _whole(sentences(passage.text)[:1]),
    "last sentence": lambda passage: _whole(sentences(passage.text)[-1:]),
    "second half": lambda passage: halves(passage.text)[1],
}
