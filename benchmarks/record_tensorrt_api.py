"""Which classes, methods and enum members the Python bindings of TensorRT's versions have.

    pip download --no-deps --only-binary=:all: -d wheels tensorrt-cu12-bindings==10.3.0   (and others)
    python benchmarks/record_tensorrt_api.py wheels/*.whl --out tests/contract/tensorrt_api.json

Bindings of TensorRT and TensorRT-RTX for the Python that runs this; neither a GPU nor the libraries
of TensorRT are needed. The bindings take a dozen functions from them, none of which is called at
import: libraries of the same names with empty functions let the real bindings be imported, each
version in a process of its own, and asked what they have. Needs a C compiler and readelf.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

#: What our code calls, or will: classes with their public members, enums with theirs.
CLASSES = (
    "Builder", "BuilderFlag", "ComputeCapability", "CudaGraphStrategy", "DataType",
    "EngineInspector", "EngineStat", "ExecutionContextAllocationStrategy",
    "HardwareCompatibilityLevel", "IAttention", "IAttentionInputLayer", "IBuilderConfig",
    "ICudaEngine", "IErrorRecorder", "IExecutionContext", "IHostMemory", "ILayer", "ILogger",
    "INetworkDefinition", "IOptimizationProfile", "IOutputAllocator", "IProgressMonitor",
    "IRuntimeCache", "IRuntimeConfig", "IStreamReaderV2", "IStreamWriter", "ITensor",
    "ITimingCache", "LayerInformationFormat", "LayerType", "MemoryPoolType",
    "NetworkDefinitionCreationFlag", "OnnxParser", "OnnxParserFlag", "ParserError",
    "PreviewFeature", "ProfilingVerbosity", "Runtime", "RuntimePlatform",
    "SerializationFlag", "TensorIOMode", "TensorLocation", "TilingOptimizationLevel",
)  # fmt: skip

#: All that the bindings take from TensorRT's libraries.
FUNCTIONS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry", "getNvOnnxParserVersion", "getPluginRegistry",
    "initLibNvInferPlugins",
)  # fmt: skip

WHEEL = re.compile(r"tensorrt(?P<rtx>_rtx)?_cu\d+_bindings-(?P<version>[^-]+)-")

#: Run by a fresh interpreter: members of the classes, given the module's name and the classes.
ASK = """
import importlib, json, sys
module, found = importlib.import_module(sys.argv[1]), {}
for name in sys.argv[2:]:
    known = getattr(module, name, None)
    if known is not None:
        inner = [known, getattr(known, "Severity", None)]
        members = {m for m in dir(known) if not m.startswith("_")}
        found[name] = sorted(members | set(getattr(inner[1], "__members__", {})))
print(json.dumps(found))
"""

Members = dict[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    wheels: dict[str, dict[str, str]] = {}
    found: dict[str, Members] = {}
    for wheel in sorted(args.wheels, key=order):
        version = name(wheel)
        wheels[version] = {
            "wheel": wheel.name,
            "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        }
        found[version] = members(wheel)
        print(f"{version}: {sum(map(len, found[version].values()))} members", file=sys.stderr)
    table = {
        "made_by": "benchmarks/record_tensorrt_api.py",
        "wheels": wheels,
        "classes": {one: compared(one, found) for one in CLASSES},
    }
    args.out.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


def name(wheel: Path) -> str:
    """'10.3' or 'rtx-1.7'."""
    match = WHEEL.match(wheel.name)
    if not match:
        raise SystemExit(f"{wheel}: no wheel of the bindings of TensorRT or TensorRT-RTX")
    minor = ".".join(match["version"].split(".")[:2])
    return f"rtx-{minor}" if match["rtx"] else minor


def order(wheel: Path) -> tuple[bool, list[int]]:
    version = name(wheel)
    return version.startswith("rtx"), [int(part) for part in re.findall(r"\d+", version)]


def members(wheel: Path) -> Members:
    """The public members of each of CLASSES that the bindings have."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        package, *others = (p for p in Path(folder).glob("*_bindings"))
        if others:
            raise SystemExit(f"{wheel}: more than one package")
        for library in needed(package):
            stub(package / library)
        command = [sys.executable, "-c", ASK, package.name, *CLASSES]
        paths = {"PYTHONPATH": folder, "LD_LIBRARY_PATH": str(package)}
        done = subprocess.run(
            command, env=os.environ | paths, check=True, capture_output=True, text=True
        )
        answer: Members = json.loads(done.stdout)
        return answer


def needed(package: Path) -> list[str]:
    """TensorRT's libraries that the bindings are linked with."""
    (bindings,) = package.glob("*.so")
    command = ["readelf", "--dynamic", "--wide", str(bindings)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.findall(r"NEEDED.*\[(lib(?:nv|tensorrt)[^\]]+)\]", text)


def stub(library: Path) -> None:
    """A library of the same name whose functions do nothing."""
    source = "".join(f"void *{function}(void) {{ return 0; }}\n" for function in FUNCTIONS)
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=source, check=True, text=True)


def compared(one: str, found: dict[str, Members]) -> dict[str, object]:
    """The members that every version has, and the versions of each other member."""
    where: dict[str, list[str]] = {}
    for version, classes in found.items():
        for member in classes.get(one, ()):
            where.setdefault(member, []).append(version)
    return {
        "in": [version for version, classes in found.items() if one in classes],
        "always": sorted(m for m, versions in where.items() if len(versions) == len(found)),
        "sometimes": {m: v for m, v in sorted(where.items()) if len(v) < len(found)},
    }


if __name__ == "__main__":
    main()
