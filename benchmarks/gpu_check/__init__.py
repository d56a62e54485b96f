"""What needs a GPU, in one command: build engines, compare, time, and write a report.

    make gpu-check                     with what `make test` installed
    make gpu-check WHEELS=folder       without a network, from a folder that `make gpu-wheels` prepared
    python -m benchmarks.gpu_check     in an environment of your own; --help lists the options

docs/gpu-check.md is the runbook. Every check is a command in a process of its own, so that one that
crashes does not take the others along, and peaks of memory are its own. All together end within
--total seconds. A check that cannot be made here is skipped, and says why. Exit codes: 0 where nothing
failed (also where all was skipped: then no report is written), 1 where a check failed, 3 where all
was skipped and --require-gpu was given. Ctrl-C (130) and SIGTERM (143) end it with a report of the checks
that had ended, called gpu-check-interrupted-*.
"""
