"""Made-up words that the test encoder knows, a slice for each subject and those that all subjects share; and passages of them."""

import random

_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
WORDS = list(dict.fromkeys("".join(random.Random(f"word {i}").choices(_SYLLABLES, k=3)) for i in range(900)))
SHARED = WORDS[600:]


def subject_words(subject: int) -> list[str]:
    """Sixty words of one of ten subjects."""
    return WORDS[60 * subject : 60 * subject + 60]


def passages(count: int, words: int = 36) -> list[dict[str, str]]:
    """Passages on ten subjects; each has words of its subject and shared ones, so that neighbours exist and none is a repeat."""
    rng = random.Random(5)
    rows = []
    for i in range(count):
        pool = subject_words(i % 10) + SHARED[:80]
        text = rng.sample(pool, words)
        sentences = f"{text[0].capitalize()} is a {' '.join(text[1:14])}. {text[14].capitalize()} {' '.join(text[15:])}."
        rows.append({"_id": f"p{i}", "title": " ".join(rng.sample(text, 4)), "text": sentences})
    return rows
