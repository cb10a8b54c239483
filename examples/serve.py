"""A decision service: one rule file behind FastAPI, run by ONNX Runtime or by torch.

    pip install fastapi uvicorn onnxruntime 'calibrate-multilabel[onnx]'
    python examples/serve.py rule.safetensors --runtime onnx

    curl localhost:8000/labels --json '{"logits": [[0.5, -1.2, 3.1]]}'
    {"rule":"5e0c1f5b9a40","labels":[["jazz"]]}

POST /labels      {"logits": [[...], ...], "thresholds": {"jazz": 0.4}, "probabilities": true}
POST /labels/npy  the bytes of a .npy file; ?probabilities=true&thresholds={"jazz":0.4}
GET  /rule        what the rule takes, and its classes in the order of the columns
GET  /health      which rule decides, and what is wrong with a newer file

Thresholds are calibrated logits, log(p / (1 - p)) for a probability p; null means never. What
cannot be decided is answered with status 422 and one sentence. When the file changes, the new rule
takes over between two requests; a file that is no whole rule changes nothing. Who may ask, and how
often, is the affair of a proxy in front.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import uvicorn
from fastapi import Body, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

import calibrate as cal
from calibrate import ops

Floats, Mask = NDArray[np.float32], NDArray[np.bool_]
Thresholds = dict[str, float | None]

log = logging.getLogger("uvicorn.error")

LARGEST_BODY = 1 << 28
"""Bytes of a request: 8,000 rows of 8,000 classes as float32."""


class Runtime(NamedTuple):
    """What decides checked logits, float32, (n_rows, n_classes); from many threads at once."""

    mask: Callable[[Floats, Floats | None], Mask]
    """Which labels the rows get, by the thresholds of the rule or by others."""
    probabilities: Callable[[Floats], Floats]
    """Calibrated ones."""


def by_torch(decision: cal.Decision) -> Runtime:
    """The rule as a layer, in front of which a network could run as well."""
    import torch

    from calibrate.torch import DecisionLayer

    layer = DecisionLayer(decision)

    @torch.inference_mode()
    def mask(logits: Floats, thresholds: Floats | None) -> Mask:
        others = None if thresholds is None else torch.from_numpy(thresholds)
        return layer(torch.from_numpy(logits), others).numpy()

    @torch.inference_mode()
    def probabilities(logits: Floats) -> Floats:
        return layer.probabilities(torch.from_numpy(logits)).numpy()

    return Runtime(mask, probabilities)


def by_onnx(decision: cal.Decision) -> Runtime:
    """The rule as a graph, which could stand behind a network as well."""
    import onnxruntime

    from calibrate.onnx import to_model

    # rows are logits by now, also those of a rule that was fitted on probabilities
    model = to_model(replace(decision, provenance={}), probabilities=True)
    options, only_what_is_asked = onnxruntime.SessionOptions(), onnxruntime.RunOptions()
    options.log_severity_level = 3  # it warns of every input that may be left out
    only_what_is_asked.only_execute_path_to_fetches = True
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def mask(logits: Floats, thresholds: Floats | None) -> Mask:
        feeds = {"logits": logits}
        if thresholds is not None:
            # where all steps are folded the graph compares what comes in, else calibrated logits
            rule = ops.Threshold(thresholds)
            steps, folded = ops.fold(decision.steps, rule, decision.n_classes)
            feeds["thresholds"] = thresholds if steps else folded.threshold
        return session.run(["labels"], feeds, only_what_is_asked)[0]

    def probabilities(logits: Floats) -> Floats:
        return session.run(["probabilities"], {"logits": logits}, only_what_is_asked)[0]

    return Runtime(mask, probabilities)


RUNTIMES = {"onnx": by_onnx, "torch": by_torch}


class Answer(BaseModel):
    """What rows get: names of classes, or their numbers where the rule has no names."""

    rule: str
    labels: list[list[str]] | list[list[int]]
    probabilities: list[list[float]] | None = None


class Served:
    """A rule as it was read once, and never changed: all that is needed to answer a request."""

    def __init__(self, data: bytes, runtime: Callable[[cal.Decision], Runtime]) -> None:
        self.decision = cal.Decision.from_bytes(data)
        self.version = hashlib.sha256(data).hexdigest()[:12]
        self.names: tuple[Any, ...] = self.decision.class_names or tuple(
            range(self.decision.n_classes)
        )
        self.places = {str(name): place for place, name in enumerate(self.names)}
        self.runtime = runtime(self.decision)
        # what cannot decide is not served: some rules need all rows that are labelled together
        self.runtime.mask(np.zeros((1, self.decision.n_classes), dtype=np.float32), None)

    def answer(self, logits: Any, thresholds: Thresholds, probabilities: bool) -> Answer:
        """Labels of the rows; the border of the library says what is wrong with them."""
        try:
            source = self.decision.source(logits).named(self.decision.class_names)
            if source.shape[0] == 0:
                raise ValueError("logits must hold at least one row, got none")
            rows, others = source.read(0, source.shape[0]), self.replaced(thresholds)
        except (TypeError, ValueError) as error:
            raise HTTPException(422, str(error)) from error
        mask = self.runtime.mask(rows, others)
        labels = [[self.names[place] for place in np.flatnonzero(row)] for row in mask]
        found = self.runtime.probabilities(rows).tolist() if probabilities else None
        return Answer(rule=self.version, labels=labels, probabilities=found)

    def replaced(self, thresholds: Thresholds) -> Floats | None:
        """The thresholds of all classes, some of them the caller's; None if they give none."""
        rule = self.decision.rule
        if not thresholds:
            return None
        if not isinstance(rule, ops.Threshold):
            raise ValueError(
                f"the rule {rule.wire_name!r} is no threshold, which others could replace"
            )
        unknown = [name for name in thresholds if name not in self.places]
        if unknown:
            raise ValueError(f"thresholds must be for classes of the rule, got {unknown[0]!r}")
        every = np.broadcast_to(rule.threshold, len(self.names)).astype(np.float64)
        for name, threshold in thresholds.items():
            every[self.places[name]] = np.inf if threshold is None else threshold
        with np.errstate(over="ignore"):
            return ops.Threshold(every).threshold.copy()


