"""Writes the demo's accuracy tasks (`*.jsonl`) from the word lists: same bytes on every run.

Usage: python generate.py [DIRECTORY]
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

try:
    from . import sayings, wordlists
except ImportError:  # run as a script
    import sayings  # type: ignore[import-not-found, no-redef]
    import wordlists  # type: ignore[import-not-found, no-redef]

Item = dict[str, Any]
SEED = 20260301
CHOICES = 4


def pairs(text: str) -> list[list[tuple[str, str]]]:
    """Lines of "a b / c d" as groups of pairs; "_" stands for a space inside a name."""
    groups = []
    for line in text.strip().splitlines():
        words = [part.split() for part in line.split("/")]
        groups.append([(a.replace("_", " "), b.replace("_", " ")) for a, b in words])
    return groups


def flat(text: str) -> list[tuple[str, str]]:
    """All pairs of `pairs`, whatever line they stand in."""
    return [pair for group in pairs(text) for pair in group]


def item(rng: random.Random, prompt: str, answer: str, wrong: Sequence[str], at: int) -> Item:
    """One document: the right choice stands at position ``at``, the others in random order."""
    choices = rng.sample(list(wrong), len(wrong))
    choices.insert(at, answer)
    return {"prompt": prompt, "choices": choices, "answer": at}


def balanced(rng: random.Random, n: int, choices: int) -> list[int]:
    """``n`` positions in random order, each of the ``choices`` as often as the others."""
    positions = [i % choices for i in range(n)]
    rng.shuffle(positions)
    return positions


def agreement(rng: random.Random) -> Iterator[Item]:
    """Which form of the verb fits, with a noun of the other number in between."""
    heads, attractors = flat(wordlists.HEADS), flat(wordlists.ATTRACTORS)
    seen: set[str] = set()
    for at in balanced(rng, 320, 2):
        prompt = ""
        while not prompt or prompt in seen:
            head, other = rng.choice(heads)[at], rng.choice(attractors)[1 - at]
            prompt = f"The {head} {rng.choice(wordlists.PREPOSITIONS)} the {other}"
        seen.add(prompt)
        verbs = rng.choice(wordlists.VERBS)
        yield {"prompt": prompt, "choices": list(verbs), "answer": at}


def opposites(rng: random.Random) -> Iterator[Item]:
    """The opposite of a word, in both directions; wrong choices come from other lines."""
    groups = pairs(wordlists.OPPOSITES)
    asked: dict[str, tuple[str, set[str]]] = {}
    line_of: dict[str, set[str]] = {}
    for group in groups:
        words = {word for pair in group for word in pair}
        for word in words:
            line_of[word] = line_of.get(word, set()) | words
        for a, b in group:
            asked.setdefault(a, (b, words))
            asked.setdefault(b, (a, words))
    everything = sorted(line_of)
    positions = balanced(rng, len(asked), CHOICES)
    for at, (word, (answer, _)) in zip(positions, asked.items(), strict=True):
        near = line_of[word] | line_of[answer]
        wrong = rng.sample([w for w in everything if w not in near], CHOICES - 1)
        yield item(rng, f"The opposite of {word} is", answer, wrong, at)


def _article(word: str) -> str:
    return "An" if word[0] in "aeiou" else "A"


def _membership(category: str, word: str) -> str:
    if category in wordlists.PROPER:
        return f"{word} is a"
    subject = word.capitalize() if category in wordlists.MASS else f"{_article(word)} {word}"
    return f"{subject} is a kind of"


def categories(rng: random.Random) -> Iterator[Item]:
    """What kind of thing a word names; wrong choices are categories that exclude it."""
    table = dict(line.split(": ") for line in wordlists.CATEGORIES.strip().splitlines())
    overlap = {frozenset(pair) for pair in flat(wordlists.OVERLAPS)}
    members = [(c, word) for c, words in table.items() for word in words.split()]
    positions = balanced(rng, len(members), CHOICES)
    for at, (category, word) in zip(positions, members, strict=True):
        others = [c for c in table if c != category and frozenset((c, category)) not in overlap]
        wrong = rng.sample(others, CHOICES - 1)
        yield item(rng, _membership(category, word), category, wrong, at)


def capitals(rng: random.Random) -> Iterator[Item]:
    """The capital of a country and the country of a capital."""
    known = flat(wordlists.CAPITALS)
    positions = balanced(rng, 2 * len(known), CHOICES)
    for i, (country, city) in enumerate(known):
        others = rng.sample([pair for pair in known if pair[0] != country], CHOICES - 1)
        cities, countries = [c for _, c in others], [c for c, _ in others]
        yield item(rng, f"The capital of {country} is", city, cities, positions[2 * i])
        yield item(rng, f"{city} is the capital of", country, countries, positions[2 * i + 1])


def endings(rng: random.Random) -> Iterator[Item]:
    """The last word of a saying or a plain fact; wrong choices are the ends of others."""
    known = [line.split(" | ") for line in sayings.SAYINGS.strip().splitlines()]
    answers = sorted({answer for _, answer in known})
    positions = balanced(rng, len(known), CHOICES)
    for at, (prompt, answer) in zip(positions, known, strict=True):
        fits = {answer, *sayings.ALSO_FITS.get(prompt, "").split()}
        wrong = rng.sample([a for a in answers if a not in fits], CHOICES - 1)
        yield item(rng, prompt, answer, wrong, at)


def recall(rng: random.Random) -> Iterator[Item]:
    """Who has what, asked right after it was said."""
    seen: set[str] = set()
    for at in balanced(rng, 240, CHOICES):
        prompt = ""
        while not prompt or prompt in seen:
            names = rng.sample(wordlists.NAMES, CHOICES)
            things = rng.sample(wordlists.OBJECTS, CHOICES)
            asked = rng.randrange(CHOICES - 1)  # the last one said would be a mere repetition
            said = " ".join(f"{n} has a {t}." for n, t in zip(names, things, strict=True))
            prompt = f"{said} {names[asked]} has a"
        seen.add(prompt)
        wrong = [t for t in things if t != things[asked]]
        yield item(rng, prompt, things[asked], wrong, at)


TASKS: dict[str, Callable[[random.Random], Iterable[Item]]] = {
    "agreement": agreement,
    "capitals": capitals,
    "categories": categories,
    "endings": endings,
    "opposites": opposites,
    "recall": recall,
}


def lines(name: str) -> str:
    """The whole file of one task; each task has its own stream of random numbers."""
    items = TASKS[name](random.Random(f"{SEED}/{name}"))
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in items)


def main(directory: Path) -> None:
    """Write every task's file below ``directory``."""
    for name in TASKS:
        (directory / f"{name}.jsonl").write_text(lines(name), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
