"""A bundle holds what a sweep found and nothing of its machine; verify finds what was changed."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile

import pandas as pd
import pytest

from sweeper.cli.commands import bundle, report, verify
from sweeper.errors import BadInput, IsorateError
from sweeper.results.bundle import answers, archive, conclusions
from sweeper.results.bundle import verify as verifying
from sweeper.results.bundle.portable import without_paths
from tests.sweeper.results.bundle.made import DOCUMENTS, GRID, edited, home, request

TOKEN = "hf_averysecrettoken"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    return home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def packed(swept):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", TOKEN)
        assert bundle.perform(request(swept)) == 0
    return swept / "sweeps/demo/demo.bundle.zip"


def contents(path):
    with zipfile.ZipFile(path) as held:
        return {entry.filename: held.read(entry) for entry in held.infolist()}


def evaluation(path, label="25%", task="cloze"):
    """The folder of one evaluation."""
    for one in json.loads(contents(path)["cells.json"]):
        if one["cell"]["label"] == label:
            return next(s["result"].rpartition("/")[0] for s in one["stages"] if s["task"] == task)
    raise AssertionError(label)


def flipped(row, column="acc", to=None):
    """Makes one document's answer another one."""

    def edit(data):
        lines = data.decode().splitlines()
        found = json.loads(lines[row])
        found[column] = to if to is not None else 1 - found[column]
        lines[row] = json.dumps(found, separators=(",", ":"))
        return ("\n".join(lines) + "\n").encode()

    return edit


def test_everything_follows_from_the_records(packed, swept, capsys):
    found = verifying.verify(packed)
    assert found.holds, found.differences
    assert found.scores == 3 * len(GRID)
    assert found.documents == DOCUMENTS * found.scores
    assert not found.taken
    assert found.verdicts >= 1
    assert verify.perform(request(swept, bundles=[str(packed)])) == 0
    assert json.loads(capsys.readouterr().out)["holds"] is True


def test_the_tables_are_those_of_the_report(packed, swept, capsys):
    assert report.perform(request(swept)) == 0
    capsys.readouterr()
    written = {
        path.name: path.read_bytes() for path in swept.glob("sweeps/demo/report/tables/*.csv")
    }
    held = {n.removeprefix("tables/"): b for n, b in contents(packed).items() if "tables/" in n}
    assert held == written


def test_equal_sweeps_give_equal_bytes(packed, swept, tmp_path):
    assert bundle.perform(request(swept, to=str(tmp_path / "again.zip"))) == 0
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_no_weights_no_secrets_no_paths(tmp_path, monkeypatch):
    swept = home(tmp_path / "home", machine=f"disk-{TOKEN}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert bundle.perform(request(swept)) == 0
    held = contents(swept / "sweeps/demo/demo.bundle.zip")
    everything = b"\n".join([*map(str.encode, held), *held.values()])
    assert TOKEN.encode() not in everything
    assert b"/disks/" not in everything
    assert str(tmp_path).encode() not in everything
    assert b"hf_abcdefghij" not in everything  # whole generations
    assert "…/tiny".encode() in everything
    assert {name.rpartition(".")[2] for name in held} == {"json", "jsonl", "csv"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/models/tiny", "…/tiny"),
        ("not found: /data/a b", "not found: …/a b"),
        ("read '/data/x/y.json', twice", "read '…/y.json', twice"),
        ("https://host/a/b", "https://host/a/b"),
        ("isorate://calibration/pydoc.txt", "isorate://calibration/pydoc.txt"),
        ("org/model", "org/model"),
        ("3 / 4", "3 / 4"),
    ],
)
def test_only_the_last_name_of_a_path_is_kept(text, expected):
    assert without_paths(text) == expected


