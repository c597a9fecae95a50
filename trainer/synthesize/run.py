"""A run from settings to a published data set.

1. read the corpus, open the folder, refuse to mix two data sets; 2. tasks (stage 1); 3. drafts by worker threads, kept in the order
of the plan (stage 2); 4. publish: statistics, flat triplets, card, report. Step 4 is done however step 3 ended.
"""

import os
import random
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from trainer.errors import InputError
from trainer.events import emit
from trainer.interruption import Interrupted
from trainer.synthesize import plan
from trainer.synthesize.build import Parts, build
from trainer.synthesize.drafting import Outcome
from trainer.synthesize.errors import EndpointError, EndpointFailed, StopRun, Unusable
from trainer.synthesize.events import Progress
from trainer.synthesize.gates.uniqueness import Uniqueness
from trainer.synthesize.providers.provider import TaskOrder
from trainer.synthesize.publish import publish
from trainer.synthesize.records import Assignment, Drop, Task
from trainer.synthesize.settings import Settings
from trainer.synthesize.statistics import Statistics
from trainer.synthesize.task_types import read_tasks

SAMPLES = 8  # passages shown to whoever brainstorms tasks
WINDOW = 4  # drafts under way or waiting for their turn, for each worker
FAILURES_IN_A_ROW = 5  # each after all its retries: the endpoint is gone
TRIES_PER_RECORD = 3  # of a brainstormed plan, which has no end of its own


def synthesize(settings: Settings) -> None:
    """Raises InputError, Interrupted or EndpointError; what was finished by then is published."""
    stop = threading.Event()
    parts = build(settings, stop)
    previous = _interrupt_on_signals(parts, stop)
    ending = StopRun("finished", "")
    try:
        tasks = _tasks(settings, parts)
        ending = _write(settings, parts, tasks)
    except StopRun as error:  # before the first draft
        ending = error
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        parts.provider.close()
        statistics = publish(settings, parts, ending.reason)
        parts.folder.close()
    _conclude(settings, ending, statistics)


def _tasks(settings: Settings, parts: Parts) -> list[Task]:
    """Stage 1, or what it gave before."""
    tasks = parts.folder.tasks()
    if tasks:
        return tasks
    if settings.tasks:
        tasks = read_tasks(settings.tasks)
        parts.folder.keep_tasks(tasks)
        return tasks
    emit("progress", stage="brainstorm tasks")
    passages = parts.corpus.passages if parts.corpus else []
    samples = random.Random(settings.seed).sample(passages, min(SAMPLES, len(passages)))
    order = TaskOrder(settings.task_types, settings.tasks_per_type, settings.domain, samples, settings.seed)
    try:
        tasks = parts.provider.tasks(order)
    except (Unusable, EndpointFailed) as error:
        raise StopRun("no tasks", f"stage 1 gave no tasks: {error}") from error
    parts.folder.keep_tasks(tasks)
    return tasks


def _write(settings: Settings, parts: Parts, tasks: list[Task]) -> StopRun:
    """Stage 2; returns why it ended."""
    folder, uniqueness = parts.folder, _uniqueness(parts)
    todo = (assignment for assignment in _plan(settings, parts, tasks) if assignment.id not in folder.finished)
    progress = Progress("write records", settings.records)
    pending: deque[tuple[Assignment, Future[Outcome]]] = deque()
    ending, failures = StopRun("finished", ""), 0
    with ThreadPoolExecutor(_workers(settings)) as pool:
        while True:
            while ending.reason == "finished" and len(pending) < WINDOW * _workers(settings) and folder.kept + len(pending) < settings.records:
                assignment = next(todo, None)
                if assignment is None:
                    break
                pending.append((assignment, pool.submit(parts.drafting.make, assignment)))
            if not pending:
                return ending
            assignment, future = pending.popleft()
            try:
                _keep(assignment, future.result(), parts, uniqueness)
                failures = 0
            except EndpointFailed as error:
                emit("warning", message=str(error), assignment=assignment.id)
                failures += 1
                if failures >= FAILURES_IN_A_ROW and ending.reason == "finished":
                    ending = StopRun("unreachable", str(error))
                    parts.provider.interrupt()
            except StopRun as error:
                ending = error if ending.reason == "finished" else ending
            progress.at(folder.kept, finished=len(folder.finished), **parts.spent())


def _keep(assignment: Assignment, outcome: Outcome, parts: Parts, uniqueness: Uniqueness) -> None:
    """The gates that look at the data set so far, then the disk."""
    record = outcome.record
    if record:
        try:
            uniqueness.check(record.draft.query, outcome.query_vector)
            if parts.search is None:
                uniqueness.check_positive(outcome.query_vector, outcome.positive_vector, parts.drafting.limits.round_trip_rank)
            uniqueness.add(record.draft.query, outcome.query_vector, outcome.positive_vector)
        except Unusable as error:
            outcome.record = None
            row = record.row()
            text = {key: row[key] for key in ("query", "pos", "neg", "model")}
            outcome.drops.append(Drop(assignment, error.gate, error.reason, error.detail, "record", text))
    parts.folder.add(assignment, outcome)


def _uniqueness(parts: Parts) -> Uniqueness:
    """The state that the records on disk imply."""
    uniqueness = Uniqueness(parts.encoder.dimensions)
    for row in parts.folder.records():
        uniqueness.add(row["query"], parts.encoder.embed([row["query"]], "query")[0], parts.encoder.embed(row["pos"])[0])
    return uniqueness


def _plan(settings: Settings, parts: Parts, tasks: list[Task]) -> Iterator[Assignment]:
    if parts.corpus:
        return plan.grounded(parts.corpus.passages, tasks, parts.provider, settings.seed, settings.queries_per_passage)
    return plan.brainstormed(tasks, settings.seed, TRIES_PER_RECORD * settings.records)


def _workers(settings: Settings) -> int:
    """The corpus provider computes instead of waiting, so more threads than cores would only queue."""
    return min(settings.concurrency, os.cpu_count() or 1) if settings.provider == "corpus" else settings.concurrency


def _interrupt_on_signals(parts: Parts, stop: threading.Event) -> dict[int, object]:
    """SIGTERM and SIGINT end the run after what is finished, a second one ends the process; returns the handlers that were there."""
    def interrupt(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, previous[number])
        # On a thread of its own: the handler may have come while this one holds a lock of the provider's.
        threading.Thread(target=parts.provider.interrupt, daemon=True).start()

    previous: dict[int, object] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, interrupt)
    return previous


def _conclude(settings: Settings, ending: StopRun, statistics: Statistics) -> None:
    """Say how it ended, and turn an ending that the user must know of into an error."""
    if ending.reason == "signal":
        raise Interrupted(f"stopped with {statistics.records} records; the same command goes on from there")
    if ending.reason in ("refused", "unreachable", "no tasks"):
        raise EndpointError(f"{ending}; {statistics.records} records are kept, and the same command goes on from there")
    if not statistics.records and ending.reason != "budget":
        (gate, reason), count = next(iter(statistics.reasons.most_common(1)), (("plan", "no passage suits any task"), 0))
        raise InputError(f"not one record passed: most often {gate}: {reason} ({count} of {statistics.assignments}); see {settings.output}/dropped.jsonl")
    emit("done", folder=str(settings.output), records=statistics.records, of=settings.records, ending=ending.reason, message=str(ending),
         rises=statistics.as_json()["rises"], levels=[level.mean for level in statistics.measured])
