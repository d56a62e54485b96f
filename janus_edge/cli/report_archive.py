"""`janus-edge doctor --report`: one archive for a report of faults or figures.

It holds doctor.json (the findings), machine.json, and the engine manifests and results that were named.
All pass through :class:`Redactor`. Nothing else is read: no tokenizer, weights or pictures.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from janus_edge.atomic_file import written_aside
from janus_edge.cli.redaction import Redactor
from janus_edge.errors import InputError

_FOLDER = "janus-edge-report"

#: The kinds named in results of bench and gpu-check.
_KINDS = ("janus-edge bench", "janus-edge gpu-check")

_LARGEST = 64 << 20


def check_target(name: str) -> Path:
    """Return the archive's path; raises InputError for another suffix or a missing folder."""
    path = Path(name)
    if not path.name.endswith(".tar.gz") or not path.absolute().parent.is_dir():
        raise InputError(f"{path}: give --report a .tar.gz file in an existing folder")
    return path


def write_report(
    path: Path,
    findings: Any,
    machine: Any,
    engines: Sequence[str],
    results: Sequence[str],
    redactor: Redactor,
) -> list[tuple[str, int]]:
    """Write the archive and return its files' names and sizes. Raises InputError, EngineError."""
    documents = {"doctor.json": findings, "machine.json": machine}
    for folder in engines:
        _add(documents, f"engines/{Path(folder).resolve().name}.json", _manifest(folder))
    for file in results:
        _add(documents, f"results/{Path(file).resolve().stem}.json", _result(file))
    texts = {
        _safe(redactor.text(name)): _json(redactor.value(value))
        for name, value in documents.items()
    }
    with written_aside(path) as aside:
        aside.write_bytes(_archive(texts))
    return [(name, len(text)) for name, text in texts.items()]


def _add(documents: dict[str, Any], name: str, value: Any) -> None:
    """Number files of the same name."""
    stem, number = name.removesuffix(".json"), 2
    while name in documents:
        name, number = f"{stem}-{number}.json", number + 1
    documents[name] = value


def _manifest(folder: str) -> Any:
    from janus_edge.bundle import MANIFEST
    from janus_edge.engine import open_bundle_or_engine

    opened = open_bundle_or_engine(folder, verify=False)  # raises if the folder is damaged
    return json.loads((opened.path / MANIFEST).read_text("utf-8"))


def _result(file: str) -> Any:
    try:
        if Path(file).stat().st_size > _LARGEST:
            raise InputError(
                f"{file}: is too large for a result; give the JSON of bench or gpu-check"
            )
        data = json.loads(Path(file).read_text("utf-8"))
    except OSError as failure:
        raise InputError(f"{file}: cannot be read ({failure.strerror})") from failure
    except (ValueError, RecursionError) as invalid:
        raise InputError(f"{file}: not JSON ({invalid})") from invalid
    if not isinstance(data, dict) or data.get("kind") not in _KINDS:
        raise InputError(
            f"{file}: not a result of bench or gpu-check; give the JSON file that one of them wrote"
        )
    return data


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _safe(name: str) -> str:
    return "/".join(re.sub(r"[^\w.+-]+", "_", part) for part in name.split("/"))


def _archive(texts: dict[str, bytes]) -> bytes:
    """Write a tar without owners, times or the archive's own name."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, text in texts.items():
            entry = tarfile.TarInfo(f"{_FOLDER}/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
        stream.write(raw.getvalue())
    return packed.getvalue()
