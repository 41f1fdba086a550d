# SPDX-License-Identifier: MIT
"""Every command of `rolemesh`, as its own table tells them: mistakes are one line that says what to do, whatever stands in it;
help, man pages and completion tell the same options; and nothing that a gateway says breaks a line or reaches a terminal raw."""
import csv
import io
import json
import os
import re
import shutil
import subprocess
import unicodedata

import cli_rig
import pytest
from cli_rig import Echo, Terminal, commands, environment, one_line, options_of, rolemesh, words_of
from rig import BIN, TOP, free_port, wait_for

NASTY = "a\nb\r\x1b[2Jc\x07"


@pytest.fixture(name="table", scope="module")
def table_fixture():
    return commands()


@pytest.fixture(name="echo", scope="module")
def echo_fixture():
    e = Echo()
    yield e
    e.close()


# ---- mistakes ----


def test_the_table_is_whole(table):
    names = {"apply", "cancel", "check", "completion", "drain", "evict", "events", "forecast", "help", "keys", "keys create", "keys list",
             "keys revoke", "keys rotate", "ledger", "load", "models", "nodes", "plan", "ps", "pull", "reload", "roles", "status",
             "undrain", "unload", "usage", "version", "why"}
    assert names <= set(table)


def test_an_unknown_option_is_one_line_everywhere(table):
    for name in table:
        assert "unknown option '--frobnicate'; see" in one_line(rolemesh(*name.split(), "--frobnicate"), 2), name
        said = one_line(rolemesh(*name.split(), f"--frob{NASTY}=1"), 2)
        assert said.startswith(f"rolemesh {name}: unknown option '--froba?b??[2Jc?'"), said


def test_a_misspelt_option_is_named(table):
    for name, text in table.items():
        for option, value in options_of(text):
            if len(option) > 6:
                said = one_line(rolemesh(*name.split(), option[:-2] + option[-1], *([] if value is None else ["1"])), 2)
                assert re.search(r"did you mean '--[\w-]+'\?", said), said


def test_a_missing_value_is_one_line_everywhere(table):
    for name, text in table.items():
        for option, value in options_of(text):
            if value is None or option == "--watch":
                continue
            assert f"{option}: a value must follow: {value}" in one_line(rolemesh(*name.split(), option), 2)
            assert f"{option}: a value must follow" in one_line(rolemesh(*name.split(), option, "--json"), 2)
            assert f"{option} takes " in one_line(rolemesh(*name.split(), f"{option}="), 2)


def test_a_flag_takes_no_value(table):
    for name, text in table.items():
        for option, value in options_of(text):
            if value is None:
                assert f"{option} takes no value" in one_line(rolemesh(*name.split(), f"{option}=yes"), 2)


def test_numbers_times_and_words_are_checked(table):
    tried = set()
    for name, text in table.items():
        for option, value in options_of(text):
            words = value is not None and "|" in value and value == value.lower()
            if value in ("N", "BYTES", "TIME", "SECONDS]") or words or option in ("--lane", "--outcome"):
                said = one_line(rolemesh(*name.split(), f"{option}=x{NASTY}"), 2)
                assert said.startswith(f"rolemesh {name}: {option} takes ") and "not 'xa?b??[2Jc?'" in said, said
                tried.add(option)
    assert {"--lines", "--watch", "--since", "--slots", "--kv", "--expires", "--output", "--severity", "--per", "--lane"} <= tried


def test_an_argument_too_many_is_one_line_everywhere(table):
    for name, text in table.items():
        usage = text.splitlines()[0]
        if "..." in usage or name == "pull":
            continue
        words = ["bash" if name == "completion" else "help"] * usage.partition("[OPTIONS]")[2].count(" ")
        said = one_line(rolemesh(*name.split(), *words, NASTY), 2)
        assert "'a?b??[2Jc?'" in said and ("too many" in said or "no arguments" in said), said


def test_a_missing_argument_says_which(table):
    for name, text in table.items():
        usage = text.splitlines()[0].partition("[OPTIONS]")[2]
        if usage.strip() and not usage.strip().startswith("["):
            assert one_line(rolemesh(*name.split()), 2).startswith(f"rolemesh {name}: "), name


