"""No credential leaves in a message, a tag or an artifact."""

from __future__ import annotations

import pytest

from sweeper.redaction import Redactor, redact

CANARY = "canary-4711-secret"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"http://ann:{CANARY}@host:5000/x", "http://***@host:5000/x"),
        (f"postgresql+psycopg2://ann:{CANARY}@db/mlflow", "postgresql+psycopg2://***@db/mlflow"),
        (f"at https://{CANARY}@host/ and on", "at https://***@host/ and on"),
        (f"https://h/p?token={CANARY}&x=1", "https://h/p?token=***&x=1"),
        (f'"tracking.uri=http://a:{CANARY}@h"', '"tracking.uri=http://***@h"'),
        ("sqlite:////home/x@y/mlflow.db", "sqlite:////home/x@y/mlflow.db"),
        ("25% + 4bit, mail@example.org", "25% + 4bit, mail@example.org"),
    ],
)
def test_user_info_and_secret_queries_are_masked(text, masked):
    assert Redactor(environ={})(text) == masked


def test_a_password_is_masked_without_its_uri_and_in_both_spellings():
    clean = Redactor("postgresql://ann:pass%2Fword@db/x", environ={})
    assert clean("rejected: pass/word, pass%2Fword") == "rejected: ***, ***"


def test_secrets_of_the_environment_are_masked(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    assert redact(f"header {CANARY} abc") == "header *** abc"
