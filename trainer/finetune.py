"""Train an encoder by a recipe: pairs and graded negatives in, a saved model out.

    python -m trainer finetune --recipe trainer/recipes/quickstart.yaml --set output=runs/first

The output folder: model/ (the result, a sentence-transformers folder), checkpoints/, log.jsonl (a line a step), recipe.yaml
(resolved), run.json (versions, seeds, data hashes, evaluation). The same command after a stop goes on where it was. Several
processes: `torchrun --nproc-per-node 2 -m trainer finetune ...`.
"""

import argparse
import json
import math
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from sentence_transformers import SentenceTransformer

from trainer import __version__
from trainer.batch_gradients import BatchGradients, BatchResult
from trainer.checkpoint import check_disk, checkpoints, load_checkpoint, of_step, save_checkpoint, trained_weights
from trainer.data.batches import Stage, TextBatch, collate
from trainer.data.curriculum import LevelDifficulty, check_order
from trainer.data.store import RecordStore, open_stores
from trainer.distributed import Processes
from trainer.errors import InputError, TrainerError
from trainer.evaluate.encoders import ModelEncoder
from trainer.evaluate.judge import judge
from trainer.evaluate.sets import load_set
from trainer.events import emit
from trainer.imitated_states import open_imitated
from trainer.interruption import Interrupted, StopSignal
from trainer.losses.build import build_loss
from trainer.precision import warn_of_slow_bf16
from trainer.recipe import Optimizer, Recipe, load_recipe, resolved
from trainer.run_log import RunLog
from trainer.teachers import open_teacher
from trainer.training_model import finish, pooling_facts, prepare

# What may differ between the command that began a run and the one that goes on with it: nothing that moves the loss, but for the optimizer's settings,
# since a run that diverged goes on with a lower learning rate.
MAY_CHANGE = ("device", "micro_batch", "cached", "checkpoint_every", "checkpoints_kept", "evaluation", "license", "notes", "optimizer", "output")


class Diverged(TrainerError):
    """The loss or its gradient is no finite number; the last checkpoint is good."""

    exit_code = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", type=Path, required=True, metavar="FILE", help="YAML or JSON; keys in trainer/recipe.py")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value, for example optimizer.learning_rate=3e-5")


def run(arguments: argparse.Namespace) -> None:
    finetune(load_recipe(arguments.recipe, arguments.set))


def finetune(recipe: Recipe) -> Path:
    """Run the recipe to its end, or go on with it; returns the saved model's folder."""
    processes = Processes(recipe.device)
    try:
        with StopSignal() as stop:
            return _train(recipe, processes, stop)
    finally:
        processes.leave()


