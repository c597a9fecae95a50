"""Gates that need only the words: length, repetition, wording and leakage of a query, and the faults of a single negative."""

import re

from trainer.synthesize.errors import Unusable
from trainer.synthesize.records import Draft, Negative
from trainer.synthesize.task_types import TaskType
from trainer.synthesize.words import compression_ratio, jaccard, longest_shared_run, words

LOOPING_BYTES, LOOPING_RATIO = 120, 0.3  # prose of that length compresses to 0.5 and more of itself
COPIED_RUN, COPIED_SHARE = 6, 0.8
COPIED_FROM_POSITIVE = 0.5  # a negative that states the positive's own facts is likely to answer
SAME_WORDS = 0.8  # Jaccard of word trigrams
LENGTH_FACTOR = 4  # a negative may be this much shorter or longer than the positive

_OF_ITSELF = re.compile(
    r"\b(?:th(?:is|e)|given|above|provided) (?:passage|text|article|document|excerpt|paragraph|paper|abstract|snippet)\b|"
    r"\b(?:mentioned|described|discussed|stated) (?:above|below|here)\b|\bin this (?:work|study|note|letter)\b", re.IGNORECASE)
_TO_A_MACHINE = re.compile(
    r"\b(?:ignore|disregard|forget) (?:\w+ ){0,3}(?:instructions?|prompts?|rules)\b|\bas an ai\b|\bsystem prompt\b|\bnegative_\d\b|"
    r"\bhardness level\b|\bI(?:'m| am) sorry, (?:but )?I can", re.IGNORECASE)


def check_text(draft: Draft, type_: TaskType) -> None:
    """Raise Unusable for the first gate that the query and the positive do not pass."""
    for side, text, bounds in (("query", draft.query, type_.query), ("positive", draft.positive, type_.document)):
        count = len(words(text))
        if not bounds[0] <= count <= bounds[1]:
            raise Unusable("length", f"{side} too {'short' if count < bounds[0] else 'long'}", f"{count} words, {bounds[0]} to {bounds[1]} are asked for")
    for side, text in (("query", draft.query), ("positive", draft.positive)):
        if loops(text):
            raise Unusable("repetition", f"{side} repeats itself", text[:80])
    fault = _wording_fault(draft.query)
    if fault:
        raise Unusable("wording", f"query {fault}", draft.query[:120])
    _check_leakage(draft, type_)


def negative_fault(negative: Negative, draft: Draft, kept: list[Negative]) -> str:
    """Why a written negative cannot be used beside the positive and those kept already, or nothing."""
    count, usual = len(words(negative.text)), len(words(draft.positive))
    if not usual / LENGTH_FACTOR <= count <= usual * LENGTH_FACTOR:
        return "much shorter than the positive" if count < usual else "much longer than the positive"
    if loops(negative.text):
        return "repeats itself"
    if _TO_A_MACHINE.search(negative.text):
        return "speaks to a machine"
    if jaccard(negative.text, draft.positive) >= SAME_WORDS:
        return "says what the positive says"
    run = longest_shared_run(negative.text, draft.positive)
    if run >= COPIED_RUN and run >= COPIED_FROM_POSITIVE * count:
        return "copied from the positive"
    if jaccard(negative.text, draft.query) >= SAME_WORDS:
        return "repeats the query"
    if any(jaccard(negative.text, other.text) >= SAME_WORDS for other in kept):
        return "repeats another negative"
    return ""


def loops(text: str) -> bool:
    """Whether a text is mostly the same again and again."""
    return len(text) >= LOOPING_BYTES and compression_ratio(text) < LOOPING_RATIO


def _wording_fault(query: str) -> str:
    if _TO_A_MACHINE.search(query):
        return "speaks to a machine"
    return "speaks of its own text" if _OF_ITSELF.search(query) else ""


def _check_leakage(draft: Draft, type_: TaskType) -> None:
    """One side must not be read off the other: a long run of shared words, or a paraphrase that changes nothing."""
    shorter = min(len(words(draft.query)), len(words(draft.positive)))
    run = longest_shared_run(draft.query, draft.positive)
    if run >= COPIED_RUN and run >= COPIED_SHARE * shorter:
        raise Unusable("leakage", "copied from the other side", f"{run} of {shorter} words in a row")
    if type_.symmetric and jaccard(draft.query, draft.positive, 1) >= 0.9:
        raise Unusable("leakage", "paraphrase with the same words")