@pytest.mark.parametrize("sealed", [False, True])
def test_one_changed_answer_is_named(packed, tmp_path, sealed):
    folder = evaluation(packed)
    was = json.loads(contents(packed)[f"{folder}/documents.jsonl"].splitlines()[7])["acc"]
    changed = edited(
        packed, tmp_path / "x.zip", {f"{folder}/documents.jsonl": flipped(7)}, sealed=sealed
    )
    found = verifying.verify(changed)
    (document,) = [one for one in found.differences if one.kind == "document"]
    assert (document.cell, document.task, document.document) == ("25%", "cloze", "7")
    assert (document.name, document.recorded, document.found) == ("acc", str(was), str(1 - was))
    assert f"cell 25%, task cloze, document 7: acc: recorded {was}, there is" in str(document)
    assert any(one.kind == "file" for one in found.differences) is not sealed
    assert any(one.kind == "score" and one.cell == "25%" for one in found.differences)


def test_the_copy_that_was_changed_is_told_from_the_record(packed, tmp_path):
    folder = evaluation(packed)

    def edit(data):
        kept = json.loads(data)
        kept["columns"]["acc"][3] = 1 - kept["columns"]["acc"][3]
        return json.dumps(kept).encode()

    was = json.loads(contents(packed)[f"{folder}/documents.jsonl"].splitlines()[3])["acc"]
    changed = edited(packed, tmp_path / "x.zip", {f"{folder}/answers.json": edit})
    (one,) = [d for d in verifying.verify(changed).differences if d.kind == "document"]
    assert (one.document, one.recorded, one.found) == ("3", str(was), str(1 - was))


@pytest.mark.parametrize(
    ("column", "to", "named"),
    [
        ("prediction", "9", "prediction"),
        ("likelihoods", [0.0] * 4, "its record"),
        ("doc_id", 99, "doc_id"),
    ],
)
def test_any_change_of_a_document_is_named(packed, tmp_path, column, to, named):
    folder = evaluation(packed)
    edit = {f"{folder}/documents.jsonl": flipped(5, column, to)}
    found = verifying.verify(edited(packed, tmp_path / "x.zip", edit, sealed=True))
    first = next(one for one in found.differences if one.kind == "document")
    assert (first.cell, first.document, first.name) == ("25%", "5", named)


def test_a_consistent_forgery_of_answers_contradicts_the_scores(packed, tmp_path):
    """Both copies, digests and hashes made to fit: the scores tell; then the tables do."""
    folder = evaluation(packed)
    record = flipped(7)(contents(packed)[f"{folder}/documents.jsonl"])
    result = json.loads(contents(packed)[f"{folder}/result.json"])
    edits = {
        f"{folder}/documents.jsonl": lambda _: record,
        f"{folder}/answers.json": lambda _: archive.json_bytes(
            {
                **answers.copy(record, {}),
                "formulas": {"acc": {"value": "mean", "stderr": True}},
            }
        ),
    }
    found = verifying.verify(edited(packed, tmp_path / "x.zip", edits, sealed=True)).differences
    score = next(one for one in found if one.kind == "score")
    assert score.recorded == repr(result["metrics"]["acc"]["value"])
    assert not [one for one in found if one.kind == "document"]

    def corrected(data):
        value, stderr = answers.recomputed(answers.rows(record), "acc", "mean")
        result["metrics"]["acc"] |= {"value": value, "stderr": stderr}
        return archive.json_bytes(result)

    edits[f"{folder}/result.json"] = corrected
    found = verifying.verify(edited(packed, tmp_path / "y.zip", edits, sealed=True)).differences
    assert {one.kind for one in found} >= {"table"}
    assert any("25%" in one.where for one in found)


def test_a_changed_verdict_or_table_is_named(packed, tmp_path):
    edits = {
        "verdicts.json": lambda data: data.replace(b"At ", b"Above ", 1),
        "tables/tcr.csv": lambda data: data.replace(b"0.25", b"0.26", 1),
    }
    found = verifying.verify(edited(packed, tmp_path / "x.zip", edits, sealed=True)).differences
    assert [one.kind for one in found] == ["table", "verdict"]
    assert found[0].name == "tcr"
    assert "0.26" in found[0].recorded + found[0].where