def _train(recipe: Recipe, processes: Processes, stop: StopSignal) -> Path:
    output = Path(recipe.output)
    if processes.is_first:
        _keep_recipe(recipe, output)
    log = RunLog(output / "log.jsonl", recipe.steps, processes.is_first)
    warn_of_slow_bf16(recipe.precision == "bf16", processes.device)
    stages, losses, sources = _schedule(recipe, processes)
    model = prepare(recipe).to(processes.device)
    weights = trained_weights(model)
    optimizer = _optimizer(weights, recipe.optimizer)
    teacher = open_teacher(recipe, sources)
    gradients = BatchGradients(model, processes, recipe.micro_batch, recipe.cached, recipe.precision == "bf16", tuple(recipe.exit_layers),
                               teacher, open_imitated(recipe, model, teacher))
    judged = [load_set(place, recipe.evaluation.queries_max, 0, recipe.evaluation.documents_max) for place in recipe.evaluation.sets] if processes.is_first else []
    if processes.is_first:
        check_disk(output / "checkpoints", model)

    state: dict[str, Any] = {"step": 0, "tokens": 0, "records": 0, "difficulty": {}, "best": None, "best_step": None, "worse": 0}
    if found := checkpoints(output / "checkpoints"):
        state = load_checkpoint(found[-1], model, optimizer)
        if state["best_step"] and not of_step(output / "checkpoints", state["best_step"]).is_dir():
            state |= {"best": None, "best_step": None}  # judged while no patience asked for it to be kept
    log.resume(state["step"])
    difficulty = LevelDifficulty({int(level): value for level, value in state["difficulty"].items()})

    def save() -> None:
        state["difficulty"] = difficulty.averages
        if processes.is_first:
            check_disk(output / "checkpoints", model)
            folder = save_checkpoint(output / "checkpoints", state["step"], model, optimizer, state, recipe.checkpoints_kept)
            emit("checkpoint", step=state["step"], folder=str(folder))
        processes.wait()

    ended = recipe.evaluation.patience and state["worse"] >= recipe.evaluation.patience
    for step in range(state["step"], state["step"] if ended else recipe.steps):
        number, within = _locate(recipe, step)
        stage, rate = stages[number], _learning_rate(recipe.optimizer, step, recipe.steps)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        loss = tokens = 0
        for part in range(recipe.accumulate):
            batch = _batch(recipe, stage, number, within * recipe.accumulate + part, difficulty)
            # A million micro-batches a step are never reached, so no two steps share a seed.
            seed = (recipe.seed * 1_000_003 + step * recipe.accumulate + part) * 1_000_000 % 2**63
            result = gradients.add(batch, losses[number][batch.source], seed, 1 / recipe.accumulate, recipe.stages[number].imitation)
            loss, tokens = loss + result.loss / recipe.accumulate, tokens + result.tokens
            _observe(difficulty, batch, result)
        processes.add_up_gradients(weights.values())
        norm = float(torch.nn.utils.clip_grad_norm_(weights.values(), recipe.optimizer.clip))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(_where(loss, norm, step, recipe, number, batch.source, output))
        optimizer.step()
        optimizer.zero_grad()
        state |= {"step": step + 1, "tokens": state["tokens"] + tokens, "records": state["records"] + stage.batch * recipe.accumulate}
        log.step(step, loss, recipe.optimizer.learning_rate * rate, norm, tokens, batch.source)

        done = step + 1 == recipe.steps
        if recipe.evaluation.every and ((step + 1) % recipe.evaluation.every == 0 or done):
            worse = _evaluate(model, judged, state, processes)
            if recipe.evaluation.patience and (worse == 0 or processes.any(worse >= recipe.evaluation.patience)):
                save()
                if processes.any(worse >= recipe.evaluation.patience):
                    if processes.is_first:
                        emit("stopped", reason="no better evaluation", step=step + 1, best=state["best_step"])
                    break
        asked = processes.any(stop.asked)
        if asked or done or (step + 1) % recipe.checkpoint_every == 0:
            save()
        if asked and not done:
            raise Interrupted(f"stopped after step {step + 1} of {recipe.steps}; run the same command to go on")

    if recipe.evaluation.patience and state["best_step"] and state["best_step"] != state["step"]:
        load_checkpoint(of_step(output / "checkpoints", state["best_step"]), model, None)
    if processes.is_first:
        _publish(recipe, model, state, sources, output)
    processes.wait()
    return output / "model"


def _schedule(recipe: Recipe, processes: Processes) -> tuple[list[Stage], list[list], list[RecordStore]]:
    """Each stage's batches and losses by source. The first process writes the stores; the others then find them."""
    stages, losses = [], []
    stores: dict[str, RecordStore] = {}
    for turn in (processes.is_first, not processes.is_first):
        if turn:
            stores = open_stores(recipe)
        processes.wait()
    for i, stage in enumerate(recipe.stages):
        check_order(stage.order)
        own = [stores[source.path] for source in stage.sources]
        stages.append(Stage(own, [source.weight for source in stage.sources], stage.batch, stage.steps * recipe.accumulate, stage.order,
                            recipe.seed * 1000 + i, [source.together for source in stage.sources]))
        losses.append([build_loss(source.loss or stage.loss, f"stages[{i}].loss") for source in stage.sources])
    return stages, losses, list(stores.values())


def _batch(recipe: Recipe, stage: Stage, number: int, step: int, difficulty: LevelDifficulty) -> TextBatch:
    source = recipe.stages[number].sources[stage.source(step)]
    return collate(stage.records(step, difficulty), stage.source(step), source.query_prompt, source.document_prompt, source.in_batch)


def _observe(difficulty: LevelDifficulty, batch: TextBatch, result: BatchResult) -> None:
    """Tell the progressive order how hard the model finds each level now."""
    if not batch.levels.numel():
        return
    hardness = (result.batch.own_negative_scores() - result.batch.positive_scores()[:, None]).cpu()
    for level in batch.levels.unique().tolist():
        if level:
            difficulty.observe(level, float(hardness[batch.levels == level].detach().mean()))


