"""Made-up names: companies, people and their addresses (under .example, which nobody can own)."""

import numpy as np

from simulation.world import COUNTRIES

_FIRST = """
Amber Arctic Birch Bold Bright Calm Cedar Clear Copper Coral Crisp Daring Deep Eager Early Evergreen Fair Fleet
Frost Gentle Golden Grand Granite Happy Hidden High Humble Iron Ivory Keen Kind Lively Loyal Lucid Lunar Maple Merry
Mellow Misty Modern Noble Nordic North Oak Open Pale Patient Pine Polar Prime Proud Quick Quiet Rapid Red River
Royal Rustic Sharp Silver Sincere Smart Solid South Stable Steady Still Stone Sunny Swift Tidal True Velvet Vivid
Warm West White Wide Wild Willow Winter Wise
""".split()  # noqa: SIM905 (a word list reads better so)
_SECOND = """
Anchor Arrow Atlas Bakery Basin Bay Beacon Bridge Brook Canvas Castle Chart Cliff Cloud Compass Cove Crane Crest
Delta Dock Dune Falcon Feather Ferry Field Fjord Forest Forge Foundry Garden Gate Grove Harbour Harvest Haven Heron
Hill Horizon Island Kettle Lake Lantern Ledger Light Lumber Lynx Market Meadow Mill Mint Mountain Orchard Otter Owl
Paper Path Peak Pier Port Quarry Raven Reef Ridge Road Sail Salmon Shore Signal Spring Spruce Square Stream Summit
Thistle Timber Tower Trail Valley Wagon Wave Wharf Wheel Works Yard
""".split()  # noqa: SIM905 (a word list reads better so)
_GIVEN = """
Aino Aleksi Anders Anna Astrid Bastian Clara Daniel Eero Elin Ella Emil Emma Erik Eva Freja Greta Hanna Henrik Ida
Iiris Ingrid Jakob Johan Juho Kaarel Karin Kerli Lars Laura Leena Lena Liam Linnea Lukas Maija Maren Mari Markus
Mats Mia Mikael Nils Nora Olav Oskar Otto Paula Petra Rasmus Ronja Saara Sofia Stefan Sven Tiina Tuomas Venla
""".split()  # noqa: SIM905 (a word list reads better so)
_FAMILY = """
Aaltovuo Bergmark Brandvik Carlholm Dahlgaard Eklundh Engstrand Fjeldby Granqvist Haapalehto Hartwell Hedborg
Heikkivaara Holmgaard Jarvelin Kallastu Kettukangas Kirsimaa Koivusaari Kruusmets Lindhagen Lorentsvik Lundebo
Mannerkoski Metsalampi Nordhus Nurmikallio Ostberg Pihlajaniemi Rautalahti Riverton Rosengard Saarikivi Sandvold
Seppanen Sommerfeldt Stenmark Tammisto Tuomikoski Ulvestad Vainiola Wahlberg Westergren Ylonen
""".split()  # noqa: SIM905 (a word list reads better so)

CSMS = ("Aino Koivusaari", "Erik Lundebo", "Laura Metsalampi", "Jonas Hartwell", "Maren Fjeldby", "Tuomas Rautalahti")


def companies(countries: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one unique company name per row of `countries` (codes of world.COUNTRIES), as an object array."""
    pairs = len(_FIRST) * len(_SECOND)
    order = np.concatenate([rng.permutation(pairs) for _ in range(-(-len(countries) // pairs))])[: len(countries)]
    form = rng.random(len(countries))
    names = []
    for row, (pair, country, pick) in enumerate(zip(order, countries, form, strict=True)):
        forms = COUNTRIES[country][1]
        base = f"{_FIRST[pair // len(_SECOND)]} {_SECOND[pair % len(_SECOND)]}"
        again = f" {row // pairs + 1}" if row >= pairs else ""
        names.append(f"{base}{again} {forms[int(pick * len(forms))]}")
    return np.array(names, dtype=object)


def addresses(company_names: np.ndarray, rng: np.random.Generator) -> list[str]:
    """Return one unique made-up e-mail address per row; `company_names` gives each person's employer."""
    given = rng.integers(len(_GIVEN), size=len(company_names))
    family = rng.integers(len(_FAMILY), size=len(company_names))
    seen: dict[str, int] = {}
    out = []
    for company, first, last in zip(company_names, given, family, strict=True):
        domain = "-".join(company.lower().split()).replace("/", "").replace("ü", "u")
        person = f"{_GIVEN[first]}.{_FAMILY[last]}".lower()
        address = f"{person}@{domain}.example"
        seen[address] = seen.get(address, 0) + 1
        out.append(address if seen[address] == 1 else f"{person}{seen[address]}@{domain}.example")
    return out