def test_a_difference_is_exit_status_1(packed, swept, tmp_path, capsys):
    folder = evaluation(packed)
    changed = edited(packed, tmp_path / "x.zip", {f"{folder}/documents.jsonl": flipped(7)})
    assert verify.perform(request(swept, bundles=[str(changed)], output="text")) == 1
    said = capsys.readouterr().out
    assert "does not hold" in said
    assert "cell 25%, task cloze, document 7: acc: recorded" in said


def test_checking_needs_numpy_scipy_and_pandas_only(packed):
    """Whatever else is installed for sweeps cannot even be found."""
    code = (
        "import sys\n"
        "BANNED = {'torch', 'transformers', 'hydra', 'omegaconf', 'llmcompressor', 'lm_eval',\n"
        "          'mlflow', 'submitit', 'matplotlib', 'jinja2', 'markupsafe', 'pyarrow',\n"
        "          'datasets', 'yaml', 'safetensors', 'huggingface_hub'}\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in BANNED:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from sweeper.results.bundle.__main__ import main\n"
        f"sys.exit(main([{str(packed)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "holds: everything follows" in done.stdout


# --- bad input -------------------------------------------------------------------


def test_an_unknown_sweep_is_refused(swept):
    with pytest.raises(BadInput, match=r"name=nosuch: no such sweep .*valid: demo"):
        bundle.perform(request(swept, name="nosuch"))


def test_an_unfinished_sweep_says_what_is_lacking(tmp_path, capsys):
    swept = home(tmp_path / "home", lacking="3bit")
    with pytest.raises(BadInput, match=r"1 of 5 cells are not done: 3bit \(.*evaluate cloze\)"):
        bundle.perform(request(swept))
    assert bundle.perform(request(swept, partial=True)) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["unfinished"] == ["3bit"]
    found = verifying.verify(swept / "sweeps/demo/demo.bundle.zip")
    assert found.holds
    assert "evaluate cloze" in found.unfinished["3bit"]


def test_what_changed_on_the_disk_is_not_bundled(tmp_path):
    swept = home(tmp_path / "home")
    victim = next(iter(sorted(swept.glob("store/evaluate/*/documents.parquet"))))
    data = bytearray(victim.read_bytes())
    data[60] ^= 1
    victim.write_bytes(data)
    with pytest.raises(IsorateError, match=r"documents\.parquet has changed"):
        bundle.perform(request(swept))


def test_a_file_that_is_there_is_not_overwritten(swept, tmp_path):
    (tmp_path / "mine.zip").write_text("mine")
    with pytest.raises(BadInput, match="it exists already"):
        bundle.perform(request(swept, to=str(tmp_path / "mine.zip")))


def newer(data):
    return data.replace(b'"format": 1', b'"format": 2')


def refusals(packed, tmp_path):
    whole = packed.read_bytes()
    (tmp_path / "text.zip").write_text("no bundle\n")
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("a.txt", "a")
    edited(packed, tmp_path / "newer.zip", {"bundle.json": newer})
    edited(packed, tmp_path / "index.zip", {"bundle.json": lambda _: b"[1]"})
    for name, path in (("up", "../up"), ("root", "/etc/passwd"), ("back", "a\\..\\b")):
        edited(packed, tmp_path / f"{name}.zip", {})
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "a") as held:
            held.writestr(path, "x")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent", "cannot be read: No such file"),
        ("text", "is no bundle: it is no zip archive"),
        ("cut", "is cut short"),
        ("other", r"is no bundle: it has no bundle\.json"),
        ("newer", "has format 2, .* reads formats up to 1"),
        ("index", r"its bundle\.json is none of a bundle"),
        ("up", r"paths that lead out of it: \.\./up"),
        ("root", "paths that lead out of it: /etc/passwd"),
        ("back", "paths that lead out of it"),
    ],
)
def test_what_is_no_bundle_is_refused(packed, tmp_path, name, said):
    refusals(packed, tmp_path)
    with pytest.raises(archive.NoBundle, match=said):
        verifying.verify(tmp_path / f"{name}.zip")