class RuleFile:
    """The rule that a file holds: the last whole one that was there."""

    def __init__(self, path: Path, runtime: Callable[[cal.Decision], Runtime]) -> None:
        self.path, self._runtime = path, runtime
        self.error: str | None = None
        self._seen = self._read = self._state()
        self.served = Served(path.read_bytes(), runtime)

    def look(self) -> None:
        """Serve what the file holds now, if it changed and has been left alone since last time."""
        before, self._seen = self._seen, self._state()
        if self._seen == self._read or self._seen != before:
            return
        try:
            # not mapped: a file that another program shortens would end this one
            data = self.path.read_bytes()
            if self._state() != self._seen:
                return
            self.served, self.error = Served(data, self._runtime), None
            log.info("rule %s decides from now on", self.served.version)
        except Exception as error:
            # whatever is wrong with it, the rule that was there goes on
            self.error = f"{type(error).__name__}: {error}"
            log.warning("rule %s goes on deciding: %s", self.served.version, self.error)
        self._read = self._seen

    def _state(self) -> tuple[int, ...] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    async def watch(self, seconds: float) -> None:
        """Look every so many seconds, for ever."""
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.look)


class Question(BaseModel):
    """Rows to be decided."""

    model_config = ConfigDict(strict=True, extra="forbid")

    logits: list[list[float]]
    thresholds: Thresholds = {}
    probabilities: bool = False


def thresholds_in_query(thresholds: str = "{}") -> Thresholds:
    """Thresholds that come beside a file, as JSON."""
    try:
        return TypeAdapter(Thresholds).validate_json(thresholds, strict=True)
    except ValidationError as error:
        must = "thresholds must be a JSON object of numbers by class"
        raise HTTPException(422, f"{must}, got {thresholds:.80}") from error


def make_app(rule: RuleFile, seconds: float = 1.0) -> FastAPI:
    """The service; it looks at the file every so many seconds."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(rule.watch(seconds))
        yield
        watching.cancel()

    app = FastAPI(title="Decisions", lifespan=lifespan, max_body_size=LARGEST_BODY)

    @app.exception_handler(RequestValidationError)
    async def in_one_sentence(_: Request, error: RequestValidationError) -> JSONResponse:
        # only the first, and without what came: that may be long, and nan is no JSON
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return JSONResponse({"detail": f"{where}: {first['msg']}"}, status_code=422)

    # Plain functions run in threads. Each takes `rule.served` once, so that all of an answer comes
    # from one rule.

    @app.post("/labels", response_model_exclude_none=True)
    def labels(asked: Question) -> Answer:
        return rule.served.answer(asked.logits, asked.thresholds, asked.probabilities)

    @app.post("/labels/npy", response_model_exclude_none=True)
    def labels_of_npy(
        data: Annotated[bytes, Body(media_type="application/octet-stream")],
        thresholds: Annotated[Thresholds, Depends(thresholds_in_query)],
        probabilities: bool = False,
    ) -> Answer:
        try:
            logits = np.load(io.BytesIO(data), allow_pickle=False)
        except Exception as error:
            # numpy has many ways to say that bytes are no array
            raise HTTPException(422, f"the body must be a whole .npy file: {error}") from error
        return rule.served.answer(logits, thresholds, probabilities)

    @app.get("/rule")
    def described() -> dict[str, Any]:
        served = rule.served
        decision = served.decision
        return {
            "rule": served.version,
            "kind": decision.rule.wire_name,
            "input": decision.provenance.get("input", "logits"),
            "n_classes": decision.n_classes,
            "class_names": decision.class_names,
        }

    @app.get("/health")
    def health() -> dict[str, Any]:
        served, error = rule.served, rule.error
        return {
            "status": "ok" if error is None else "stale",
            "rule": served.version,
            "error": error,
        }

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rule", type=Path, help="a rule file, as calibrate saves it")
    parser.add_argument("--runtime", choices=RUNTIMES, default="onnx")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--look", type=float, default=1.0, metavar="SECONDS", help="at the file")
    options = parser.parse_args()
    try:
        rule = RuleFile(options.rule, RUNTIMES[options.runtime])
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"{options.rule} cannot be served: {error}")
    uvicorn.run(make_app(rule, options.look), host=options.host, port=options.port)


if __name__ == "__main__":
    main()
