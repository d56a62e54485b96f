"""Which instructions a line of a processor names."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from janus_edge.processor import EXACT, SATURATING, int8_products, processor

X86 = """processor\t: 0
model name\t: AMD EPYC 7763
flags\t\t: fpu sse sse2 smep sse4_1 sse4_2 fma avx f16c avx2 smap bmi1 avx512_vnni

processor\t: 1
flags\t\t: other avx512f
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes asimdhp asimddp sve i8mm bf16 smei8i32\n"


@pytest.mark.parametrize(
    ("information", "words"),
    [
        (X86, "avx avx2 avx512_vnni f16c fma sse4_1 sse4_2"),
        (ARM, "asimd asimddp asimdhp bf16 i8mm smei8i32 sve"),
        ("processor\t: 0\n", platform.processor()),
    ],
)
def test_what_it_has(tmp_path: Path, information: str, words: str) -> None:
    """Of the first processor, in an order of their own."""
    (tmp_path / "cpuinfo").write_text(information)
    assert processor(tmp_path / "cpuinfo") == f"{platform.machine()} {words}".strip()


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert processor(tmp_path / "missing").startswith(platform.machine())
    assert processor() == processor()


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "avx2 avx512f avx512bw", SATURATING),
        ("x86_64", "avx2 avx_vnni", EXACT),
        ("x86_64", "avx512f avx512_vnni", EXACT),
        ("x86_64", "amx_int8", EXACT),
        ("AMD64", "", SATURATING),
        ("aarch64", "", EXACT),
    ],
)
def test_products_of_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, flags: str, expected: str
) -> None:
    """They saturate on x86 without VNNI, and on one that does not tell."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text(f"flags\t: sse2 {flags}\n")
    assert int8_products(tmp_path / "cpuinfo") == expected
