"""Whose health band changes as a run finishes, as SQL."""

from sqlalchemy import Select, select
from sqlalchemy.orm import aliased

from serving.store.tables import RunRow, ScoreRow


def band_changes(run_id: str) -> Select:
    """Rows of account_key, from, to, as_of and health: the accounts whose standing band became another with this run.

    The run is finished already, and none has finished since. A score that is older than one already known changes nothing
    that stands. Provisional scores have no band: they are passed over on both sides, and the band before is the last one
    that there was.
    """
    new, later, old = aliased(ScoreRow), aliased(ScoreRow), aliased(ScoreRow)
    run = aliased(RunRow)
    superseded = (
        select(later.score_id)
        .join(run, run.run_id == later.run_id)
        .where(
            later.account_key == new.account_key,
            later.as_of > new.as_of,
            run.finished_at.is_not(None),
        )
        .correlate(new)
        .exists()
    )
    before = (
        select(old.band)
        .join(run, run.run_id == old.run_id)
        .where(
            old.account_key == new.account_key,
            old.run_id != new.run_id,
            old.band.is_not(None),
            run.finished_at.is_not(None),
        )
        .order_by(old.as_of.desc(), run.finished_at.desc())
        .limit(1)
        .correlate(new)
        .scalar_subquery()
    )
    bands = (
        select(new.account_key, before.label("from"), new.band.label("to"), new.as_of, new.health_score.label("health"))
        .where(new.run_id == run_id, new.band.is_not(None), ~superseded)
        .subquery()
    )
    return select(bands).where(bands.c["from"] != bands.c.to).order_by(bands.c.account_key)
