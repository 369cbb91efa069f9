#!/usr/bin/env bash
# The user's day on a real SLURM: a cluster of one node, in a temporary folder of this machine, for
# as long as the tests in tests/slurm take. Usage: test_slurm.sh PYTHON [pytest arguments]
#
# Installs Debian's slurm-wlm and munge if they are missing. Needs root; without root, or without
# SLURM and apt-get, it says so and ends well. $KEEP_SLURM names a folder: logs stay there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="$1" && shift

skip() {
    echo "skipped: the SLURM tests need $1." >&2
    exit 0
}
[[ "$(id -u)" == 0 ]] || skip "root: a cluster's daemons run under it"
if ! command -v slurmctld slurmd sbatch munged >/dev/null; then
    command -v apt-get >/dev/null || skip "slurm-wlm and munge, or apt-get to install them"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends slurm-wlm munge; } \
        >/dev/null 2>&1 || skip "slurm-wlm and munge, and apt-get could not install them"
fi

folder="${KEEP_SLURM:-$(mktemp -d)}"
mkdir -p "$folder"/{state,spool}
chmod 711 "$folder"
export SLURM_CONF="$folder/slurm.conf"

stop() {
    local name pid
    # Jobs first: their processes are the daemons' to end.
    scancel --full --signal=KILL --state=RUNNING --user=root >/dev/null 2>&1 || true
    scancel --user=root >/dev/null 2>&1 || true
    for _ in {1..60}; do
        [[ -z "$(squeue --noheader 2>/dev/null)" ]] && break
        sleep 0.5
    done
    for name in slurmd slurmctld munged; do
        pid="$(cat "$folder/$name.pid" 2>/dev/null)" || continue
        kill "$pid" 2>/dev/null || true
        for _ in {1..100}; do
            kill -0 "$pid" 2>/dev/null || continue 2
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
    done
    [[ -n "${KEEP_SLURM:-}" ]] || rm -rf "$folder"
}
trap stop EXIT
trap 'exit 130' INT TERM

port=$((20000 + RANDOM % 20000))
cat >"$SLURM_CONF" <<CONF
ClusterName=latentwire
SlurmctldHost=localhost
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=10
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=60
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
GresTypes=gpu
NodeName=localhost CPUs=$(nproc) Gres=gpu:2 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=preempt Nodes=ALL MaxTime=INFINITE State=UP
CONF
# Two devices that are none: enough for SLURM to give each experiment its own number.
printf 'Name=gpu File=/dev/%s\n' null zero >"$folder/gres.conf"
head -c 1024 /dev/urandom >"$folder/munge.key"
chmod 600 "$folder/munge.key"

munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" \
    --seed-file="$folder/munged.seed" 2>/dev/null
slurmctld
slurmd -N localhost
for _ in {1..120}; do
    [[ "$(sinfo --noheader --format=%T --partition=debug 2>/dev/null)" == idle ]] && break
    sleep 0.5
done
if [[ "$(sinfo --noheader --format=%T --partition=debug)" != idle ]]; then
    echo "error: the cluster did not come up; the ends of its logs:" >&2
    tail -n 20 "$folder"/*.log >&2
    exit 1
fi
echo "SLURM $(sinfo --version | cut -d' ' -f2) runs on one node." >&2
"$python" -m pytest -m slurm tests/slurm "$@"
