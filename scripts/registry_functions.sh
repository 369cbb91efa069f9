#!/usr/bin/env bash
# Registry functions for bash jobs. Source this file:
#
#   source scripts/registry_functions.sh
#   registry_run_experiment sst2_seed42 --config '{"seed": 42}' --gpu 0 -- latentwire train ..
#
# or, in the shell that does the work:
#
#   if registry_should_run sst2_seed42; then
#       registry_start sst2_seed42 && work && registry_complete sst2_seed42 --metrics '{"acc": 0.9}'
#   fi
#
# Between registry_start and registry_complete or registry_fail, the shell sends heartbeats and any
# end of it is recorded: SIGTERM, SIGUSR1, SIGINT and exit code 75 as preempted, everything else as
# failed. $REGISTRY_FILE sets another index file, $REGISTRY_PYTHON another Python interpreter.

_REGISTRY_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
_REGISTRY_STARTED="" # key of the experiment that this shell runs
_REGISTRY_BEAT=""    # id of the heartbeat process
_REGISTRY_NAME=""    # name of the experiment

_registry() { (_registry_exec "$@"); }

# Uses exec, so that in the background it is a single process that receives signals.
_registry_exec() {
    exec env PYTHONPATH="$_REGISTRY_ROOT${PYTHONPATH:+:$PYTHONPATH}" \
        "${REGISTRY_PYTHON:-python3}" "$_REGISTRY_ROOT/telepathy/experiment_registry.py" \
        --registry "${REGISTRY_FILE:-$_REGISTRY_ROOT/runs/experiment_registry.json}" "$@"
}

# registry_should_run NAME [--config C]: succeeds if the experiment should start; prints the
# reason to stderr.
registry_should_run() {
    local answer
    answer="$(_registry should_run "$@")" || return 2
    echo "$1: ${answer#*|}" >&2
    [[ "${answer%%|*}" == 1 ]]
}

# registry_start NAME [--config C --gpu G]: claims the experiment for this shell; fails if it
# should not start.
registry_start() {
    if [[ -n "$_REGISTRY_STARTED" ]]; then
        echo "error: this shell is running $_REGISTRY_STARTED. Complete it before starting $1." >&2
        return 2
    fi
    local key
    key="$(_registry start "$@" --pid "$$")" || return
    # From here on, the key identifies the experiment: it includes the configuration.
    _REGISTRY_STARTED="$key"
    _REGISTRY_NAME="$1"
    (
        trap - EXIT TERM USR1 INT
        while sleep "${REGISTRY_BEAT_SECONDS:-30}" && kill -0 "$$" 2>/dev/null; do
            _registry heartbeat "$key" || true
        done
    ) </dev/null >/dev/null 2>&1 &
    _REGISTRY_BEAT=$!
    trap '_registry_signalled TERM' TERM
    trap '_registry_signalled USR1' USR1
    trap '_registry_signalled INT' INT
    trap '_registry_ended $?' EXIT
}

# registry_complete NAME [--result-file F --metrics JSON]
registry_complete() { _registry_finish complete "$@"; }

# registry_fail NAME [--error S --exit-code N --log FILE]
registry_fail() { _registry_finish fail "$@"; }

# registry_run_experiment NAME [--config C --gpu G --result-file F --force] -- COMMAND..
# Runs one command. Skips an experiment that should not start. Returns 75 if the command was
# preempted, else its exit code.
registry_run_experiment() {
    _registry_exec run "$@" &
    local child=$! code=0
    # Traps run only while the shell waits for a background process.
    trap 'kill -TERM "$child" 2>/dev/null' TERM
    trap 'kill -USR1 "$child" 2>/dev/null' USR1
    trap 'kill -INT "$child" 2>/dev/null' INT
    while :; do
        code=0
        wait "$child" || code=$?
        kill -0 "$child" 2>/dev/null || break
    done
    trap - TERM USR1 INT
    return "$code"
}

_registry_finish() {
    local command="$1" name="$2" code=0
    shift 2
    if [[ -n "$_REGISTRY_STARTED" && "$name" == "$_REGISTRY_NAME" ]]; then
        name="$_REGISTRY_STARTED"
    fi
    _registry "$command" "$name" "$@" || code=$?
    [[ "$name" == "$_REGISTRY_STARTED" ]] && _registry_release
    return "$code"
}

_registry_release() {
    kill "$_REGISTRY_BEAT" 2>/dev/null
    _REGISTRY_STARTED=""
    trap - TERM USR1 INT EXIT
}

_registry_signalled() {
    local key="$_REGISTRY_STARTED"
    _registry_release
    [[ -n "$key" ]] && _registry preempt "$key" --error "signal SIG$1"
    exit 75
}

_registry_ended() {
    local key="$_REGISTRY_STARTED"
    [[ -z "$key" ]] && return
    _registry_release
    if [[ "$1" == 75 ]]; then
        _registry preempt "$key" --error "exit code 75" --exit-code 75
    else
        _registry fail "$key" --error "the shell ended without registry_complete" --exit-code "$1"
    fi
}
