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
    """Which form of the verb fits, with nouns of the other number in between.

    Half of the items have a phrase in between ("The key near the walls"), half a clause
    about other people ("The key that the girls near the walls see").
    """
    heads, people = flat(wordlists.HEADS), flat(wordlists.PEOPLE)
    places, actions = flat(wordlists.PLACES), flat(wordlists.ACTIONS)
    seen: set[str] = set()
    for at in balanced(rng, 360, 2):
        prompt = ""
        while not prompt or prompt in seen:
            head, who = rng.choice(heads)[at], rng.choice(people)[1 - at]
            where = f"{rng.choice(wordlists.PREPOSITIONS)} the {rng.choice(places)[1 - at]}"
            clause = f"that the {who} {where} {rng.choice(actions)[1 - at]}"
            prompt = f"The {head} {clause if len(seen) % 2 else where}"
        seen.add(prompt)
        yield {"prompt": prompt, "choices": list(rng.choice(wordlists.VERBS)), "answer": at}


def opposites(rng: random.Random) -> Iterator[Item]:
    """The opposite of a word, both ways; the word itself and its synonyms are wrong choices."""
    sides: dict[str, list[list[str]]] = {}  # word -> per line: the words on its own side of it
    asked: dict[str, str] = {}
    near: dict[str, set[str]] = {}
    for group in pairs(wordlists.OPPOSITES):
        for side in zip(*group, strict=True):
            for word in side:
                sides.setdefault(word, []).append(list(dict.fromkeys(side)))
                near.setdefault(word, set()).update(w for pair in group for w in pair)
        for a, b in group:
            asked.setdefault(a, b)
            asked.setdefault(b, a)
    positions = balanced(rng, len(asked), 8)
    for at, (word, answer) in zip(positions, asked.items(), strict=True):
        single = len(sides[word]) == 1  # "right" is on two lines: its synonyms are ambiguous
        same = [w for w in sides[word][0] if w not in (word, answer)][:2] if single else []
        rest = [w for w in sorted(near) if w not in near[word] | near[answer]]
        wrong = [word, *same, *rng.sample(rest, 6 - len(same))]
        yield item(rng, f"The opposite of {word} is", answer, wrong, at)


def _article(word: str) -> str:
    return "An" if word[0] in "aeiou" else "A"


def _membership(category: str, word: str) -> str:
    if category in wordlists.PROPER:
        return f"{word} is a"
    subject = word.capitalize() if category in wordlists.MASS else f"{_article(word)} {word}"
    return f"{subject} is a kind of"


def categories(rng: random.Random) -> Iterator[Item]:
    """What kind of thing a word names; wrong choices are kinds that exclude it, near ones first."""
    families = [
        dict(line.split(": ") for line in block.splitlines())
        for block in wordlists.CATEGORIES.strip().split("\n\n")
    ]
    overlap = {frozenset(pair) for pair in flat(wordlists.OVERLAPS)}
    members = [(f, c, word) for f in families for c, words in f.items() for word in words.split()]
    positions = balanced(rng, len(members), 6)
    for at, (family, category, word) in zip(positions, members, strict=True):
        free = [c for f in families for c in f if frozenset((c, category)) not in overlap]
        close = [c for c in free if c in family and c != category]
        far = [c for c in free if c not in family]
        close = rng.sample(close, min(4, len(close)))
        wrong = close + rng.sample(far, 5 - len(close))
        yield item(rng, _membership(category, word), category, wrong, at)


def capitals(rng: random.Random) -> Iterator[Item]:
    """The capital of a country and the country of a capital, among those of its neighbours."""
    known = flat(wordlists.CAPITALS)
    positions = balanced(rng, 2 * len(known), 4)
    for i, (country, city) in enumerate(known):
        start = min(max(0, i - 6), len(known) - 13)
        nearby = [pair for pair in known[start : start + 13] if pair != known[i]]
        others = rng.sample(nearby, 3)
        cities, countries = [c for _, c in others], [c for c, _ in others]
        yield item(rng, f"The capital of {country} is", city, cities, positions[2 * i])
        yield item(rng, f"{city} is the capital of", country, countries, positions[2 * i + 1])


def endings(rng: random.Random) -> Iterator[Item]:
    """The last word of a saying or a plain fact; wrong choices are the ends of others."""
    known = [line.split(" | ") for line in sayings.SAYINGS.strip().splitlines()]
    answers = sorted({answer for _, answer in known})
    positions = balanced(rng, len(known), 10)
    for at, (prompt, answer) in zip(positions, known, strict=True):
        fits = {answer, *sayings.ALSO_FITS.get(prompt, "").split()}
        wrong = rng.sample([a for a in answers if a not in fits], 9)
        yield item(rng, prompt, answer, wrong, at)


TASKS: dict[str, Callable[[random.Random], Iterable[Item]]] = {
    "agreement": agreement,
    "capitals": capitals,
    "categories": categories,
    "endings": endings,
    "opposites": opposites,
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
