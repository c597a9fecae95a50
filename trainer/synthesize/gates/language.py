"""The language gate: query, positive and written negatives speak one language, and the one that was asked for.

A guess counts only where the identifier is sure; a few key words or names are of no language.
"""

import threading

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from trainer.synthesize.errors import Unusable
from trainer.synthesize.records import Draft

SURE = 0.8
ENOUGH_CHARACTERS = 25
UNKNOWN = "und"  # ISO 639: undetermined


class Languages:
    """Guesses ISO 639-1 codes. Loading takes seconds, so it is done at the first guess."""

    def __init__(self, expected: str = "auto") -> None:
        self.expected = expected
        self._identifier: LanguageIdentifier | None = None
        self._lock = threading.Lock()

    def guess(self, text: str) -> str:
        """A language code, or "und" where the text is too short or mixed to tell."""
        if len(text) < ENOUGH_CHARACTERS and text.isascii():
            return UNKNOWN
        with self._lock:
            if self._identifier is None:
                self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
            code, probability = self._identifier.classify(text)
        return code if probability >= SURE and code != "zxx" else UNKNOWN

    def check(self, draft: Draft) -> str:
        """The draft's language; raises Unusable where query and positive differ, or are not in the expected one."""
        query, positive = self.guess(draft.query), self.guess(draft.positive)
        for side, found in (("query", query), ("positive", positive)):
            if self.expected != "auto" and found not in (self.expected, UNKNOWN):
                raise Unusable("language", f"{side} not in the language asked for", f"{found}, not {self.expected}")
        if UNKNOWN not in (query, positive) and query != positive:
            raise Unusable("language", "query and positive differ", f"{query} and {positive}")
        return positive if positive != UNKNOWN else query

    def differs(self, text: str, language: str) -> bool:
        """Whether a text is surely of another language than `language`."""
        return language != UNKNOWN and self.guess(text) not in (language, UNKNOWN)