def test_a_name_that_can_be_none_is_not_asked_for(echo):
    for argv in (["nodes"], ["roles"], ["why"], ["cancel"], ["load"], ["drain"], ["drain", "--node"], ["load", "x"]):
        asked = len(echo.asked)
        assert "a name is empty or too long" in one_line(rolemesh(*argv, "x" * 5000, gateway=echo.port), 2)
        assert len(echo.asked) == asked
        if argv != ["drain", "--node"]:
            assert "a name is empty" in one_line(rolemesh(*argv, "", gateway=echo.port), 2)


@pytest.mark.parametrize("word,near", [("statsu", "status"), ("kesy", "keys"), ("unlaod", "unload"), ("evnts", "events"), ("whyy", "why")])
def test_a_misspelt_command_is_named(word, near):
    assert f"no such command '{word}'; did you mean '{near}'?" in one_line(rolemesh(word), 2)


@pytest.mark.parametrize("argv", [[""], [NASTY], ["__nothing"], ["--nothing"], ["--gateway"], ["keys", NASTY], ["help", NASTY]])
def test_what_is_no_command_is_one_line(argv):
    one_line(rolemesh(*argv), 2)


def asking(table):
    """Commands that ask a gateway, with the arguments that they need; __complete of a role stands for the rest of completion."""
    words = {"ROLE": "code", "NODE": "speed", "REQUEST": "req_1", "NAME": "laptop", "NAME|ID": "laptop", "ROLE|NODE": "speed"}
    found = {}
    for name, text in table.items():
        if any(option == "--gateway" for option, _ in options_of(text)):
            usage = re.findall(r" (\[?[A-Z|]+\]?)", text.splitlines()[0].partition("[OPTIONS]")[2])
            found[name] = [words.get(w, "x") for w in usage if not w.startswith("[")]
    found["drain"] = found["undrain"] = ["speed"]
    found["apply"] = ["--dry-run", "configs/demo.yaml"]
    found["copy"] = ["m", "--from", "speed", "--to", "reasoning"]
    found["pull"] = ["hf:org/model:Q8_0", "--node", "speed"]
    return found


OWN_WAY = {"top", "chat", "doctor"}  # a screen, a talk, a report of everything: they have tests of their own


def test_a_gateway_that_is_not_there_is_one_line(table):
    port = free_port()
    for name, words in asking(table).items():
        if name in OWN_WAY:
            continue
        said = one_line(rolemesh(*name.split(), *words, "--gateway", f"http://127.0.0.1:{port}", cwd=TOP), 1)
        assert f"http://127.0.0.1:{port}: connection refused" in said and re.search("start rolemesh-gateway|--state-dir|start ", said), said
        one_line(rolemesh(*name.split(), *words, "--gateway", "http://", cwd=TOP), 2)


def test_the_gateway_of_the_environment(table):
    port = free_port()
    for name in ("status", "nodes", "ps"):
        assert f"http://127.0.0.1:{port}: connection refused" in one_line(rolemesh(name, gateway=port), 1)
        assert "ROLEMESH_GATEWAY is http://HOST:PORT" in one_line(rolemesh(name, gateway="nonsense"), 2)
        assert "no such file" in one_line(rolemesh("--gateway", "unix:/nonexistent", name, gateway=port), 1)


# ---- one table ----


def test_man_pages_tell_the_same_and_are_well_formed(table):
    pages = BIN.parent / "cli" / "man"
    if not pages.is_dir():
        pytest.skip("the man pages of this build are not beside its programs")
    assert {p.name for p in pages.glob("*.1")} == {"rolemesh.1"} | {f"rolemesh-{name.replace(' ', '-')}.1" for name in table}
    for name, text in table.items():
        page = (pages / f"rolemesh-{name.replace(' ', '-')}.1").read_text()
        said = [o.replace("\\-", "-") for o in re.findall(r"^(?:\\fB\\-\w\\fR, )?\\fB((?:\\-){2}[\w\\-]+)\\fR", page, re.M)]
        assert said == [option for option, _ in options_of(text)], name
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("no groff to check the pages with")
    for page in pages.glob("*.1"):
        done = subprocess.run([groff, "-ww", "-man", "-Tutf8", "-z", page], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), page


def test_the_readme_names_every_command(table):
    part = (TOP / "README.md").read_text().partition("\n## The command\n")[2].partition("\n## ")[0]
    listed = re.findall(r"`([a-z]+)`", "".join(line for line in part.splitlines() if line.startswith("| `")))
    assert sorted(listed) == sorted(name for name in table if " " not in name)


