"""A budget in tokens and in money that is never overdrawn: the worst case of a request is reserved before it is sent."""

import threading
from dataclasses import dataclass

from trainer.synthesize.errors import StopRun


@dataclass(frozen=True)
class Prices:
    """Money for a million tokens, in any currency; 0 for an endpoint of one's own."""

    input: float = 0.0
    output: float = 0.0

    def of(self, input_tokens: int, output_tokens: int) -> float:
        return (input_tokens * self.input + output_tokens * self.output) / 1e6


@dataclass(frozen=True)
class Usage:
    """Tokens of one request; `estimated` where the endpoint did not say."""

    input_tokens: int
    output_tokens: int
    estimated: bool = False


class Budget:
    """Counts what was spent; 0 as a limit means none."""

    def __init__(self, tokens: int = 0, money: float = 0.0, prices: Prices = Prices()) -> None:
        self.tokens_limit, self.money_limit, self.prices = tokens, money, prices
        self.input_tokens = self.output_tokens = self.requests = 0
        self.estimated = False
        self._reserved_tokens = 0
        self._reserved_money = 0.0
        self._lock = threading.Lock()

    @property
    def money(self) -> float:
        return self.prices.of(self.input_tokens, self.output_tokens)

    def reserve(self, worst: Usage) -> None:
        """Hold back a request's worst case; raises StopRun if the budget might not cover it."""
        tokens = worst.input_tokens + worst.output_tokens
        money = self.prices.of(worst.input_tokens, worst.output_tokens)
        with self._lock:
            spent = self.input_tokens + self.output_tokens
            if self.tokens_limit and spent + self._reserved_tokens + tokens > self.tokens_limit:
                raise StopRun("budget", f"the budget of {self.tokens_limit} tokens does not cover another request: {spent} are spent")
            if self.money_limit and self.money + self._reserved_money + money > self.money_limit:
                raise StopRun("budget", f"the budget of {self.money_limit:g} does not cover another request: {self.money:.4f} is spent")
            self._reserved_tokens += tokens
            self._reserved_money += money

    def settle(self, worst: Usage, real: Usage | None) -> None:
        """Give the reservation back and book what was used; None for a request that was never answered."""
        with self._lock:
            self._reserved_tokens -= worst.input_tokens + worst.output_tokens
            self._reserved_money -= self.prices.of(worst.input_tokens, worst.output_tokens)
            if real:
                self._book(real)

    def book_earlier(self, usage: Usage) -> None:
        """Count what an earlier run spent, so that a resumed run keeps to the same budget."""
        with self._lock:
            self._book(usage)

    def figures(self) -> dict[str, object]:
        return {"requests": self.requests, "inputTokens": self.input_tokens, "outputTokens": self.output_tokens,
                "estimated": self.estimated, "money": round(self.money, 6)}

    def _book(self, usage: Usage) -> None:
        self.requests += 1
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.estimated |= usage.estimated


def estimate_tokens(text: str) -> int:
    """About the most tokens that a text has: three ASCII characters make one, any other character is one."""
    plain = sum(character.isascii() for character in text)
    return plain // 3 + len(text) - plain + 16
