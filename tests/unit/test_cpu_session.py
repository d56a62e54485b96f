"""How ONNX Runtime's CPU provider opens graphs with fp8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from janus_edge.cpu_session import cpu_session
from janus_edge.recipe import Scheme
from tests.unit.calib.graphs import MLP, calibrate, run, snr_db, write_graph
from tests.unit.calib.test_quantizer import inputs, quantise


def test_fp8_is_computed_as_it_is_written(tmp_path: Path) -> None:
    """With all other optimisations on, fp8 gives what the graph says node by node. Without the option, ONNX
    Runtime makes integer products of fp8 and refuses them; if it stops doing so, the option can go."""
    source, x = write_graph(MLP, tmp_path / "g.onnx"), inputs("mlp")
    target, _ = quantise(source, Scheme("fp8", inputs="maximum"), calibrate(source, x))
    session = cpu_session(onnxruntime, target, quantised=True, small_floats=True)
    (actual,) = session.run(["y"], {"x": x})
    written = run(target, x)
    assert np.linalg.norm(actual - written) <= 1e-3 * np.linalg.norm(written)
    assert snr_db(written, run(source, x)) < 40, "nothing was rounded to fp8"
    with pytest.raises(Exception, match="float8e4m3fn"):
        cpu_session(onnxruntime, target, quantised=True)
