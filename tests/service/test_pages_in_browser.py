"""The pages in a real browser, Debian's Chromium: with and without JavaScript, by keyboard, narrow, dark, on paper."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from page_app import Behind, address, page_app, serving
from page_company import LONG, SCRIPT, SCRIPT_ID, company
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from serving.store import Store

CHROMIUM = Path("/usr/bin/chromium")
WIDTHS = (390, 1280)
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"Chromium is not installed: no {CHROMIUM}")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Behind]]:
    """The company, served; a test that changes it uses an account of its own."""
    with Store.open(tmp_path_factory.mktemp("browser") / "kunto.db") as store:
        behind = Behind(company(store))
        with serving(page_app(behind)) as url:
            yield url, behind


@pytest.fixture
def visit(browser: Browser, site: tuple[str, Behind]) -> Iterator[Open]:
    """A function that opens a page as a visitor; whatever goes wrong in the browser, or leaves this machine, fails the test."""
    url, _ = site
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def open_page(path: str, *, width: int = 1280, language: str = "en", script: bool = True, scheme: str = "light") -> Page:
        context = browser.new_context(
            base_url=url, viewport={"width": width, "height": 900}, java_script_enabled=script, color_scheme=scheme
        )
        context.add_cookies([{"name": "kunto_language", "value": language, "url": url}])
        context.set_default_timeout(5000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: request.url.startswith(url) or wrong.append(f"request: {request.url}"))
        page.on(
            "response",
            lambda response: response.ok or response.status == 303 or wrong.append(f"{response.status} {response.url}"),
        )
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.mark.parametrize(
    ("language", "width", "accounts"),
    [("fi", 390, ("acme", "long", SCRIPT_ID, "none", "odd", "gone0")), ("en", 390, ("acme",)), ("fi", 1280, ("acme", "long"))],
)
def test_nothing_overflows_or_complains(visit: Open, language: str, width: int, accounts: tuple[str, ...]) -> None:
    page = visit("/sign-in?problem=wrong", width=width, language=language)
    for path in ("/", *map(address, accounts), f"{address('acme')}?as_of=2026-06-10"):
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true })")
        reach = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert reach[0] <= reach[1], (path, reach)
        assert page.title().endswith("· Kunto")


def test_markup_in_names_is_never_markup(visit: Open) -> None:
    page = visit("/")
    expect(page.get_by_role("link", name=SCRIPT, exact=True)).to_be_visible()
    page.get_by_role("link", name=SCRIPT, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(SCRIPT)
    assert page.url.endswith(address(SCRIPT_ID))
    assert page.locator("main script, main img").count() == 0


@pytest.mark.parametrize("script", [True, False])
def test_filters_work_with_and_without_javascript(visit: Open, script: bool) -> None:
    page = visit("/", script=script)
    expect(page.locator("tr.account")).to_have_count(9)
    page.get_by_label("CSM").select_option("Bertta")
    if not script:
        page.get_by_role("button", name="Show").click()
    expect(page.locator("tr.account")).to_have_count(1)
    expect(page.get_by_role("link", name="Åkerö Öljy Oy")).to_be_visible()
    expect(page.get_by_label("CSM")).to_have_value("Bertta")
    page.get_by_role("link", name="Clear").click()
    page.get_by_role("searchbox").fill("grows")
    page.get_by_role("searchbox").press("Enter")
    expect(page.locator("tr.account")).to_have_count(1)


def test_keys_walk_through_the_accounts(visit: Open) -> None:
    page = visit("/")
    names = page.locator("tr.account a.name")
    for key, place in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        page.keyboard.press(key)
        expect(names.nth(place)).to_be_focused()
    wanted = names.nth(1).inner_text()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(wanted)
    page.goto("/")
    page.get_by_role("searchbox").press_sequentially("jk")
    expect(page.get_by_role("searchbox")).to_have_value("jk")


@pytest.mark.parametrize("path", ["/", address("acme")])
def test_everything_can_be_reached_and_seen_by_tab(visit: Open, path: str) -> None:
    page = visit(path)
    wanted = page.evaluate(
        "[...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary')]"
        ".filter(element => element.checkVisibility()).length"
    )
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    seen = set()
    for _ in range(3 * wanted):  # a date field has several stops
        seen.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", page.evaluate("document.activeElement.outerHTML")
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
    assert len(seen) == wanted


def test_landmarks_and_tables_are_what_they_are_at_every_width(visit: Open) -> None:
    for width in WIDTHS:
        page = visit("/", width=width)
        for landmark in ("banner", "main", "search"):
            expect(page.get_by_role(landmark)).to_have_count(1)
        worklist = page.get_by_role("table", name="Accounts for which a play is worth doing")
        expect(worklist.get_by_role("row")).to_have_count(10)
        expect(worklist.get_by_role("columnheader")).to_have_count(7)
        expect(worklist.get_by_role("rowheader", name=LONG)).to_be_visible()
        page.goto(address("acme"))
        expect(page.get_by_role("img", name="Health score over time")).to_be_visible()
        expect(page.get_by_role("img", name="Probability of staying")).to_be_visible()
        assert page.locator("h1").count() == 1


def test_a_play_from_the_worklist_to_its_end(visit: Open, site: tuple[str, Behind]) -> None:
    page, store = visit("/?name=past"), site[1].store
    page.get_by_role("button", name="Start play").click()
    expect(page.get_by_role("status")).to_have_text("The play has started.")
    expect(page.locator("tr.account")).to_contain_text("under way, 0 of 5 steps done")
    page.get_by_role("link", name="Go on").click()
    page.get_by_role("button", name="Done:").first.click()
    expect(page.get_by_role("button", name="Done:").first).to_have_attribute("aria-pressed", "true")
    assert store.plays.list("past")[0].steps[0].done_at is not None
    page.get_by_role("button", name="Done:").first.click()
    expect(page.get_by_role("button", name="Done:").first).to_have_attribute("aria-pressed", "false")
    page.get_by_text("Close the play").click()
    page.get_by_label("How it ended").select_option("declined")
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.get_by_text("1 play before")).to_be_visible()
    assert store.plays.list("past")[0].outcome == "declined"


@pytest.mark.parametrize("script", [True, False])
def test_feedback_lands_in_the_store(visit: Open, site: tuple[str, Behind], script: bool) -> None:
    account_id = "suomi" if script else "few"
    page = visit(address(account_id), script=script, width=390)
    row = page.get_by_role("row", name="Use is weakening")
    row.get_by_text("Add a comment").click()
    row.get_by_label("Comment").fill("They were on holiday")
    row.get_by_role("button", name="Known").click()
    expect(page.get_by_role("status")).to_contain_text("Thank you")
    expect(page.get_by_role("row", name="Use is weakening").get_by_role("button", name="Known")).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(page.get_by_text("They were on holiday")).to_be_visible()
    [given] = site[1].store.feedback.of(account_id)
    assert (given.driver, given.verdict, given.text) == ("usage_decline", "known", "They were on holiday")


def test_the_language_stays(visit: Open) -> None:
    page = visit(address("acme"))
    page.get_by_role("button", name="FI").click()
    expect(page.locator("html")).to_have_attribute("lang", "fi")
    assert page.url.endswith(address("acme"))
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Tänään")


def test_it_follows_a_dark_theme_and_prints_without_controls(visit: Open) -> None:
    backgrounds = [
        visit("/", scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor") for scheme in ("light", "dark")
    ]
    assert backgrounds[0] != backgrounds[1]
    page = visit("/")
    page.emulate_media(media="print")
    for control in ("form.filters", "button", "nav"):
        assert not any(each.is_visible() for each in page.locator(control).all()), control
    expect(page.get_by_role("link", name="Acme Oy")).to_be_visible()
