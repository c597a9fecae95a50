"""Made-up words that the test encoder knows: a slice for each subject, and those that all subjects share."""

import random

_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
WORDS = list(dict.fromkeys("".join(random.Random(f"word {i}").choices(_SYLLABLES, k=3)) for i in range(900)))
SHARED = WORDS[600:]


def subject_words(subject: int) -> list[str]:
    """Sixty words of one of ten subjects."""
    return WORDS[60 * subject : 60 * subject + 60]
