"""Each loss: its value by hand or by an independent formula, and its gradient."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from trainer.errors import InputError
from trainer.losses.batch import EmbeddedBatch
from trainer.losses.build import LOSSES, build_loss
from trainer.losses.cosent import CoSENT
from trainer.losses.distillation import SimilarityDistillation
from trainer.losses.ega import ExplicitGradientAmplification
from trainer.losses.false_negative_filter import FalseNegativeFilter
from trainer.losses.focal import FocalInfoNCE
from trainer.losses.hard_negative_mixing import HardNegativeMixing
from trainer.losses.info_nce import InfoNCE, cross_entropies
from trainer.losses.margin_mse import MarginMSE
from trainer.losses.matryoshka import Matryoshka
from trainer.losses.order_aware import OrderAware
from trainer.losses.soft_labels import SoftLabels
from trainer.losses.two_dimensional import TwoDimensional


def angles(*degrees: float) -> torch.Tensor:
    """Unit vectors of the plane, so that a cosine is the cosine of a difference of angles."""
    radians = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def one_record(*negative_degrees: float, **changes: object) -> EmbeddedBatch:
    """Query at 0, positive at 60 degrees (cosine 0.5), negatives where they are said to be."""
    count = len(negative_degrees)
    batch = EmbeddedBatch(angles(0, 60, *negative_degrees), torch.tensor([0]), torch.tensor([1]),
                          torch.arange(2, 2 + count)[None], torch.ones(1, count, dtype=torch.bool))
    return replace(batch, **changes)


def random_batch(seed: int = 3, records: int = 4, negatives: int = 2, dimensions: int = 6) -> EmbeddedBatch:
    generator = torch.Generator().manual_seed(seed)
    texts = records * (2 + negatives)
    mask = torch.ones(records, negatives, dtype=torch.bool)
    mask[1, 1:] = False
    rows = torch.arange(texts)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)  # noqa: E731
    return EmbeddedBatch(
        draw(texts, dimensions), rows[:records], rows[records : 2 * records], rows[2 * records :].view(records, negatives), mask,
        scores=draw(records), teacher_positives=draw(records), teacher_negatives=draw(records, negatives), teacher=draw(texts, 3),
        exits={1: draw(texts, dimensions)})


def test_info_nce_by_hand() -> None:
    batch = one_record(90, 180)
    expected = -math.log(math.exp(0.5) / (math.exp(0.5) + math.exp(0) + math.exp(-1)))
    assert InfoNCE(temperature=1.0)(batch).item() == pytest.approx(expected)


def test_info_nce_takes_other_records_as_negatives_but_never_equal_texts_or_padding() -> None:
    # Two records share one positive: it is no negative of either. The second record has no negatives of its own.
    batch = EmbeddedBatch(angles(0, 10, 60, 90), torch.tensor([0, 1]), torch.tensor([2, 2]),
                          torch.tensor([[3], [0]]), torch.tensor([[True], [False]]))
    cosine = lambda degrees: math.exp(math.cos(math.radians(degrees)))  # noqa: E731
    first = -math.log(cosine(60) / (cosine(60) + cosine(90)))
    second = -math.log(cosine(50) / (cosine(50) + cosine(80)))
    assert InfoNCE(temperature=1.0)(batch).item() == pytest.approx((first + second) / 2)
    alone = InfoNCE(temperature=1.0)(replace(batch, in_batch=False)).item()
    assert alone == pytest.approx((first + 0.0) / 2)


def test_symmetric_info_nce_takes_no_positives_own_query_for_a_negative() -> None:
    """Two records with one query: backwards, each positive meets that query once."""
    twice = EmbeddedBatch(angles(0, 60, 30), torch.tensor([0, 0]), torch.tensor([1, 2]), torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0, dtype=torch.bool))
    backward = 2 * InfoNCE(1.0, symmetric=True)(twice) - InfoNCE(1.0)(twice)
    assert backward.item() == pytest.approx(0, abs=1e-12)


def test_symmetric_info_nce_is_the_mean_of_both_directions() -> None:
    batch = random_batch(negatives=0)
    scores = batch.embeddings[batch.queries] @ batch.embeddings[batch.positives].T
    labels = torch.arange(4)
    expected = (torch.nn.functional.cross_entropy(scores / 0.3, labels) + torch.nn.functional.cross_entropy(scores.T / 0.3, labels)) / 2
    torch.testing.assert_close(InfoNCE(temperature=0.3, symmetric=True)(batch), expected)


GRADIENT_CHECKED = {
    "info_nce": InfoNCE(0.3), "symmetric": InfoNCE(0.3, symmetric=True), "soft_labels": SoftLabels(0.3), "margin_mse": MarginMSE(2.0),
    "distillation": SimilarityDistillation(0.3, 0.2), "among texts": SimilarityDistillation(0.3, 0.2, among="texts"), "cosent": CoSENT(0.3), "order_aware": OrderAware(0.3),
    "matryoshka": Matryoshka(InfoNCE(0.3), [6, 3]), "two_dimensional": TwoDimensional(InfoNCE(0.3), 0.7, alignment=0.0),
}


@pytest.mark.parametrize("name", GRADIENT_CHECKED)
def test_gradients_are_those_of_the_value(name: str) -> None:
    batch = random_batch()

    def loss(embeddings: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        return GRADIENT_CHECKED[name](replace(batch, embeddings=normalize(embeddings, dim=1), exits={1: normalize(early, dim=1)}))

    inputs = (batch.embeddings.clone().requires_grad_(), batch.exits[1].clone().requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)


def score_gradients(loss: ExplicitGradientAmplification | InfoNCE, degrees: tuple[float, ...]) -> tuple[float, torch.Tensor]:
    """The loss's value and its gradient by the cosines [1 + negatives] of one record, read off the query's gradient."""
    # Orthonormal texts make the query's gradient the list of gradients by cosine.
    cosines = torch.tensor([math.cos(math.radians(degree)) for degree in degrees], dtype=torch.float64)
    query = cosines.clone().requires_grad_()
    vectors = torch.cat([query[None], torch.eye(len(degrees), dtype=torch.float64)])
    count = len(degrees) - 1
    value = loss(EmbeddedBatch(vectors, torch.tensor([0]), torch.tensor([1]), torch.arange(2, 2 + count)[None],
                               torch.ones(1, count, dtype=torch.bool)))
    value.backward()
    return value.item(), query.grad


def test_ega_amplifies_hard_negatives_and_shrinks_easy_ones_by_its_formula() -> None:
    degrees = (60, 50, 63, 100)  # positive at 0.5; negatives harder than it, within the margin below it, and far away
    plain_value, plain = score_gradients(InfoNCE(0.2), degrees)
    value, amplified = score_gradients(ExplicitGradientAmplification(0.2, strength=4, margin=0.1, limit=100), degrees)
    factors = [math.exp(4 * (math.cos(math.radians(degree)) - 0.5 + 0.1)) for degree in degrees[1:]]
    assert value == pytest.approx(plain_value), "the value is InfoNCE's"
    torch.testing.assert_close(amplified[1:] / plain[1:], torch.tensor(factors, dtype=torch.float64))
    assert factors[0] > factors[1] > 1 > factors[2], "harder than the positive less the margin grows, easier shrinks"
    assert amplified.sum().item() == pytest.approx(0, abs=1e-12), "moving all cosines alike changes nothing"


def test_ega_grows_with_hardness_up_to_its_limit_and_is_info_nce_at_strength_0() -> None:
    batch = one_record(0, 30, 60, 90)
    cosines = torch.tensor([[1.0, 0.8, 0.5, 0.0]], dtype=torch.float64)
    factors = ExplicitGradientAmplification(strength=4, margin=0.1, limit=5).factors(cosines, torch.tensor([0.5], dtype=torch.float64))
    assert factors.diff().le(0).all() and factors[0, 0] == 5
    torch.testing.assert_close(ExplicitGradientAmplification(0.2, strength=0)(batch), InfoNCE(0.2)(batch))


def test_focal_weighs_by_what_is_missing_to_certainty_and_adds_no_gradient_of_its_own() -> None:
    batch = random_batch()
    losses = cross_entropies(batch.candidates(), 0.3)
    torch.testing.assert_close(FocalInfoNCE(0.3, focus=0)(batch), losses.mean())
    expected = ((1 - (-losses).exp()) ** 2 * losses).mean()
    torch.testing.assert_close(FocalInfoNCE(0.3, focus=2)(batch), expected)
    leaf = batch.embeddings.clone().requires_grad_()
    FocalInfoNCE(0.3, focus=2)(replace(batch, embeddings=leaf)).backward()
    weighted = batch.embeddings.clone().requires_grad_()
    ((1 - (-losses).exp()) ** 2 * cross_entropies(replace(batch, embeddings=weighted).candidates(), 0.3)).mean().backward()
    torch.testing.assert_close(leaf.grad, weighted.grad)


def test_mixed_negatives_lie_between_the_hardest_and_only_their_own_query_meets_them() -> None:
    # Hardest two at 20 and 40 degrees; mixtures of the two lie between them on the circle.
    batch = one_record(20, 40, 120)
    mixtures = HardNegativeMixing(InfoNCE(1.0), hardest=2, pairs=8).mixtures(batch)
    degrees = torch.atan2(mixtures[0, :, 1], mixtures[0, :, 0]).rad2deg()
    assert mixtures.shape == (1, 9, 2) and bool(((degrees > 19.99) & (degrees < 40.01)).all())
    two = random_batch(records=2)
    extra = replace(two, extra_negatives=torch.ones(2, 3, 6, dtype=torch.float64)).candidates()
    assert extra.allowed[:, -6:].tolist() == [[True] * 3 + [False] * 3, [False] * 3 + [True] * 3]


def test_mixing_without_a_candidate_pushes_nothing() -> None:
    batch = replace(one_record(90), negatives_mask=torch.zeros(1, 1, dtype=torch.bool))
    mixtures = HardNegativeMixing(InfoNCE(), hardest=1, pairs=1).mixtures(batch)
    torch.testing.assert_close(mixtures, angles(180, 180)[None])


def test_mixing_adds_to_the_loss_and_stands_in_where_candidates_are_few() -> None:
    batch = one_record(90)
    # The one negative there is is all that can be mixed, so it counts 1 + 2 + 1 times.
    expected = -math.log(math.exp(0.5) / (math.exp(0.5) + 4 * math.exp(0)))
    assert HardNegativeMixing(InfoNCE(1.0), hardest=4, pairs=2)(batch).item() == pytest.approx(expected)


def test_the_filter_leaves_out_what_comes_too_close_to_the_positive() -> None:
    # Positive at cosine 0.5; ratio 0.9 puts the bound at 0.45: 61 degrees (0.485) goes, 70 (0.342) and 90 stay.
    batch = one_record(61, 70, 90)
    torch.testing.assert_close(FalseNegativeFilter(InfoNCE(0.3), ratio=0.9)(batch), InfoNCE(0.3)(one_record(70, 90)))
    torch.testing.assert_close(FalseNegativeFilter(InfoNCE(0.3), ratio=1.0, margin=0.2)(batch), InfoNCE(0.3)(one_record(90)))


def test_the_filter_asks_the_teacher_where_there_is_one() -> None:
    batch = one_record(70, 90, teacher=angles(0, 60, 90, 10))
    torch.testing.assert_close(FalseNegativeFilter(InfoNCE(0.3), ratio=0.9)(batch), InfoNCE(0.3)(one_record(70)))


def test_soft_labels_by_hand() -> None:
    batch = one_record(90, teacher_positives=torch.tensor([2.0]).double(), teacher_negatives=torch.tensor([[1.0]]).double())
    target = math.e**2 / (math.e**2 + math.e)
    probability = math.exp(0.5) / (math.exp(0.5) + 1)
    expected = -(target * math.log(probability) + (1 - target) * math.log(1 - probability))
    assert SoftLabels(temperature=1.0)(batch).item() == pytest.approx(expected)


def test_margin_mse_by_hand_leaves_padding_out() -> None:
    batch = one_record(90, 180, teacher_positives=torch.tensor([7.0]).double(), teacher_negatives=torch.tensor([[3.0, 99.0]]).double(),
                       negatives_mask=torch.tensor([[True, False]]))
    assert MarginMSE(scale=10.0)(batch).item() == pytest.approx((10 * (0.5 - 0) - (7 - 3)) ** 2)


def test_distillation_is_zero_at_the_teacher_and_the_divergence_elsewhere() -> None:
    batch = random_batch()
    torch.testing.assert_close(SimilarityDistillation(0.2, 0.2)(replace(batch, teacher=batch.embeddings)), torch.zeros((), dtype=torch.float64))
    pair = one_record(90, teacher=angles(0, 90, 0))
    target, probability = 1 / (1 + math.e), math.exp(0.5) / (math.exp(0.5) + 1)
    expected = target * math.log(target / probability) + (1 - target) * math.log((1 - target) / (1 - probability))
    assert SimilarityDistillation(1.0, 1.0)(pair).item() == pytest.approx(expected)


def test_distillation_among_texts_compares_each_with_every_other() -> None:
    trio = one_record(90, 90, teacher=angles(0, 90, 0, 90))
    cosines, theirs = (vectors @ vectors.T for vectors in (trio.embeddings, trio.teacher))
    expected = 0.0
    for i in range(4):
        others = [j for j in range(4) if j != i]
        target, probability = torch.softmax(theirs[i, others], 0), torch.softmax(cosines[i, others] / 0.5, 0)
        expected += float((target * (target / probability).log()).sum()) / 4
    assert SimilarityDistillation(0.5, 1.0, among="texts")(trio).item() == pytest.approx(expected)
    batch = random_batch()
    torch.testing.assert_close(SimilarityDistillation(0.2, 0.2, among="texts")(replace(batch, teacher=batch.embeddings)), torch.zeros((), dtype=torch.float64))
    with pytest.raises(InputError, match="among"):
        SimilarityDistillation(among="everything")


def test_cosent_by_hand() -> None:
    # Gold says the second pair (cosine 0) is the closer one; the model says the first (0.5).
    batch = EmbeddedBatch(angles(0, 60, 90), torch.tensor([0, 0]), torch.tensor([1, 2]), torch.zeros(2, 0, dtype=torch.long),
                          torch.zeros(2, 0, dtype=torch.bool), scores=torch.tensor([1.0, 3.0]))
    assert CoSENT(temperature=0.5)(batch).item() == pytest.approx(math.log(1 + math.exp(0.5 / 0.5)))


def test_order_aware_is_zero_for_cosines_that_are_the_gold_and_by_hand_elsewhere() -> None:
    pairs = {"queries": torch.tensor([0, 0, 0]), "positives": torch.tensor([1, 2, 3]), "negatives": torch.zeros(3, 0, dtype=torch.long),
             "negatives_mask": torch.zeros(3, 0, dtype=torch.bool)}
    right = EmbeddedBatch(angles(0, 90, 60, 0), scores=torch.tensor([0.0, 2.5, 5.0]).double(), **pairs)
    assert OrderAware(0.1)(right).item() == pytest.approx(0, abs=1e-9)
    wrong = replace(right, scores=torch.tensor([5.0, 2.5, 0.0]).double())
    soft = [math.exp(x / 0.1) for x in (0.0, 0.5, 1.0)]
    model = [x / sum(soft) for x in soft]
    divergence = sum(p * math.log(p / q) for p, q in zip(reversed(model), model, strict=True))
    assert OrderAware(0.1, weight=0.5)(wrong).item() == pytest.approx(2 + 0.5 * divergence)


def test_matryoshka_is_the_weighted_mean_over_cut_and_renormalized_vectors() -> None:
    batch = random_batch()
    whole, cut = InfoNCE(0.3)(batch.with_embeddings(lambda x: normalize(x, dim=-1))), InfoNCE(0.3)(batch.with_embeddings(lambda x: normalize(x[:, :2], dim=-1)))
    torch.testing.assert_close(Matryoshka(InfoNCE(0.3), [6, 2], [3.0, 1.0])(batch), (3 * whole + cut) / 4)


def test_two_dimensional_adds_exits_and_pulls_them_to_the_last_layer_alone() -> None:
    batch = random_batch()
    last = batch.embeddings.clone().requires_grad_()
    early = batch.exits[1].clone().requires_grad_()
    inner = InfoNCE(0.3)
    loss = TwoDimensional(inner, exit_weight=0.5, alignment=2.0)(replace(batch, embeddings=last, exits={1: early}))
    apart = (1 - torch.nn.functional.cosine_similarity(early, last)).mean()
    torch.testing.assert_close(loss, inner(replace(batch, embeddings=last)) + 0.5 * (inner(replace(batch, embeddings=early)) + 2 * apart))
    (without,) = torch.autograd.grad(inner(replace(batch, embeddings=last)), last)
    torch.testing.assert_close(torch.autograd.grad(loss, last)[0], without)


def test_numbers_that_yaml_reads_as_texts_are_numbers() -> None:
    term = {"name": "info_nce", "temperature": "5e-2", "weight": "1e-1"}
    batch = random_batch()
    built = build_loss({"name": "sum", "terms": [term]})
    assert built(batch).item() == pytest.approx(0.1 * InfoNCE(0.05)(batch).item())


def test_every_loss_can_be_built_from_a_recipe_and_runs() -> None:
    needs_inner = {"inner": {"name": "info_nce", "temperature": 0.1}}
    options = {"hard_negative_mixing": needs_inner, "false_negative_filter": needs_inner, "two_dimensional": needs_inner,
               "matryoshka": {"dimensions": [6, 3], **needs_inner}, "sum": {"terms": [{"name": "cosent", "weight": 0.5}, {"name": "ega"}]}}
    batch = random_batch().with_embeddings(lambda x: normalize(x, dim=-1))
    for name in LOSSES:
        value = build_loss({"name": name, **options.get(name, {})})(batch)
        assert value.shape == () and bool(value.isfinite()), name


@pytest.mark.parametrize(("entry", "message"), [
    ({"name": "nce"}, "loss.name must be one of info_nce, ega"),
    ({"name": "ega", "strenght": 3}, "loss.strenght is not known; ega takes limit, margin, strength, temperature"),
    ({"name": "matryoshka", "dimensions": [2], "inner": {"name": "x"}}, "loss.inner.name must be one of"),
    ({"name": "matryoshka", "inner": {"name": "ega"}}, "loss: .*dimensions"),
    ({"name": "info_nce", "temperature": 0}, "loss.temperature must be greater than 0"),
])
def test_a_wrong_entry_is_refused_by_its_place(entry: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_loss(entry)


@pytest.mark.parametrize("loss", [MarginMSE(), SoftLabels(), CoSENT(), OrderAware(), SimilarityDistillation(), TwoDimensional(InfoNCE())])
def test_a_loss_whose_records_lack_what_it_needs_says_so(loss) -> None:
    with pytest.raises(InputError, match="needs"):
        loss(one_record(90))
