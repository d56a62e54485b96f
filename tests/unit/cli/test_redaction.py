"""What redaction removes from texts, and what it keeps."""

from __future__ import annotations

import shlex

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


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/tmp/g/graphs/m.plan: cannot build (no memory); ... see docs/jetson.md",
         ".../m.plan: cannot build (no memory); ... see docs/jetson.md"),
        ("./e: is not a plan; look at layers.0.self_attn/Attention",
         ".../e: is not a plan; look at layers.0.self_attn/Attention"),
        ("/tmp/e cannot hold layers.0.mlp/MatMul", ".../e cannot hold layers.0.mlp/MatMul"),
        ("/tmp/a/e runs at 3 GB/s", ".../e runs at 3 GB/s"),
        ("/tmp/a and /tmp/b differ", ".../a and .../b differ"),
        ("/tmp/Acme Corp/e f", "e f"),
    ],
)  # fmt: skip
def test_messages(redactor: Redactor, value: str, expected: str) -> None:
    """An error that begins with a path stays an error; a path alone becomes its last component."""
    assert redactor.value(value, "reason") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see /mnt/Acme Corp/Project Zeus/x.json: bad", "see .../x.json: bad"),
        ("open '/mnt/Acme Corp/x y' now", "open '.../x y' now"),
        (r"cp /mnt/Acme\ Corp/x", "cp .../x"),
        ("gcc -I/home/bob/inc -L/home/bob/lib", "gcc -I.../inc -L.../lib"),
        ("Bearer eyJhbGciOiJI.eyJzdWIiOiIx.SflKx-w_r", "Bearer SECRET"),
        ("https://bob:pw@acme.example", "https:.../SECRET@acme.example"),
        ("MY_PW=hunter2 run", "MY_PW=SECRET run"),
        ("said: bench --prompt 'a b' x", "said: bench --prompt (left out) x"),
    ],
)
def test_private_in_text(redactor: Redactor, text: str, expected: str) -> None:
    """Folders with spaces, flags that a path follows at once, secrets and prompts inside of a text."""
    assert redactor.text(text) == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("run --prepared '/tmp/Acme Corp/zeus' -n 3", "run --prepared zeus -n 3"),
        ("run '/tmp/Acme Corp/Project Zeus'", "run '(left out)'"),
        ("bench acme/zeus/b --prompt cat --json", "bench b --prompt '(left out)' --json"),
        ("bench --prompt='a cat'", "bench '--prompt=(left out)'"),
        ("generate b 'a portrait of Bob'", "generate b '(left out)'"),
        ("HF_TOKEN=abc run --api-key x", "HF_TOKEN=SECRET run --api-key SECRET"),
        ("gcc -I/home/bob/inc --max-new-tokens 3", "gcc -I.../inc --max-new-tokens 3"),
        ("trtexec --onnx=/a/b/m.onnx --minShapes=x:1x2", "trtexec --onnx=m.onnx --minShapes=x:1x2"),
    ],
)
def test_commands(redactor: Redactor, command: str, expected: str) -> None:
    """A command is read word by word, as a text or as a list."""
    found = redactor.value({"command": command, "argv": shlex.split(command)})
    assert found["command"] == expected
    assert found["argv"] == shlex.split(found["command"])


def test_keys(redactor: Redactor) -> None:
    """Keys under prompts are prompts; the mode 'text' has its figures; no key hides another."""
    found = redactor.value(
        {"prompts": {"Bob": {"seed": 1}, "Eve": "x"}, "text": {"rate": 2}, "/a/x": 1, "/b/x": 2}
    )
    assert found == {
        "prompts": {"(left out)": {"(left out)": 1}, "(left out) 2": "(left out)"},
        "text": {"rate": 2}, ".../x": 1, ".../x 2": 2,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["SIGNING_KEY", "DB_PW", "DB_PWD", "KEY"])
def test_secret_variables(name: str) -> None:
    """Variables of these names hold secrets; PWD and OLDPWD hold folders."""
    redactor = Redactor.of_this_machine({name: "hunter22", "OLDPWD": "plainly"})
    assert redactor.text("hunter22 plainly") == "SECRET plainly"


@pytest.mark.parametrize("name", ["nvidia", "ubuntu", "root", "x", ""])
def test_names_that_tell_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The user names of NVIDIA's images are not redacted: 'NVIDIA Thor' stays as it is."""
    monkeypatch.setattr("socket.gethostname", lambda: name)
    monkeypatch.setattr("getpass.getuser", lambda: name)
    redactor = Redactor.of_this_machine({"USER": name, "HOME": "/root"})
    assert name not in redactor.words
    assert redactor.text("NVIDIA Thor, Ubuntu, root only, x") == "NVIDIA Thor, Ubuntu, root only, x"
