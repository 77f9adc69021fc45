"""What every table shares: names of constraints, and types that are the same on both databases."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Double, Integer, MetaData
from sqlalchemy.orm import DeclarativeBase

from serving.store.instants import UtcDateTime

#: SQLite numbers rows only in a column whose type is INTEGER.
ROW_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """Declarative base: constraints have the same names on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        datetime: UtcDateTime(),
        float: Double(),
        # JSON and not JSONB: kept byte for byte as it was written
        dict[str, Any]: JSON(),
        list[dict[str, Any]]: JSON(),
    }
