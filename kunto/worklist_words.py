"""The worklist's own words, in English and in Finnish."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.playbooks import Band
from models.sentences import Language


@dataclass(frozen=True)
class Words:
    """What stands around the values; `{…}` are filled in by `kunto.worklist`."""

    title: str
    nothing: str
    notice_title: str
    notice_more: str
    account: str
    at_risk: str
    health: str
    risk: str
    renewal: str
    ends: str
    why: str
    what: str
    why_and_what: str
    arr: str
    bands: Mapping[Band, str]
    provisional: str
    no_score: str
    probability: str
    notice_by: str
    notice_over: str
    no_reason: str
    growth: str
    worth: str
    of_accounts: str
    held_out: str
    call: str
    roles: Mapping[str, str]
    accounts: str
    total_arr: str
    total_at_risk: str
    no_model: str
    under_notice: str


WORDS: Mapping[Language, Words] = {
    "en": Words(
        title="Worklist of {as_of}: {shown} of {worth} accounts for which a play is worth doing",
        nothing="No play is worth its cost for any account that has not given notice.",
        notice_title="Under notice: {shown} of {all}",
        notice_more="{rest} more under notice; `kunto score --out FILE.csv` lists them all.",
        account="Account",
        at_risk="ARR at risk",
        health="Health",
        risk="Risk",
        renewal="Renewal",
        ends="Ends",
        why="Why",
        what="Do",
        why_and_what="Why, and what to do",
        arr="ARR",
        bands={"healthy": "Healthy", "neutral": "Neutral", "at_risk": "At risk", "critical": "Critical"},
        provisional="provisional",
        no_score="no score",
        probability="{p} in {days} d",
        notice_by="notice by {date}",
        notice_over="notice was due {date}",
        no_reason="nothing raises the risk above the usual",
        growth="chance of expansion {p} in {days} d",
        worth="worth {value}",
        of_accounts="{value} of an account",
        held_out="held out at random: start later",
        call="contact {who} ({role})",
        roles={
            "decision_maker": "decision maker",
            "executive": "executive",
            "champion": "champion",
            "admin": "admin",
        },
        accounts="{n} active accounts",
        total_arr="ARR {arr}",
        total_at_risk="ARR at risk {arr}",
        no_model="no churn model serves: ranked by the health score and the base rate",
        under_notice="{n} under notice",
    ),
    "fi": Words(
        title="Työlista {as_of}: {shown}/{worth} asiakkuutta, joille kannattaa tehdä jotakin",
        nothing="Mikään toimintamalli ei maksa itseään takaisin asiakkuudessa, jota ei ole irtisanottu.",
        notice_title="Irtisanoutuneet: {shown}/{all}",
        notice_more="Lisäksi {rest} irtisanoutunutta; `kunto score --out TIEDOSTO.csv` luettelee kaikki.",
        account="Asiakkuus",
        at_risk="ARR vaarassa",
        health="Terveys",
        risk="Riski",
        renewal="Uusiminen",
        ends="Päättyy",
        why="Miksi",
        what="Tee",
        why_and_what="Miksi, ja mitä tehdä",
        arr="ARR",
        bands={"healthy": "Terve", "neutral": "Neutraali", "at_risk": "Riskissä", "critical": "Kriittinen"},
        provisional="alustava",
        no_score="ei indeksiä",
        probability="{p} / {days} pv",
        notice_by="irtisan. {date} asti",
        notice_over="irtisan. raja meni {date}",
        no_reason="mikään ei nosta riskiä tavallisesta",
        growth="laajennuksen todennäköisyys {p} / {days} pv",
        worth="arvo {value}",
        of_accounts="{value} asiakkuutta",
        held_out="arvottu vertailuryhmään: aloita myöhemmin",
        call="ota yhteys: {who} ({role})",
        roles={
            "decision_maker": "päättäjä",
            "executive": "johtaja",
            "champion": "puolestapuhuja",
            "admin": "pääkäyttäjä",
        },
        accounts="{n} aktiivista asiakkuutta",
        total_arr="ARR {arr}",
        total_at_risk="ARR vaarassa {arr}",
        no_model="mikään poistumamalli ei ole käytössä: järjestys terveysindeksin ja perusosuuden mukaan",
        under_notice="{n} irtisanoutunutta",
    ),
}
