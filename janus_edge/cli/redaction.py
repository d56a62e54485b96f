"""Redaction of private words in texts: people, hosts, folders, tokens, prompts.

It replaces the home folder, the names of the user and the host (as whole words, in any case), the values
of environment variables with secret-sounding names, and anything that looks like a token. A path
outside the system's own folders is cut to its last component. Texts that a person wrote for a model
are left out. Names that all such machines share ('nvidia', 'ubuntu') reveal nothing and stay.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Keys whose values a person wrote.
_WRITTEN = frozenset({"prompt", "prompts", "question", "questions", "answer", "answers", "text"})

#: Keys whose values are paths, including relative ones.
_PATHS = frozenset({"path", "folder", "file", "source", "checkpoint", "calibration", "image"})

_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE", re.I)

#: Tokens of Hugging Face, GitHub, OpenAI and AWS; a GPU's serial identity; a network address (MAC).
_TOKENS = re.compile(
    r"\b(?:hf_\w{10,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|sk-[\w-]{16,}|AKIA\w{12,}"
    r"|GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?:[0-9a-f]{2}:){5}[0-9a-f]{2})\b",
    re.I,
)

_ABSOLUTE = re.compile(r"""(?<![\w.~/<-])(?:~\w*|\.{1,2})?/[^\s'"`;,()<>|*]+""")

#: Folders that are the same on every machine.
_SYSTEM = re.compile(r"/(?:sys|proc|dev|etc|usr|lib|bin|var/lib/nvpmodel|opt/nvidia)(?:/|$)")

#: Default user and host names of NVIDIA's and Ubuntu's images.
_COMMON = frozenset({
    "root", "user", "admin", "nvidia", "ubuntu", "jetson", "orin", "thor", "tegra", "localhost",
    "tegra-ubuntu", "janus", "janus-edge", "bench",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Redactor:
    """Replaces ``words`` (names, as whole words) and ``exact`` strings (folders, secrets)."""

    words: Mapping[str, str]
    exact: Mapping[str, str]

    @classmethod
    def of_this_machine(cls, environment: Mapping[str, str] = os.environ) -> Redactor:
        """Build a redactor for the private words of this machine and its environment."""
        users = {environment.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")}
        homes = {environment.get("HOME", ""), str(Path.home())}
        with suppress(KeyError, OSError):  # a process without a user entry
            users.add(getpass.getuser())
        users |= {Path(home).name for home in homes}
        host = socket.gethostname()
        hosts = {host, host.partition(".")[0], environment.get("HOSTNAME", "")}
        words = dict.fromkeys(users, "USER") | dict.fromkeys(hosts, "HOST")
        secrets = {v: "SECRET" for n, v in environment.items() if _SECRET.search(n) and len(v) >= 6}
        return cls(
            {w: r for w, r in words.items() if len(w) > 1 and w.lower() not in _COMMON},
            {**{home: "~" for home in homes if len(home) > 1 and home != "/root"}, **secrets},
        )

    def text(self, text: str) -> str:
        """Return ``text`` without private words."""
        for secret in sorted(self.exact, key=len, reverse=True):
            text = text.replace(secret, self.exact[secret])
        text = _ABSOLUTE.sub(lambda found: _shortened(found[0]), text)
        text = _TOKENS.sub("SECRET", text)
        for word in sorted(self.words, key=len, reverse=True):
            whole = rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])"
            text = re.sub(whole, self.words[word], text, flags=re.I)
        return text

    def value(self, value: Any, key: str = "") -> Any:
        """Return JSON without private words, keys included; texts that a person wrote are left out."""
        if isinstance(value, dict):
            return {self.text(str(k)): self.value(v, str(k)) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(one, key) for one in value]
        if not isinstance(value, str):
            return value
        if key.lower() in _WRITTEN:
            return "(left out)"
        path = key.lower() in _PATHS or value.startswith(("/", "~/", "./", "../"))
        if path and "/" in value and "\n" not in value and not _SYSTEM.match(value):
            value = value.rstrip("/").rpartition("/")[2]  # a name may have spaces
        return self.text(value)


def _shortened(path: str) -> str:
    if _SYSTEM.match(path):
        return path
    return f".../{path.rstrip('/').rpartition('/')[2]}"
