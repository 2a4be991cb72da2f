#!/usr/bin/env bash
# A head and three worker nodes on this machine, two jobs through the job API, one node killed with -9 in the middle; logs and metrics are
# fetched, both runs are compared, and everything that was started is ended by its process id.
#
#     benchmarks/cluster_drill.sh [folder]        # `ray` and `python` of the environment; the folder is kept
#
# The first job is not disturbed, the second one is; `same: True` at the end says that selections and mAP of both are equal.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OUT=$(realpath -m "${1:-$(mktemp -d)}")
TEMP=$(mktemp -d /tmp/xmrd.XXXXXX) # sockets below it have a length limit
mkdir -p "$OUT"

export RAY_AUTH_MODE=token RAY_AUTH_TOKEN="a-token-of-this-drill-$RANDOM$RANDOM"
export RAY_USAGE_STATS_ENABLED=0 RAY_worker_niceness=0 OMP_NUM_THREADS=1
export RAY_health_check_initial_delay_ms=0 RAY_health_check_period_ms=500 RAY_health_check_timeout_ms=500 RAY_health_check_failure_threshold=3
unset RAY_ADDRESS

free_port() { python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
below() { for child in $(pgrep -P "$1" || true); do below "$child"; echo "$child"; done; }

PIDS=()
finish() {
    for pid in "${PIDS[@]}"; do
        for one in $(below "$pid") "$pid"; do kill -9 "$one" 2>/dev/null || true; done
    done
    rm -rf "$TEMP"
}
trap finish EXIT

PORT=$(free_port) DASHBOARD=$(free_port)
# a head takes two ports whose numbers are fixed otherwise: beside another Ray on the machine their metrics would be refused
export AUTOSCALER_METRIC_PORT=$(free_port) DASHBOARD_METRIC_PORT=$(free_port)
ray start --head --block --num-cpus=0 --port="$PORT" --node-ip-address=127.0.0.1 --dashboard-host=127.0.0.1 --dashboard-port="$DASHBOARD" \
    --dashboard-agent-listen-port="$(free_port)" --object-store-memory=150000000 --temp-dir="$TEMP" --disable-usage-stats >"$OUT/head.log" 2>&1 &
PIDS+=($!)
JOBS=http://127.0.0.1:$DASHBOARD
for _ in $(seq 60); do ray job list --address "$JOBS" >/dev/null 2>&1 && break; sleep 2; done

nodes_alive() {
    RAY_ADDRESS="127.0.0.1:$PORT" python -c 'import ray; ray.init(log_to_driver=False, logging_level="ERROR"); print(sum(n["Alive"] for n in ray.nodes()))' 2>/dev/null | tail -1
}
for node in 1 2 3; do # one after the other: nodes that start together keep each other from starting in time where cores are few
    ray start --block --address="127.0.0.1:$PORT" --node-ip-address=127.0.0.1 --num-cpus=1 --dashboard-agent-listen-port="$(free_port)" \
        --object-store-memory=150000000 --disable-usage-stats >"$OUT/node-$node.log" 2>&1 &
    PIDS+=($!)
    for _ in $(seq 30); do [ "$(nodes_alive)" = $((node + 1)) ] && break; sleep 1; done
done
VICTIM=${PIDS[-1]}
ALIVE=$(nodes_alive)
echo "nodes alive: $ALIVE"
[ "$ALIVE" = 4 ] || { tail -n 3 "$OUT"/node-*.log; exit 1; }

cat >"$OUT/drill.yaml" <<YAML
name: drill
budget: {total: 60, seed_pairs: 20, per_round: 20}
strategy: {kind: entropy}
training: {label_predictor: {steps: 60}, common_space: {steps: 60}}
scoring: {num_actors: 2}
YAML
submit() { ray job submit --address "$JOBS" --submission-id "$1" --no-wait --working-dir "$ROOT" -- python jobs/run.py -c "$OUT/drill.yaml" "storage_path=$OUT/$1" >"$OUT/$1.submit.log" 2>&1; }
state_of() { ray job status --address "$JOBS" "$1" 2>&1 | grep -oiE 'succeeded|failed|stopped|running|pending' | tail -1 | tr '[:lower:]' '[:upper:]'; }
wait_for() {
    for _ in $(seq 300); do
        case $(state_of "$1") in SUCCEEDED) return 0 ;; FAILED | STOPPED) ray job logs --address "$JOBS" "$1" | tail -20; return 1 ;; esac
        sleep 2
    done
    return 1
}

submit whole
wait_for whole
submit hurt
for _ in $(seq 300); do [ -e "$OUT/hurt/drill/entropy-s0/rounds/001/selection.parquet" ] && break; sleep 0.5; done
for one in $(below "$VICTIM") "$VICTIM"; do kill -9 "$one" 2>/dev/null || true; done
echo "node with process $VICTIM killed in round 1; job: $(state_of hurt)"
python - "$TEMP" "$OUT/metrics.txt" <<'PY'
import json, os, pathlib, sys, time, urllib.request
others = {os.environ["AUTOSCALER_METRIC_PORT"]: "autoscaler", os.environ["DASHBOARD_METRIC_PORT"]: "dashboard"}
path = next(pathlib.Path(sys.argv[1]).rglob("prom_metrics_service_discovery.json"))
targets, deadline = [], time.monotonic() + 60
while len(targets) != 3 + len(others) and time.monotonic() < deadline:  # until Ray no longer names the node that was killed
    time.sleep(1)
    targets = [one for group in json.loads(path.read_text()) for one in group["targets"]]
found, ours, refused = {}, [], 0
for target in targets:
    name = f"{others.get(target.rpartition(':')[2], 'node')} {target}"
    try:
        lines = urllib.request.urlopen(f"http://{target}/metrics", timeout=10).read().decode().splitlines()
    except OSError as error:
        refused, found[name] = refused + 1, str(error)
        continue
    mine = [line for line in lines if line.startswith("ray_xmr_ray_")]
    ours, found[name] = ours + mine, f"{len(lines)} lines, {len(mine)} of ours"
pathlib.Path(sys.argv[2]).write_text("\n".join(ours) + "\n")
print(f"metrics: {len(targets)} targets, {refused} refused: {found}")
sys.exit(bool(refused) or not ours)
PY
wait_for hurt
ray job logs --address "$JOBS" hurt >"$OUT/hurt.log" 2>&1
echo "log: $(wc -l <"$OUT/hurt.log") lines, $(grep -c 'step=learn' "$OUT/hurt.log") rounds told; nodes alive: $(nodes_alive)"
PYTHONPATH=$ROOT python - "$OUT" <<'PY'
import sys
from xmr_ray.runs.directory import RunDirectory

def told(name):
    rounds = RunDirectory(f"{sys.argv[1]}/{name}/drill/entropy-s0").rounds()
    return [(place.read_selection().pair_ids_n.tolist(), place.read_report()["retrieval"]) for place in rounds]

whole, hurt = told("whole"), told("hurt")
print(f"rounds: {len(hurt)}; same: {whole == hurt and len(hurt) == 3}")
sys.exit(whole != hurt)
PY
