"""What a company sets about the service: section `[service]` of kunto.toml."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from models.sentences import Language

Rate = Annotated[str, Field(pattern=r"^\d+/(second|minute|hour)$", examples=["600/minute"])]


class OidcSettings(BaseModel):
    """Signing in with the company's identity provider; the client's secret is read from the environment, never from a file.

    A person whom `kunto user add` has not named comes in with `new_users`, or not at all where it is empty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str
    client_id: str
    client_secret_variable: str = "KUNTO_OIDC_CLIENT_SECRET"
    scope: str = "openid email profile"
    new_users: Annotated[str, Field(pattern="^(viewer|csm|)$")] = ""


class ServiceSettings(BaseModel):
    """Where models and history are kept (empty: in the workspace), who may ask how often, and how the service tells of itself.

    `language` is that of sentences until a person chooses another. `base_url` is the address that people use, needed behind a
    proxy. Rates are per key or person, `anonymous_rate` per address. Sizes are in bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: Language = "en"
    tracking_uri: str = ""
    store: str = ""
    base_url: str = ""
    rate: Rate = "6000/minute"
    anonymous_rate: Rate = "120/minute"
    body_limit: int = Field(default=8 * 2**20, ge=1024)
    events_body_limit: int = Field(default=512 * 2**20, ge=1024)
    model_poll_seconds: float = Field(default=5.0, gt=0)
    session_hours: float = Field(default=12.0, gt=0)
    webhooks_to_private_addresses: bool = False
    log_format: Annotated[str, Field(pattern="^(json|console)$")] = "json"
    otlp_endpoint: str = ""
    oidc: OidcSettings | None = None
