"""`FeedbackLog`: what people think of scores and their reasons, and the scores that they give themselves."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal, get_args

from sqlalchemy import insert, select

from features.catalogue.declare import DRIVERS
from serving.store.authors import Author, By
from serving.store.database import Database
from serving.store.errors import UnknownRecordError
from serving.store.instants import now, utc
from serving.store.tables.work import FeedbackRow, ManualScoreRow, TextRow
from serving.store.texts import keep_text
from serving.store.transactions import account_key, standing_score

Instant = datetime | date | str
Verdict = Literal["useful", "known", "wrong"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
#: No manual score holds longer than this.
LONGEST_DAYS = 365


class UnknownScoreError(UnknownRecordError):
    """The account has no score of this run and instant, or none at all."""

    def __init__(self, account_id: str, run_id: str | None, as_of: datetime | None, where: str):
        asked = "".join([f" in run {run_id!r}" if run_id else "", f" up to {as_of.isoformat()}" if as_of else ""])
        super().__init__(f"account {account_id!r} has no score{asked}", where, "Name a score out of the account's history.")


@dataclass(frozen=True)
class Feedback:
    """What somebody thought of a score (of `run_id`, speaking of `as_of`), or of one of its drivers.

    `text` is None where nothing was written, or what was written is erased.
    """

    account_id: str
    run_id: str
    as_of: datetime
    driver: str | None
    verdict: Verdict
    by: Author
    at: datetime
    text: str | None


@dataclass(frozen=True)
class ManualScore:
    """A health score of 0–100 that a person gave, with the reason (None: erased); it holds from `at` until `expires_at`."""

    account_id: str
    score: int
    reason: str | None
    by: Author
    at: datetime
    expires_at: datetime


class FeedbackLog:
    """What people think of scores, and the scores that they give themselves; append-only."""

    def __init__(self, database: Database):
        self._database = database

    def give(
        self,
        account_id: str,
        verdict: Verdict,
        by: By,
        *,
        driver: str | None = None,
        run_id: str | None = None,
        as_of: Instant | None = None,
        text: str | None = None,
        at: Instant | None = None,
    ) -> Feedback:
        """Keep a verdict on a score: on the one that stands, or on that of the run and instant given; `at`: now.

        Raises UnknownAccountError, UnknownScoreError, ValueError for a verdict or driver that is not declared.
        """
        if verdict not in VERDICTS:
            raise ValueError(f"verdict {verdict!r} is not known; allowed: {', '.join(VERDICTS)}")
        if driver is not None and driver not in DRIVERS:
            raise ValueError(f"driver {driver!r} is not known; allowed: {', '.join(DRIVERS)}, or none for the whole score")
        given_at, speaks_of = _instant(at), None if as_of is None else utc(as_of)
        with self._database.writing() as connection:
            key = account_key(connection, account_id, self._database.where)
            score = standing_score(connection, key, run_id=run_id, as_of=speaks_of)
            if score is None:
                raise UnknownScoreError(account_id, run_id, speaks_of, self._database.where)
            row = {
                "account_key": key,
                "run_id": score.run_id,
                "as_of": score.as_of,
                "driver": driver,
                "verdict": verdict,
                "by_kind": by.kind,
                "by_id": by.id,
                "at": given_at,
                "text_id": keep_text(connection, key, text, given_at),
            }
            connection.execute(insert(FeedbackRow), [row])
        kept = text.strip() if row["text_id"] and text else None
        return Feedback(account_id, score.run_id, score.as_of, driver, verdict, Author(by.kind, by.id), given_at, kept)

    def of(self, account_id: str) -> list[Feedback]:
        """Return what people thought of the account's scores, newest first. Raises UnknownAccountError."""
        with self._database.reading() as connection:
            key = account_key(connection, account_id, self._database.where)
            rows = connection.execute(
                select(*FeedbackRow.__table__.columns, TextRow.text)
                .outerjoin(TextRow, TextRow.text_id == FeedbackRow.text_id)
                .where(FeedbackRow.account_key == key)
                .order_by(FeedbackRow.at.desc(), FeedbackRow.feedback_id.desc())
            )
            return [
                Feedback(account_id, r.run_id, r.as_of, r.driver, r.verdict, Author(r.by_kind, r.by_id), r.at, r.text)
                for r in rows
            ]

    def set_manual_score(
        self, account_id: str, score: int, reason: str, expires_at: Instant, by: By, *, at: Instant | None = None
    ) -> ManualScore:
        """Keep a score that a person gives, with the reason; it takes the place of the one before. `at`: now.

        Raises UnknownAccountError, ValueError where the score is no integer of 0–100, the reason is blank, or `expires_at` is not
        after `at` and at most LONGEST_DAYS later.
        """
        given_at, until = _instant(at), utc(expires_at)
        if isinstance(score, bool) or not isinstance(score, int) or not 0 <= score <= 100:
            raise ValueError(f"score is {score!r}; give an integer from 0 to 100")
        if not given_at < until <= given_at + timedelta(days=LONGEST_DAYS):
            raise ValueError(
                f"expires_at is {until.isoformat()}; give an instant after {given_at.isoformat()}, "
                f"at most {LONGEST_DAYS} days later"
            )
        with self._database.writing() as connection:
            key = account_key(connection, account_id, self._database.where)
            text_id = keep_text(connection, key, reason, given_at)
            if text_id is None:
                raise ValueError("reason is blank; say why the score is given")
            row = {"account_key": key, "score": score, "at": given_at, "expires_at": until, "text_id": text_id}
            connection.execute(insert(ManualScoreRow), [row | {"by_kind": by.kind, "by_id": by.id}])
        return ManualScore(account_id, score, reason.strip(), Author(by.kind, by.id), given_at, until)

    def manual_score(self, account_id: str, at: Instant | None = None) -> ManualScore | None:
        """Return the manual score that holds at `at` (now): the last one given up to then, unless it has expired.

        A later one ends the earlier for good, also where it expires first. Raises UnknownAccountError.
        """
        asked_at = _instant(at)
        with self._database.reading() as connection:
            key = account_key(connection, account_id, self._database.where)
            row = connection.execute(
                select(*ManualScoreRow.__table__.columns, TextRow.text)
                .join(TextRow, TextRow.text_id == ManualScoreRow.text_id)
                .where(ManualScoreRow.account_key == key, ManualScoreRow.at <= asked_at)
                .order_by(ManualScoreRow.at.desc(), ManualScoreRow.manual_score_id.desc())
                .limit(1)
            ).first()
        if row is None or row.expires_at <= asked_at:
            return None
        return ManualScore(account_id, row.score, row.text, Author(row.by_kind, row.by_id), row.at, row.expires_at)


def _instant(at: Instant | None) -> datetime:
    return now() if at is None else utc(at)
