"""Templates into answers: one environment per language, strict headers, static files that are never stale."""

from collections.abc import Callable, Mapping
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.responses import HTMLResponse

from models.sentences import Language
from serving.web import words
from serving.web.translate import Speech, speech

STATIC = files("serving.web").joinpath("static")
#: Nothing from elsewhere, nothing inline, and nobody frames the pages.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "private, no-cache",
    "Vary": "Cookie",
}


def respond(template: str, language: Language, context: dict[str, Any], *, status: int = 200) -> HTMLResponse:
    """Render a page; `currency` and whatever the template names stand in `context`."""
    text = _environment(language).get_template(f"{template}.html.jinja").render(context)
    return HTMLResponse(text, status, _HEADERS)


@cache
def _environment(language: Language) -> Environment:
    spoken = speech(language)
    made = Environment(
        loader=PackageLoader("serving.web"),
        autoescape=True,
        extensions=["jinja2.ext.i18n"],
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.policies["ext.i18n.trimmed"] = True
    made.install_gettext_callables(spoken.gettext, spoken.ngettext, newstyle=True)  # type: ignore[attr-defined]
    made.globals |= {"language": language, "static": _static, "words": words}
    made.filters |= _filters(spoken)
    return made


def _filters(spoken: Speech) -> dict[str, Callable[..., Any]]:
    @pass_context
    def money(context: Context, value: float | None) -> str:
        return spoken.money(value, context["currency"])

    @pass_context
    def worth(context: Context, value: float | None, record: Mapping[str, Any]) -> str:
        return spoken.worth(value, context["currency"] if record["arr"] is not None else None)

    def named(code: str | None, names: dict[str, str]) -> str:
        return "–" if code is None else spoken.gettext(names[code]) if code in names else code

    return {
        "money": money,
        "worth": worth,
        "named": named,
        "address": address,
        "percent": spoken.percent,
        "number": spoken.number,
        "signed": spoken.signed,
        "day": spoken.day,
        "weekday": spoken.weekday,
        "month": spoken.month,
        "minute": spoken.minute,
    }


def address(account_id: str) -> str:
    """The address of an account's page, whatever its id holds.

    >>> address("a/1 ?")
    '/accounts/a%2F1%20%3F'
    """
    return f"/accounts/{quote(account_id, safe='')}"


@cache
def _static(name: str) -> str:
    """The address of a static file, which changes with its content."""
    digest = blake2b(STATIC.joinpath(name).read_bytes(), digest_size=6).hexdigest()
    return f"/static/{name}?v={digest}"
