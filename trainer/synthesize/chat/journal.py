"""Every answer is on disk before it is used, under the hash of its question: a resumed run asks for nothing twice.

journal.jsonl holds a line an answer:

    {"key": "9f2c…", "text": "{\"query\": …", "finishReason": "stop", "refusal": "", "model": "qwen2.5", "input": 512, "output": 240, "estimated": false}
"""

import hashlib
import json
from pathlib import Path

from trainer.synthesize.chat.budget import Budget, Usage, estimate_tokens
from trainer.synthesize.chat.client import ChatClient, Question, Reply
from trainer.synthesize.jsonl import JsonLines, read_rows


class JournaledChat:
    """A chat client within a budget, whose answers are kept in a journal."""

    def __init__(self, client: ChatClient, budget: Budget, path: Path) -> None:
        self.client, self.budget = client, budget
        self._journal = JsonLines(path)
        self._answers: dict[str, Reply] = {}
        for row in read_rows(path):
            usage = Usage(row["input"], row["output"], row["estimated"])
            self._answers[row["key"]] = Reply(row["text"], row["finishReason"], row["refusal"], row["model"], usage)
            budget.book_earlier(usage)

    def ask(self, question: Question) -> Reply:
        """The journal's answer, or the endpoint's; raises what ChatClient.complete raises, and StopRun at the budget's end."""
        key = self._key(question)
        if key in self._answers:
            return self._answers[key]
        worst = Usage(estimate_tokens(question.text), question.max_tokens, estimated=True)
        self.budget.reserve(worst)
        reply = None
        try:
            reply = self.client.complete(question)
        finally:
            self.budget.settle(worst, reply.usage if reply else None)
        self._journal.append({
            "key": key, "text": reply.text, "finishReason": reply.finish_reason, "refusal": reply.refusal, "model": reply.model,
            "input": reply.usage.input_tokens, "output": reply.usage.output_tokens, "estimated": reply.usage.estimated})
        return reply

    def close(self) -> None:
        self._journal.close()

    def _key(self, question: Question) -> str:
        content = [self.client.endpoint.model, list(question.messages), question.schema, question.max_tokens, question.temperature,
                   question.seed, list(self.client.endpoint.extra_body)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
