"""What a run has done so far: everything, beside weights and optimizer, that a resumed run must know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class Progress:
    """Counts since the run's first step, over all of its sessions. Saved as JSON, which keeps every float exact."""

    step: int = 0
    """Optimizer steps taken."""
    tokens: int = 0
    """Tokens that went through the model, trained or not."""
    targets: float = 0.0
    """Sum of the weights of the tokens that were trained."""
    window_loss: float = 0.0
    """Sum of the losses since the last line of the log; with the next one, what that line's mean is made of."""
    window_targets: float = 0.0
    best_value: float | None = None
    """The best value of ``train.metric_for_best_model``."""
    best_step: int | None = None
    stale_evaluations: int = 0
    """Evaluations since the best one."""
    finished: bool = False
    """No further step will be taken: all are done, or the patience is."""
    seconds: float = 0.0
    """Time spent in the loop."""

    def add_step(self, *, loss_sum: float, targets: float, tokens: int) -> None:
        """Count one optimizer step."""
        self.step += 1
        self.tokens += tokens
        self.targets += targets
        self.window_loss += loss_sum
        self.window_targets += targets

    def close_window(self) -> float:
        """The mean loss per target since the last call, in nats; 0 where there was none."""
        mean = self.window_loss / (self.window_targets or 1.0)
        self.window_loss = self.window_targets = 0.0
        return mean

    def judge(self, value: float, *, greater_is_better: bool) -> bool:
        """Whether ``value`` is the best so far; remembers it if so, and counts it as stale if not."""
        improved = self.best_value is None or (
            value > self.best_value if greater_is_better else value < self.best_value
        )
        if improved:
            self.best_value, self.best_step, self.stale_evaluations = value, self.step, 0
        else:
            self.stale_evaluations += 1
        return improved
