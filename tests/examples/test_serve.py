"""The service decides as the rule file does, with either runtime, while the file changes."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn

import calibrate as cal
from calibrate import ops

SERVE = Path(__file__).parents[2] / "examples" / "serve.py"
NAMES = ("rock", "jazz", "Händel, G. F.", "blues", "7")
N_CLASSES = len(NAMES)
RANDOM = np.random.default_rng(0)


def per_class(low: float, high: float) -> np.ndarray:
    return RANDOM.uniform(low, high, N_CLASSES).astype(np.float32)


LINE = ops.Affine(per_class(0.5, 2), per_class(-1, 1))
ROW = ops.RowAffine(per_class(0.5, 2), per_class(-1, 1), -0.5, 0.25)
CUTS = ops.Threshold(np.array([0.25, -0.5, 0.0, np.inf, 1.5]))
NAMED = cal.Decision((LINE,), CUTS, N_CLASSES, NAMES)
ROWS = np.round(RANDOM.normal(0, 1.5, (40, N_CLASSES)) * 4).astype(np.float32) / 4

both = pytest.mark.parametrize("runtime", ["onnx", "torch"])


@pytest.fixture(scope="module")
def serve():
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("serve", SERVE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["serve"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def rule(tmp_path) -> Path:
    NAMED.save(tmp_path / "rule.safetensors")
    return tmp_path / "rule.safetensors"


@contextlib.contextmanager
def running(serve, rule: Path, runtime: str, look: float = 60.0) -> Iterator[httpx.Client]:
    """A client of the service, which listens on a port of its own."""
    app = serve.make_app(serve.RuleFile(rule, serve.RUNTIMES[runtime]), look)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module", params=["onnx", "torch"])
def client(serve, request, tmp_path_factory) -> Iterator[httpx.Client]:
    """One service of each runtime, with names and thresholds."""
    path = tmp_path_factory.mktemp("served") / "rule.safetensors"
    NAMED.save(path)
    with running(serve, path, request.param) as client:
        yield client


def until(there: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


def ask(client: httpx.Client, rows, **more) -> dict:
    answer = client.post("/labels", json={"logits": np.asarray(rows).tolist(), **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def npy(rows: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def expected(decision: cal.Decision, rows: np.ndarray) -> list[list]:
    """The labels of the decision, by name."""
    labels = decision.decide(decision.source(rows).read(0, len(rows)))
    names = decision.class_names or range(decision.n_classes)
    ends = zip(labels.indptr, labels.indptr[1:], strict=False)
    return [[names[place] for place in labels.indices[a:b]] for a, b in ends]


# labels


def test_rows_get_the_names_that_the_rule_gives_them(client):
    answer = ask(client, ROWS)

    assert answer["labels"] == expected(NAMED, ROWS)
    assert any(answer["labels"])
    assert set(answer) == {"rule", "labels"}


def test_probabilities_come_when_they_are_asked_for(client):
    answer = ask(client, ROWS, probabilities=True)

    np.testing.assert_allclose(answer["probabilities"], NAMED.predict_proba(ROWS), rtol=2e-6)
    assert answer["labels"] == expected(NAMED, ROWS)


@pytest.mark.parametrize(
    "rows",
    [*(ROWS.astype(dtype) for dtype in ("f4", "f8", "f2", ">f4")), np.array(ROWS, order="F")],
    ids=["float32", "float64", "float16", "big-endian", "Fortran"],
)
def test_a_npy_file_is_decided_as_its_numbers(client, rows):
    instead = {"jazz": -1e300, "rock": None}

    plain = client.post("/labels/npy", content=npy(rows)).json()
    changed = client.post(
        "/labels/npy",
        content=npy(rows),
        params={"probabilities": True, "thresholds": json.dumps(instead)},
    ).json()

    assert plain == ask(client, ROWS)
    assert changed == ask(client, ROWS, probabilities=True, thresholds=instead)
    assert all("jazz" in labels and "rock" not in labels for labels in changed["labels"])


@both
@pytest.mark.parametrize(
    ("steps", "last"),
    [
        ((), ops.TopK(2)),
        ((LINE,), ops.ExpectedCountTopK(0.5, 1, 3)),
        ((LINE, ROW, LINE), CUTS),
        ((ops.Focal(2.0, 0.25),), ops.Threshold(np.float32(0.25))),
        ((ROW,), ops.BoundedThreshold(CUTS.threshold, 1, 2)),
        ((), ops.ExpectedFBeta(True, None, 0.0, 1.0)),
    ],
    ids=lambda part: getattr(part, "wire_name", str(len(part)) if isinstance(part, tuple) else ""),
)
def test_rules_of_every_form_are_served_and_name_classes_by_number(
    serve, rule, runtime, steps, last
):
    decision = cal.Decision(steps, last, N_CLASSES)
    decision.save(rule)
    served = serve.RuleFile(rule, serve.RUNTIMES[runtime]).served

    answer = served.answer(ROWS, {}, True)

    assert answer.labels == expected(decision, ROWS)
    np.testing.assert_allclose(answer.probabilities, decision.predict_proba(ROWS), rtol=2e-6)


@both
def test_a_rule_that_was_fitted_on_probabilities_takes_them(serve, rule, runtime):
    decision = replace(NAMED, provenance={"input": "probabilities"})
    decision.save(rule)
    p = np.append(RANDOM.random((30, N_CLASSES)), [[0, 1, 0.5, 1, 0]], axis=0).astype(np.float32)

    with running(serve, rule, runtime) as client:
        told, answer = client.get("/rule").json(), ask(client, p)
        refused = client.post("/labels", json={"logits": ROWS.tolist()})

    assert told["input"] == "probabilities"
    assert answer["labels"] == expected(decision, p)
    assert "probabilities must lie in [0, 1], got" in refused.json()["detail"]


def test_the_rule_tells_its_classes_in_their_order(client):
    told = client.get("/rule").json()

    assert told == {
        "rule": ask(client, ROWS)["rule"],
        "kind": "threshold",
        "input": "logits",
        "n_classes": N_CLASSES,
        "class_names": list(NAMES),
    }


# thresholds of the caller's


def with_thresholds(decision: cal.Decision, changed: dict[int, float]) -> cal.Decision:
    cuts = np.broadcast_to(decision.rule.threshold, decision.n_classes).copy()
    for place, value in changed.items():
        cuts[place] = value
    return replace(decision, rule=ops.Threshold(cuts))


def test_a_request_may_bring_thresholds_of_calibrated_logits(client):
    other = with_thresholds(NAMED, {1: 1.25, 3: -0.75, 0: np.inf})

    answer = ask(client, ROWS, thresholds={"jazz": 1.25, "blues": -0.75, "rock": None})

    assert answer["labels"] == expected(other, ROWS)
    assert answer["labels"] != expected(NAMED, ROWS)
    assert ask(client, ROWS)["labels"] == expected(NAMED, ROWS)


@both
@pytest.mark.parametrize("steps", [(), (LINE,), (LINE, ROW), (LINE, ROW, LINE)], ids=len)
@pytest.mark.parametrize("cuts", [CUTS, ops.Threshold(np.float32(0.5))], ids=["each", "one"])
def test_thresholds_mean_the_same_whatever_the_runtime_folds(serve, rule, runtime, steps, cuts):
    decision = cal.Decision(steps, cuts, N_CLASSES)
    decision.save(rule)
    served = serve.RuleFile(rule, serve.RUNTIMES[runtime]).served

    answer = served.answer(ROWS, {"1": 0.75, "4": -1.5}, False)

    assert answer.labels == expected(with_thresholds(decision, {1: 0.75, 4: -1.5}), ROWS)


# what cannot be decided

BAD = {
    "nan": ('{"logits": [[0, 0, 0, 0, 0], [0, NaN, 0, 0, 0]]}',
        r"logits must be finite, got nan at row 1, class 1 \('jazz'\)"),
    "infinite": ('{"logits": [[0, 0, 0, 0, -Infinity]]}',
        r"logits must be finite, got -inf at row 0, class 4 \('7'\)"),
    "beyond float32": ('{"logits": [[1e300, 0, 0, 0, 0]]}', "logits must be finite, got inf at "),
    "too few classes": ('{"logits": [[1, 2, 3]]}',
        "logits must have the 5 classes of the fitted rule, got 3 classes"),
    "ragged": ('{"logits": [[1, 2, 3, 4, 5], [1, 2]]}',
        "logits must be rows of numbers, of as many classes each, got 5 in row 0 and 2 in row 1"),
    "no rows": ('{"logits": []}', "logits must not be an empty list"),
    "no classes": ('{"logits": [[]]}', "logits must have at least one class"),
    "text": ('{"logits": [["1", 2, 3, 4, 5]]}', "body.logits.0.0: Input should be a valid number"),
    "null": ('{"logits": [[null, 2, 3, 4, 5]]}', "body.logits.0.0: Input should be a valid number"),
    "a number": ('{"logits": NaN}', "body.logits: Input should be a valid list"),
    "a path": ('{"logits": "/etc/passwd"}', "body.logits: Input should be a valid list"),
    "paths": ('{"logits": ["a.npy"]}', "body.logits.0: Input should be a valid list"),
    "misspelt": ('{"logits": [[1, 2, 3, 4, 5]], "treshold": {}}', "body.treshold: Extra inputs"),
    "no JSON": ("{", "JSON decode error"),
    "nothing": ("", "body: Field required"),
    "unknown class": ('{"logits": [[1, 2, 3, 4, 5]], "thresholds": {"jazz": 1, "polka": 1}}',
        "thresholds must be for classes of the rule, got 'polka'"),
    "no threshold": ('{"logits": [[1, 2, 3, 4, 5]], "thresholds": {"jazz": NaN}}',
        "threshold must not hold nan, got nan at class 1"),
    "threshold as text": ('{"logits": [[1, 2, 3, 4, 5]], "thresholds": {"jazz": "high"}}',
        "body.thresholds.jazz: Input should be a valid number"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_decided_is_refused_in_one_sentence(client, body, said):
    headers = {"content-type": "application/json"}

    answer = client.post("/labels", content=body.encode(), headers=headers)

    assert answer.status_code == 422
    assert re.search(said, answer.json()["detail"])
    assert len(answer.json()["detail"].splitlines()) == 1


BAD_FILES = {
    "nothing": (b"", "body: Field required"),
    "no file": (b"abc", "the body must be a whole .npy file"),
    "a pickle": (b"\x80\x04K\x01.", "the body must be a whole .npy file: This file con"),
    "truncated": (npy(ROWS)[:-4], "the body must be a whole .npy file"),
    "a torn header": (b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4', (", "the body must be a whole"),
    "no rows": (npy(ROWS[:0]), "logits must hold at least one row, got none"),
    "too many classes": (npy(np.zeros((2, 6))), "logits must have the 5 classes of the fit"),
    "one dimension": (npy(np.zeros(5)), r"logits must have shape \(n_rows, n_classes\), got shape"),
    "text": (npy(np.array([["a"] * 5])), "logits must be real numbers, got dtype <U1"),
    "complex": (npy(np.zeros((1, 5), complex)), "logits must be real numbers, got dtype complex"),
    "infinite": (npy(np.full((1, 5), np.inf)), "logits must be finite, got inf at row 0, class 0"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "said"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_cannot_be_decided_is_refused_in_one_sentence(client, body, said):
    answer = client.post("/labels/npy", content=body)

    assert answer.status_code == 422
    assert re.search(said, answer.json()["detail"])


@pytest.mark.parametrize("thresholds", ["{", "5", '{"jazz": "high"}', '{"polka": 1}'])
def test_thresholds_beside_a_file_are_checked_as_well(client, thresholds):
    answer = client.post("/labels/npy", content=npy(ROWS), params={"thresholds": thresholds})

    assert answer.status_code == 422
    assert "threshold" in answer.json()["detail"]


@both
def test_a_rule_without_thresholds_takes_none(serve, rule, runtime):
    cal.Decision((), ops.TopK(2), N_CLASSES, NAMES).save(rule)

    with running(serve, rule, runtime) as client:
        body = {"logits": ROWS.tolist(), "thresholds": {"jazz": 0}}
        answer = client.post("/labels", json=body)

    assert answer.status_code == 422
    assert answer.json()["detail"] == "the rule 'top_k' is no threshold, which others could replace"


def test_a_body_that_is_too_large_is_not_read(serve, rule, monkeypatch):
    monkeypatch.setattr(serve, "LARGEST_BODY", 500)

    with running(serve, rule, "onnx") as client:
        answer, small = client.post("/labels/npy", content=npy(ROWS)), ask(client, ROWS[:1])

    assert answer.status_code == 413
    assert small["labels"] == expected(NAMED, ROWS[:1])


# another rule in the file

OTHER = cal.Decision((), ops.TopK(1), N_CLASSES, NAMES)


def two_looks(file) -> None:
    """Enough for a change to be seen, and seen to be over."""
    file.look()
    file.look()


@both
def test_the_rule_in_the_file_takes_over(serve, rule, runtime):
    file = serve.RuleFile(rule, serve.RUNTIMES[runtime])
    first = file.served

    OTHER.save(rule)
    two_looks(file)

    assert file.served.answer(ROWS, {}, False).labels == expected(OTHER, ROWS)
    assert first.answer(ROWS, {}, False).labels == expected(NAMED, ROWS)


def test_a_file_that_did_not_change_is_not_read_again(serve, rule):
    file = serve.RuleFile(rule, serve.RUNTIMES["onnx"])
    first = file.served
    two_looks(file)
    unchanged = file.served
    OTHER.save(rule)
    two_looks(file)
    second = file.served

    two_looks(file)

    assert unchanged is first
    assert file.served is second


def test_a_file_is_read_once_it_has_been_left_alone(serve, rule):
    file = serve.RuleFile(rule, serve.RUNTIMES["onnx"])
    first, data = file.served, OTHER.to_bytes()

    for end in range(len(data) // 4, len(data), len(data) // 4):
        rule.write_bytes(data[:end])
        file.look()
    rule.write_bytes(data)
    file.look()
    unread = file.served, file.error
    file.look()

    assert unread == (first, None)
    assert file.served.answer(ROWS, {}, False).labels == expected(OTHER, ROWS)


def test_a_file_that_is_written_to_while_it_is_read_is_not_taken(serve, rule, monkeypatch):
    file = serve.RuleFile(rule, serve.RUNTIMES["onnx"])
    first = file.served
    OTHER.save(rule)
    file.look()
    read = Path.read_bytes

    def read_and_touched(path):
        data = read(path)
        os.utime(path, ns=(1, 1))
        return data

    monkeypatch.setattr(Path, "read_bytes", read_and_touched)
    file.look()

    assert file.served is first
    monkeypatch.setattr(Path, "read_bytes", read)
    two_looks(file)
    assert file.served is not first


SPOILT = {
    "truncated": lambda rule: rule.write_bytes(OTHER.to_bytes()[:-3]),
    "empty": lambda rule: rule.write_bytes(b""),
    "another file": lambda rule: rule.write_bytes(npy(ROWS)),
    "gone": lambda rule: rule.unlink(),
    "a rule for batches": lambda rule: cal.Decision(
        (), ops.BatchPlugIn(1.0, np.float32(0), np.float32(0.5)), N_CLASSES
    ).save(rule),
}


@both
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_the_last_whole_rule_goes_on_and_the_service_says_why(serve, rule, runtime, spoil):
    with running(serve, rule, runtime, look=0.02) as client:
        before = client.get("/health").json()
        spoil(rule)
        until(lambda: client.get("/health").json()["error"])
        stale, answer = client.get("/health").json(), ask(client, ROWS)
        OTHER.save(rule)
        until(lambda: client.get("/health").json()["error"] is None)
        after, other = client.get("/health").json(), ask(client, ROWS)

    assert before == {"status": "ok", "rule": before["rule"], "error": None}
    assert stale["status"] == "stale"
    assert re.match(r"(ValueError|FileNotFoundError): ", stale["error"])
    assert answer == {"rule": before["rule"], "labels": expected(NAMED, ROWS)}
    assert after["status"] == "ok"
    assert other == {"rule": after["rule"], "labels": expected(OTHER, ROWS)}


@both
def test_no_answer_is_half_of_one_rule_and_half_of_another(serve, rule, runtime):
    lines = {
        by: replace(NAMED, steps=(ops.Affine(np.float32(1), np.float32(by)),)) for by in (-2, 2)
    }
    lines[-2].save(rule)
    found: list[dict] = []
    stop = threading.Event()

    def keep_asking(client: httpx.Client) -> None:
        while not stop.is_set():
            found.append(ask(client, ROWS, probabilities=True))

    with running(serve, rule, runtime, look=0.005) as client, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(keep_asking, client) for _ in range(4)]
        for turn in range(20):
            lines[2 if turn % 2 else -2].save(rule)
            time.sleep(0.04)
        stop.set()
        for one in asking:
            one.result()

    versions = {answer["rule"] for answer in found}
    assert len(versions) == 2
    means = {version: set() for version in versions}
    for answer in found:
        by = 2 if np.mean(answer["probabilities"]) > 0.5 else -2
        means[answer["rule"]].add(by)
        assert answer["labels"] == expected(lines[by], ROWS)
        np.testing.assert_allclose(
            answer["probabilities"], lines[by].predict_proba(ROWS), rtol=2e-6
        )
    assert sorted(map(tuple, means.values())) == [(-2,), (2,)]


# the command


@both
def test_the_command_serves_the_file_it_is_given(rule, runtime):
    command = [sys.executable, str(SERVE), str(rule), "--runtime", runtime, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--look", "0.02"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        address = next(
            found[0] for line in process.stderr if (found := re.search(r"http://[\d.:]+", line))
        )
        client = stack.enter_context(httpx.Client(base_url=address, timeout=30))
        first = ask(client, ROWS)
        OTHER.save(rule)
        until(lambda: ask(client, ROWS)["rule"] != first["rule"])
        second = ask(client, ROWS)
        process.send_signal(signal.SIGINT)
        process.wait(20)
        said = process.stderr.read()

    assert first["labels"] == expected(NAMED, ROWS)
    assert second["labels"] == expected(OTHER, ROWS)
    assert f"rule {second['rule']} decides from now on" in said
    assert "Traceback" not in said.replace("KeyboardInterrupt", "")


@both
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_the_command_does_not_start_without_a_rule(serve, rule, runtime, spoil, monkeypatch):
    spoil(rule)
    monkeypatch.setattr(sys, "argv", ["serve.py", str(rule), "--runtime", runtime])

    with pytest.raises(SystemExit, match=r"rule\.safetensors cannot be served: "):
        serve.main()
