"""What the stages of a plan have in common: models, texts, what a checkpoint is read from."""

from __future__ import annotations

from typing import Any

from sweeper.config.section import Frozen
from sweeper.errors import BadInput, Refused
from sweeper.inputs import calibration_text, resolve
from sweeper.inputs.pins import Pins
from sweeper.planning.cells.basis import steps
from sweeper.planning.plan import Params, Stage
from sweeper.planning.stages import basis
from sweeper.store.hashing import library

_CONVERT = ("transformers", "gguf")


class Shared:
    """Derives each thing once, however many of a plan's thousands of cells ask for it.

    Attributes:
        pins: the revisions that the sweep takes from the hub.
        kernels: those that all stages ask for.
        stages: key -> stage, of all that were made.
        elsewhere: model section -> the checkpoint that was made of it elsewhere, where it has one.
    """

    def __init__(self, pins: Pins, kernels: str = "") -> None:
        self.pins = pins
        self.kernels = kernels
        self.stages: dict[str, Stage] = {}
        self.elsewhere: dict[Frozen, resolve.Model] = {}
        self._made: dict[tuple[Any, ...], Any] = {}

    def once(self, make: Any, *arguments: Any) -> Any:
        """What ``make`` gives for these arguments, or the refusal that it raised."""
        key = (make.__qualname__, *arguments)
        if key not in self._made:
            try:
                self._made[key] = make(*arguments)
            except (Refused, BadInput) as refused:
                self._made[key] = refused
        made = self._made[key]
        if isinstance(made, Refused | BadInput):
            raise made
        return made

    def stage(self, **fields: Any) -> Stage:
        """The stage with these fields: the one that is there, if its key is."""
        stage = Stage(**fields, kernels=self.kernels)
        return self.stages.setdefault(stage.key, stage)

    def model(self, section: Frozen) -> resolve.Model:
        """What is known of a model before anything is read."""
        found: resolve.Model = self.once(self._model, section)
        return found

    def start(self, section: Frozen) -> resolve.Model:
        """What is read where no stage comes before: the model, or what was made of it elsewhere."""
        return self.elsewhere.get(section) or self.model(section)

    def _model(self, section: Frozen) -> resolve.Model:
        return resolve.model(section, self.pins)

    def text(self, calibration: Frozen, section: Frozen) -> tuple[dict[str, Any], str | None]:
        """What the calibration text means to a stage of this model, and where it is."""
        found: tuple[dict[str, Any], str | None] = self.once(self._text, calibration, section)
        return found

    def _text(self, calibration: Frozen, section: Frozen) -> tuple[dict[str, Any], str | None]:
        found = calibration_text.resolved(calibration, self.pins)
        calibration_text.check_tokens(calibration, self.model(section))
        return found

    def reads(self, section: Frozen, parent: Stage | None) -> dict[str, Any]:
        """How a stage refers to the checkpoint it reads: a parent, or the model as it is."""
        if parent is not None:
            meaning = resolve.trust(section)
            return {"parents": {"model": parent}, "meaning": meaning, "sources": {}}
        model = self.start(section)
        return {"parents": {}, "meaning": model.meaning, "sources": {"model": model.source}}

    def dense(self, section: Frozen) -> Stage | None:
        """The stage that makes what is compressed; None where that is read as it is.

        It converts a GGUF file, rescales or rotates.

        Raises:
            Refused: the model cannot be rescaled or rotated.
        """
        found: Stage | None = self.once(self._dense, section)
        return found

    def _dense(self, section: Frozen) -> Stage | None:
        found: Stage | None = self.once(self._converted, section)
        for kind, own in steps(section).items():
            found = basis.stage(self, kind, own, section, found)
        return found

    def _converted(self, section: Frozen) -> Stage | None:
        model = self.model(section)
        if not model.is_gguf:
            return None
        own = dict(model.meaning)
        sha256 = own.pop("sha256")
        pieces = {f"gguf.{n}": piece for n, piece in enumerate(model.pieces, 2)}
        return self.stage(
            kind="convert",
            params=Params(file_sha256=sha256, dtype=section["save_dtype"], **own),
            parents={},
            library=library(_CONVERT),
            sources={"gguf": model.source, **pieces},
            label=section["name"],
            work=float(model.shapes.parameters),
            bulk_bytes=model.shapes.bytes(16),
        )
