"""Where things are kept that can be made again."""

from __future__ import annotations

import os
from pathlib import Path

from janus_edge.errors import InputError


def cache_folder(kind: str) -> Path:
    """The folder of one ``kind`` of things ('engines'); it need not exist yet.

    It lies below $JANUS_EDGE_CACHE, or below janus-edge in the user's folder of caches: that is
    $XDG_CACHE_HOME where it is an absolute path, else ~/.cache. Raises InputError for a user without
    a home.
    """
    own = os.environ.get("JANUS_EDGE_CACHE")
    if own:
        return Path(own).absolute() / kind
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not caches.is_absolute():
        try:
            caches = Path.home() / ".cache"
        except RuntimeError as homeless:
            raise InputError(
                f"this user has no home folder for a cache of {kind}; set JANUS_EDGE_CACHE to a folder"
            ) from homeless
    return caches / "janus-edge" / kind
