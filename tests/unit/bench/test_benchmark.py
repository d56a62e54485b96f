"""Whole benchmarks of the tiny bundle; no test asserts a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from janus_edge.bench import Options, Report, measure
from janus_edge.bench.device_state import DeviceState
from janus_edge.bench.instruments import Instruments
from janus_edge.bench.page import page
from janus_edge.bench.sampler import Gauge, PowerSensor
from janus_edge.bundle import Bundle
from janus_edge.errors import BundleError, CapacityError, InputError

SMALL: dict[str, Any] = {"repetitions": 2, "steps": 4, "answer_tokens": 3, "sweep_steps": 2}


@pytest.fixture(autouse=True)
def small_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte: what the probe finds is of no interest here."""
    monkeypatch.setattr("janus_edge.bench.benchmark.buffer_size", lambda machine: 1 << 20)


def test_both_modes(tiny_bundle: Path) -> None:
    """Stages, parts of steps and limits of both modes; as JSON and back; as a page."""
    told: dict[str, tuple[int, int]] = {}
    asked = Options(**SMALL, sweeps={"pictures": (1, 2)})
    found = measure(tiny_bundle, asked, progress=lambda what, *done: told.update({what: done}))
    assert {what: done == total for what, (done, total) in told.items()} == dict.fromkeys(
        ("hashes", "image", "text", "sweeps", "bandwidth"), True
    )
    image, text = found.modes["image"], found.modes["text"]
    assert [*image.stages] == ["tokenise", "prefill", "host_before_first", "first", "vq_decoder"]
    assert [*text.stages] == [
        "tokenise", "vision_encoder", "prefill", "host_before_first", "first", "request",
    ]  # fmt: skip
    assert {*image.step} == {
        "image_embedding", "language_model", "image_head", "guided_sampler", "host", "outside", "step",
    }  # fmt: skip
    assert {*text.step} == {
        "text_sampler", "detokenise", "text_embedding", "language_model", "text_head", "host", "outside",
        "step",
    }  # fmt: skip
    for mode, steps in ((image, 3), (text, 2)):
        assert {d.count for d in mode.step.values()} == {2 * steps}
        assert mode.roofline.limits.keys() >= {"language_model", "step"}
        assert mode.start.graphs["language_model"] > 0
        assert mode.memory.process is None or mode.memory.process > 10 << 20
        assert mode.outside_share == mode.step["outside"].median / mode.step["step"].median
    assert (image.rows, text.rows, image.steps, image.whole) == (2, 1, 4, False)
    assert image.images_per_second is not None
    assert text.images_per_second is None
    assert found.subject.digest == Bundle.open(tiny_bundle).digest
    assert found.sweeps[0].points[1].rows == 4
    assert Report.from_json(json.loads(json.dumps(found.to_json()))) == found
    # neither the folder nor the home of whoever measured
    assert str(tiny_bundle.parent) not in json.dumps(found.to_json()) + page(found)


def test_whole_pictures(tiny_bundle: Path) -> None:
    """Pictures a second are those that were painted, their decoding is the request's own."""
    asked = Options(modes=("image",), steps=None, repetitions=2, warm_up=0, pictures=2)
    found = measure(tiny_bundle, asked).modes["image"]
    codes = Bundle.open(tiny_bundle).manifest.config.image_tokens
    assert (found.whole, found.steps, found.pictures) == (True, codes, 2)
    assert found.stages["vq_decoder"].count == 2 * 2
    assert found.images_per_second == 2 / found.stages["request"].median
    assert found.start.graphs.keys() >= {"language_model", "vq_decoder"}


def test_several_codes_a_pass(tiny_bundle: Path) -> None:
    """A step is a pass; codes and pictures a second count what passes gain; each request has a picture
    of its own."""
    asked = Options(modes=("image",), steps=None, repetitions=3, warm_up=0, parallel=4)
    found = measure(tiny_bundle, asked).modes["image"]
    codes, told = Bundle.open(tiny_bundle).manifest.config.image_tokens, found.parallel
    assert told is not None
    assert told.codes == (codes,) * 3
    assert told.widths == {"4": sum(told.passes)}
    assert all(-(-(codes - 1) // 4) <= passes <= codes - 1 for passes in told.passes)
    assert told.codes_per_pass == 3 * (codes - 1) / sum(told.passes)
    assert {d.count for d in found.step.values()} == {sum(told.passes)}
    assert (found.whole, found.steps) == (True, codes)
    assert found.step["step"].minimum < told.codes_per_pass / found.tokens_per_second
    assert found.images_per_second == 1 / found.stages["request"].median


@pytest.mark.parametrize("steps", [None, 4])
def test_energy(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, steps: int | None) -> None:
    """At 10 W in all and 4 W at rest, codes, steps and pictures cost their time; the net power is 6 W."""
    power = iter([4.0, 4.0])
    sensor = PowerSensor("INA sensors", "VDD_IN", lambda: next(power, 10.0))
    gauge, closed = Gauge("GPU clock", "MHz", lambda: 1020.0), list[bool]()
    instruments = Instruments(
        [sensor], (), [gauge], DeviceState("25W (1)", True), None, lambda: closed.append(True)
    )
    monkeypatch.setattr("janus_edge.bench.benchmark.find_instruments", lambda **_: instruments)
    monkeypatch.setattr("janus_edge.bench.instruments.time.sleep", lambda _seconds: None)
    asked = Options(modes=("image",), steps=steps, repetitions=2, warm_up=0, pictures=2)
    report = measure(tiny_bundle, asked)
    found = report.modes["image"]
    energy, gross, net = found.energy, found.gross, found.net
    assert gross is not None
    assert net is not None
    assert (energy.idle_watts, energy.watts) == (pytest.approx(4.0), pytest.approx(10.0))
    assert gross.token == found.joules_per_token
    assert gross.token == pytest.approx(10 * energy.seconds / (2 * 2 * found.steps))
    assert gross.step == pytest.approx(10 * found.step["step"].median)
    assert found.images_per_second is not None
    whole = 10 * energy.seconds / (2 * 2)
    assert gross.image == pytest.approx(whole if found.whole else 10 / found.images_per_second)
    assert net.image == pytest.approx(0.6 * gross.image)
    assert found.device is not None
    assert (found.device.power_mode, found.device.readings[0].mean) == ("25W (1)", 1020.0)
    assert closed == [True]
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report
    shown = page(report)
    for words in ("VDD_IN", "at rest", "GPU clock", "power mode 25W (1)", "energy of an image"):
        assert words in shown


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"prompt": "x " * 9000}, CapacityError, "the model has"),
        ({"question": "x " * 9000}, CapacityError, "the model has"),
        ({"sweeps": {"capacity": (1,)}}, InputError, "sweep of capacity: 1 is not from"),
    ],
)
def test_refused_before_anything_is_measured(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any],
    error: type[Exception], message: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("janus_edge.bench.benchmark.run_mode", None)
    with pytest.raises(error, match=message):
        measure(tiny_bundle, Options(**{**SMALL, **changes}))


def test_an_altered_file_is_noticed(copied_bundle: Path) -> None:
    path = copied_bundle / "graphs" / "vq_encoder.weights"
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"vq_encoder\.weights: its SHA-256 differs"):
        measure(copied_bundle, Options(**SMALL))


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        measure(tmp_path / "none", Options())
