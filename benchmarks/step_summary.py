"""What weft's own step is judged by: its share of the machine's rate of matrix products, and a straight line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHARE_FLOOR = 0.58
"""At hidden 512 × 8, every position a target."""
LINE_TOLERANCE = 0.05


def gemm_share(*, parameters: int, tokens: int, seconds: float, peak: float) -> float:
    """6 · N · T / (seconds · peak): the products that a step must make, forward and backward (Kaplan et al. 2020,
    arXiv:2001.08361, section 2.1), by those that the machine could have made in that time. Attention's products, the
    optimizer and all else count as lost time.

    Args:
        parameters: N, without the embedding, but with the head.
        tokens: T, of a step in which every position is a target.
        seconds: of the step.
        peak: floating-point operations a second of the best square product.
    """
    return 6 * parameters * tokens / (seconds * peak)


@dataclass(frozen=True, kw_only=True)
class Line:
    """seconds = ``fixed`` + ``per_token`` · tokens."""

    fixed: float
    per_token: float
    deviations: tuple[float, ...]
    """Measured by the line's value, less 1."""

    @property
    def is_straight(self) -> bool:
        """Whether every measurement lies within the tolerance."""
        return all(abs(deviation) <= LINE_TOLERANCE for deviation in self.deviations)


def fit_line(tokens: Sequence[float], seconds: Sequence[float]) -> Line:
    """The line with the least sum of squared relative deviations.

    Least squares of 1 = fixed · (1 / s) + per_token · (t / s), solved by the normal equations.
    """
    ones = [1 / second for second in seconds]
    slopes = [token / second for token, second in zip(tokens, seconds, strict=True)]
    a, b, c = _dot(ones, ones), _dot(ones, slopes), _dot(slopes, slopes)
    d, e = sum(ones), sum(slopes)
    fixed, per_token = (d * c - e * b) / (a * c - b * b), (a * e - b * d) / (a * c - b * b)
    deviations = tuple(second / (fixed + per_token * token) - 1 for token, second in zip(tokens, seconds, strict=True))
    return Line(fixed=fixed, per_token=per_token, deviations=deviations)


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(left, right, strict=True))
