"""What is measured, kept for each query, pair or text, so that intervals and paired tests can be had from it.

Values are fractions; reports multiply by 100. nDCG has linear gains and log2 discounts, as trec_eval and BEIR have.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import v_measure_score

CLASSIFICATION_ROUNDS = 10
CLASSIFICATION_TEXTS_A_LABEL = 8
CLUSTERING_ROUNDS = 10
CLUSTERING_TEXTS = 2000


def ndcg_at(k: int, ranking: Sequence[str], relevance: dict[str, int]) -> float:
    """`ranking`: document ids, best first. `relevance`: grades above 0."""
    gains = [relevance.get(document, 0) / np.log2(rank + 2) for rank, document in enumerate(ranking[:k])]
    ideal = [grade / np.log2(rank + 2) for rank, grade in enumerate(sorted(relevance.values(), reverse=True)[:k])]
    return float(sum(gains) / sum(ideal))


def recall_at(k: int, ranking: Sequence[str], relevance: dict[str, int]) -> float:
    return len(set(ranking[:k]) & set(relevance)) / len(relevance)


def spearman(left: np.ndarray, right: np.ndarray) -> float:
    """Correlation of ranks; ties share their mean rank."""
    return float(np.corrcoef(rankdata(left), rankdata(right))[0, 1])


def top_documents(queries: np.ndarray, documents: np.ndarray, k: int, block: int = 256) -> np.ndarray:
    """Rows of the k best documents of each query [queries, k], best first; exact, `block` queries at a time."""
    k = min(k, len(documents))
    best = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), block):
        scores = queries[start : start + block] @ documents.T
        part = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, part, axis=1), axis=1, kind="stable")
        best[start : start + block] = np.take_along_axis(part, order, axis=1)
    return best


def classification_rounds(train_labels: Sequence[str], seed: int = 42) -> list[np.ndarray]:
    """For each of ten rounds, the rows of the training texts that are learned from: eight drawn of each label (MTEB's way)."""
    generator = np.random.default_rng(seed)
    labels = np.array(train_labels)
    return [np.concatenate([generator.permutation(np.flatnonzero(labels == label))[:CLASSIFICATION_TEXTS_A_LABEL] for label in np.unique(labels)])
            for _ in range(CLASSIFICATION_ROUNDS)]


def classification_accuracies(
    train: np.ndarray, train_labels: Sequence[str], test: np.ndarray, test_labels: Sequence[str], rounds: Sequence[np.ndarray],
) -> np.ndarray:
    """[test texts] share of the rounds in which each was classified rightly, by logistic regression on the round's rows of `train`."""
    labels, expected = np.array(train_labels), np.array(test_labels)
    right = np.zeros(len(test))
    for rows in rounds:
        model = LogisticRegression(max_iter=100).fit(train[rows], labels[rows])
        right += model.predict(test) == expected
    return right / len(rounds)


def clustering_v_measures(vectors: np.ndarray, labels: Sequence[str], seed: int = 42) -> np.ndarray:
    """[rounds] v-measure of k-means with as many clusters as labels, each round over its own sample of at most 2,000 texts."""
    generator = np.random.default_rng(seed)
    names = np.array(labels)
    values = []
    for round_ in range(CLUSTERING_ROUNDS):
        rows = generator.permutation(len(names))[:CLUSTERING_TEXTS]
        means = MiniBatchKMeans(n_clusters=len(np.unique(names)), batch_size=500, n_init=3, random_state=seed + round_)
        values.append(v_measure_score(names[rows], means.fit_predict(vectors[rows])))
    return np.array(values)
