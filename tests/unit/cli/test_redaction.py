"""What redaction removes from texts, and what it keeps."""

from __future__ import annotations

import pytest

from janus_edge.cli.redaction import Redactor

ENVIRONMENT = {
    "USER": "alice-w",
    "HOME": "/home/alice-w",
    "HOSTNAME": "lab-box-7",
    "HF_TOKEN": "a-token-of-no-known-form",
    "OPENAI_API_KEY": "another one",
    "PATH": "/home/alice-w/bin",
}


@pytest.fixture
def redactor(monkeypatch: pytest.MonkeyPatch) -> Redactor:
    monkeypatch.setattr("socket.gethostname", lambda: "lab-box-7.example.org")
    return Redactor.of_this_machine(ENVIRONMENT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/alice-w/Acme/janus: damaged", ".../janus: damaged"),
        ("see ~/work/x.json, /mnt/data/acme/y.onnx", "see .../x.json, .../y.onnx"),
        ("../secret/e and ./here/f", ".../e and .../f"),
        ("in HOME=/home/alice-w", "in HOME=~"),
        ("Alice-W's run on LAB-BOX-7", "USER's run on HOST"),
        ("on lab-box-7.example.org", "on HOST"),
        ("token a-token-of-no-known-form", "token SECRET"),
        ("hf_abcdefghijklmnop, ghp_0123456789abcdefghij0", "SECRET, SECRET"),
        ("GPU-0a1b2c3d-0000-1111-2222-0123456789ab", "SECRET"),
        ("eth0 48:b0:2d:aa:bb:cc", "eth0 SECRET"),
    ],
)
def test_private(redactor: Redactor, text: str, expected: str) -> None:
    assert redactor.text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "21.5 tokens/s, 3 GB/s",
        "layers.0.self_attn.q_proj/MatMul",
        "found neither in `nvpmodel -q` nor in /var/lib/nvpmodel/status",
        "no INA sensor in /sys/class/hwmon",
        "TensorRT 10.16.2.10, driver 595.78",
        "graphs/language_model.plan",
        "NVIDIA Thor on Ubuntu 24.04",
        "2026-12-01 14:00 UTC",
        "0f3a" * 16,
    ],
)
def test_useful(redactor: Redactor, text: str) -> None:
    """Units, node names, the system's own folders, versions and digests stay."""
    assert redactor.text(text) == text


def test_json(redactor: Redactor) -> None:
    """Text written for a model is removed and the number of prompts is kept; paths are cut to names."""
    found = redactor.value(
        {
            "prompt": "a portrait of Alice",
            "prompts": 2,
            "questions": ["who?"],
            "bundle": {"path": "acme project/secret work/janus 1b", "digest": "00"},
            "where": "/home/alice-w/Acme Project/x y.json",
            "alice-w": None,
            "rate": "3 images/s",
        }
    )
    assert found == {
        "prompt": "(left out)",
        "prompts": 2,
        "questions": ["(left out)"],
        "bundle": {"path": "janus 1b", "digest": "00"},
        "where": "x y.json",
        "USER": None,
        "rate": "3 images/s",
    }


@pytest.mark.parametrize("name", ["nvidia", "ubuntu", "root", "x", ""])
def test_names_that_tell_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The user names of NVIDIA's images are not redacted: 'NVIDIA Thor' stays as it is."""
    monkeypatch.setattr("socket.gethostname", lambda: name)
    monkeypatch.setattr("getpass.getuser", lambda: name)
    redactor = Redactor.of_this_machine({"USER": name, "HOME": "/root"})
    assert name not in redactor.words
    assert redactor.text("NVIDIA Thor, Ubuntu, root only, x") == "NVIDIA Thor, Ubuntu, root only, x"
