"""Peak memory and time of exporting a checkpoint of published dimensions.

    python benchmarks/export_memory.py --dimensions 7b --precision fp32 --folder work

Writes a checkpoint with random bfloat16 weights (once), exports it with the command line in a
process of its own, verifies the bundle in another, and prints (and with --out writes) JSON. Peak
memory is the largest resident set (ru_maxrss, file-backed pages included) of the process, sampled
by the kernel; the exporter starts no other process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from machine import describe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimensions", choices=["tiny", "1b", "7b"], required=True)
    parser.add_argument("--precision", choices=["fp32", "fp16", "bf16"], default="fp32")
    parser.add_argument("--folder", type=Path, default=Path("work"))
    parser.add_argument("--keep", action="store_true", help="keep the bundle")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    checkpoint = args.folder / f"checkpoint-{args.dimensions}"
    bundle = args.folder / f"bundle-{args.dimensions}-{args.precision}"
    results = {"machine": describe(), "command": shown_command()}
    if not (checkpoint / "config.json").exists():
        command = [
            sys.executable,
            str(Path(__file__).with_name("make_checkpoint.py")),
            str(checkpoint),
        ]
        results["checkpoint"] = run([*command, "--dimensions", args.dimensions])
    results["checkpoint_bytes"] = folder_bytes(checkpoint)
    janus_edge = [sys.executable, "-m", "janus_edge"]
    export = [*janus_edge, "export", str(checkpoint), str(bundle), "--force"]
    results["export"] = run([*export, "--precision", args.precision])
    results["bundle_bytes"] = folder_bytes(bundle)
    results["verify"] = run([*janus_edge, "verify", str(bundle)])
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    results["parity"] = manifest["parity"]
    if not args.keep:
        shutil.rmtree(bundle)
    text = json.dumps(results, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", "utf-8")


def run(command: list[str]) -> dict[str, float | str]:
    """Run to the end; seconds of wall clock and peak resident bytes of that process alone."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: failed with status {status}")
    shown = " ".join(["python", *(Path(c).name if "/" in c else c for c in command[1:])])
    return {
        "command": shown,
        "seconds": round(time.perf_counter() - started, 1),
        "peak_resident_bytes": usage.ru_maxrss * 1024,
    }


def shown_command() -> str:
    """The command line without the folders of this machine."""
    return " ".join(
        ["python", "benchmarks/export_memory.py", *(Path(a).name for a in sys.argv[1:])]
    )


def folder_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


if __name__ == "__main__":
    main()
