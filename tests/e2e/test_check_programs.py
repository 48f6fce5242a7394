"""`paceline check` on real programs: a good one is told from the field's recipes, by counts; what hangs or stays is ended."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from paceline.cli import main
from paceline.testing import Program, Scenario, Server, Target, Trial, check

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
FETCH = [sys.executable, "-m", "paceline", "fetch", "{list}", "-o", "{dir}/out.jsonl", "--limit", "{limit}", "--progress", "none"]
SCENARIOS = {
    # Bars that a busy machine holds: what is counted does not depend on its speed, and the quota used has slack.
    "told": """
        calls = 60
        [settings]
        limit = "200/s"
        [[phase]]
        after_requests = 20
        refuse_rate = 1.0
        refuse_wait = 1
        [[phase]]
        after_refusals = 2
        refuse_rate = 0.0
        [expect]
        utilisation = 0.05
        """,
    "broken": """
        calls = 60
        [settings]
        limit = "200/s"
        fail_rate = 0.05
        cut_rate = 0.05
        truncate_rate = 0.05
        [expect]
        utilisation = 0.05
        """,
    "hidden-refusal": """
        calls = 40
        [settings]
        limit = "200/s"
        refuse_status = 200
        [[phase]]
        after_requests = 20
        refuse_rate = 1.0
        refuse_wait = 1
        [[phase]]
        after_refusals = 2
        refuse_rate = 0.0
        [expect]
        utilisation = 0.05
        """,
}


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str], str]:
    def write(name: str) -> str:
        path = tmp_path / f"{name}.toml"
        path.write_text(SCENARIOS[name], "utf-8")
        return str(path)

    return write


def run(code: str, *, scenario: str = "window", **target: Any) -> Trial:
    checked = check(Program((sys.executable, "-c", code)), [Scenario.named(scenario)], Target(**target))
    [trial] = checked.trials
    return trial


def test_paceline_fetch_does_well(files: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through refusals, faults and a refusal in a 200, `paceline fetch` loses nothing, comes back in time, repeats nothing."""
    report, junit = tmp_path / "report.json", tmp_path / "report.xml"
    chosen = [word for name in SCENARIOS for word in ("--scenario", files(name))]
    status = main(["check", "--grade", "C", "--report", str(report), "--junit", str(junit), *chosen, "--", *FETCH])
    out = capsys.readouterr().out
    found = json.loads(report.read_text("utf-8"))
    assert status == 0, out
    for trial in found["trials"]:
        grades = {aspect["name"]: aspect["grade"] for aspect in trial["aspects"]}
        for name in ("called", "survived", "lost", "patience", "again", "limit"):
            assert grades[name] in ("good", "unseen"), out
        # What may depend on the machine's speed: that alone may be fair or bad.
        assert {name for name, grade in grades.items() if grade == "bad"} <= {"pauses", "herd", "pace"}, out
    assert found["trials"][0]["account"]["injected"] == 2
    assert found["trials"][1]["account"]["failed"] > 0
    assert 'name="told"' in junit.read_text("utf-8")