def _optimizer(weights: dict[str, torch.Tensor], recipe: Optimizer) -> torch.optim.AdamW:
    """Matrices decay, vectors do not; the pooling's few numbers have a learning rate of their own."""
    few = {name for name in weights if name.endswith(("gamma_logit", "head_logits"))}
    groups = [
        {"params": [weight for name, weight in weights.items() if weight.dim() > 1], "weight_decay": recipe.weight_decay, "peak": recipe.learning_rate},
        {"params": [weight for name, weight in weights.items() if weight.dim() <= 1 and name not in few], "weight_decay": 0.0, "peak": recipe.learning_rate},
        {"params": [weights[name] for name in sorted(few)], "weight_decay": 0.0, "peak": recipe.pooling_learning_rate},
    ]
    # Fused: one pass over the weights instead of a dozen, on the CPU as on a GPU.
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.learning_rate, fused=True)


def _learning_rate(recipe: Optimizer, step: int, steps: int) -> float:
    """Share of the peak rate at `step`: a linear warmup, then the schedule down to 0 after the last step."""
    warmup = round(recipe.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return {"linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2, "constant": 1.0}[recipe.schedule]


def _locate(recipe: Recipe, step: int) -> tuple[int, int]:
    """The stage that `step` of the run falls in, and its number within it."""
    for number, stage in enumerate(recipe.stages):
        if step < stage.steps:
            return number, step
        step -= stage.steps
    raise IndexError(step)


def _evaluate(model: SentenceTransformer, sets: list, state: dict[str, Any], processes: Processes) -> int:
    """Judge on the recipe's sets, in the first process; returns how many evaluations in a row were not the best."""
    if processes.is_first:
        encoder = ModelEncoder(model)
        values = []
        for evaluation_set in sets:
            judgement = judge(encoder, evaluation_set)
            values.append(judgement.main.value)
            emit("evaluation", set=judgement.set, metric=judgement.metric, value=round(100 * judgement.main.value, 3),
                 low=round(100 * judgement.main.low, 3), high=round(100 * judgement.main.high, 3), step=state["step"])
        mean = sum(values) / len(values) if values else 0.0
        better = state["best"] is None or mean > state["best"]
        state |= {"best": mean, "best_step": state["step"], "worse": 0} if better else {"worse": state["worse"] + 1}
    state["worse"] = int(processes.add_up(torch.tensor(float(state["worse"] if processes.is_first else 0), device=processes.device)))
    return state["worse"]


def _keep_recipe(recipe: Recipe, output: Path) -> None:
    """Save the resolved recipe, or hold it against the one that the run began with."""
    path = output / "recipe.yaml"
    ours = resolved(recipe)
    if path.is_file():
        theirs = yaml.safe_load(path.read_text(encoding="utf-8"))
        differing = [key for key in ours if key not in MAY_CHANGE and ours[key] != theirs.get(key)]
        if differing:
            raise InputError(f"{output} holds a run with another {', '.join(differing)}: go on with its own recipe or choose another output")
    output.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(ours, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _publish(recipe: Recipe, model: SentenceTransformer, state: dict[str, Any], stores: list[RecordStore], output: Path) -> None:
    """Save the model, its card, and run.json."""
    facts = {"steps": state["step"], "tokens": state["tokens"], "records": state["records"], "seed": recipe.seed, "pooling": pooling_facts(model),
             "bestStep": state["best_step"], "bestEvaluation": state["best"], "sources": [vars(store.summary) for store in stores],
             "versions": {"trainer": __version__, "python": platform.python_version(),
                          **{name: version(name) for name in ("torch", "transformers", "sentence-transformers", "peft")}}}
    finish(model, output / "model", recipe, facts)
    (output / "run.json").write_text(json.dumps({**facts, "recipe": resolved(recipe)}, indent=2) + "\n", encoding="utf-8")
    emit("done", folder=str(output / "model"), steps=state["step"], tokens=state["tokens"], pooling=facts["pooling"])


def _where(loss: float, norm: float, step: int, recipe: Recipe, number: int, source: int, output: Path) -> str:
    good = checkpoints(output / "checkpoints")
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
    return (f"{what} at step {step + 1}, stage {number + 1}, source {recipe.stages[number].sources[source].path}; stopped. "
            + (f"The last good checkpoint is {good[-1]}" if good else "There is no checkpoint yet")
            + "; a lower learning rate, a higher temperature or float32 are the usual remedies")
