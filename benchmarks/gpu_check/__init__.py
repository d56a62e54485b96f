"""What needs a GPU, in one command: build engines, compare, time, and write a report.

    make gpu-check                     with what `make test` installed
    make gpu-check WHEELS=folder       without a network, from a folder that `make gpu-wheels` prepared
    python -m benchmarks.gpu_check     in an environment of your own; --help lists the options

docs/gpu-check.md is the runbook. Every check is a command in its own process, so a crash does not stop
the other checks, and each has its own peak of memory. All checks together end within --total seconds. A
check that cannot run here is skipped and says why. Exit codes: 0 if nothing failed (also if everything
was skipped: then no report is written), 1 if a check failed, 3 if everything was skipped and
--require-gpu was given. After Ctrl-C (130) or SIGTERM (143) the finished checks are written to a report
called gpu-check-interrupted-*.
"""
