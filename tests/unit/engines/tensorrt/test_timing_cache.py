"""The timing cache's file: one per version and GPU, and nothing that stops a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from janus_edge.cuda_driver import Gpu
from janus_edge.engines.tensorrt.timing_cache import TimingCache

GPU = Gpu("NVIDIA RTX A6000/2", "8.6", "13.0")


def cache(folder: Path, version: str = "10.16.1", gpu: Gpu = GPU) -> TimingCache:
    return TimingCache(folder, "tensorrt", version, gpu)


def test_what_is_kept_is_read(tmp_path: Path) -> None:
    """The last one, from a folder that it makes; first there is none."""
    one = cache(tmp_path / "engines")
    assert one.read() is None
    for content in (b"first", b"second"):
        one.keep(content)
        assert cache(tmp_path / "engines").read() == content
    assert [p.name for p in (tmp_path / "engines").iterdir()] == [one.path.name]
    assert one.path.name == "tensorrt-10.16.1-NVIDIA_RTX_A6000_2-8.6.timing"


@pytest.mark.parametrize(
    "other",
    [
        {"version": "10.16.2"},
        {"gpu": Gpu("Orin", "8.6", "13.0")},
        {"gpu": Gpu(GPU.name, "8.9", "")},
    ],
)
def test_others_have_their_own(tmp_path: Path, other: dict[str, object]) -> None:
    cache(tmp_path).keep(b"mine")
    assert cache(tmp_path, **other).read() is None  # type: ignore[arg-type]


def test_a_place_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and no more."""
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        caplog.clear()
        cache(place).keep(b"x")
        (message,) = caplog.messages
        assert message.startswith("the timing cache is not kept (")