def test_a_bit_that_flipped_is_a_difference_and_no_traceback(packed, tmp_path):
    folder = evaluation(packed)
    with zipfile.ZipFile(packed) as held:
        entry = held.getinfo(f"{folder}/documents.jsonl")
    data = bytearray(packed.read_bytes())
    data[entry.header_offset + 200 + len(entry.filename)] ^= 8
    (tmp_path / "x.zip").write_bytes(data)
    found = verifying.verify(tmp_path / "x.zip")
    first = found.differences[0]
    assert not found.holds
    assert first.kind == "file"
    assert first.name == f"{folder}/documents.jsonl"


def test_no_bundle_named_is_refused(swept):
    with pytest.raises(BadInput, match="isorate verify demo"):
        verify.perform(request(swept))


# --- two machines ----------------------------------------------------------------


@pytest.fixture(scope="module")
def twice(packed, tmp_path_factory):
    there = home(tmp_path_factory.mktemp("there"), machine="node2", seed=1)
    to = there / "there.zip"
    assert bundle.perform(request(there, to=str(to))) == 0
    return packed, to


def test_two_machines_are_repeated_evaluations(twice, tmp_path, capsys):
    capsys.readouterr()
    paths = [str(path) for path in twice]
    asked = request(tmp_path, source="bundle", bundles=paths, name="both")
    assert report.perform(asked) == 0
    cells = asked.read().results.cells
    assert list(cells["rerun"]).count(1.0) == len(GRID)
    tables = tmp_path / "sweeps/both/report-bundle/tables"
    machines = pd.read_csv(tables / "machines.csv")
    assert len(machines) == len(GRID)
    assert set(machines["device"]) == {"node1"}
    assert set(machines["device_again"]) == {"node2"}
    noise = pd.read_csv(tables / "noise_floor.csv")
    assert len(noise) == 3 * len(GRID)
    one = noise[noise["label"].str.startswith("25% (") & (noise["task"] == "cloze")].iloc[0]
    first, again = (
        [
            json.loads(line)["acc"]
            for line in contents(path)[f"{evaluation(path)}/documents.jsonl"].splitlines()
        ]
        for path in twice
    )
    assert one["scores"] == sum(a != b for a, b in zip(first, again, strict=True)) > 0
    assert one["difference"] == pytest.approx((sum(again) - sum(first)) / DOCUMENTS)
    # What is concluded is about the first alone.
    assert report.perform(request(twice[0].parents[2])) == 0
    own = pd.read_csv(twice[0].parent / "report/tables/scores.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tables / "scores.csv"), own)


def test_what_each_machine_keeps_is_by_its_own_baseline(twice, tmp_path):
    def table(name, *paths):
        asked = request(tmp_path, source="bundle", bundles=[str(path) for path in paths])
        made = conclusions.of(asked.read().results).tables[name]
        return pd.read_csv(io.StringIO(made)).set_index("label")

    own = [table("cells", path) for path in twice]
    machines = table("machines", *twice)
    assert len(machines) == len(GRID)
    for label, row in machines.iterrows():
        here, there = (one.loc[label, "sr2"] for one in own)
        assert (row["sr2"], row["sr2_again"]) == pytest.approx((here, there))
        assert row["sr2_difference"] == pytest.approx(there - here)


def test_the_same_evaluations_twice_are_no_repetition(packed, tmp_path):
    (tmp_path / "copy.zip").write_bytes(packed.read_bytes())
    paths = [str(packed), str(tmp_path / "copy.zip")]
    with pytest.raises(BadInput, match="both hold the same evaluations"):
        request(tmp_path, source="bundle", bundles=paths).read()


def test_a_changed_bundle_is_not_reported(packed, tmp_path):
    folder = evaluation(packed)
    changed = edited(packed, tmp_path / "x.zip", {f"{folder}/documents.jsonl": flipped(7)})
    with pytest.raises(IsorateError, match="isorate verify"):
        request(tmp_path, source="bundle", bundles=[str(changed)]).read()
