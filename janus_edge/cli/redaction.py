"""Taking private words out of texts: people, hosts, folders, tokens, prompts.

Replaced are: the home folder, the user's and the host's names (as whole words, in any case), the values
of environment variables whose names say that they are secret, and what looks like a token. Of a path
outside the system's own folders the last component remains. Texts that a person wrote for a model
are left out. Names that every such machine has ('nvidia', 'ubuntu') tell nothing and stay.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from janus_edge.cli import private_paths

LEFT_OUT = "(left out)"

#: Values of these keys are what a person wrote.
_WRITTEN = frozenset({"prompt", "prompts", "question", "questions", "answer", "answers", "text"})

#: Values of these keys are paths, relative ones too.
_PATHS = frozenset({"path", "folder", "file", "source", "checkpoint", "calibration", "image"})

#: Values of these keys are a command, as one text or word by word.
_COMMANDS = frozenset({"command", "argv"})

_SECRET = re.compile(
    r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|PRIVATE|(?:^|_)(?:KEY|PW|PASS)$|_PWD$", re.I
)

#: Tokens of Hugging Face, GitHub, GitLab, NVIDIA, OpenAI and AWS; a GPU's serial identity; a network
#: address (MAC).
_TOKENS = re.compile(
    r"\b(?:hf_\w{10,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|nvapi-[\w-]{16,}"
    r"|sk-[\w-]{16,}|AKIA\w{12,}"
    r"|GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?:[0-9a-f]{2}:){5}[0-9a-f]{2})\b",
    re.I,
)

#: A JSON web token; user and password of an address; a variable that is set to a secret.
_FORMS = (
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), "SECRET"),
    (re.compile(r"(?<=://)[^/\s@]+@"), "SECRET@"),
    (re.compile(r"\b([A-Z0-9_]*(?:TOKEN|SECRET|PASSWORD|_KEY|_PW|_PWD))=[^\s'\"]+"), r"\1=SECRET"),
    (
        re.compile(
            r"""((?<!-)--[\w-]*(?:prompt|question)s?)(=|\s+)(?:'[^']*'|"[^"]*"|(?<==)\S+)"""
        ),
        rf"\1\2{LEFT_OUT}",
    ),
)

_NUMBER = re.compile(r"[-+.\d][\d.e+-]*")

#: Names of users and hosts that NVIDIA's and Ubuntu's images come with.
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
        """What this machine and its environment would betray."""
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

    def naming(self, folders: Mapping[str, Path]) -> Redactor:
        """One that calls ``folders`` by their names."""
        forms = {
            str(form): name
            for name, path in folders.items()
            for form in (path.absolute(), path.resolve(), *([path] if len(path.parts) > 1 else []))
        }
        return replace(self, exact={**self.exact, **forms})

    def text(self, text: str) -> str:
        """``text`` without them."""
        text = self._known(text)
        for form, instead in _FORMS:
            text = form.sub(instead, text)
        text = private_paths.in_text(_TOKENS.sub("SECRET", text))
        for word in sorted(self.words, key=len, reverse=True):
            whole = rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])"
            text = re.sub(whole, self.words[word], text, flags=re.I)
        return text

    def value(self, value: Any, key: str = "") -> Any:
        """JSON without them, keys included; what a person wrote is left out."""
        key = key.lower()
        if isinstance(value, dict):
            return self._object(value, key)
        if isinstance(value, (list, tuple)):
            if key in _COMMANDS and all(isinstance(one, str) for one in value):
                return self._words(value)
            return [self.value(one, key) for one in value]
        if not isinstance(value, str):
            return value
        if key in _WRITTEN:
            return LEFT_OUT
        if key in _COMMANDS:
            return self.command(value)
        known = self._known(value)
        if key in _PATHS or private_paths.is_path(known):
            known = private_paths.whole(known)
        return self.text(known)

    def command(self, command: str) -> str:
        """A command line, word by word: also folders with spaces, and what options carry."""
        try:
            words = shlex.split(command)
        except ValueError:  # a quote that nothing closes
            return self.text(command)
        return " ".join(
            shlex.quote(word) if re.search(r"\s", word) else word for word in self._words(words)
        )

    def _object(self, value: Mapping[Any, Any], key: str) -> dict[str, Any]:
        """Two keys that become one get numbers. 'text' is the name of a mode, too."""
        written, found = key in _WRITTEN - {"text"}, dict[str, Any]()
        for name, inside in value.items():
            short = stem = LEFT_OUT if written else self.text(str(name))
            number = 2
            while short in found:
                short, number = f"{stem} {number}", number + 1
            found[short] = self.value(inside, key if written else str(name))
        return found

    def _words(self, words: Sequence[str]) -> list[str]:
        option, found = "", list[str]()
        for word in words:
            named, equals, value = word.partition("=")
            if not (equals and re.match(r"-|\w+$", named)):
                named, equals, value = "", "", word
            if word.startswith("-"):
                option = named or word
            if not equals and word.startswith("-"):
                found.append(self.text(private_paths.in_text(word)))
            else:
                found.append(f"{named}{equals}{self._word(value, named or option)}")
        return found

    def _word(self, word: str, option: str) -> str:
        """The value of ``option``, '' for none."""
        name = option.lstrip("-").replace("-", "_")
        if _NUMBER.fullmatch(word):
            return word
        if name.lower().rpartition("_")[2] in _WRITTEN:
            return LEFT_OUT
        if _SECRET.search(name):
            return "SECRET"
        known = self._known(word)
        if known == word or known.startswith("~"):
            known = private_paths.whole(known)
        return LEFT_OUT if re.search(r"\s", known) else self.text(known)

    def _known(self, text: str) -> str:
        """Without ``exact``; a folder only where its name ends."""
        for private in sorted(self.exact, key=len, reverse=True):
            ends = r"(?![\w-])" if "/" in private else ""
            named = self.exact[private]
            text = re.sub(re.escape(private) + ends, lambda _found, name=named: name, text)  # type: ignore[misc]
        return text
