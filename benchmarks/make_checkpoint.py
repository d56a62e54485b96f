"""Write a checkpoint with random weights at the dimensions of a published model.

python benchmarks/make_checkpoint.py work/checkpoint-1b --dimensions 1b
"""

from __future__ import annotations

import argparse

from janus_edge.export.synthetic import DIMENSIONS, write_synthetic_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--dimensions", choices=sorted(DIMENSIONS), required=True)
    parser.add_argument("--format", choices=["transformers", "deepseek-ai"], default="transformers")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    config = DIMENSIONS[args.dimensions]
    print(write_synthetic_checkpoint(args.folder, config, format=args.format, seed=args.seed))


if __name__ == "__main__":
    main()
