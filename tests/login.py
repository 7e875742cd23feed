"""Users of this machine with a login shell of their own, for tests that log in as them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.sshd import Sshd

#: What its start files run: the user's shell has to read nothing but this line.
NOISE = "/bin/sh ~/noise"
#: The file that each shell reads before a command that ssh gives it. The others read none of their
#: own there, and sshd runs the user's ~/.ssh/rc before any of them.
_START_FILES = {
    "csh": ".cshrc",
    "bsd-csh": ".cshrc",
    "tcsh": ".tcshrc",
    "fish": ".config/fish/config.fish",
    "zsh": ".zshenv",
    "bash": ".bashrc",
    "rbash": ".bashrc",
}


def why_not(shell: str) -> str | None:
    """Why no user with this shell can be made here."""
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        return "users can be made by root only, where there is useradd"
    return None if shutil.which(shell) else f"{shell} is not installed"


def python_of_all() -> str | None:
    """An interpreter that every user may start."""
    return shutil.which("python3", path="/usr/bin:/usr/local/bin")


@dataclass(frozen=True)
class Login:
    """A user: its name, its home, and the file that its shell reads first."""

    name: str
    home: Path
    start_file: Path

    def write(self, path: Path, text: str) -> None:
        """A file of this user's."""
        made = [path, *(p for p in path.parents if self.home in p.parents and not p.exists())]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for each in made:
            shutil.chown(each, self.name, self.name)

    def greet_with(self, script: str, line: str = NOISE) -> None:
        """Have ``script`` run by the start files; ``line`` is what they say."""
        self.write(self.home / "noise", script)
        self.write(self.start_file, line + "\n")


@contextmanager
def login(shell: str, key: Path) -> Iterator[Login]:
    """A new user with this login shell, who is let in with ``key``; removed in the end with all
    that it runs and owns."""
    program = shutil.which(shell)
    home = Path(tempfile.mkdtemp(prefix="orchestrate-login-"))
    name = f"orch-{home.name[-8:].lower().replace('_', 'x')}"
    command = ["useradd", "--no-create-home", "--home-dir", str(home), "--user-group"]
    subprocess.run([*command, "--password", "*", "--shell", str(program), name], check=True)
    try:
        shutil.chown(home, name, name)
        start_file = _START_FILES.get(Path(shell).name, ".ssh/rc")
        made = Login(name, home, home / start_file)
        public = key.with_name(key.name + ".pub")
        made.write(home / ".ssh/authorized_keys", public.read_text())
        yield made
    finally:
        uid = pwd.getpwnam(name).pw_uid
        subprocess.run(["pkill", "-KILL", "-U", str(uid)], check=False)
        subprocess.run(["userdel", "--force", name], check=True, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


def serve_logins(folder: Path, key: Path) -> Sshd:
    """A server that lets in every user of this machine, with the user's own shell and home."""
    options = ("AuthorizedKeysFile .ssh/authorized_keys",)  # it is read as that user
    return Sshd(folder, key, options=options, own_home=False, host_key_types=("ed25519",))
