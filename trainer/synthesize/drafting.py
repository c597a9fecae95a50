"""From an assignment to a record: write, pass the gates, find the missing negatives, measure hardness; again, if that may help.

1. the provider writes; 2. text gates; 3. language; 4. round trip: the query finds the positive in the corpus; 5. each written
negative is judged alone; 6. levels without one are mined; 7. hardness is measured and the levels are set.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from trainer import bands
from trainer.synthesize.encoder import Encoder
from trainer.synthesize.errors import Unusable
from trainer.synthesize.gates.hardness import grade
from trainer.synthesize.gates.language import Languages
from trainer.synthesize.gates.text import SAME_WORDS, check_text, negative_fault
from trainer.synthesize.portions import PORTIONS
from trainer.synthesize.providers.provider import Attempt, Provider
from trainer.synthesize.records import Assignment, Draft, Drop, Negative, Record
from trainer.synthesize.search import CorpusSearch, Wanted, mine
from trainer.synthesize.task_types import TASK_TYPES
from trainer.synthesize.words import jaccard

MINING_ROUNDS = 3


@dataclass(frozen=True)
class Limits:
    """What the gates demand."""

    levels: int = 4
    negatives: str = "both"  # written, mined, or both: written, and mined where a level has none left
    round_trip_rank: int = 20
    mined_ratio: float = 0.95  # share of the positive's similarity that a mined negative may reach
    written_ratio: float = 1.0
    hardness: str = "relabel"  # or reask, drop
    use_judge: bool = False


@dataclass
class Outcome:
    """A record with the vectors of query and positive, or none; and everything that was kept out on the way."""

    record: Record | None = None
    query_vector: np.ndarray | None = None
    positive_vector: np.ndarray | None = None
    drops: list[Drop] = field(default_factory=list)


class Drafting:
    """Makes records of assignments, in any thread. Without a corpus nothing is mined and the round trip is left to the data set's gates."""

    def __init__(self, provider: Provider, encoder: Encoder, search: CorpusSearch | None, languages: Languages, limits: Limits) -> None:
        self.provider, self.encoder, self.search = provider, encoder, search
        self.languages, self.limits = languages, limits

    def make(self, assignment: Assignment) -> Outcome:
        """Raises EndpointFailed and StopRun; everything else ends in the outcome."""
        outcome, complaint = Outcome(), ""
        for number in range(self.provider.attempts):
            last = number == self.provider.attempts - 1
            draft = None
            try:
                draft = self.provider.write(assignment, Attempt(number, complaint))
                return self._examine(assignment, draft, outcome, may_ask_again=not last)
            except Unusable as error:
                complaint = str(error)
                exhausted = last or error.reason == "nothing to ask"
                outcome.drops.append(Drop(assignment, error.gate, error.reason, error.detail, "record" if exhausted else "attempt", _text(draft)))
                if exhausted:
                    break
        return outcome

    def _examine(self, assignment: Assignment, draft: Draft, outcome: Outcome, may_ask_again: bool) -> Outcome:
        check_text(draft, TASK_TYPES[assignment.task.type])
        language = self.languages.check(draft)
        query = self.encoder.embed([draft.query], "query")[0]
        positive = self.encoder.embed([draft.positive])[0]
        self._round_trip(assignment, query, positive)
        kept = self._written(assignment, draft, language, query @ positive, outcome)
        if len(kept) < self.limits.levels and self.limits.negatives != "written":
            kept += self._mined(assignment, draft, query, positive, kept)
        if len(kept) < self.limits.levels:
            raise Unusable("negatives", "too few", f"{len(kept)} of {self.limits.levels} are left")
        similarities = self.encoder.embed([negative.text for negative in kept]) @ query
        policy = self.limits.hardness
        graded = grade(kept, similarities, must_rise=policy == "drop" or (policy == "reask" and may_ask_again))
        outcome.record = Record(assignment, replace(draft, negatives=graded.negatives), language, float(query @ positive), graded.similarities)
        outcome.query_vector, outcome.positive_vector = query, positive
        return outcome

    def _round_trip(self, assignment: Assignment, query: np.ndarray, positive: np.ndarray) -> None:
        passage = assignment.passage
        if self.search is None or passage is None or TASK_TYPES[assignment.task.type].symmetric:
            return
        rank = self.search.rank(query, passage.id, positive)
        if rank > self.limits.round_trip_rank:
            raise Unusable("round-trip", "positive not found by its query", f"rank {rank} of {len(self.search.passages)}")

    def _written(self, assignment: Assignment, draft: Draft, language: str, own: float, outcome: Outcome) -> list[Negative]:
        """The provider's negatives that stand alone: fit in words and language, and not an answer themselves."""
        kept: list[Negative] = []
        for negative in draft.negatives:
            fault = negative_fault(negative, draft, kept)
            if not fault and self.languages.differs(negative.text, language):
                fault = "in another language"
            if not fault and self._answers(assignment, draft, negative, own):
                fault = "may answer the query"
            if fault:
                outcome.drops.append(Drop(assignment, "negatives", fault, f"level {negative.level}", "negative",
                                          {"query": draft.query, "neg": [negative.text]}))
            else:
                kept.append(negative)
        return kept

    def _answers(self, assignment: Assignment, draft: Draft, negative: Negative, own: float) -> bool:
        """Above the margin a negative is taken for an answer, unless a judge says that it is none."""
        vectors = self.encoder.embed([draft.query], "query")[0], self.encoder.embed([negative.text])[0]
        if float(vectors[0] @ vectors[1]) <= self.limits.written_ratio * own:
            return False
        return not self.limits.use_judge or self.provider.judge(assignment.task, draft.query, negative.text) is not False

    def _mined(self, assignment: Assignment, draft: Draft, query: np.ndarray, positive: np.ndarray, kept: list[Negative]) -> list[Negative]:
        """Real passages, or the same part of them as the positive is, for the levels that have no negative."""
        if self.search is None or TASK_TYPES[assignment.task.type].symmetric:
            return []
        ceiling = float(bands.ceiling(query @ positive, self.limits.mined_ratio))
        excluded = {assignment.passage.id} if assignment.passage else set()
        texts = [draft.positive, *(negative.text for negative in kept)]
        found: list[Negative] = []
        for round_ in range(MINING_ROUNDS):
            levels = tuple({*range(1, self.limits.levels + 1)} - {negative.level for negative in [*kept, *found]})
            if not levels:
                break
            wanted = Wanted(query, positive, levels, self.limits.levels, ceiling, excluded)
            for negative in mine(self.search, wanted, assignment.seed + round_):
                excluded.add(negative.origin)
                text = PORTIONS[draft.portion](self.search.passage(negative.origin))
                if text and float(self.encoder.embed([text])[0] @ query) <= ceiling and not _repeats(text, texts):
                    found.append(replace(negative, text=text))
                    texts.append(text)
        return found


def _repeats(text: str, others: list[str]) -> bool:
    return any(jaccard(text, other) >= SAME_WORDS for other in others)


def _text(draft: Draft | None) -> dict[str, object]:
    """What was turned down, as it goes into dropped.jsonl."""
    if draft is None:
        return {}
    return {"query": draft.query, "pos": [draft.positive], "neg": [negative.text for negative in draft.negatives], "model": draft.model}
