# SPDX-License-Identifier: MIT
"""deploy/grafana and deploy/prometheus: every query is one that Prometheus reads, over metrics that a gateway or a worker really tells,
and each alert fires when it should and not when it nearly should."""
import re

import pytest
import yaml

from cluster_rig import cluster
from metrics_rig import Scrape, board, metrics_in, promtool
from rig import TOP, wait_for

ALERTS = TOP / "deploy/prometheus/alerts.yaml"
TESTS = TOP / "tests/data/alerts_test.yaml"
OTHERS = {"up"}  # Prometheus' own


def rules():
    return [r for g in yaml.safe_load(ALERTS.read_text())["groups"] for r in g["rules"]]


def panels():
    found = []
    for p in board()["panels"]:
        found += [p, *p.get("panels", [])]
    return [p for p in found if p["type"] != "row"]


def queries():
    """(where, expression) of the board, its variables' values put in as Grafana would."""
    found = [(p["title"], t["expr"]) for p in panels() for t in p["targets"]]
    found += [(v["name"], re.match(r"label_values\((.+), \w+\)$", v["query"]["query"])[1]) for v in board()["templating"]["list"] if v["type"] == "query"]
    return [(where, e.replace("$__rate_interval", "5m").replace("$role", ".*").replace("$node", ".*")) for where, e in found]


@pytest.fixture(name="told", scope="module")
def told_fixture(tmp_path_factory):
    """What a gateway and a worker with a loaded model tell: series by name, with the labels they have."""
    with cluster(tmp_path_factory.mktemp("told"), ["speed"], {"m": {"ctx": 1024}}, {"ask": "modes: [ask], model: m, context: 1Ki, slots: 1"}) as c:
        c.answer("ask", max_tokens=2)
        wait_for("it is over", lambda: Scrape(c.port).value("rolemesh_requests_total", role="ask", outcome="ok"))
        told = {}
        for s in (Scrape(c.port), Scrape(c.ports["speed"])):
            for f in s.families.values():
                ends = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "gaugehistogram": ["_bucket", "_gcount", "_gsum"], "summary": ["_count", "_sum"], "info": ["_info"]}
                for end in ends.get(f.type, [""]):
                    labels = [set(x.labels) for x in f.samples if x.name == f.name + end]
                    told.setdefault(f.name + end, set()).update(*labels)
        yield told


def unknown(expressions, told):
    return {(where, name) for where, e in expressions for name in metrics_in(e) - set(told) - OTHERS}


def test_the_board_asks_for_what_is_told(told):
    assert len(queries()) > 60
    assert unknown(queries(), told) == set()


def test_the_alerts_ask_for_what_is_told(told):
    assert unknown([(r["alert"], r["expr"]) for r in rules()], told) == set()


def test_labels_in_queries_are_labels_of_the_series(told):
    """Of series that a quiet cluster has: those of errors come with the first one."""
    added = {"job", "instance", "le"}
    wrong = set()
    for where, e in queries() + [(r["alert"], r["expr"]) for r in rules()]:
        for name, selector in re.findall(r"\b((?:rolemesh|gen_ai|process)_\w+)\{([^}]*)\}", e):
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', selector)))
            if told[name]:
                wrong |= {(where, name, label) for label in labels - told[name] - added}
    assert wrong == set()


def test_prometheus_reads_every_query_of_the_board(tmp_path):
    group = {"groups": [{"name": "board", "rules": [{"record": f"board:{i}", "expr": e} for i, (_, e) in enumerate(queries())]}]}
    path = tmp_path / "board.yaml"
    path.write_text(yaml.safe_dump(group))
    done = promtool("check", "rules", path)
    assert done.returncode == 0 and f"{len(queries())} rules found" in done.stdout, done.stdout + done.stderr


def test_the_board_is_whole():
    b = board()
    assert b["uid"] == "rolemesh" and len({p["id"] for p in b["panels"]}) == len(b["panels"])
    places = [p["gridPos"] for p in b["panels"]]
    for i, a in enumerate(places):
        assert a["x"] + a["w"] <= 24
        for o in places[:i]:
            assert a["x"] + a["w"] <= o["x"] or o["x"] + o["w"] <= a["x"] or a["y"] + a["h"] <= o["y"] or o["y"] + o["h"] <= a["y"], "panels overlap"
    assert {t["datasource"]["uid"] for p in panels() for t in p["targets"]} == {"${datasource}"}
    for p in panels():
        assert p["title"] and all(t["expr"].strip() for t in p["targets"]) and len({t["refId"] for t in p["targets"]}) == len(p["targets"])


def test_the_alerts_are_rules():
    done = promtool("check", "rules", ALERTS)
    assert done.returncode == 0 and f"{len(rules())} rules found" in done.stdout, done.stdout + done.stderr
    for r in rules():
        assert r["labels"]["severity"] in ("warning", "critical") and set(r["annotations"]) == {"summary", "next"}


def test_each_alert_fires_when_it_should():
    cases = [c for t in yaml.safe_load(TESTS.read_text())["tests"] for c in t["alert_rule_test"]]
    names = {r["alert"] for r in rules()}
    assert {c["alertname"] for c in cases if c["exp_alerts"]} == names, "an alert is never seen to fire"
    assert {c["alertname"] for c in cases if not c["exp_alerts"]} == names, "an alert is never seen to wait"
    done = promtool("test", "rules", TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_threshold_that_moved_is_noticed(tmp_path):
    """The unit tests of the alerts can fail."""
    for folder in ("deploy/prometheus", "tests/data"):
        (tmp_path / folder).mkdir(parents=True)
    moved = ALERTS.read_text().replace("> 0.05\n", "> 0.5\n")
    assert moved != ALERTS.read_text()
    (tmp_path / "deploy/prometheus/alerts.yaml").write_text(moved)
    (tmp_path / "tests/data/alerts_test.yaml").write_text(TESTS.read_text())
    done = promtool("test", "rules", tmp_path / "tests/data/alerts_test.yaml")
    assert done.returncode == 1 and "RolemeshRequestsFail" in done.stdout + done.stderr
