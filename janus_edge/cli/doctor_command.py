"""`janus-edge doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import asdict, dataclass

import click

from janus_edge.cli.console import print_json, print_table, size
from janus_edge.compute_capability import built_by_rtx, target_instead
from janus_edge.cuda_driver import first_gpu
from janus_edge.errors import BackendError, InputError

#: (package, what needs it, the extra that brings it)
_PACKAGES = (
    ("numpy", "runtime", ""),
    ("pillow", "runtime", ""),
    ("tokenizers", "runtime", ""),
    ("click", "command line", ""),
    ("rich", "command line", ""),
    ("onnxruntime", "runtime on the CPU", "cpu"),
    ("onnxruntime-gpu", "runtime on NVIDIA GPUs", "gpu"),
    ("torch", "export, parity", "export"),
    ("transformers", "export, parity", "export"),
    ("onnx", "export", "export"),
    ("onnxscript", "export", "export"),
    ("onnx-ir", "export", "export"),
    ("safetensors", "export, parity", "export"),
    ("huggingface_hub", "export, parity", "export"),
    ("tensorrt", "engines", "tensorrt"),
    ("tensorrt-rtx", "engines", "rtx"),
    ("nvidia-ml-py", "energy and clocks of a GPU in bench", "nvml"),
)


#: Packages of which one is wanted: installing the second would break the first.
_ALTERNATIVES = {"cpu": "onnxruntime", "gpu": "onnxruntime-gpu"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: ``state`` is ``ok``, ``absent`` (only needed for some commands) or
    ``problem``; ``fix`` says what to do about a problem."""

    what: str
    state: str
    detail: str
    fix: str = ""


@click.command(short_help="Say what this machine lacks.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--report", type=click.Path(), metavar="FILE", help="Write an archive to send with a report; FILE must end in .tar.gz.")  # fmt: skip
@click.option("--engine", "engines", type=click.Path(), multiple=True, metavar="DIR", help="Add the manifest of an engine or bundle to the archive.")  # fmt: skip
@click.option("--result", "results", type=click.Path(), multiple=True, metavar="FILE", help="Add the JSON of bench or gpu-check to the archive.")  # fmt: skip
def doctor(
    as_json: bool, report: str | None, engines: tuple[str, ...], results: tuple[str, ...]
) -> None:
    """Look at this machine and this installation, and say what is missing or wrong.

    Exits with 1 when there is a problem. The archive of --report holds no tokens, no prompts and no
    names of people, hosts or folders. It lists only environment variables that affect a run. Look
    through it before you send it: a name without a known form is not recognised.

    \b
    Example:  janus-edge doctor
    Example:  janus-edge doctor --report report.tar.gz --engine janus-1b-trt --result bench.json
    """
    if (engines or results) and not report:
        raise InputError("--engine and --result need --report FILE.tar.gz")
    findings = [_python(), *_packages(), *_onnxruntime(), _processor(), _gpu()]
    if report:
        _write_report(report, findings, engines, results)
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        print_table("", ["", "", ""], [(f.what, f.state, f.detail) for f in findings])
        for finding in findings:
            if finding.fix:
                click.echo(f"{finding.what}: {finding.fix}")
    if any(f.state == "problem" for f in findings):
        raise click.exceptions.Exit(1)


def _write_report(
    name: str, findings: list[Finding], engines: tuple[str, ...], results: tuple[str, ...]
) -> None:
    """Write the archive and list its files on standard error."""
    from janus_edge.bench.snapshot import snapshot
    from janus_edge.cli.redaction import Redactor
    from janus_edge.cli.report_archive import check_target, write_report

    path = check_target(name)
    found = [asdict(finding) for finding in findings]
    inside = write_report(path, found, snapshot(), engines, results, Redactor.of_this_machine())
    for entry, nbytes in inside:
        click.echo(f"{size(nbytes):>10}  {entry}", err=True)
    click.echo(f"{path}: look through it before you send it:  tar -xzOf {path} | less", err=True)


def _python() -> Finding:
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("Python", "ok", detail)


def _packages() -> list[Finding]:
    findings = []
    for package, use, extra in _PACKAGES:
        found = version(package)
        if found:
            findings.append(Finding(package, "ok", f"{found} ({use})"))
        elif extra in _ALTERNATIVES and any(version(a) for a in _ALTERNATIVES.values()):
            other = "the other ONNX Runtime package is installed"
            findings.append(Finding(package, "absent", f"{use}: {other}"))
        elif extra:
            install = f"pip install 'janus-edge[{extra}]'"
            findings.append(Finding(package, "absent", f"{use}: {install}"))
        else:
            fix = "pip install --force-reinstall janus-edge"
            findings.append(Finding(package, "problem", use, fix))
    return findings


def _onnxruntime() -> list[Finding]:
    """Both packages write the same folder, so the one installed last wins, half overwritten."""
    both = version("onnxruntime") and version("onnxruntime-gpu")
    if both:
        fix = (
            "pip uninstall -y onnxruntime onnxruntime-gpu, then install one of the two: "
            "pip install 'janus-edge[cpu]'  or  pip install 'janus-edge[gpu]'"
        )
        detail = "onnxruntime and onnxruntime-gpu are both installed and share one folder"
        return [Finding("ONNX Runtime", "problem", detail, fix)]
    if not (version("onnxruntime") or version("onnxruntime-gpu")):
        fix = "pip install 'janus-edge[cpu]'  or  pip install 'janus-edge[gpu]'"
        return [Finding("ONNX Runtime", "problem", "none is installed: nothing can run", fix)]
    from janus_edge.runtime.session import check_version

    try:
        import onnxruntime
    except ImportError as broken:
        fix = "pip install --force-reinstall 'janus-edge[cpu]'"
        return [Finding("ONNX Runtime", "problem", f"does not import ({broken})", fix)]
    try:
        check_version(onnxruntime.__version__)
    except BackendError as old:
        return [
            Finding("ONNX Runtime", "problem", str(old), "pip install --upgrade 'janus-edge[cpu]'")
        ]
    providers = ", ".join(
        p.removesuffix("ExecutionProvider") for p in onnxruntime.get_available_providers()
    )
    return [Finding("providers", "ok", providers)]


def _processor() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    detail = f"{usable} processors"
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        detail += f", {memory / 2**30:.1f} GiB of memory"
    return Finding("machine", "ok", detail)


def _gpu() -> Finding:
    """Asks the driver's library only: creating anything on top can crash without a GPU."""
    try:
        gpu = first_gpu()
    except BackendError as missing:
        return Finding("NVIDIA GPU", "absent", str(missing))
    detail = f"{gpu.name}, compute capability {gpu.compute_capability}, driver for CUDA {gpu.cuda}"
    if not built_by_rtx(gpu.compute_capability):
        instead = target_instead(gpu.compute_capability)
        detail += f"; TensorRT-RTX does not build for it: use --target {instead}"
    return Finding("NVIDIA GPU", "ok", detail)


def version(package: str) -> str | None:
    """Installed version of a package, None if it is absent."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
