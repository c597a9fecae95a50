"""One encoder on one set: the figures, and the items they are made of."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trainer.evaluate import metrics
from trainer.evaluate.encoders import TextEncoder
from trainer.evaluate.sets import ClassificationSet, ClusteringSet, EvaluationSet, RetrievalSet, SimilaritySet
from trainer.evaluate.statistics import Interval, mean_interval, paired_difference, statistic_interval

RANKED = 100


@dataclass(frozen=True)
class Judgement:
    """`items` [n] are what the main metric averages; for Spearman they are cosines, `gold` beside them."""

    set: str
    metric: str
    figures: dict[str, Interval]  # the main metric among them
    items: np.ndarray
    gold: np.ndarray | None = None

    @property
    def main(self) -> Interval:
        return self.figures[self.metric]


def judge(encoder: TextEncoder, evaluation_set: EvaluationSet) -> Judgement:
    match evaluation_set:
        case RetrievalSet():
            return _judge_retrieval(encoder, evaluation_set)
        case SimilaritySet():
            return _judge_similarity(encoder, evaluation_set)
        case ClassificationSet():
            return _judge_classification(encoder, evaluation_set)
        case ClusteringSet():
            return _judge_clustering(encoder, evaluation_set)


def compare(one: Judgement, other: Judgement) -> tuple[Interval, float]:
    """`one` minus `other` on the same set: difference with interval, and p-value."""
    if one.set != other.set or len(one.items) != len(other.items):
        raise ValueError(f"{one.set} and {other.set} were not judged over the same items")
    difference: Callable[[np.ndarray], float]
    if one.gold is None:
        apart = one.items - other.items
        difference = lambda rows: float(apart[rows].mean())  # noqa: E731
    else:
        difference = lambda rows: metrics.spearman(one.items[rows], one.gold[rows]) - metrics.spearman(other.items[rows], one.gold[rows])  # noqa: E731
    return paired_difference(len(one.items), difference)


def _judge_retrieval(encoder: TextEncoder, data: RetrievalSet) -> Judgement:
    documents, queries = list(data.corpus), list(data.queries)
    vectors = encoder.encode([data.corpus[document] for document in documents], "document")
    best = metrics.top_documents(encoder.encode([data.queries[query] for query in queries], "query"), vectors, RANKED)
    rankings = [[documents[row] for row in rows] for rows in best]
    judged = [(ranking, data.relevance[query]) for query, ranking in zip(queries, rankings, strict=True)]
    ndcg = np.array([metrics.ndcg_at(10, *pair) for pair in judged])
    recalls = {f"recall@{k}": mean_interval(np.array([metrics.recall_at(k, *pair) for pair in judged])) for k in (1, 10, 100)}
    return Judgement(data.name, "ndcg@10", {"ndcg@10": mean_interval(ndcg), **recalls}, ndcg)


def _judge_similarity(encoder: TextEncoder, data: SimilaritySet) -> Judgement:
    left, right = encoder.encode(data.left, ""), encoder.encode(data.right, "")
    cosines, gold = (left * right).sum(axis=1), np.array(data.scores)
    interval = statistic_interval(len(gold), lambda rows: metrics.spearman(cosines[rows], gold[rows]))
    return Judgement(data.name, "spearman", {"spearman": interval}, cosines, gold)


def _judge_classification(encoder: TextEncoder, data: ClassificationSet) -> Judgement:
    labels = [label for label, _ in data.train]
    rounds = metrics.classification_rounds(labels)
    # Only what a round learns from is embedded: of banking77's 10,003 training texts some 4,600.
    used = np.unique(np.concatenate(rounds))
    train = encoder.encode([data.train[row][1] for row in used], "")
    test = encoder.encode([text for _, text in data.test], "")
    items = metrics.classification_accuracies(train, [labels[row] for row in used], test, [label for label, _ in data.test],
                                              [np.searchsorted(used, rows) for rows in rounds])
    return Judgement(data.name, "accuracy", {"accuracy": mean_interval(items)}, items)


def _judge_clustering(encoder: TextEncoder, data: ClusteringSet) -> Judgement:
    items = metrics.clustering_v_measures(encoder.encode([text for _, text in data.texts], ""), [label for label, _ in data.texts])
    return Judgement(data.name, "v-measure", {"v-measure": mean_interval(items)}, items)
