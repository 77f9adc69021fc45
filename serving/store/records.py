"""What goes into the store and what comes out of it. Every instant is naive UTC."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Assignment = Literal["treated", "held_out"]


@dataclass(frozen=True)
class Identity:
    """Who an account is: the only personal data that the store keeps."""

    account_id: str
    name: str | None = None
    csm: str | None = None


@dataclass(frozen=True)
class Run:
    """One run of a job; `finished_at` is None while it runs, and where it crashed."""

    run_id: str
    kind: str
    as_of: datetime
    started_at: datetime
    finished_at: datetime | None
    versions: dict[str, Any]
    counts: dict[str, Any]


@dataclass(frozen=True)
class Score:
    """A scored account out of history.

    `scored_at` is when it was made, `known_at` when its run finished, from which instant on it is seen. `record` has the
    shape of a scored account without `contacts` and without sentences: those are worded anew from its numbers. `candidates`
    are the plays that competed when it was made, best first; None where no choice was logged.
    """

    run_id: str
    as_of: datetime
    scored_at: datetime
    known_at: datetime
    record: dict[str, Any]
    candidates: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Line:
    """One account of a run by what lists are filtered and sorted by; money is yearly, in the reporting currency."""

    account_id: str
    name: str | None
    csm: str | None
    health_score: int | None
    band: str | None
    p_churn: float | None
    arr_at_risk: float | None
    tier: str | None
    stage: str | None
    leaving: bool | None
    disagreement: bool | None
    arr: float | None
    playbook: str | None
    expected_value: float | None


@dataclass(frozen=True)
class HealthPoint:
    """The health of an account at one instant, for changes between two of them."""

    as_of: datetime
    score: int | None
    band: str | None


@dataclass(frozen=True)
class Decision:
    """A choice of a play, as it was made (domain.md §8, Choice and Effect).

    `candidates` are the plays considered with their values, doing nothing included; `playbook` is the one chosen (None:
    doing nothing). `assignment`, its `probability` and the `seed` are None where nothing was randomised. `known` is what
    was known: see `serving.store.scored_account.KNOWN`.
    """

    account_id: str
    as_of: datetime
    decided_at: datetime
    playbook: str | None
    candidates: list[dict[str, Any]]
    assignment: Assignment | None
    probability: float | None
    seed: int | None
    known: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuse an assignment that could not be analysed later, with ValueError."""
        randomised = [value is not None for value in (self.assignment, self.probability, self.seed)]
        if any(randomised) and not all(randomised):
            raise ValueError(
                f"decision on account {self.account_id!r}: assignment {self.assignment!r}, probability "
                f"{self.probability!r} and seed {self.seed!r} come together; give all three or none"
            )
        if self.assignment not in (None, "treated", "held_out"):
            raise ValueError(f"assignment {self.assignment!r} is not known; allowed: treated, held_out, None")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError(f"probability {self.probability!r} of {self.assignment} must lie between 0 and 1")
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            raise ValueError(f"seed {self.seed!r} does not fit into 64 bits; take it modulo 2**63")


@dataclass(frozen=True)
class LoggedDecision(Decision):
    """A decision out of the log, with the run that made it."""

    run_id: str
