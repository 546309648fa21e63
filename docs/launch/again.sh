#!/bin/bash
# Runs a command, and runs it again while it ends with 75, which asks for that.
#
#     bash docs/launch/again.sh COMMAND ARGUMENTS…
#
# SIGTERM and Ctrl-C ask the command to stop, and are its last start.
asked=
trap 'asked=yes; kill -TERM "$child" 2>/dev/null' TERM INT
status=75
while [ $status -eq 75 ] && [ -z "$asked" ]; do
    "$@" &
    child=$!
    wait "$child"
    while kill -0 "$child" 2>/dev/null; do # a signal has ended the wait
        wait "$child"
    done
    wait "$child"
    status=$?
    [ $status -ne 75 ] || [ -n "$asked" ] || sleep "${PAUSE:-10}"
done
exit $status
