# SPDX-License-Identifier: MIT
"""A real terminal for programs that draw on one: tmux with a server of its own, whose socket lies in the test's folder
and whose screen is read as text. Skips where there is no tmux (deploy/setup --with-tests installs it)."""
import os
import shutil
import subprocess
import tempfile

import pytest

from rig import wait_for


class Terminal:
    def __init__(self, width=80, height=24, env=None):
        if shutil.which("tmux") is None:
            pytest.skip("there is no tmux: deploy/setup --with-tests installs it")
        self.folder = tempfile.mkdtemp(prefix="rm-tmux-")  # a socket's path is short
        environment = {**os.environ, "TERM": "screen-256color", "LC_ALL": "C.UTF-8", **(env or {})}
        environment.pop("TMUX", None)
        argv = ["tmux", "-S", f"{self.folder}/s", "-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "sh"]
        subprocess.run(argv, check=True, env=environment)
        try:
            self.type("PS1='shell> '; clear")
            self.wait("the shell", lambda lines: lines[0].startswith("shell>"))
        except BaseException:
            self.close()
            raise

    def tmux(self, *args):
        return subprocess.run(["tmux", "-S", f"{self.folder}/s", *args], check=True, capture_output=True, text=True).stdout

    def screen(self):
        """What can be seen, line by line."""
        return self.tmux("capture-pane", "-p").split("\n")[:-1]

    def text(self):
        return "\n".join(self.screen())

    def raw(self):
        """The same with its escape sequences."""
        return self.tmux("capture-pane", "-p", "-e")

    def keys(self, *keys):
        """Names of tmux, such as Tab and Down, or text."""
        self.tmux("send-keys", *keys)

    def type(self, line):
        self.tmux("send-keys", "-l", line)
        self.keys("Enter")

    def resize(self, width, height):
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def wait(self, what, condition=None, seconds=20):
        """Until the text is there, or the condition of the screen's lines holds; returns its value."""
        check = condition or (lambda lines: any(what in line for line in lines))
        try:
            return wait_for(what, lambda: check(self.screen()), seconds, pause=0.05)
        except AssertionError:
            print(self.text())
            raise

    def close(self):
        subprocess.run(["tmux", "-S", f"{self.folder}/s", "kill-server"], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)
