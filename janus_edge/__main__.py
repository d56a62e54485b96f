"""``python -m janus_edge`` is ``janus-edge``."""

from janus_edge.cli import main

if __name__ == "__main__":
    main()
