"""Tasks, drafts and judgements by an LLM: prompts filled, asked, parsed. What endpoint is behind it is no matter here."""

import random
from dataclasses import dataclass
from typing import Any

from trainer.synthesize.chat.client import Question
from trainer.synthesize.chat.journal import JournaledChat
from trainer.synthesize.chat.replies import parse, schema_of
from trainer.synthesize.errors import Unusable
from trainer.synthesize.prompts import Prompt, Prompts, quoted
from trainer.synthesize.providers.llamacpp import LlamaServer
from trainer.synthesize.providers.provider import Attempt, TaskOrder
from trainer.synthesize.records import Assignment, Draft, Negative, Passage, Task
from trainer.synthesize.task_types import LONG, SHORT, TASK_TYPES
from trainer.synthesize.words import words

TEXT = {"type": "string"}
WORDS_OF_A_SENTENCE = 20


@dataclass(frozen=True)
class Writing:
    """How drafts are asked for; `levels` 0 asks for queries alone, and the negatives are mined."""

    levels: int = 4
    domain: str = ""
    language: str = "the language of the passage"
    temperature: float = 0.8
    max_reply_tokens: int = 1024
    attempts: int = 2


class LlmProvider:
    """Drafts from a chat model; `server` is its process, where it is ours to end."""

    def __init__(self, chat: JournaledChat, prompts: Prompts, writing: Writing, server: LlamaServer | None = None) -> None:
        self.chat, self.writing, self._server = chat, writing, server
        self.attempts = writing.attempts
        common = {"task", "query_shape", "complaint", "language"}
        self._grounded = prompts.load("grounded.md", common | {"passage", "keys", "document_shape", "levels"})
        self._query_only = prompts.load("grounded-query.md", common | {"passage"})
        self._brainstormed = prompts.load("brainstormed.md", common | {"domain", "keys", "document_shape", "levels", "variation"})
        self._similarity = prompts.load("similarity.md", {"domain", "task", "source", "keys", "variation", "levels", "language", "complaint"})
        self._tasks = prompts.load("brainstorm-tasks.md", {"domain", "samples", "count", "type", "complaint"})
        self._judge = prompts.load("judge.md", {"task", "query", "passage"})
        self._levels, self._levels_version = prompts.levels(writing.levels) if writing.levels else ([], "none")
        self._shapes, self._shapes_version = prompts.shapes()

    def facts(self) -> dict[str, Any]:
        """The same model and the same prompts; where the endpoint is may change between two runs."""
        prompts = (self._grounded, self._query_only, self._brainstormed, self._similarity, self._tasks, self._judge)
        versions = {prompt.name: prompt.version for prompt in prompts}
        return {"provider": "llm", "model": self.chat.client.endpoint.model, "temperature": self.writing.temperature,
                "prompts": {**versions, "levels.md": self._levels_version, "shapes.md": self._shapes_version},
                "sampling": dict(self.chat.client.endpoint.extra_body)}

    def tasks(self, order: TaskOrder) -> list[Task]:
        return [task for type_ in order.types for task in self._tasks_of(type_, order)]

    def suits(self, task: Task, passage: Passage) -> bool:
        low, high = TASK_TYPES[task.type].document
        return TASK_TYPES[task.type].symmetric or low <= len(words(passage.text)) <= high

    def write(self, assignment: Assignment, attempt: Attempt) -> Draft:
        prompt, values = self._prompt(assignment)
        names = self._negative_names()
        grounded = assignment.passage is not None and not TASK_TYPES[assignment.task.type].symmetric
        keys = ["query", *names] if grounded else ["query", "positive", *names]
        schema = schema_of({key: TEXT for key in keys})
        messages = prompt.messages(**values, **({"keys": ", ".join(f'"{key}"' for key in keys)} if prompt is not self._query_only else {}),
                                   complaint=f"Your last answer could not be used: {attempt.complaint}" if attempt.complaint else "")
        reply = self.chat.ask(Question(tuple(messages), schema, self.writing.max_reply_tokens, self.writing.temperature,
                                       assignment.seed + attempt.number))
        found = parse(reply, schema)
        positive = assignment.passage.text if grounded and assignment.passage else found["positive"]
        negatives = tuple(Negative(found[name], level) for level, name in enumerate(names, start=1))
        return Draft(found["query"], positive, negatives, reply.model or self.chat.client.endpoint.model, self._version(prompt))

    def judge(self, task: Task, query: str, text: str) -> bool | None:
        schema = schema_of({"answers": {"type": "boolean"}})
        messages = self._judge.messages(task=task.instruction, query=quoted(query), passage=quoted(text))
        try:
            return bool(parse(self.chat.ask(Question(tuple(messages), schema, 32, 0.0, 0)), schema)["answers"])
        except Unusable:
            return None

    def interrupt(self) -> None:
        self.chat.client.interrupt()

    def close(self) -> None:
        self.chat.close()
        if self._server:
            self._server.close()

    def _prompt(self, assignment: Assignment) -> tuple[Prompt, dict[str, Any]]:
        """The prompt of an assignment and its values, but for keys and complaint."""
        rng = random.Random(assignment.seed)
        type_, passage = TASK_TYPES[assignment.task.type], assignment.passage
        variation = rng.choice(self._shapes["variation"])
        shape = rng.choice(self._shapes["long query" if type_.query == LONG else "short query"])
        values = {"task": assignment.task.instruction, "language": self.writing.language, "levels": self._level_lines()}
        if type_.symmetric:
            source = f"Let the query be about what this passage says (a JSON string): {quoted(passage.text)}" if passage else ""
            return self._similarity, {**values, "domain": self.writing.domain or "any", "source": source, "variation": variation}
        document = rng.choice(self._shapes["long document" if type_.document == LONG else "short document"])
        if passage is None:
            return self._brainstormed, {**values, "domain": self.writing.domain or "any", "query_shape": shape, "document_shape": document,
                                        "variation": variation}
        about = len(words(passage.text))
        values |= {"passage": quoted(passage.text), "query_shape": shape}
        if not self.writing.levels:
            values.pop("levels")
            return self._query_only, values
        # Written negatives as long as the passage, or length alone would tell them from it.
        length = f"{max(about // WORDS_OF_A_SENTENCE, 1)} full sentences, about {about} words" if about > SHORT[1] // 2 else f"about {about} words"
        return self._grounded, {**values, "document_shape": length}

    def _level_lines(self) -> str:
        return "\n".join(f'"negative_{level}": {text}' for level, text in enumerate(self._levels, start=1))

    def _negative_names(self) -> list[str]:
        return [f"negative_{level}" for level in range(1, self.writing.levels + 1)]

    def _version(self, prompt: Prompt) -> str:
        """Every file whose text went into the prompt."""
        return f"{prompt.version}-{self._levels_version}-{self._shapes_version}"

    def _tasks_of(self, type_: str, order: TaskOrder) -> list[Task]:
        """Up to `per_type` different tasks; raises Unusable when every attempt gave none."""
        schema = schema_of({"tasks": {"type": "array", "items": TEXT, "minItems": order.per_type, "maxItems": order.per_type}})
        samples = "\n".join(quoted(f"{passage.title}. {passage.text}"[:300]) for passage in order.samples) or "none"
        complaint = ""
        for number in range(self.attempts + 1):
            messages = self._tasks.messages(domain=order.domain or "that of the samples", samples=samples, count=str(order.per_type),
                                            type=f"{type_}: {TASK_TYPES[type_].describes}", complaint=complaint)
            try:
                reply = self.chat.ask(Question(tuple(messages), schema, 80 * order.per_type + 64, self.writing.temperature, order.seed + number))
                found = [" ".join(text.split()) for text in parse(reply, schema)["tasks"]]
            except Unusable as error:
                complaint = f"Your last answer could not be used: {error}"
                continue
            fit = [text for text in dict.fromkeys(found) if 5 <= len(words(text)) <= 60][: order.per_type]
            if fit:
                return [Task(f"{type_}-{i}", type_, text.rstrip(".")) for i, text in enumerate(fit, start=1)]
            complaint = "Your last answer had no sentence of 8 to 30 words."
        raise Unusable("reply", f"no task of type {type_}", complaint)
