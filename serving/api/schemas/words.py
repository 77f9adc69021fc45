"""Closed lists of words and types of what comes in, each written down once; OpenAPI names the lists."""

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema
from typing_extensions import TypeAliasType

from models import sentences
from serving import company_metrics
from serving.store import feedback, outbox_records, play_records

Language = TypeAliasType("Language", sentences.Language)
Band = TypeAliasType("Band", Literal["healthy", "neutral", "at_risk", "critical"])
Tier = TypeAliasType("Tier", Literal["strategic", "key", "developing", "low_value"])
Stage = TypeAliasType("Stage", Literal["onboarding", "adoption", "value_realisation", "expansion", "advocacy", "leaving", "left"])
Outcome = TypeAliasType("Outcome", Literal["churn", "contraction", "expansion"])
MetricGroup = TypeAliasType("MetricGroup", company_metrics.Group)
Serving = TypeAliasType("Serving", Literal["models", "health score"])
PlayState = TypeAliasType("PlayState", play_records.State)
PlayOutcome = TypeAliasType("PlayOutcome", play_records.Outcome)
PlayArm = TypeAliasType("PlayArm", Literal["treated", "held_out"])
Verdict = TypeAliasType("Verdict", feedback.Verdict)
EventType = TypeAliasType("EventType", outbox_records.EventType)

#: No text may hold NUL, which PostgreSQL cannot keep.
_NO_NUL = r"^[^\x00]*$"
AccountId = Annotated[str, Field(min_length=1, max_length=200, pattern=_NO_NUL)]
#: A name or part of one, of a person, an account or a playbook.
Name = Annotated[str, Field(max_length=200, pattern=_NO_NUL)]
#: The id of something that was made here.
RecordId = Annotated[str, Field(min_length=1, max_length=64, pattern=_NO_NUL)]
Note = Annotated[str, Field(min_length=1, max_length=4000, pattern=_NO_NUL)]
_Number = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]})]
#: Feature → number or null; what is none is told row by row, so it is taken as it comes.
Features = TypeAliasType("Features", dict[Annotated[str, Field(max_length=200)], _Number])
