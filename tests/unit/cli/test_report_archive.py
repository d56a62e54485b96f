"""`janus-edge doctor --report`: what the archive holds, and that nothing in it is private."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.bench.reports import report
from tests.unit.perturbed import edit_manifest

Run = Callable[..., Any]

USER, HOST, TOKEN, OTHER = "planted-user", "planted-host", "planted-token-value", "planted-other"
PROMPT, FOLDER = "planted words of a prompt", "planted-customer"
SECRETS = (USER, HOST, TOKEN, OTHER, PROMPT, FOLDER, f"/home/{USER}")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a home folder; secrets are in its path, the environment and the host's name."""
    home = tmp_path / "home" / USER
    home.mkdir(parents=True)
    for name, value in {
        "USER": USER, "LOGNAME": USER, "HOME": str(home), "HOSTNAME": HOST, "HF_TOKEN": TOKEN,
        "MY_SETTING": OTHER, "JANUS_EDGE_CACHE": f"{home}/{FOLDER}/cache", "OMP_NUM_THREADS": "2",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("socket.gethostname", lambda: f"{HOST}.example.org")
    monkeypatch.setattr("getpass.getuser", lambda: USER)
    return home


def written(home: Path, tiny_bundle: Path) -> tuple[Path, Path]:
    """Write a bundle and a result below the home folder, full of private words."""
    bundle = Path(shutil.copytree(tiny_bundle, home / FOLDER / f"janus-of-{USER}"))
    edit_manifest(bundle, lambda data: data["source"].update(name=f"/home/{USER}/{FOLDER}/weights"))
    data = report().to_json()
    data["options"].update(prompt=PROMPT, question=f"{PROMPT}?")
    data["subject"]["name"] = f"janus of {USER}"
    data["modes"]["image"]["energy"]["source"] = f"{home}/{FOLDER}/meter on {HOST} with {TOKEN}"
    result = home / f"{USER}.json"
    result.write_text(json.dumps(data))
    return bundle, result


def contents(path: Path) -> dict[str, Any]:
    with tarfile.open(path) as archive:
        found = {}
        for entry in archive:
            assert (entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) == (
                0,
                0,
                "",
                "",
                0,
            )
            file = archive.extractfile(entry)
            assert file is not None
            found[entry.name] = json.loads(io.TextIOWrapper(file, "utf-8").read())
        return found


def test_nothing_private(janus_edge: Run, planted: Path, tiny_bundle: Path) -> None:
    """No name, folder, token, variable or prompt is in any byte of the archive."""
    bundle, result = written(planted, tiny_bundle)
    done = janus_edge("doctor", "--report", "r.tar.gz", "--engine", bundle, "--result", result)
    raw = Path("r.tar.gz").read_bytes()
    for text in (raw, gzip.decompress(raw)):
        for secret in SECRETS:
            assert secret.encode() not in text, secret
    found = contents(Path("r.tar.gz"))
    assert [*found] == [
        "janus-edge-report/doctor.json", "janus-edge-report/machine.json",
        "janus-edge-report/engines/janus-of-USER.json", "janus-edge-report/results/USER.json",
    ]  # fmt: skip
    for name in found:
        assert name.removeprefix("janus-edge-report/") in done.err, "it lists what is inside"


def test_what_is_useful(janus_edge: Run, planted: Path, tiny_bundle: Path) -> None:
    """Findings, the machine, versions, reasons, the manifest and the figures are in the archive."""
    bundle, result = written(planted, tiny_bundle)
    janus_edge("doctor", "--report", "r.tar.gz", "--engine", bundle, "--result", result)
    doctor, machine, engine, bench = contents(Path("r.tar.gz")).values()
    assert {f["what"] for f in doctor} >= {"Python", "NVIDIA GPU", "tensorrt", "nvidia-ml-py"}
    assert machine["machine"]["processors"] >= 1
    assert machine["versions"]["janus-edge"]
    assert machine["memory_bytes"]["MemTotal"] > 0
    assert machine["sensors"].keys() >= {
        "power_mode",
        "clocks_held",
        "readings",
        "energy",
        "missing",
    }
    assert machine["environment"]["OMP_NUM_THREADS"] == "2"
    assert machine["environment"]["JANUS_EDGE_CACHE"] == "cache"
    assert engine["graphs"].keys() >= {"language_model"}
    assert engine["source"]["name"] == "weights"
    assert bench["modes"]["image"]["tokens_per_second"] == 1000
    assert bench["options"]["prompt"] == "(left out)"


def test_two_of_one_name(janus_edge: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    """Two files of one name are both in the archive."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "bench.json").write_text(json.dumps(report().to_json()))
    given = [word for f in ("a", "b") for word in ("--result", tmp_path / f / "bench.json")]
    janus_edge("doctor", "--report", "r.tar.gz", *given)
    names = [name.rpartition("/")[2] for name in contents(Path("r.tar.gz")) if "results" in name]
    assert names == ["bench.json", "bench-2.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--report", "report.zip"], "give --report a .tar.gz file"),
        (["--report", "none/report.tar.gz"], "in an existing folder"),
        (["--engine", "e"], "--engine and --result need --report"),
        (["--report", "r.tar.gz", "--result", "none.json"], "none.json: cannot be read"),
        (["--report", "r.tar.gz", "--result", "notes.json"], "notes.json: not a result of bench"),
        (["--report", "r.tar.gz", "--result", "words.json"], "words.json: not JSON"),
        (["--report", "r.tar.gz", "--engine", "."], "so it is not a complete bundle"),
    ],
)
def test_refused(janus_edge: Run, arguments: list[str], message: str) -> None:
    """Other files stay as they are, and nothing is written."""
    Path("notes.json").write_text('{"kind": "diary"}')
    Path("words.json").write_text("words")
    done = janus_edge("doctor", *arguments)
    assert done.code != 0
    assert message in done.error
    assert not [*Path().glob("*.tar.gz")]