def test_completion_offers_what_help_tells(table):
    assert sorted(words_of("bash", "")) == sorted(name for name in table if " " not in name)
    for name, text in table.items():
        assert sorted(words_of("bash", *name.split(), "--")) == sorted(option for option, _ in options_of(text)), name
    assert words_of("bash", "keys", "") == ["create", "list", "revoke", "rotate"]
    assert words_of("bash", "completion", "") == ["bash", "zsh", "fish"]
    assert words_of("bash", "forecast", "--kv", "") == ["f16", "q8_0"]
    assert words_of("bash", "forecast", "--kv", "=", "q") == ["q8_0"] and words_of("zsh", "forecast", "--kv=q") == ["--kv=q8_0"]
    assert words_of("bash", "check", "") == [":file"] and words_of("bash", "keys", "list", "--state-dir", "") == [":dir"]
    assert words_of("fish", "help", "stat") == ["status"]
    assert words_of("bash", "events", "--since", "1h", "--severity", "w") == ["warning"]
    assert words_of("bash", "check", "--", "--") == [":file"]


def test_completion_asks_the_gateway(echo):
    echo.text = "code-a"
    for words in (["roles", ""], ["nodes", "co"], ["why", ""], ["cancel", "c"], ["keys", "revoke", ""], ["events", "--subject", ""], ["--no-color", "drain", ""]):
        assert set(words_of("bash", *words, gateway=echo.port)) == {"code-a"}, words
    assert words_of("bash", "keys", "create", "x", "--roles", "ask,co", gateway=echo.port)[0] == "ask,code-a"
    assert words_of("bash", "--gateway", f"http://127.0.0.1:{echo.port}", "roles", "")[0] == "code-a"
    assert words_of("bash", "roles", "--gateway", "=", f"http://127.0.0.1:{echo.port}", "")[0] == "code-a"
    assert words_of("bash", "roles", "", gateway=free_port()) == []
    for text in ("a b", "$(id)", "`id`", "a;b", "-x", "a\nb", "é", "'", ""):
        echo.text = text  # nothing that a shell might read otherwise
        assert words_of("bash", "roles", "", gateway=echo.port) == []


# ---- shells ----


def script(shell, tmp_path):
    done = rolemesh("completion", shell)
    assert done.returncode == 0
    path = tmp_path / f"rolemesh.{shell}"
    path.write_text(done.stdout)
    return path


