"""Parity of a bundle with PyTorch at published dimensions, with the machine it was seen on.

    python benchmarks/parity.py --checkpoint work/checkpoint-1b --bundle work/bundle-1b-fp32 \
        --steps 16 --out benchmarks/results/parity-1b-fp32.json

Runs `janus-edge parity --json` and adds the machine and the versions.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from machine import describe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    command = [sys.executable, "-W", "ignore", "-m", "janus_edge", "parity", str(args.checkpoint)]
    command += [str(args.bundle), "--steps", str(args.steps), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    shown = (
        f"janus-edge parity {args.checkpoint.name} {args.bundle.name} --steps {args.steps} --json"
    )
    results = {"machine": describe(), "command": shown, **json.loads(done.stdout)}
    text = json.dumps(results, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", "utf-8")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
