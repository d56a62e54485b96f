"""Record which options NVIDIA's trtexec has, from its source.

    git clone https://github.com/NVIDIA/TensorRT
    python benchmarks/record_trtexec_options.py TensorRT release/10.3 release/10.16 \
        --out tests/contract/trtexec_options.json

For each branch it writes the stated version and every option in both the help text and the parser.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from pathlib import Path

SOURCE = "samples/common/sampleOptions.cpp"

#: '  --minShapes=spec   Build ...' and '  --versionCompatible, --vc  ...' in a help text.
HELP = re.compile(r'"\s{1,4}(--[A-Za-z0-9]+[^"]*)')
NAME = re.compile(r"--([A-Za-z0-9]+)(=?)")

#: getAndDelOption(arguments, "--minShapes", ...) and similar calls.
PARSED = re.compile(r'"--([A-Za-z0-9]+)"')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", type=Path, help="a clone of NVIDIA/TensorRT")
    parser.add_argument("refs", nargs="+", help="branches, tags or commits")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    versions = {}
    for ref in args.refs:
        text = git(args.repository, "show", f"{ref}:{SOURCE}")
        version = git(args.repository, "show", f"{ref}:VERSION").strip()
        versions[".".join(version.split(".")[:2])] = {
            "version": version,
            "commit": git(args.repository, "rev-parse", f"{ref}^{{commit}}").strip(),
            "options": options(text),
        }
    table = {
        "made_by": "benchmarks/record_trtexec_options.py",
        "source": f"https://github.com/NVIDIA/TensorRT, {SOURCE}",
        "versions": versions,
    }
    args.out.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


def options(source: str) -> dict[str, bool]:
    """Map each option to whether the help shows a value after it."""
    parsed = set(PARSED.findall(source))
    shown: dict[str, bool] = {}
    for words in HELP.findall(source):
        # the columns of a help text are at least two spaces apart; aliases stand in the first
        for name, value in NAME.findall(re.split(r"\s{2,}", words)[0]):
            shown[name] = shown.get(name, False) or bool(value)
    return {name: shown[name] for name in sorted(shown) if name in parsed}


def git(repository: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(repository), *words], check=True, capture_output=True, text=True
    ).stdout


if __name__ == "__main__":
    main()