def typed_and_completed(t, lines):
    """Types each line, with tabs, at a prompt; the shell must show what it becomes."""
    for typed, becomes in lines:
        t.text = ""
        t.write(typed)
        wait_for(f"{typed!r} becomes {becomes!r}", lambda: t.read() and becomes in re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", t.text), pause=0)
        t.write("\x15")  # the line is cleared


LINES = [("rolemesh stat\t", "rolemesh status"), ("rolemesh keys cr\t", "rolemesh keys create"), ("rolemesh roles c\t", "rolemesh roles code-a"),
         ("rolemesh forecast --kv=q\t", "rolemesh forecast --kv=q8_0"), ("rolemesh check some\t", "rolemesh check some-file.yaml"),
         ("rolemesh nodes --health s\t", "rolemesh nodes --health suspect"), ("rolemesh keys list --state-dir /de\t", "rolemesh keys list --state-dir /dev/")]


def test_bash_completes(tmp_path, echo):
    """A real bash at a terminal, with tabs."""
    echo.text = "code-a"
    path, bash = script("bash", tmp_path), shutil.which("bash")
    (tmp_path / "some-file.yaml").write_text("")
    t = Terminal([bash, "--norc", "--noprofile", "-i"], columns=200, gateway=echo.port, PS1="READY> ", PATH=f"{BIN}:{os.environ['PATH']}", INPUTRC="/dev/null", HISTFILE="/dev/null")
    try:
        t.until("READY> ")
        t.write(f"bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; source {path}; cd {tmp_path}; echo DO''NE\n")
        t.until(r"DONE\r?\n")
        typed_and_completed(t, [*LINES, ("rolemesh keys list --state-dir=/de\t", "rolemesh keys list --state-dir=/dev/")])
    finally:
        t.close()
    done = subprocess.run([bash, "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_zsh_completes(tmp_path, echo):
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("no zsh here")
    echo.text = "code-a"
    path = script("zsh", tmp_path)
    (tmp_path / "some-file.yaml").write_text("")
    t = Terminal([zsh, "-f", "-i"], columns=200, gateway=echo.port, PS1="READY> ", PATH=f"{BIN}:{os.environ['PATH']}", ZDOTDIR=str(tmp_path))
    try:
        t.until("READY> ")
        t.write(f"unset zle_bracketed_paste; autoload -Uz compinit; compinit -u -D; source {path}; cd {tmp_path}; echo DO''NE\n")
        t.until(r"DONE\r?\n")
        typed_and_completed(t, LINES)
    finally:
        t.close()
    done = subprocess.run([zsh, "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_completes(tmp_path, echo):
    """fish tells by itself what it would complete."""
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("no fish here")
    echo.text = "code-a"
    path = script("fish", tmp_path)
    (tmp_path / "some-file.yaml").write_text("")

    def offered(line):
        env = environment(echo.port, HOME=str(tmp_path), PATH=f"{BIN}:{os.environ['PATH']}")
        done = subprocess.run([fish, "--no-config", "-c", f"source {path}; complete -C '{line}'"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return [found.partition("\t")[0] for found in done.stdout.splitlines()]

    for typed, becomes in LINES:
        line = typed.rstrip("\t")
        assert becomes.rpartition(" ")[2] in offered(line), line
    assert offered("rolemesh keys ") == ["create", "list", "revoke", "rotate"]
    done = subprocess.run([fish, "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# ---- hostile text ----

HOSTILE = [
    "\n", "\r\n", "a\nb", "\x1b[2J", "\x1b]0;title\x07", "\x1b[31mred\x1b[0m", "\x00", "\x07", "\x08\x08\x08", "\x7f", "\x9b31m", "\u0085", "\u2028", "\u2029",
    "\u202e\u202d", "\u200b", "\u2066x\u2069", "\ufeff", "\x0b\x0c", "\t\t", "\x1bc", "\x1bP1$r\x1b\\", "\x1b_x\x1b\\", "\x1b[?1049h", "\x1b[6n", "\x1b[10;10H", "\x0e\x0f",
    "<script>alert(1)</script>", "'\"`$(id)", "%s%n%x", "{}[]", "\\", "../../etc", "\U000e0041", "\u0600", "é" * 300, "\u6a5f" * 100, "e\u0301" * 50, "\U0001f600" * 20, "x" * 5000, "\ud7ff", " lead", "--json",
]


def is_quiet(text):
    """Only characters that can be seen, and ends of lines."""
    return all(c == "\n" or not (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\ufeff\u200e\u200f" or "\U000e0000" <= c <= "\U000e0fff") for c in text)


def test_hostile_text_breaks_no_line(table, echo):
    assert len(HOSTILE) >= 40
    runs = []
    for name, words in asking(table).items():
        if name in OWN_WAY or name in ("apply", "keys create", "keys rotate", "copy"):
            continue
        wide = [["-o", "wide"]] if "--output" in dict(options_of(table[name])) else []
        runs += [[*name.split(), *words, *more] for more in [[], *wide]]
    runs += [["nodes", "speed"], ["roles", "code"], ["ps", "--all"], ["load", "code", "speed"]]

    def lines_of(argv):
        done = rolemesh(*argv, gateway=echo.port) if "keys" not in argv else rolemesh(*argv, "--gateway", f"http://127.0.0.1:{echo.port}")
        assert is_quiet(done.stdout) and is_quiet(done.stderr), (argv, echo.text, done.stdout, done.stderr)
        return done.returncode, done.stdout.count("\n"), done.stderr.count("\n")

    echo.text = "plain"
    usual = [lines_of(argv) for argv in runs]
    for text in HOSTILE:
        echo.text = text
        for argv, want in zip(runs, usual):
            got = lines_of(argv)  # the decoder of ledgers refuses such names, in one line
            nameless = len(text.encode()) > 60 or text == "\x00"  # no node is called so
            assert got == want or argv[0] == "ledger" or (nameless and argv[0] in {"load", "unload", "evict", "drain", "undrain", "logs"}), (argv, text)


SAMPLE = cli_rig.sample


def empty(answer):
    """The same with no rows in its lists."""
    return {k: [] if isinstance(v, list) else v for k, v in answer.items()} if isinstance(answer, dict) else answer


FORMULAS = ["=1+1", "=HYPERLINK(\"http://x\",\"y\")", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", ";=1", ",=1", "\"=1", "a,b", "a;b", "a\"b", "\"\"",
            "'=1", "\uff1d1+1", "\uff0b1", "\uff0d1x", "\uff201", "=", "+", "--", "-", "- a", "a\r\nb,c", " a ", "1,5", "-1.5e", "+", "=cmd|' /C calc'!A0"]
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?%?")


def test_csv_is_for_spreadsheets(table, echo):
    """Whatever stands in a cell: as many fields in each row as titles, and nothing that is computed."""
    plain = {name: words for name, words in asking(table).items() if "csv|" in dict(options_of(table[name])).get("--output", "")}
    assert plain.pop("ledger") == []  # its decoder refuses such names: see test_ledger.py
    assert set(plain) == {"nodes", "roles", "models", "ps", "usage", "why", "pulls", "keys list", "events"}
    assert "-o csv goes without --follow" in one_line(rolemesh("events", "-f", "-o", "csv", gateway=echo.port), 2)
    runs = [["nodes", "speed"], ["roles", "code"], ["ps", "--all"], *([*name.split(), *words] for name, words in plain.items())]
    titles, texts = {}, HOSTILE + FORMULAS
    assert len(FORMULAS) + len(HOSTILE) > 60
    for number, text in enumerate(["plain", *texts]):
        echo.text = text
        for argv in runs if number < 2 or text in FORMULAS else runs[-3:]:
            where = ["--gateway", f"http://127.0.0.1:{echo.port}"] if argv[0] == "keys" else []
            done = rolemesh(*argv, "-o", "csv", *where, gateway=echo.port, COLUMNS="30")
            assert done.returncode == 0 and is_quiet(done.stdout) and done.stdout.endswith("\n"), (argv, text, done.stderr)
            rows = list(csv.reader(io.StringIO(done.stdout, newline=""), strict=True))
            assert titles.setdefault(tuple(argv), rows[0]) == rows[0] and len(rows) > 1 and len(rows) == done.stdout.count("\n")
            assert {len(row) for row in rows} == {len(rows[0])}, (argv, text)
            for cell in (cell for row in rows for cell in row):
                first = cell.lstrip(" ")[:1]
                assert first not in tuple("=+@-\t\r\uff1d\uff0b\uff0d\uff20") or not first or NUMBER.fullmatch(cell), (argv, text, cell)


def test_csv_is_whole_and_other_ways_are_refused(echo):
    echo.text = "a, \"b\" " + "c" * 100
    wide = rolemesh("nodes", "-o", "wide", gateway=echo.port).stdout.splitlines()[0]
    rows = list(csv.DictReader(io.StringIO(rolemesh("nodes", "-o", "csv", gateway=echo.port, COLUMNS="20").stdout)))
    assert rows[0]["NODE"] == echo.text and wide.split()[0] == "NODE" and re.split(r" {2,}", wide.strip()) == list(rows[0])
    assert "-o csv goes without --watch" in one_line(rolemesh("nodes", "-o", "csv", "--watch", gateway=echo.port), 2)
    assert "--output takes table, wide or json" in one_line(rolemesh("status", "-o", "csv", gateway=echo.port), 2)


def test_a_list_without_rows_says_so(table, echo, monkeypatch):
    """No titles over nothing; as CSV the titles alone, and JSON as it came."""
    says = {"nodes": "no nodes", "roles": "no roles", "models": "no models", "ps": "no requests in flight", "usage": "no requests in that time", "pulls": "no pulls",
            "events": "no events", "keys list": "no keys"}
    monkeypatch.setattr(cli_rig, "sample", lambda schema, text, depth=0: empty(SAMPLE(schema, text, depth)))
    for name, words in says.items():
        where = ["--gateway", f"http://127.0.0.1:{echo.port}"] if name == "keys list" else []
        done = rolemesh(*name.split(), *where, gateway=echo.port)
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.splitlines()[0] == words, name
        if "csv" in dict(options_of(table[name])).get("--output", ""):
            assert len(rolemesh(*name.split(), "-o", "csv", *where, gateway=echo.port).stdout.splitlines()) == 1
    assert rolemesh("ps", "--all", gateway=echo.port).stdout == "no such requests\n"


def test_a_problem_that_is_hostile_is_one_line(echo):
    for text in HOSTILE:
        echo.text = text
        done = rolemesh("roles", "--gateway", f"http://127.0.0.1:{echo.port}/", "x")
        assert is_quiet(done.stdout) and is_quiet(done.stderr)


def test_json_is_the_body_as_it_came(echo):
    """--json is for programs: nothing is replaced, and JSON escapes it."""
    echo.text = "a\x1b[31m\u202e\n"
    said = json.loads(rolemesh("nodes", "speed", "--json", gateway=echo.port).stdout)
    assert said["name"] == echo.text