def test_a_plain_recipe_is_found_wanting(
    files: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """tenacity around requests.get comes back too early, opens a connection each time, and loses rows without a word."""
    monkeypatch.setenv("COLUMNS", "80")
    report = tmp_path / "report.json"
    recipe = [sys.executable, str(ROOT / "examples" / "plain" / "tenacity_alone.py")]
    chosen = ["--scenario", files("told"), "--scenario", files("hidden-refusal")]
    assert main(["check", "--report", str(report), *chosen, "--", *recipe]) == 1
    told, hidden = json.loads(report.read_text("utf-8"))["trials"]
    grades = {aspect["name"]: aspect["grade"] for aspect in told["aspects"]}
    assert (grades["patience"], grades["connections"], grades["lost"]) == ("bad", "bad", "good")
    assert (hidden["grade"], hidden["status"]) == ("F", 0)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    out = " ".join(" ".join(lines).split())
    assert "2 of 40 items never served, and exit status 0 does not tell" in out
    assert "--grade B is not reached" in out


def test_every_plain_recipe_loses_what_a_200_hides(files: Callable[[str], str]) -> None:
    """The field's recipes, as their documentation writes them, take a refusal in a 200 for a row."""
    recipes = sorted(path for path in (ROOT / "examples" / "plain").glob("*.py") if path.stem != "task")
    scenario = Scenario.of(Path(files("hidden-refusal")))

    def judged(path: Path) -> tuple[str, int | None, str]:
        [trial] = check(Program((sys.executable, str(path))), [scenario], Target()).trials
        return trial.grade, trial.ending.status, trial.card["lost"].grade

    with ThreadPoolExecutor(3) as threads:
        found = dict(zip([path.stem for path in recipes], threads.map(judged, recipes), strict=True))
    names = ["httpx_aiolimiter", "ratelimit_tenacity", "requests_urllib3", "stamina_httpx", "tenacity_alone"]
    # Each says that all went well.
    assert found == dict.fromkeys(names, ("F", 0, "bad"))


def test_every_line_fits_eighty_columns(files: Callable[[str], str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Table and findings fit a terminal of eighty columns, also where the program writes more."""
    monkeypatch.setenv("COLUMNS", "80")
    code = "import os, urllib.request as u; u.urlopen(os.environ['PACELINE_URL'] + '/items/1').read(); print('x' * 500); 1 / 0"
    assert main(["check", "--scenario", files("told"), "--", sys.executable, "-c", code]) == 1
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "59 of 60 items never served" in out
    assert "ZeroDivisionError" in out


def test_a_program_that_never_calls_is_told_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no request came at all, the verdict is `never called`, with the program's last words, and no second run."""
    assert main(["check", "--json", "--", sys.executable, "-c", "print('no idea')"]) == 1
    found = json.loads(capsys.readouterr().out)
    [trial] = found["trials"]
    assert trial["aspects"][0]["found"] == "never called: no request came"
    assert len(found["left_out"]) == 10
    assert main(["check", "--", sys.executable, "-c", "print('no idea')"]) == 1
    assert "| no idea" in capsys.readouterr().out


def test_a_program_whose_time_is_over_is_ended_with_all_it_started() -> None:
    """After the timeout the program and its children are gone, and what it had printed is kept."""
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('child', child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    trial = run(code, timeout=2.0)
    assert trial.ending.status is None
    assert trial.card["survived"].grade == "bad"
    found = re.match(r"child (\d+)", trial.ending.tail[0])
    assert found is not None
    until = time.monotonic() + 30
    while _runs(int(found[1])):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_whoever_ends_a_check_ends_the_program_too(tmp_path: Path) -> None:
    """SIGTERM to `paceline check` is status 130, and the program that was being checked is gone."""
    pid = tmp_path / "pid"
    code = f"import os, pathlib, time; pathlib.Path({str(pid)!r}).write_text(f'{{os.getpid()}} '); time.sleep(600)"
    checking = subprocess.Popen(
        [sys.executable, "-m", "paceline", "check", "--scenario", "window", "--", sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (pid.exists() and pid.read_text("utf-8").endswith(" ")):
        assert checking.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    checking.terminate()
    _, err = checking.communicate(timeout=60)
    assert (checking.returncode, err) == (130, "interrupted\n")
    assert not _runs(int(pid.read_text("utf-8")))


def _runs(pid: int) -> bool:
    """Whether a process still does anything; one that is dead and that nobody has asked about does not."""
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return False


def test_output_is_bounded_and_masked() -> None:
    """A program that prints without end is not held up, its last lines are kept, and no credential is in them."""
    trial = run("for n in range(200_000): print('line', n)\nprint('api_key=hunter2 \\x1b[2J')")
    assert trial.ending.status == 0
    assert trial.ending.tail[-1] == "api_key=*** \\x1b[2J"
    assert trial.ending.tail[-2] == "line 199999"
    assert len(trial.ending.tail) < 10_000


def test_what_a_program_is_told() -> None:
    """The environment names address, count, list, limit and an empty folder; the list is standard input, too."""
    code = (
        "import os, sys, urllib.request\n"
        "env = os.environ; text = open(env['PACELINE_LIST']).read()\n"
        "assert text == sys.stdin.read() and text.split() == ['%s/items/%d' % (env['PACELINE_URL'], i) for i in (1, 2, 3)]\n"
        "assert env['PACELINE_ITEMS'] == '3' and env['PACELINE_LIMIT'] == '50/s' and os.listdir(env['PACELINE_DIR']) == []\n"
        "assert '127.0.0.1' in env['no_proxy'].split(',')\n"
        "for url in text.split(): urllib.request.urlopen(url).read()\n"
    )
    trial = run(code, items=3)
    assert (trial.ending.status, trial.grade) == (0, "A"), trial.ending.tail


def test_the_same_seed_gives_the_same_faults() -> None:
    """Two runs with one seed meet the same faults in the same places; another seed has others."""
    code = (
        "import os, sys, urllib.request\n"
        "got = []\n"
        "for url in sys.stdin.read().split():\n"
        "    try: urllib.request.urlopen(url).read(); got.append('.')\n"
        "    except OSError as error: got.append(type(error).__name__[0])\n"
        "print(''.join(got))\n"
    )
    one, two, three = (run(code, scenario="breakage", items=60, seed=seed).ending.tail[-1] for seed in (5, 5, 6))
    assert one == two != three
    assert set(one) != {"."}


def test_in_front_of_a_service_of_ones_own(tmp_path: Path) -> None:
    """With the proxy, the service answers, its answers are lost on the way, and writes done twice are found."""
    path = tmp_path / "cuts.toml"
    path.write_text("[settings]\ncut_rate = 1.0\n", "utf-8")
    code = (
        "import os, urllib.request\n"
        "for _ in range(2):\n"
        "    try: urllib.request.urlopen(os.environ['PACELINE_URL'] + '/items/1', data=b'one more').read()\n"
        "    except OSError: pass\n"
    )
    with Server() as server:
        target = Target(proxy_to=server.url, when="after")
        checked = check(Program((sys.executable, "-c", code)), [Scenario.load(path), Scenario.named("locked")], target)
        assert server.account().unsafe_duplicates == 1
    [trial] = checked.trials
    assert (trial.card["unsafe"].grade, trial.grade) == ("bad", "F")
    assert trial.card["lost"].grade == "unseen"
    assert checked.left_out == (("locked", "it has phases, which the proxy does not play"),)


def test_a_shell_reads_the_command_where_it_may(capsys: pytest.CaptureFixture[str]) -> None:
    """--shell allows pipes and variables, and what is put in stays one word."""
    python = "import sys, urllib.request; [urllib.request.urlopen(u).read() for u in sys.stdin.read().split()]"
    words = f'cat {{list}} | "{sys.executable}" -c "{python}" && test -d {{dir}}'
    assert main(["check", "--shell", "--items", "3", "--scenario", "window", words]) == 0
    assert "Grade A; --grade B is reached" in capsys.readouterr().out
