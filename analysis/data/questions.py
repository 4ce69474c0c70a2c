"""What documents ask, in words: for a reader who wants to see what two cells disagree on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Question:
    """One document as it was put to the models, without the examples before it.

    Attributes:
        text: the question, or the beginning that was to be continued.
        choices: the answers to choose from; none where the answer is written freely.
        right: the right answer, as text.
    """

    text: str
    choices: tuple[str, ...] = ()
    right: str = ""

    def answer(self, said: str) -> str:
        """An answer as text: the choice of that number, or what was written."""
        if self.choices and said.isdigit() and int(said) < len(self.choices):
            return self.choices[int(said)]
        return said


Questions = Mapping[str, Question]
"""Hash of a document, as the records of answers have it -> what it asks."""
